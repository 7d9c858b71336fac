"""Redacts secrets in objects: custom data, environment values, settings, tokens. Pure.

It combines three ways, since each of them alone misses secrets. By place: fields meant for secrets, whatever they hold.
By form: tokens and passwords in any text. By value: a value redacted in one place is redacted everywhere, since a
program may have printed it into its termination message.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scaleset.planner import pod_builder

REDACTED = "<redacted>"
LEAST = 6
"""Least length of values that are redacted everywhere: shorter ones are common words and numbers."""

_PLACES = frozenset({"customData", "settings", "protectedSettings", "stringData", "httpHeaders"})
"""Keys whose whole value is redacted."""
_OURS = "scaleset.dev/"
_DATA = frozenset({"scaleset.dev/custom-data"})
_FORMS = (
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?"),
    re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|$)", re.DOTALL),
    re.compile(r"(?i)(?<=bearer )\s*[\"']?[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(?i)(?<=basic )\s*[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s]+(?=@)"),
    re.compile(r"(?:(?<=-u )|(?<=--user )|(?<=--user=))\s*[\"']?[^\s:\"']*:[^\s\"']+"),
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b"),
    re.compile(r"(?i)(?<=[?&]sig=)[^&\s]+"),
)
_NAME = (
    r"(?i)\b([\w.-]*(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|account[_-]?key|credentials?|private[_-]?key)"
    r"[\w.-]*)"
)
_ASSIGNED = re.compile(_NAME + r"([\\\"']*\s*[=:]\s*|\s+)([^\s,;&\"'\\]{4,})")
_QUOTED = re.compile(_NAME + r"([\\\"']*\s*[=:]\s*|\s+)\\*(?:\"[^\"]+\"|'[^']+')")
_NAMED = re.compile(r"(?i)(password|passwd|token|secret|api_?key|access_?key|private_?key|credential)$")
_FLAG = re.compile(r"(?i)^--?[\w-]*(password|passwd|token|secret|key|credentials?)$")


class Redactor:
    """Redacts several objects that belong together: `collect` all of them, then `clean` each."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def collect(self, value: Any) -> None:
        """Collect the values to redact by place, so that they are redacted everywhere."""
        for found in _by_place(value):
            self._values |= {text for text in _texts(found) if len(text) >= LEAST}

    def clean(self, value: Any) -> Any:
        """The object without secrets. Values are replaced by `REDACTED`; keys stay."""
        return self._clean(value, ())

    def text(self, text: str) -> str:
        """A text without collected values and without anything that looks like a secret."""
        for secret in sorted(self._values, key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        for form in _FORMS:
            text = form.sub(REDACTED, text)
        return _ASSIGNED.sub(_assigned, _QUOTED.sub(_assigned, text))

    def _clean(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return {key: self._member(str(key), item, path) for key, item in value.items() if key != "managedFields"}
        if isinstance(value, list):
            cleaned = [self._clean(item, path) for item in value]
            return _arguments(cleaned) if path and path[-1] in ("args", "command") else cleaned
        return self.text(value) if isinstance(value, str) else value

    def _member(self, key: str, value: Any, path: tuple[str, ...]) -> Any:
        if _secret_place(key, value, path):
            return REDACTED
        return self._clean(value, (*path, key))


def _assigned(found: re.Match[str]) -> str:
    """`--password hunter2`, `token=abc`; a bare word after a space is a sentence unless the name is a flag."""
    name, sign, *value = found.groups()
    if value == [REDACTED] or (
        sign.isspace() and not name.startswith("-") and not found.string[: found.start()].endswith("-")
    ):
        return found.group(0)
    return f"{name}{sign}{REDACTED}"


def _arguments(words: list[Any]) -> list[Any]:
    """The word after `--password` is one."""
    return [
        REDACTED
        if i and isinstance(word, str) and isinstance(words[i - 1], str) and _FLAG.match(words[i - 1])
        else word
        for i, word in enumerate(words)
    ]


def _secret_place(key: str, value: Any, path: tuple[str, ...]) -> bool:
    """Whether any value at this place is redacted."""
    if value in (None, "", [], {}):
        return False
    if key in _PLACES:
        return True
    parent = path[-1] if path else ""
    if key == "value" and parent == "env":
        return True
    if parent == "annotations":
        return not key.startswith(_OURS) or key in _DATA
    return isinstance(value, str) and bool(_NAMED.search(key)) and parent not in ("labels", "matchLabels")


def _by_place(value: Any, path: tuple[str, ...] = ()) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _secret_place(str(key), item, path):
                # Other annotations are sentences of other programs: their words are not redacted elsewhere.
                if key in _DATA or not (path and path[-1] == "annotations"):
                    yield item
            elif key != "managedFields":
                yield from _by_place(item, (*path, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _by_place(item, path)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a redacted value, and its lines; also the decoded text of base64 custom data, and the values in
    JSON settings.
    """
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        for said in {value, _plain(value)}:
            yield said
            yield from (line.strip() for line in said.splitlines())
        if value[:1] in "[{":
            try:
                yield from _texts(json.loads(value))
            except ValueError:
                return


def _plain(value: str) -> str:
    try:
        return pod_builder.custom_data_text(value)
    except ValueError:  # larger than custom data may be
        return value
