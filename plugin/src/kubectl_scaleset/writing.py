"""Verbs about one set and its instances. Each asks before it acts, can be tried with --dry-run=server, and can be
waited for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting, Flag, Ids, Name, OptionalIds
from kubectl_scaleset.session import Session
from scaleset.api import names
from scaleset.kube.errors import Conflict

if TYPE_CHECKING:
    from kubectl_scaleset.outcomes import Outcome
    from kubectl_scaleset.pictures import SetView

ATTEMPTS = 5
_PROTECTED = "protectFromScaleSetActions"

All = Annotated[bool, Flag(("--all",), help="All instances.")]
ScaleInOnly = Annotated[
    bool, Flag(("--scale-in-only",), help="Keep them from scaling in only; upgrades still reach them.")
]


def start(session: Session, name: Name, how: Acting) -> int:
    """Start a rolling upgrade to the latest image, whatever the policy says. Failed instances are not restored.

    With --wait it prints and exits as `status --watch` does.
    """
    found = session.scale_set(name)
    goal = f"version {found.latest}" if found.latest else "the latest version"
    _startable(session, found)
    question = f"Start a rolling upgrade of {found.desired} instances of {name} to {goal}?"
    body, done = changes.request(session, names.ANNOTATION_START), f"rolling upgrade to {goal} requested"
    return changes.carry_out(session, found, body, how, question=question, done=done)


def _startable(session: Session, found: "SetView") -> None:
    """CliError with the planner's own sentence if the start would be refused; a word if its target failed before."""
    from kubectl_scaleset import snapshots
    from kubectl_scaleset.failed_sets import BY_USER
    from scaleset.api.moments import timestamp

    if not found.status:
        return  # No operator has seen the set yet.
    answer = snapshots.by_hand(session, found)
    if answer is None:
        return
    if answer.refused is not None:
        raise CliError(f"{found.name}: {answer.refused}")
    if (failed := answer.failed) is not None:
        how = BY_USER.get(failed.reason, "failed")
        session.note(
            f"Version {failed.version} {how} in {found.name} at {timestamp(failed.time)} ({failed.reason}): the "
            "platform does not try it again, a start by hand does."
        )


def cancel(session: Session, name: Name, how: Acting) -> int:
    """Cancel the running rolling upgrade. Its batch still ends, and the platform does not start that version again."""
    from kubectl_scaleset import waits

    found = session.scale_set(name)
    if not found.rolling:
        session.say(f"{name}: no rolling upgrade is running, nothing to cancel.")
        return 0
    question = f"Cancel the rolling upgrade of {name}? Its current batch still ends."
    body, done = changes.request(session, names.ANNOTATION_CANCEL), "cancelling requested"
    return changes.carry_out(session, found, body, how, question=question, done=done, until=waits.cancelled)


def apply_model(session: Session, name: Name, how: Acting, ids: OptionalIds = None, all_: All = False) -> int:
    """Bring instances to the newest model at once, without batches and gates, as `az vmss update-instances` does.

    --wait: until they have been replaced and are healthy.
    """
    from kubectl_scaleset import waits
    from scaleset.planner import ranges

    found = session.scale_set(name)
    if all_ == bool(ids):
        raise CliError("Name instances, such as 0 3 5-7, or give --all.")
    chosen = frozenset[int]() if all_ else changes.known(found, ids or [])
    value, what = ("*", "all instances") if all_ else (ranges.render(chosen), f"instances {ranges.render(chosen)}")
    while value == found.status.get("lastHandledApply") or value == found.annotations.get(names.ANNOTATION_APPLY):
        value += " "  # the same once more is a new request only if it is another text

    def applied(now: "SetView") -> "Outcome":
        return waits.applied(now, chosen)

    if (nothing := _nothing_to_apply(session, found, value, chosen)) is not None:
        session.say(f"{name}: {nothing}")
        return changes.wait(session, found, how, until=applied)
    question = f"Replace {what} of {name} at once with the newest model, whatever their health?"
    body, done = changes.request(session, names.ANNOTATION_APPLY, value), f"newest model requested for {what}"
    return changes.carry_out(session, found, body, how, question=question, done=done, until=applied)


def _nothing_to_apply(session: Session, found: "SetView", value: str, chosen: frozenset[int]) -> str | None:
    """Why the request would change nothing. CliError if it would be refused."""
    from kubectl_scaleset import snapshots
    from scaleset.planner import ranges

    if not found.status:
        return None  # No operator has seen the set yet.
    answer = snapshots.at_once(session, found, value)
    if answer is None:
        return None
    if answer.refused is not None:
        raise CliError(f"{found.name}: {answer.refused}")
    if answer.instances & chosen if chosen else answer.instances:
        return None
    kept = {int(row["id"]) for row in found.spec.get("protectedInstances") or () if row.get(_PROTECTED)}
    kept &= chosen or kept
    why = f", or are protected ({ranges.render(kept)})" if kept else ""
    if found.rolling and (busy := found.ids("inProgress") & (chosen or found.ids("inProgress"))):
        why += f", or are in the running batch ({ranges.render(busy)})"
    return f"nothing to be done: the instances have the newest model already{why}."


def protect(session: Session, name: Name, ids: Ids, how: Acting, scale_in_only: ScaleInOnly = False) -> int:
    """Keep instances as they are: no upgrade replaces them and scaling in spares them."""
    flags = {"protectFromScaleIn": True} if scale_in_only else {_PROTECTED: True}

    def changed(rows: dict[int, dict[str, Any]], chosen: frozenset[int]) -> dict[int, dict[str, Any]]:
        return {**rows, **{number: {"id": number, **flags} for number in chosen}}

    what = "scaling in" if scale_in_only else "all actions of the platform"
    done = f"protected from {what}"
    question = f"Protect {{}} of {name} from {what}?"
    return _edit_protection(session, name, ids, changed, question=question, done=done, how=how)


def unprotect(session: Session, name: Name, ids: Ids, how: Acting) -> int:
    """Take protection away from instances. A rollout that is due reaches them."""

    def changed(rows: dict[int, dict[str, Any]], chosen: frozenset[int]) -> dict[int, dict[str, Any]]:
        return {number: row for number, row in rows.items() if number not in chosen}

    question = f"Take the protection of {{}} of {name} away?"
    return _edit_protection(session, name, ids, changed, question=question, done="unprotected", how=how)


def _edit_protection(
    session: Session,
    name: str,
    ids: list[str],
    changed: Callable[[dict[int, dict[str, Any]], frozenset[int]], dict[int, dict[str, Any]]],
    *,
    question: str,
    done: str,
    how: Acting,
) -> int:
    """Change spec.protectedInstances; read again and try again when somebody else writes meanwhile."""
    from kubectl_scaleset import waits
    from scaleset.planner import ranges

    found = session.scale_set(name)
    chosen = changes.known(found, ids, also=frozenset(row["id"] for row in found.spec.get("protectedInstances") or ()))
    instances = f"instance{'s' if len(chosen) > 1 else ''} {ranges.render(chosen)}"
    session.confirm(question.format(instances), yes=how.unasked)
    for attempt in range(1, ATTEMPTS + 1):
        before = {int(row["id"]): dict(row) for row in found.spec.get("protectedInstances") or ()}
        rows = changed(before, chosen)
        if rows == before:
            session.say(f"{name}: {instances} {done} already.")
            return changes.wait(session, found, how, until=waits.observed)
        body = {
            "metadata": {"resourceVersion": found.raw["metadata"]["resourceVersion"]},
            "spec": {"protectedInstances": [rows[number] for number in sorted(rows)]},
        }
        try:
            found = changes.patch(session, found, body, how)
            break
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            found = session.scale_set(name)
    changes.say(session, f"{name}: {instances} {done}", how)
    return changes.wait(session, found, how, until=waits.observed)
