"""The view of `get`: a header, and a tree of batch > instance > pod. Pure: from a view to lines.

Legible without colours: every state has a sign of its own.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubectl_scaleset.pictures import InstanceView, SetView
from kubectl_scaleset.verdicts import alike, next_step, short, verdict
from kubectl_scaleset.words import (
    ASCII,
    Columns,
    Glyphs,
    age,
    capped,
    code_style,
    health_style,
    percent_policy,
    progress,
    table,
)
from scaleset.planner import ranges
from scaleset.planner.gallery import is_number, number

COLLAPSED = 12
"""A larger group of instances in the same state is one line, unless --full is given."""
LARGE = 24
"""In a larger set a group of four is one line already."""
LONGEST_NAME = 44


class Branch(NamedTuple):
    """Instances in the same state of the rollout. `sign` names a glyph."""

    sign: str
    title: str
    ids: frozenset[int]


def branches(found: SetView, known: Iterable[int]) -> list[Branch]:
    """The instances, grouped by their state in the running or last rollout."""
    there = frozenset(known)
    if not found.rollout:
        return [Branch("set", f"{len(there)} instances", there)] if there else []
    batch = found.rollout.get("batch") or {}
    done = int(found.rollout.get("batchesDone") or 0)
    running = found.ids("inProgress") | found.ids("restoring")
    now = _batch_ids(batch) & there if found.rolling and batch else frozenset()
    now |= running & there
    earlier = "upgraded" + (f" in batch{'es 1-' if done > 1 else ' '}{done}" if done else "")
    others = there - now
    failed = found.ids("failed") & others
    groups = [
        Branch("done", earlier, found.ids("successful") & others),
        Branch("failed", _failed_title(found, failed), failed),
        Branch("running", f"batch {batch.get('number', '?')} of {batch.get('of', '?')}", now),
        Branch("pending", "not begun" if found.rolling else "not touched", found.ids("pending") & others),
    ]
    shown = [branch for branch in groups if branch.ids]
    rest = there.difference(*(branch.ids for branch in shown))
    if rest:
        shown.append(Branch("set", "not in this rollout" if shown else f"{len(rest)} instances", rest))
    return shown


def _batch_ids(batch: dict[str, str] | object) -> frozenset[int]:
    text = batch.get("instances") if isinstance(batch, dict) else None
    try:
        return ranges.parse(text)
    except ValueError:
        return frozenset()


def _failed_title(found: SetView, failed: frozenset[int]) -> str:
    restored = failed & found.ids("restored")
    if not restored:
        return "failed"
    return "failed, restored" if restored == failed else f"failed, {ranges.abridged(restored)} restored"


def header(found: SetView, *, now: float, glyphs: Glyphs, healthy: int | None = None) -> Table:
    """The activity of the set, one line for each topic. `healthy` is counted from the pods; None means the status has
    it.
    """
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(found, found.healthy if healthy is None else healthy, now=now, glyphs=glyphs):
        grid.add_row(f"{name}:", value)
    return grid


def _lines(found: SetView, healthy: int, *, now: float, glyphs: Glyphs) -> list[tuple[str, Text | str]]:
    rollout = found.rollout
    lines: list[tuple[str, Text | str]] = [
        ("Name", Text(found.name, "bold")),
        ("Namespace", found.namespace),
        ("Status", Text(found.state, "bold red" if found.needs_attention else "")),
        ("Healthy", f"{healthy} of {found.desired}"),
        ("Version", _versions(found, glyphs)),
    ]
    if found.policy or found.own_policy is not None:
        name = found.policy or "of its own"
        lines.append(("Policy", name + percent_policy(rollout.get("policy") or {}, rolling=found.rolling)))
    if rollout:
        running = rollout.get("runningStatus") or {}
        who = f"started by {rollout.get('startedBy')}, {_when(running, now=now)}"
        lines.append(
            (
                "Rollout",
                Text.assemble((f"{glyphs.of_code(found.code)} {found.code}", code_style(found.code)), f"  {who}"),
            )
        )
        lines.append(("Progress", progress(found, glyphs=glyphs, width=20)))
    reason, spoken = found.waiting
    if spoken and reason != "RolloutFaulted":
        lines.append(("Now" if found.rolling else "Note", spoken))
    if why := verdict(found):
        lines.append(("Error" if rollout.get("error") else "Ended", Text(why, "red" if rollout.get("error") else "")))
    if step := next_step(found):
        lines.append(("Next", step))
    return lines


def _versions(found: SetView, glyphs: Glyphs) -> str:
    runs = found.versions or "none yet"
    if found.rolling and found.target and found.target != runs:
        return f"{runs} {glyphs.arrow} {found.target}"
    if found.rolling and not found.target:
        return f"{runs}, to model {found.rollout.get('targetModel')}"
    return f"{runs} ({found.behind.replace(' ', ' is ', 1)})" if found.behind else runs


def _when(running: dict[str, str], *, now: float) -> str:
    from scaleset.records.projections import seconds

    began, ended = seconds(running.get("startTime")), seconds(running.get("completedTime"))
    if began is None:
        return "time unknown"
    if ended is None:
        return f"{age(began, now)} ago"
    return f"took {age(began, ended)}, ended {age(ended, now)} ago"


def tree(
    found: SetView, rows: Sequence[InstanceView], *, now: float, glyphs: Glyphs, everything: bool = False
) -> Columns:
    """The tree as a table: its branches are the first column."""
    grown = _Tree(found, now, glyphs, everything)
    root = Text(f"{glyphs.sign('set')} {found.name}", "bold")
    grown.add(root, "", f"{_healthy(rows)}/{found.desired} healthy", "", age(found.created, now))
    known = {row.id: row for row in rows}
    groups = branches(found, known)
    for position, branch in enumerate(groups):
        last = position == len(groups) - 1
        grown.add(f"{glyphs.fork(last=last)}{glyphs.sign(branch.sign)} {branch.title}")
        grown.limbs([known[number] for number in sorted(branch.ids)], glyphs.trunk(last=last))
    return grown.table


def _folded(members: list[InstanceView], *, limit: int) -> tuple[list[list[InstanceView]], list[InstanceView]]:
    """Groups of more than `limit` instances in the same state, and all others."""
    groups: dict[tuple[object, ...], list[InstanceView]] = {}
    for row in members:
        kind = (row.health, row.phase, bool(row.restarts), alike(row.message), alike(row.failure))
        groups.setdefault(kind, []).append(row)
    large = [rows for rows in groups.values() if len(rows) > limit]
    hidden = {row.id for rows in large for row in rows}
    return large, [row for row in members if row.id not in hidden]


def strides(ids: Sequence[int]) -> str:
    """Instances as ranges, shortened: `0-195/5 (40)` is every fifth one of 0 to 195."""
    steps = {later - earlier for earlier, later in pairwise(ids)}
    if len(ids) > 3 and len(steps) == 1 and steps != {1}:
        return f"{ids[0]}-{ids[-1]}/{steps.pop()} ({len(ids)})"
    return ranges.abridged(ids)


def _order(version: str) -> tuple[tuple[int, ...], str]:
    """Order of versions as numbers: 1.10.0 after 1.9.0."""
    return number(version) if is_number(version) else (), version


class _Tree:
    """The table while it grows."""

    def __init__(self, found: SetView, now: float, glyphs: Glyphs, everything: bool) -> None:  # noqa: FBT001 - internal
        self._failed = f"failed on {found.target}" if found.target else "failed here"
        self._now, self._glyphs, self._everything = now, glyphs, everything
        self._limit = 3 if found.desired > LARGE else COLLAPSED
        titles = ("NAME", "VERSION", "HEALTH", "RESTARTS", "AGE", "LAST ERROR")
        self.table = table(*titles, glyphs=glyphs, right=("RESTARTS", "AGE"), spare=("AGE", "RESTARTS"))

    def add(self, name: str | Text, *cells: str | Text) -> None:
        """A row; missing cells are empty."""
        style = name.style if isinstance(name, Text) else ""
        shown = capped(str(name), self._glyphs, limit=LONGEST_NAME)
        self.table.add_row(Text(shown, style), *cells, *[""] * (5 - len(cells)))

    def _words(self, message: str) -> str:
        """The message, shortened unless everything is asked for."""
        return message if self._everything or not message else short(message)

    def limbs(self, members: list[InstanceView], trunk: str) -> None:
        """The instances of a branch, each with its pod. Many in the same state are one line."""
        folded, shown = ([], members) if self._everything else _folded(members, limit=self._limit)
        for position, alike_ in enumerate(folded):
            self._fold(alike_, trunk, last=position == len(folded) - 1 and not shown)
        for position, row in enumerate(shown):
            self._limb(row, trunk, last=position == len(shown) - 1)

    def _fold(self, rows: list[InstanceView], trunk: str, *, last: bool) -> None:
        state, first = rows[0].health, rows[0]
        versions = ", ".join(sorted({row.version for row in rows}, key=_order))
        ids = strides(sorted(row.id for row in rows))
        name = f"{trunk}{self._glyphs.fork(last=last)}{self._glyphs.health(state)} {ids}"
        failure = f"{self._failed}: {self._words(first.failure)}" if first.failure else ""
        restarts = sum(row.restarts for row in rows)
        count = Text(f"{len(rows)} {state}", health_style(state))
        self.add(name, versions, count, str(restarts) if restarts else "", "", failure or self._words(first.message))

    def _limb(self, row: InstanceView, trunk: str, *, last: bool) -> None:
        glyphs = self._glyphs
        name = f"{trunk}{glyphs.fork(last=last)}{glyphs.health(row.health)} {row.id}"
        failure = f"{self._failed}: {self._words(row.failure)}" if row.failure else ""
        self.add(name, row.version, Text(row.health, health_style(row.health)), "", "", failure)
        twig = f"{trunk}{glyphs.trunk(last=last)}{glyphs.fork(last=True)}{glyphs.sign('pod')} "
        if row.phase:
            born = age(row.created, self._now)
            self.add(
                Text(f"{twig}{row.name}", "dim"),
                row.version,
                row.phase,
                str(row.restarts),
                born,
                self._words(row.message),
            )
        elif row.message:
            self.add(Text(f"{twig}no pod", "dim"), "", "", "", "", self._words(row.message))


def picture(
    found: SetView,
    rows: Sequence[InstanceView],
    *,
    now: float,
    glyphs: Glyphs = ASCII,
    everything: bool = False,
) -> RenderableType:
    """Header and tree."""
    top = header(found, now=now, glyphs=glyphs, healthy=_healthy(rows))
    return Group(top, Text(), tree(found, rows, now=now, glyphs=glyphs, everything=everything))


def _healthy(rows: Sequence[InstanceView]) -> int:
    return sum(row.health == "Healthy" for row in rows)
