"""Signs, bars, ages and colours that all views share. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import TextWrapper
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kubectl_scaleset.pictures import SetView

_CODES = {"RollingForward": "yellow", "Completed": "green", "Faulted": "bold red", "Cancelled": "magenta"}
LAST_COLUMN = 28
"""Least width of the last column, if it has that much to say."""
INDENT = "      "
"""Before the words of a last column that got lines of its own."""
ELLIPSES = {"ellipsis": "…", "crop": "..."}
_END = 8
SHORTEST_NAME = 20


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


_SIGNS = {
    "set": "⬢#",
    "done": "✔+",
    "running": "◷*",
    "pending": "◦.",
    "failed": "✖x",
    "cancelled": "⊘/",
    "pod": "□o",
}
_BAR = {"successful": "█#", "failed": "▒x", "inProgress": "▓=", "pending": "░."}
"""Each sign in Unicode and in ASCII."""
_HEALTH = {
    "Healthy": ("✔+", "green"),
    "Initializing": ("◌~", "yellow"),
    "Terminating": ("◍-", "yellow"),
    "Unhealthy": ("✖x", "red"),
    "Unknown": ("??", "red"),
    "Missing": ("∅0", "red"),
    "Blocked": ("⊘/", "bold red"),
}
"""Sign and style of an instance's state."""
_STATES = {state: sign for state, (sign, _) in _HEALTH.items()}


def _of(signs: Mapping[str, str], place: int) -> dict[str, str]:
    return {name: both[place] for name, both in signs.items()}


UNICODE = Glyphs(_of(_SIGNS, 0), _of(_BAR, 0), "→", ("├─", "└─"), ("│ ", "  "), _of(_STATES, 0))
ASCII = Glyphs(_of(_SIGNS, 1), _of(_BAR, 1), "->", ("|-", "`-"), ("| ", "  "), _of(_STATES, 1), overflow="crop")


class Columns(Table):
    """A table like kubectl's: no lines, two spaces between columns, one line a row."""

    def __init__(self, glyphs: Glyphs, spare: Sequence[str]) -> None:
        super().__init__(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        self.glyphs = glyphs
        self.spare = tuple(spare)
        """Titles of the columns that a narrow terminal does without, the first to go first."""

    def keep(self, columns: list[Column]) -> None:
        """Do without the other columns."""
        self.columns = columns
        for position, column in enumerate(columns):
            column._index = position  # noqa: SLF001 - rich asks the column where it stands, for the space after it

    @property
    def least(self) -> int:
        """The width that the table needs. The last column may be cut."""
        return sum(_width(column) + 2 for column in self.columns[:-1]) + min(LAST_COLUMN, _width(self.columns[-1]))


def table(*titles: str, glyphs: Glyphs, right: Collection[str] = (), spare: Sequence[str] = ()) -> Columns:
    """An empty table with these columns."""
    found = Columns(glyphs, spare)
    for title in titles:
        found.add_column(title, no_wrap=True, overflow=glyphs.overflow, justify="right" if title in right else "left")
    return found


def _width(column: Column) -> int:
    return max(_plain_width(cell) for cell in [column.header, *column.cells])


def _plain_width(cell: RenderableType) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(str(cell))


def printed(console: Console, what: RenderableType) -> str:
    """The view as text for a terminal of that width. A narrow one loses spare columns; if that is not enough, the last
    column gets lines of its own.
    """
    lines: list[str] = []
    for part in what.renderables if isinstance(what, Group) else [what]:
        lines += _fitted(console, part) if isinstance(part, Columns) else _rendered(console, part, console.width)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _fitted(console: Console, found: Columns) -> list[str]:
    for title in found.spare:
        if found.least <= console.width:
            break
        found.keep([column for column in found.columns if column.header != title])
    last, rest = found.columns[-1], found.columns[:-1]
    left = console.width - sum(_width(column) + 2 for column in rest)
    if left >= LAST_COLUMN or _width(last) <= left:
        last._cells = [_cut(cell, left, found.glyphs) for cell in last.cells]  # noqa: SLF001 - cells cannot be changed otherwise
        return _rendered(console, found, max(console.width, found.least))
    words = [cell.plain if isinstance(cell, Text) else str(cell) for cell in last.cells]
    found.keep(rest)
    _narrow(found, sum(_width(column) + 2 for column in rest) - 2 - console.width)
    head, *rows = _rendered(console, found, max(console.width, sum(_width(column) + 2 for column in rest)))
    wrapped = TextWrapper(console.width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
    lines = [head]
    for row, text in zip(rows, words, strict=True):
        lines += [row, *wrapped.wrap(text)]
    return lines


def _narrow(found: Columns, excess: int) -> None:
    """Take what is too much from the names in the first column, down to a width at which they can be told apart."""
    first = found.columns[0]
    limit = max(SHORTEST_NAME, _width(first) - excess)
    cells = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in first.cells]
    short = [Text(capped(cell.plain, found.glyphs, limit=limit), cell.style) for cell in cells]
    first._cells = list(short)  # noqa: SLF001 - as above


def _rendered(console: Console, part: RenderableType, width: int) -> list[str]:
    before, console.width = console.width, width
    with console.capture() as captured:
        console.print(part)
    console.width = before
    return captured.get().splitlines()


def _cut(cell: RenderableType, width: int, glyphs: Glyphs) -> Text:
    """The cell without the words that do not fit."""
    text = cell if isinstance(cell, Text) else Text(str(cell))
    if text.cell_len <= width:
        return text
    mark = ELLIPSES[glyphs.overflow]
    kept = text.plain[: max(0, width - len(mark))]
    whole = kept.rpartition(" ")[0] if text.plain[len(kept) : len(kept) + 1] != " " else kept
    return Text((whole or kept).rstrip(" ,;:") + mark, text.style)


def capped(name: str, glyphs: Glyphs, *, limit: int) -> str:
    """A name that is not longer than that. Its end stays: the id of an instance is there."""
    if len(name) <= limit:
        return name
    mark = ELLIPSES[glyphs.overflow]
    return f"{name[: limit - len(mark) - _END]}{mark}{name[-_END:]}"


def code_style(code: str) -> str:
    """Colour of a rollout's state."""
    return _CODES.get(code, "")


def health_style(state: str) -> str:
    """Colour of an instance's health."""
    return _HEALTH[state][1] if state in _HEALTH else ""


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


def bar(found: SetView, *, glyphs: Glyphs, width: int) -> Text:
    """How many instances have the build that the spec asks for; of a running rollout also what failed and what is under
    way. It means the same for every set.
    """
    if found.updated is None:
        return Text("-")
    counts = {"successful": min(found.updated, found.desired)}
    if found.rolling:
        counts |= {"failed": found.count("failed"), "inProgress": found.count("inProgress")}
        counts["successful"] = min(counts["successful"], found.count("successful"))
    counts["pending"] = max(0, found.desired - sum(counts.values()))
    return _drawn(counts, glyphs=glyphs, width=width).append(f" {counts['successful']}/{found.desired}", "")


def progress(found: SetView, *, glyphs: Glyphs, width: int) -> Text:
    """The running or last rollout: Azure's four counts, with their names."""
    names = {"successful": "upgraded", "failed": "failed", "inProgress": "in progress", "pending": "not begun"}
    counts = {kind: found.count(kind) for kind in names}
    if not any(counts.values()):
        return Text("nothing to upgrade")
    counted = ", ".join(f"{counts[kind]} {word}" for kind, word in names.items())
    return _drawn(counts, glyphs=glyphs, width=width).append(f"  {counted}", "")


def _drawn(counts: Mapping[str, int], *, glyphs: Glyphs, width: int) -> Text:
    styles = {"successful": "green", "failed": "red", "inProgress": "yellow", "pending": "dim"}
    shown = Text()
    for kind, cells in _cells(counts, width).items():
        shown.append(glyphs.bar[kind] * cells, styles[kind])
    return shown


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
