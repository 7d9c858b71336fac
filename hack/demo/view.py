"""The live view: one screen that tells in five seconds where the set stands. Pure: from what was seen to lines of text.

The lines above the log never change their number, so that nothing jumps while the demo goes on.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.text import Text

from . import journal
from .api import Json
from .journal import Entry
from .world import ids, serves, version

GRID_ROWS = 5
CELL = 40
BAR = 40
ABOUT_LINES = 3
LOGGED = {"event", "ok", "wrong", "note", "table"}
CODE_STYLES = {
    "RollingForward": "bold yellow",
    "Completed": "bold green",
    "Faulted": "bold red",
    "Cancelled": "bold red",
}
STATE_STYLES = {"healthy": "green", "restored": "green", "unhealthy": "red", "missing": "red"}
ENTRY_STYLES = {"ok": "green", "wrong": "bold red", "note": "bold"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that are not in ASCII."""

    done: str = "█"
    failed: str = "▒"
    doing: str = "▓"
    todo: str = "░"
    arrow: str = "→"
    rule: str = "─"
    more: str = "…"


UNICODE = Glyphs()
ASCII = Glyphs(done="#", failed="x", doing="=", todo=".", arrow="->", rule="-", more="~")


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to see. `now` is the time, for ages; `elapsed` counts from the start of the demo."""

    now: datetime
    elapsed: float
    replicas: int
    allowed_down: int
    entries: Sequence[Entry]
    down: int = 0
    most_down: int = 0
    scale_set: Json = field(default_factory=dict)
    pods: dict[int, Json] = field(default_factory=dict)

    @property
    def status(self) -> Json:
        return dict(self.scale_set.get("status") or {})

    @property
    def rollout(self) -> Json:
        return dict(self.status.get("rollingUpgrade") or {})


def render(picture: Picture, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[Text]:
    """Exactly `height` lines of at most `width` columns."""
    rule = Text(glyphs.rule * width, "dim")
    top = [*_title(picture, width), rule, *_header(picture, glyphs), Text(), *_grid(picture), rule]
    shown = top + log(picture.entries, width)[-max(1, height - len(top)) :]
    shown = (shown + [Text()] * height)[:height]
    for line in shown:
        if line.cell_len > width:
            line.truncate(width - 1)
            line.append(glyphs.more)
    return shown


def log(entries: Sequence[Entry], width: int) -> list[Text]:
    """The entries that are not shown elsewhere on the screen, wrapped."""
    return [line for entry in entries if entry.kind in LOGGED for line in styled(entry, width)]


def styled(entry: Entry, width: int) -> list[Text]:
    """The lines of an entry, as the plain mode prints them, in colours."""
    style = ENTRY_STYLES.get(entry.kind, "bold" if entry.kind == "step" else "")
    return [Text(line, style) for line in journal.lines(entry, width)]


def _title(picture: Picture, width: int) -> list[Text]:
    steps = [number for number, entry in enumerate(picture.entries) if entry.kind == "step"]
    current = picture.entries[steps[-1] :] if steps else []
    about = [entry.text for entry in current if entry.kind == "about"][:1]
    wrapped = textwrap.wrap(" ".join(about), width, max_lines=ABOUT_LINES)
    minutes, seconds = divmod(int(picture.elapsed), 60)
    clock = f"{minutes}:{seconds:02d}"
    title = Text("scaleset-operator demo".ljust(width - len(clock)) + clock, "dim")
    step = Text(current[0].text if current else "", "bold")
    return [title, step, *(Text(line) for line in wrapped + [""] * (ABOUT_LINES - len(wrapped)))]


def _header(picture: Picture, glyphs: Glyphs) -> list[Text]:
    """What the set is doing, in four lines."""
    if not picture.scale_set:
        return [Text("no set yet", "dim"), Text(), Text(), Text()]
    rollout, progress = picture.rollout, picture.rollout.get("progress", {})
    name = picture.scale_set["metadata"]["name"]
    current = picture.status.get("currentVersion", "")
    if not rollout:
        healthy = picture.replicas - picture.down
        what = Text.assemble(("set " + name, "bold"), f"   {current or 'being created'}")
        bar = Text(glyphs.done * (healthy * BAR // picture.replicas), "green")
        bar.append(glyphs.todo * (BAR - len(bar)), "dim")
        return [what, bar.append(f"  {healthy} of {picture.replicas} healthy", ""), _down(picture), Text()]
    code = rollout["runningStatus"]["code"]
    target = rollout["targetImageReference"].get("exactVersion", "")
    batch = rollout.get("batch") or {}
    came_from = _versions_outside(picture, target) or current
    way = f"{came_from} {glyphs.arrow} {target}" if code != "Completed" else f"{target}"
    done = rollout.get("batchesDone", 0)
    where = f"batch {batch['number']} of {batch['of']}" if batch else f"{done} batch{'es' * (done != 1)} done"
    what = Text.assemble(
        ("set " + name, "bold"), "   ", (code, CODE_STYLES.get(code, "")), "   ", (way, "bold"), f"   {where}"
    )
    counts = {each: progress.get(f"{each}InstanceCount", 0) for each in ("successful", "failed", "inProgress")}
    bar = Text()
    for each, glyph, style in (
        ("successful", glyphs.done, "green"),
        ("failed", glyphs.failed, "red"),
        ("inProgress", glyphs.doing, "yellow"),
    ):
        bar.append(glyph * (counts[each] * BAR // picture.replicas), style)
    bar.append(glyphs.todo * (BAR - len(bar)), "dim")
    bar.append(f"  {counts['successful']} upgraded, {counts['inProgress']} in progress, {counts['failed']} failed", "")
    if error := rollout.get("error"):
        why = Text(error["code"], "red")
    else:
        why = Text((rollout.get("waitingFor") or {}).get("message", ""), "dim")
    return [what, bar, _down(picture), why]


def _down(picture: Picture) -> Text:
    broken = picture.rollout and picture.most_down > picture.allowed_down
    most = f", most so far {picture.most_down}" if picture.rollout else ""
    return Text(f"down now {picture.down}{most}, allowed {picture.allowed_down}", "bold red" if broken else "")


def _versions_outside(picture: Picture, target: str) -> str:
    """What the instances run that do not run the target."""
    return ", ".join(sorted({version(pod) for pod in picture.pods.values()} - {target}))


def _grid(picture: Picture) -> list[Text]:
    rows = []
    for row in range(GRID_ROWS):
        line = Text()
        for number in range(row, picture.replicas, GRID_ROWS):
            cell = _cell(picture, number)
            cell.pad_right(CELL - cell.cell_len)
            line.append_text(cell)
        line.rstrip()
        rows.append(line)
    return rows


def _cell(picture: Picture, number: int) -> Text:
    if not picture.scale_set:
        return Text()
    pod = picture.pods.get(number)
    what = state(picture, number)
    name = f"{picture.scale_set['metadata']['name']}-{number}"
    runs = "" if pod is None else version(pod)
    age = "" if pod is None else f"{_age(pod, picture.now)} s"
    target = picture.rollout.get("targetImageReference", {}).get("exactVersion")
    return Text.assemble(
        f"{name:<8}",
        (f"{runs:<8}", "cyan" if runs == target else ""),
        (f"{what:<11}", STATE_STYLES.get(what, "yellow")),
        f"{age:>6}",
    )


def state(picture: Picture, number: int) -> str:
    """One word for an instance."""
    pod = picture.pods.get(number)
    rollout = picture.rollout
    if pod is None:
        return "missing" if rollout else "creating"
    if "deletionTimestamp" in pod["metadata"]:
        return "stopping"
    if serves(pod):
        return "restored" if number in ids(rollout.get("restored")) else "healthy"
    if number in ids(rollout.get("restoring")):
        return "restoring"
    told = {each["id"]: each.get("state") for each in picture.status.get("instances", [])}
    return "unhealthy" if told.get(number) == "Unhealthy" else "starting"


def _age(pod: Json, now: datetime) -> int:
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return max(0, int((now - created).total_seconds()))
