"""Logs: one line a decision, as text for people or as JSON for machines."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from scaleset.runtime import kopf_thread

Format = Literal["text", "json"]

NOTHING: Final = "-"
"""A value that there is none of: a sign for people, no key for machines."""

_QUIET = ("aiohttp", "asyncio", "kubernetes", "kopf", "kopf.objects")
"""Libraries whose INFO lines repeat while nothing happens, such as kopf's line for each event."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: docs/reference/logs.md.

    A line of ours names its values (`log.info("decision scaleset=%(scaleset)s", {"scaleset": name})`), so the text for
    people and the keys for machines are one statement.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.name.partition(".")[0] == "scaleset":
            line["event"] = str(record.msg).partition(" ")[0]
        if isinstance(record.args, Mapping):
            line |= {str(key): _plain(value) for key, value in record.args.items() if value != NOTHING}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def _plain(value: object) -> object:
    return value if isinstance(value, int | float) else str(value)


def configure(*, form: Format, level: str) -> None:
    """Send everything to standard error in that format."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        text = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        text.converter = time.gmtime
        handler.setFormatter(text)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    handler.addFilter(_one_line)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _one_line(record: logging.LogRecord) -> bool:
    """kopf logs a stack for each of its layers that an error passes, and so does the loop of its thread; the sentence
    says it all. A warning of Python's comes with its source. False for what is no news.
    """
    of_kopf = record.name.startswith("kopf") or record.threadName == kopf_thread.NAME
    # What the garbage collector finds of a loop that was closed is told in whatever thread it happens to run.
    of_kopf = of_kopf or (record.name == "asyncio" and "kopf" in record.getMessage())
    if of_kopf:
        record.exc_info = None
    if of_kopf or record.name == "py.warnings":
        record.msg, record.args = " ".join(record.getMessage().split()), ()
    # kopf warns at every start of its thread. The signals are handled in the main thread.
    return not (of_kopf and record.getMessage().startswith("OS signals are ignored"))
