"""Signs, bars, ages and colours that all views share. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.table import Table
from rich.text import Text

from kubectl_scaleset.pictures import SetView

_CODES = {"RollingForward": "yellow", "Completed": "green", "Faulted": "bold red", "Cancelled": "magenta"}
_HEALTH = {
    "Healthy": "green",
    "Initializing": "yellow",
    "Terminating": "yellow",
    "Unhealthy": "red",
    "Unknown": "red",
    "Missing": "red",
    "Blocked": "bold red",
}
LAST_COLUMN = 16
"""Least width of the last column."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs of one character set."""

    signs: Mapping[str, str]
    bar: Mapping[str, str]
    arrow: str
    forks: tuple[str, str]
    trunks: tuple[str, str]
    states: Mapping[str, str] = field(default_factory=dict)
    overflow: Literal["ellipsis", "crop"] = "ellipsis"
    """Mark of a cut cell."""

    def sign(self, what: str) -> str:
        return self.signs[what]

    def of_code(self, code: str) -> str:
        """The sign of a rollout."""
        kind = {"RollingForward": "running", "Completed": "done", "Faulted": "failed", "Cancelled": "cancelled"}
        return self.signs[kind.get(code, "pending")]

    def health(self, state: str) -> str:
        return self.states.get(state, self.signs["pending"])

    def fork(self, *, last: bool) -> str:
        return self.forks[last]

    def trunk(self, *, last: bool) -> str:
        return self.trunks[last]


UNICODE = Glyphs(
    signs={"set": "⬢", "done": "✔", "running": "◷", "pending": "◦", "failed": "✖", "cancelled": "⊘", "pod": "□"},
    bar={"successful": "█", "failed": "▒", "inProgress": "▓", "pending": "░"},
    arrow="→",
    forks=("├─", "└─"),
    trunks=("│ ", "  "),
    states={
        "Healthy": "✔",
        "Initializing": "◌",
        "Terminating": "◍",
        "Unhealthy": "✖",
        "Unknown": "?",
        "Missing": "∅",
        "Blocked": "⊘",
    },
)
ASCII = Glyphs(
    signs={"set": "#", "done": "+", "running": "*", "pending": ".", "failed": "x", "cancelled": "/", "pod": "o"},
    bar={"successful": "#", "failed": "x", "inProgress": "=", "pending": "."},
    arrow="->",
    forks=("|-", "`-"),
    trunks=("| ", "  "),
    states={
        "Healthy": "+",
        "Initializing": "~",
        "Terminating": "-",
        "Unhealthy": "x",
        "Unknown": "?",
        "Missing": "0",
        "Blocked": "/",
    },
    overflow="crop",
)


def table(*titles: str, glyphs: Glyphs, right: Collection[str] = ()) -> Table:
    """A table like kubectl's: no lines, two spaces between columns."""
    found = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        found.add_column(title, no_wrap=True, overflow=glyphs.overflow, justify="right" if title in right else "left")
    return found


def settle(found: Table) -> Table:
    """The finished table: on a narrow terminal its last column is cut before any other."""
    for column in found.columns[:-1]:
        cells = [column.header, *column.cells]
        column.min_width = max(cell.cell_len if isinstance(cell, Text) else cell_len(str(cell)) for cell in cells)
    last = found.columns[-1]
    last.no_wrap = False  # rich narrows wrapping columns first; their cells are cut nevertheless
    last._cells = [_uncut(cell, last.overflow) for cell in last.cells]  # noqa: SLF001 - cells cannot be changed otherwise
    return found


def _uncut(cell: RenderableType, overflow: OverflowMethod) -> Text:
    text = cell if isinstance(cell, Text) else Text(str(cell))
    text.no_wrap, text.overflow = True, overflow
    return text


def printed(console: Console, what: RenderableType) -> str:
    """The table as text for a terminal of that width. Only the last column is cut; the terminal wraps a table that is
    still wider.
    """
    width = console.width
    lines: list[str] = []
    for part in what.renderables if isinstance(what, Group) else [what]:
        console.width = max(width, _least_width(part)) if isinstance(part, Table) else width
        with console.capture() as captured:
            console.print(part)
        lines += captured.get().splitlines()
    console.width = width
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _least_width(found: Table) -> int:
    return sum((column.min_width or 0) + 2 for column in found.columns[:-1]) + LAST_COLUMN


def code_style(code: str) -> str:
    """Colour of a rollout's state."""
    return _CODES.get(code, "")


def health_style(state: str) -> str:
    """Colour of an instance's health."""
    return _HEALTH.get(state, "")


def age(since: float | None, now: float) -> str:
    """An age in kubectl's format: 12s, 3m4s, 5h, 6d."""
    if since is None:
        return ""
    seconds = max(0, int(now - since))
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    return f"{hours}h" if hours < 48 else f"{days}d"


def bar(found: SetView, *, glyphs: Glyphs, width: int, words: bool = False) -> Text:
    """Progress of the running rollout, else the share of healthy instances."""
    kinds = ("successful", "failed", "inProgress", "pending")
    counts = {kind: found.count(kind) for kind in kinds}
    if not words and not found.rolling:
        counts = {"successful": found.healthy, "pending": max(0, found.desired - found.healthy)}
    total = sum(counts.values())
    shown = Text()
    styles = {"successful": "green", "failed": "red", "inProgress": "yellow", "pending": "dim"}
    for kind, cells in _cells(counts, width if total else 0).items():
        shown.append(glyphs.bar[kind] * cells, styles[kind])
    if not words:
        return shown.append(f" {counts.get('successful', 0)}/{total}", "")
    names = {"successful": "upgraded", "failed": "failed", "inProgress": "in progress", "pending": "not begun"}
    counted = ", ".join(f"{counts[kind]} {names[kind]}" for kind in kinds)
    return shown.append(f"  {counted}" if total else "nothing to upgrade", "")


def _cells(counts: Mapping[str, int], width: int) -> dict[str, int]:
    """The cells of each part. Their sum is the width, and a part that is not empty has at least one cell."""
    total = sum(counts.values())
    if not total or not width:
        return {}
    cells = {kind: max(1, count * width // total) if count else 0 for kind, count in counts.items()}
    largest = max(cells, key=lambda kind: counts[kind])
    cells[largest] = max(1, cells[largest] + width - sum(cells.values()))
    return cells


def percent_policy(policy: Mapping[str, Any], *, rolling: bool) -> str:
    """The limits in force for the rollout."""
    if not policy or not rolling:
        return ""
    pause = policy.get("pauseTimeBetweenBatches")
    text = (
        f": batches of {policy.get('maxBatchInstancePercent')} %, at most "
        f"{policy.get('maxUnhealthyInstancePercent')} % unhealthy, "
        f"{policy.get('maxUnhealthyUpgradedInstancePercent')} % of the upgraded"
    )
    return text + (f", pause {pause}" if pause and pause != "PT0S" else "")
