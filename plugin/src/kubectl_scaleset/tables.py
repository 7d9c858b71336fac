"""Lists of things as tables. Pure: rows in, a rich table out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from kubectl_scaleset.pictures import InstanceView, SetView
from kubectl_scaleset.words import Glyphs, age, bar, code_style, health_style, settle, table
from scaleset.records.projections import seconds

JSON = Mapping[str, Any]
WIDTH = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """A published version and whether `latest` means it."""

    name: str
    namespace: str
    definition: str
    version: str
    image: str
    created: float
    why_not: str | None = None
    """Why `latest` skips the version, as the end of a sentence."""
    chosen: bool = False
    """Whether `latest` means this version."""


def sets(found: Sequence[SetView], *, now: float, glyphs: Glyphs, namespaces: bool) -> Table:
    """One line a set: progress, version, reason to wait."""
    titles = ["NAME", "PROGRESS", "HEALTHY", "VERSION", "STATUS", "AGE", "WAITING FOR"]
    shown = table(*(["NAMESPACE", *titles] if namespaces else titles), glyphs=glyphs)
    for each in found:
        cells: list[str | Text] = [
            Text(each.name, "bold"),
            bar(each, glyphs=glyphs, width=WIDTH),
            f"{each.healthy}/{each.desired}",
            _way(each, glyphs),
            Text(each.state, _state_style(each)),
            age(each.created, now),
            each.waiting[1],
        ]
        shown.add_row(*([each.namespace, *cells] if namespaces else cells))
    return settle(shown)


def _way(found: SetView, glyphs: Glyphs) -> str:
    runs = found.versions or "-"
    if found.rolling and found.target not in ("", runs):
        return f"{runs} {glyphs.arrow} {found.target}"
    return f"{runs} ({found.behind})" if found.behind else runs


def _state_style(found: SetView) -> str:
    if found.needs_attention:
        return "bold red"
    return code_style(found.code) if found.rolling else "green" if found.state == "Healthy" else "yellow"


def instances(rows: Sequence[InstanceView], *, now: float, newest: Collection[str], glyphs: Glyphs) -> Table:
    """One line an instance. `newest` are the names that the newest model may have."""
    shown = table(
        "ID",
        "POD",
        "VERSION",
        "HEALTH",
        "RESTARTS",
        "LATEST MODEL",
        "NODE",
        "ZONE",
        "UD",
        "PROTECTED",
        "AGE",
        "MESSAGE",
        glyphs=glyphs,
    )
    for row in rows:
        current = "-" if not newest or not row.model else "yes" if row.model in newest else "no"
        shown.add_row(
            str(row.id),
            row.name if row.phase else "-",
            row.version or "-",
            Text(f"{glyphs.health(row.health)} {row.health}", health_style(row.health)),
            str(row.restarts),
            current,
            row.node or "-",
            row.zone or "-",
            row.update_domain or "-",
            row.protection or "-",
            age(row.created, now) or "-",
            row.message or (f"failed before: {row.failure}" if row.failure else ""),
        )
    return settle(shown)


def history(entries: Iterable[JSON], *, now: float, glyphs: Glyphs) -> Table:
    """One line an image upgrade, newest first."""
    shown = table(
        "STARTED",
        "TOOK",
        "VERSION",
        "BY",
        "RESULT",
        "UPGRADED",
        "FAILED",
        "RESTORED",
        "PENDING",
        "ERROR",
        glyphs=glyphs,
    )
    for entry in entries:
        seen = entry.get("properties") or {}
        running, progress = seen.get("runningStatus") or {}, seen.get("progress") or {}
        code = str(running.get("code") or "")
        began, ended = seconds(running.get("startTime")), seconds(running.get("completedTime"))
        shown.add_row(
            str(running.get("startTime") or "-"),
            age(began, ended if ended is not None else now) or "-",
            str((seen.get("targetImageReference") or {}).get("version") or "-"),
            str(seen.get("startedBy") or "-"),
            Text(code, code_style(code)),
            str(progress.get("successfulInstanceCount", 0)),
            str(progress.get("failedInstanceCount", 0)),
            str((seen.get("rollbackInfo") or {}).get("successfullyRolledbackInstanceCount", 0)),
            str(progress.get("pendingInstanceCount", 0)),
            str((seen.get("error") or {}).get("code") or ""),
        )
    return settle(shown)


def versions(choices: Sequence[Choice], *, now: float, glyphs: Glyphs, of_set: bool) -> Table:
    """One line a published version, the highest first. For a set also why `latest` does not mean it."""
    titles = ["VERSION", "DEFINITION", "NAMESPACE", "NAME", "AGE", "IMAGE"]
    shown = table(
        *([titles[0], "LATEST", "WHY NOT", *titles[1:]] if of_set else [titles[0], "LATEST", *titles[1:]]),
        glyphs=glyphs,
    )
    for each in choices:
        cells: list[str | Text] = [Text(each.version, "bold" if each.chosen else "")]
        cells.append(Text("yes", "green") if each.chosen else "-")
        if of_set:
            cells.append(each.why_not or "")
        cells += [each.definition, each.namespace, each.name, age(each.created, now), each.image]
        shown.add_row(*cells)
    return settle(shown)
