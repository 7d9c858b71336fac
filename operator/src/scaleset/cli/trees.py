"""What `get` shows: a header, and a tree of batch > instance > pod. Pure: from a picture to lines.

Legible without colours: every state has a sign of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaleset.cli.pictures import InstanceView, SetView
from scaleset.cli.words import ASCII, Glyphs, age, bar, code_style, health_style, percent_policy
from scaleset.planning import ranges

COLLAPSED = 12
"""A group of more unremarkable instances than this is one line, unless everything is asked for."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Instances that are where in the rollout. `sign` names a glyph."""

    sign: str
    title: str
    ids: frozenset[int]


def branches(found: SetView, known: Iterable[int]) -> list[Branch]:
    """The instances, grouped by what the running or last rollout did with them."""
    there = frozenset(known)
    if not found.rollout:
        return [Branch("set", f"{len(there)} instances", there)] if there else []
    batch = found.rollout.get("batch") or {}
    done = int(found.rollout.get("batchesDone") or 0)
    running = found.ids("inProgress") | found.ids("restoring")
    now = _batch_ids(batch) & there if found.rolling and batch else frozenset()
    now |= running & there
    earlier = "upgraded" + (f" in batch{'es 1-' if done > 1 else ' '}{done}" if done else "")
    failed = found.ids("failed") & there
    groups = [
        ("done", earlier, found.ids("successful") & there),
        ("failed", _failed_title(found, failed - now), failed),
        ("running", f"batch {batch.get('number', '?')} of {batch.get('of', '?')}", now),
        ("pending", "not begun" if found.rolling else "not touched", found.ids("pending") & there),
    ]
    shown: list[Branch] = []
    for sign, title, ids in groups:
        mine = ids - now if sign != "running" else ids
        if mine:
            shown.append(Branch(sign, title, mine))
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
    return (
        "failed, back on what they ran before" if restored == failed else f"failed, {ranges.render(restored)} restored"
    )


def header(found: SetView, *, now: float, glyphs: Glyphs, healthy: int | None = None) -> Table:
    """What the set is doing, a line for each thing. `healthy` is counted from the pods, None: what the status says."""
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
    if found.policy:
        lines.append(("Policy", found.policy + percent_policy(rollout.get("policy") or {}, rolling=found.rolling)))
    if rollout:
        running = rollout.get("runningStatus") or {}
        who = f"started by {rollout.get('startedBy')}, {_when(running, now=now)}"
        lines.append(
            (
                "Rollout",
                Text.assemble((f"{glyphs.of_code(found.code)} {found.code}", code_style(found.code)), f"  {who}"),
            )
        )
        lines.append(("Progress", bar(found, glyphs=glyphs, width=20, words=True)))
    if spoken := found.waiting[1]:
        lines.append(("Now" if found.rolling else "Note", spoken))
    error = rollout.get("error") or {}
    if error and error.get("message") != spoken:
        lines.append(("Error", Text.assemble((f"{error.get('code')}: ", "red"), str(error.get("message") or ""))))
    return lines


def _versions(found: SetView, glyphs: Glyphs) -> str:
    current = found.current or "none yet"
    if found.rolling and found.target and found.target != found.current:
        return f"{current} {glyphs.arrow} {found.target}"
    if found.rolling and not found.target:
        return f"{current}, to model {found.rollout.get('targetModel')}"
    if found.latest and found.latest != found.current:
        return f"{current} (latest is {found.latest})"
    return current


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
) -> Table:
    """The tree as a table: its branches are the first column."""
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("NAME", "VERSION", "HEALTH"):
        table.add_column(title, no_wrap=True)
    table.add_column("RESTARTS", justify="right", no_wrap=True)
    table.add_column("AGE", justify="right", no_wrap=True)
    table.add_column("LAST ERROR", overflow="ellipsis", no_wrap=True)
    table.add_row(
        Text(f"{glyphs.sign('set')} {found.name}", "bold"),
        "",
        f"{_healthy(rows)}/{found.desired} healthy",
        "",
        age(found.created, now),
        "",
    )
    known = {row.id: row for row in rows}
    groups = branches(found, known)
    for position, branch in enumerate(groups):
        last = position == len(groups) - 1
        table.add_row(Text(f"{glyphs.fork(last=last)}{glyphs.sign(branch.sign)} {branch.title}"), *[""] * 5)
        _limbs(
            table, [known[n] for n in sorted(branch.ids)], glyphs.trunk(last=last), now, glyphs, everything=everything
        )
    return table


def _limbs(
    table: Table, members: list[InstanceView], trunk: str, now: float, glyphs: Glyphs, *, everything: bool
) -> None:
    """The instances of a branch, each with its pod."""
    plain = [row for row in members if row.health == "Healthy" and not row.failure and not row.restarts]
    if everything or len(plain) <= COLLAPSED:
        plain = []
    hidden = {row.id for row in plain}
    shown = [row for row in members if row.id not in hidden]
    if plain:
        versions = ", ".join(sorted({row.version for row in plain}))
        name = f"{trunk}{glyphs.fork(last=not shown)}{glyphs.health('Healthy')} {ranges.render(hidden)}"
        table.add_row(Text(name), versions, Text(f"{len(plain)} Healthy", "green"), "", "", "")
    for position, row in enumerate(shown):
        last = position == len(shown) - 1
        here = f"{trunk}{glyphs.fork(last=last)}"
        style = health_style(row.health)
        table.add_row(
            Text(f"{here}{glyphs.health(row.health)} {row.id}"),
            row.version,
            Text(row.health, style),
            "",
            "",
            Text(f"failed here: {row.failure}" if row.failure else ""),
        )
        if row.phase:
            pod = Text(
                f"{trunk}{glyphs.trunk(last=last)}{glyphs.fork(last=True)}{glyphs.sign('pod')} {row.name}", "dim"
            )
            table.add_row(pod, row.version, row.phase, str(row.restarts), age(row.created, now), row.message)
        elif row.message:
            pod = Text(f"{trunk}{glyphs.trunk(last=last)}{glyphs.fork(last=True)}{glyphs.sign('pod')} no pod", "dim")
            table.add_row(pod, "", "", "", "", row.message)


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
