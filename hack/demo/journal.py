"""What the demo says, line by line: on a terminal the view shows its end, elsewhere it is printed as it comes."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

Kind = Literal["step", "about", "note", "event", "ok", "wrong", "table", "blank"]
REASON_WIDTH = 21
WIDTH = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing said. `head` is the reason of an event; `seconds` counts from the start of the demo."""

    kind: Kind
    seconds: float
    text: str = ""
    head: str = ""


class Journal:
    """Everything said so far."""

    def __init__(self, say: Callable[[Entry], None]) -> None:
        self.entries: list[Entry] = []
        self._say = say
        self._start = monotonic()

    @property
    def elapsed(self) -> float:
        return monotonic() - self._start

    def add(self, kind: Kind, text: str = "", *, head: str = "") -> None:
        entry = Entry(kind, self.elapsed, text, head)
        self.entries.append(entry)
        self._say(entry)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        for line in aligned(rows):
            self.add("table", line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as kubectl prints them."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def lines(entry: Entry, width: int = WIDTH) -> list[str]:
    """The entry as text; continued lines stand below its beginning, and no word is lost."""
    if entry.kind == "blank":
        return [""]
    if entry.kind == "table":
        return ["  " + entry.text]
    if entry.kind in {"step", "about"}:
        first = "" if entry.kind == "step" else "  "
    else:
        head = {"ok": "ok  ", "wrong": "WRONG  ", "note": ""}.get(entry.kind, f"{entry.head:<{REASON_WIDTH}}")
        first = f"{entry.seconds:6.1f} s  {head}"
    rest = " " * len(first)
    return textwrap.wrap(entry.text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False) or [
        first.rstrip()
    ]
