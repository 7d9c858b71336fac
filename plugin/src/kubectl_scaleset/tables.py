"""Lists of things as tables. Pure: rows in, a rich table out."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from kubectl_scaleset.pictures import InstanceView, SetView
from kubectl_scaleset.verdicts import short_code, spoken
from kubectl_scaleset.words import Columns, Glyphs, age, bar, capped, code_style, health_style, table

if TYPE_CHECKING:
    from kubectl_scaleset.catalogue import Choice
    from kubectl_scaleset.histories import Past, StoredModel

WIDTH = 10
LONGEST_NAME = 40


def sets(found: Sequence[SetView], *, now: float, glyphs: Glyphs, namespaces: bool) -> Columns:
    """One line a set: how many instances have what the spec asks for, version, reason to wait."""
    titles = ["NAME", "UPDATED", "HEALTHY", "VERSION", "STATUS", "AGE", "WAITING FOR"]
    shown = table(
        *(["NAMESPACE", *titles] if namespaces else titles), glyphs=glyphs, spare=("AGE", "HEALTHY", "UPDATED")
    )
    for each in found:
        cells: list[str | Text] = [
            Text(capped(each.name, glyphs, limit=LONGEST_NAME), "bold"),
            bar(each, glyphs=glyphs, width=WIDTH),
            f"{each.healthy}/{each.desired}",
            _way(each, glyphs),
            Text(each.state, _state_style(each)),
            age(each.created, now),
            spoken(each),
        ]
        shown.add_row(*([each.namespace, *cells] if namespaces else cells))
    return shown


def _way(found: SetView, glyphs: Glyphs) -> str:
    runs = found.versions or "-"
    if found.rolling and found.target not in ("", runs):
        return f"{runs} {glyphs.arrow} {found.target}"
    return f"{runs} ({found.behind})" if found.behind else runs


def _state_style(found: SetView) -> str:
    if found.needs_attention:
        return "bold red"
    return code_style(found.code) if found.rolling else "green" if found.state == "Healthy" else "yellow"


def instances(rows: Sequence[InstanceView], *, now: float, newest: Collection[str], glyphs: Glyphs) -> Columns:
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
        spare=("UD", "ZONE", "AGE", "LATEST MODEL", "NODE", "RESTARTS", "PROTECTED"),
    )
    for row in rows:
        current = "-" if not newest or not row.model else "yes" if row.model in newest else "no"
        shown.add_row(
            str(row.id),
            capped(row.name, glyphs, limit=LONGEST_NAME) if row.phase else "-",
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
    return shown


def history(entries: "Iterable[Past]", *, now: float, glyphs: Glyphs) -> Columns:
    """One line a rollout, newest first."""
    shown = table(
        "STARTED",
        "TOOK",
        "KIND",
        f"FROM {glyphs.arrow} TO",
        "BY",
        "RESULT",
        "UPGRADED",
        "FAILED",
        "RESTORED",
        "PENDING",
        "ERROR",
        glyphs=glyphs,
        spare=("PENDING", "RESTORED", "TOOK", "BY", "KIND"),
    )
    for each in entries:
        shown.add_row(
            each.started or "-",
            age(each.began, each.ended if each.ended is not None else now) or "-",
            each.kind,
            each.way(glyphs.arrow),
            each.by or "-",
            Text(each.code, code_style(each.code)),
            *(str(number) for number in (each.upgraded, each.failed, each.restored, each.pending)),
            short_code(each.error),
        )
    return shown


def models(stored: "Sequence[StoredModel]", *, now: float, glyphs: Glyphs) -> Columns:
    """One line a stored model, the newest first."""
    shown = table("REVISION", "MODEL", "CURRENT", "INSTANCES", "AGE", "CHANGED", glyphs=glyphs, spare=("AGE", "MODEL"))
    for each in stored:
        shown.add_row(
            str(each.revision),
            each.name,
            Text("yes", "green") if each.current else "-",
            each.instances or "-",
            age(each.created, now),
            ", ".join(each.changed),
        )
    return shown


def versions(choices: "Sequence[Choice]", *, now: float, glyphs: Glyphs, of_set: bool) -> Columns:
    """One line a published version, the highest first. For a set also why `latest` does not mean it."""
    titles = ["VERSION", "DEFINITION", "NAMESPACE", "NAME", "AGE", "IMAGE"]
    shown = table(
        *([titles[0], "LATEST", "WHY NOT", *titles[1:]] if of_set else [titles[0], "LATEST", *titles[1:]]),
        glyphs=glyphs,
        spare=("NAMESPACE", "NAME", "AGE", "DEFINITION"),
    )
    for each in choices:
        cells: list[str | Text] = [Text(each.version, "bold" if each.chosen else "")]
        cells.append(Text("yes", "green") if each.chosen else "-")
        if of_set:
            cells.append(each.why_not or "")
        cells += [each.definition, each.namespace, each.name, age(each.created, now), each.image]
        shown.add_row(*cells)
    return shown
