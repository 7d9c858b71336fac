"""values.yaml with its comments: the one source of the schema and of the README's table.

It is read line by line, since YAML parsers drop comments. So it keeps to a form: two spaces a level, the documentation
of a value right above it, sections begin with `## Title`. A value whose documentation is missing is an error, but for
one that only groups others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):(?: |$)")
_SCHEMA = "@schema "


class ValuesError(ValueError):
    """values.yaml is not in its form; the message has the line."""


@dataclass(slots=True)
class Value:
    """One value. `schema` is what its comment adds; `children` are those of a value that only groups others."""

    path: tuple[str, ...]
    section: str
    default: Any
    text: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    children: "list[Value]" = field(default_factory=list)

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def documented(self) -> bool:
        return bool(self.text)

    def leaves(self) -> "Iterator[Value]":
        """The values that are set, without those that only group others."""
        if self.documented:
            yield self
        for child in self.children:
            yield from child.leaves()


def read(path: Path) -> list[Value]:
    """The top level of values.yaml. ValuesError if something in it is not documented."""
    return parse(path.read_text(encoding="utf-8"))


def parse(source: str) -> list[Value]:
    """As `read`, for text."""
    defaults = yaml.safe_load(source)
    found: list[Value] = []
    parents: list[Value] = []
    comment: list[str] = []
    section = ""
    for number, line in enumerate(source.splitlines(), 1):
        text = line.strip()
        match = _KEY.match(line)
        if text.startswith("## "):
            section, comment = text[3:], []
        elif text.startswith("#"):
            comment.append(text.removeprefix("#").removeprefix(" "))
        elif not text:
            comment = []
        elif match:
            depth = len(match[1]) // 2
            # Below a documented value is its default, which is data.
            outer = next((each for each in parents[:depth] if each.documented), None)
            if outer is None:
                parents = parents[:depth]
                value = _value((*(parents[-1].path if parents else ()), match[2]), section, defaults, comment, number)
                (parents[-1].children if parents else found).append(value)
                parents.append(value)
            comment = []
    for top in found:
        _complete(top)
    return found


def _value(path: tuple[str, ...], section: str, defaults: Any, comment: list[str], number: int) -> Value:
    default = defaults
    for part in path:
        default = default[part]
    words = [line for line in comment if not line.startswith(_SCHEMA)]
    schema: dict[str, Any] = {}
    for line in comment:
        if line.startswith(_SCHEMA):
            try:
                schema |= yaml.safe_load(line.removeprefix(_SCHEMA))
            except (yaml.YAMLError, TypeError) as error:
                raise ValuesError(
                    f"values.yaml line {number}: {'.'.join(path)} has no valid @schema: {error}"
                ) from None
    return Value(path, section, default, " ".join(words), schema)


def _complete(value: Value) -> None:
    if not value.documented and not value.children:
        raise ValuesError(f"{value.name} in values.yaml has no comment that documents it; write one above it")
    for child in value.children:
        _complete(child)
