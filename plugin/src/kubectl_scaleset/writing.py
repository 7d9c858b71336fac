"""Verbs that change something. Each asks before it acts, can be tried with --dry-run=server, and can be waited for.

What is written is a merge patch of the object that was read: its uid is a precondition, and where the new value
depends on the old one, its resourceVersion too.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from kubectl_scaleset import options
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting, Definition, Flag, Ids, Name, OptionalIds, Word
from kubectl_scaleset.session import Session
from scaleset.api import names
from scaleset.kube.errors import AlreadyExists, Conflict
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.outcomes import Outcome
    from kubectl_scaleset.pictures import SetView

ATTEMPTS = 5
_PROTECTED = "protectFromScaleSetActions"

All = Annotated[bool, Flag(("--all",), help="All instances.")]
ScaleInOnly = Annotated[
    bool, Flag(("--scale-in-only",), help="Keep them from scaling in only; upgrades still reach them.")
]
Image = Annotated[str, Word(metavar="IMAGE", help="Container image reference, best with a digest.")]
Version = Annotated[
    str,
    Flag(("--version",), metavar="VERSION", help="One to four numbers, such as 17 or 1.10.0, compared as numbers."),
]
Regions = Annotated[
    list[str] | None,
    Flag(("--regions",), metavar="REGION,...", help="Regions that it is for; default: every region."),
]
Exclude = Annotated[bool, Flag(("--exclude-from-latest",), help="`latest` never means it.")]


def start(session: Session, name: Name, how: Acting) -> int:
    """Start a rolling upgrade to the latest image, whatever the policy says. Failed instances are not restored.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    goal = f"version {found.latest}" if found.latest else "the latest version"
    _startable(session, found)
    session.confirm(f"Start a rolling upgrade of {found.desired} instances of {name} to {goal}?", yes=how.unasked)
    found = _annotate(session, found, names.ANNOTATION_START, _now(session), how)
    _say(session, f"{name}: rolling upgrade to {goal} requested", how)
    return _wait(session, found, outcome, how)


def _startable(session: Session, found: "SetView") -> None:
    """CliError with the planner's own sentence if the start would be refused; a word if its target failed before."""
    from kubectl_scaleset import snapshots
    from scaleset.api.moments import timestamp

    if not found.status:
        return  # No operator has seen the set yet.
    answer = snapshots.by_hand(session, found)
    if answer is None:
        return
    if answer.refused is not None:
        raise CliError(f"{found.name}: {answer.refused}")
    if (failed := answer.failed) is not None:
        how = "was cancelled" if failed.reason == "Cancelled" else "failed"
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
    session.confirm(f"Cancel the rolling upgrade of {name}? Its current batch still ends.", yes=how.unasked)
    found = _annotate(session, found, names.ANNOTATION_CANCEL, _now(session), how)
    _say(session, f"{name}: cancelling requested", how)
    return _wait(session, found, waits.cancelled, how)


def suspend(session: Session, name: Name, how: Acting) -> int:
    """Pause rollouts: the running batch finishes, nothing else starts. Scaling and self-healing go on.

    --wait: until the running batch has ended.
    """
    from kubectl_scaleset import waits

    found = session.scale_set(name)
    if found.spec.get("suspend"):
        session.say(f"{name}: suspended already.")
        return _wait(session, found, waits.quiet, how)
    session.confirm(f"Suspend {name}? A running batch still ends.", yes=how.unasked)
    found = _patch(session, found, {"spec": {"suspend": True}}, how)
    _say(session, f"{name}: suspended", how)
    return _wait(session, found, waits.quiet, how)


def resume(session: Session, name: Name, how: Acting) -> int:
    """Lift a suspension: a halted rollout goes on, one that is due starts.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    if not found.spec.get("suspend"):
        session.say(f"{name}: not suspended, nothing to resume.")
        return _wait(session, found, outcome, how)
    session.confirm(f"Resume {name}?", yes=how.unasked)
    found = _patch(session, found, {"spec": {"suspend": False}}, how)
    _say(session, f"{name}: resumed", how)
    return _wait(session, found, outcome, how)


def apply_model(session: Session, name: Name, how: Acting, ids: OptionalIds = None, all_: All = False) -> int:
    """Bring instances to the newest model at once, without batches and gates, as `az vmss update-instances` does.

    --wait: until they have been replaced and are healthy.
    """
    from kubectl_scaleset import waits
    from scaleset.planner import ranges

    found = session.scale_set(name)
    if all_ == bool(ids):
        raise CliError("Name instances, such as 0 3 5-7, or give --all.")
    chosen = frozenset[int]() if all_ else _known(found, ids or [])
    value, what = ("*", "all instances") if all_ else (ranges.render(chosen), f"instances {ranges.render(chosen)}")
    while value == found.status.get("lastHandledApply") or value == found.annotations.get(names.ANNOTATION_APPLY):
        value += " "  # the same once more is a new request only if it is another text

    def applied(now: "SetView") -> "Outcome":
        return waits.applied(now, chosen)

    if (nothing := _nothing_to_apply(session, found, value, chosen)) is not None:
        session.say(f"{name}: {nothing}")
        return _wait(session, found, applied, how)
    session.confirm(f"Replace {what} of {name} at once with the newest model, whatever their health?", yes=how.unasked)
    found = _annotate(session, found, names.ANNOTATION_APPLY, value, how)
    _say(session, f"{name}: newest model requested for {what}", how)
    return _wait(session, found, applied, how)


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
    question = f"Protect instances {{}} of {name} from {what}?"
    return _edit_protection(session, name, ids, changed, question=question, done="protected", how=how)


def unprotect(session: Session, name: Name, ids: Ids, how: Acting) -> int:
    """Take protection away from instances. A rollout that is due reaches them."""

    def changed(rows: dict[int, dict[str, Any]], chosen: frozenset[int]) -> dict[int, dict[str, Any]]:
        return {number: row for number, row in rows.items() if number not in chosen}

    question = f"Take the protection of instances {{}} of {name} away?"
    return _edit_protection(session, name, ids, changed, question=question, done="unprotected", how=how)


def publish(
    session: Session,
    image: Image,
    definition: Definition,
    version: Version,
    how: Acting,
    regions: Regions = None,
    exclude_from_latest: Exclude = False,
) -> int:
    """Publish an image as a version: create its GalleryImageVersion. Sets that follow `latest` roll to it.

    --wait: until it is ready in all its regions.
    """
    from kubectl_scaleset import publishing

    body = publishing.body(
        image,
        definition,
        version,
        regions=[part for each in regions or [] for part in each.split(",")],
        exclude_from_latest=exclude_from_latest,
    )
    name = body["metadata"]["name"]
    if (rival := publishing.published_already(session, body)) is not None:
        raise _published(session, rival)
    follows = "" if exclude_from_latest else " Sets that follow latest may begin to roll."
    session.confirm(
        f"Publish {image} as version {version} of {definition} in {session.namespace}?{follows}",
        yes=how.unasked,
    )
    try:
        created = session.client.create(GALLERY_IMAGE_VERSIONS, session.namespace, body, dry_run=how.tries)
    except AlreadyExists as error:
        raise _published(session, name) from error
    _say(session, f"galleryimageversion.scaleset.dev/{name} published", how)
    if how.waits:
        return publishing.wait(session, created, timeout=options.seconds(how.timeout))
    return 0


def _published(session: Session, name: str) -> CliError:
    return CliError(
        f"GalleryImageVersion {name} exists in {session.namespace}: a published version cannot be changed, so give "
        "this image the next version."
    )


# --- writing


def _annotate(session: Session, found: "SetView", annotation: str, value: str, how: Acting) -> "SetView":
    return _patch(session, found, {"metadata": {"annotations": {annotation: value}}}, how)


def _patch(session: Session, found: "SetView", body: Mapping[str, Any], how: Acting) -> "SetView":
    """Patch this very set and no other of its name."""
    from kubectl_scaleset.pictures import SetView

    metadata = {**body.get("metadata", {}), "uid": found.uid}
    answer = session.client.patch(
        SCALE_SETS, found.namespace, found.name, {**body, "metadata": metadata}, dry_run=how.tries
    )
    return SetView(answer)


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
    chosen = _known(found, ids, also=frozenset(row["id"] for row in found.spec.get("protectedInstances") or ()))
    session.confirm(question.format(ranges.render(chosen)), yes=how.unasked)
    for attempt in range(1, ATTEMPTS + 1):
        before = {int(row["id"]): dict(row) for row in found.spec.get("protectedInstances") or ()}
        rows = changed(before, chosen)
        if rows == before:
            session.say(f"{name}: instances {ranges.render(chosen)} are {done} already.")
            return 0
        body = {
            "metadata": {"resourceVersion": found.raw["metadata"]["resourceVersion"]},
            "spec": {"protectedInstances": [rows[number] for number in sorted(rows)]},
        }
        try:
            found = _patch(session, found, body, how)
            break
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            found = session.scale_set(name)
    _say(session, f"{name}: instances {ranges.render(chosen)} {done}", how)
    return _wait(session, found, waits.observed, how)


def _known(found: "SetView", given: list[str], *, also: frozenset[int] = frozenset()) -> frozenset[int]:
    """The ids that are named; CliError for one that the set does not have."""
    from kubectl_scaleset.pictures import instance_ids
    from scaleset.planner import ranges

    try:
        ids = ranges.parse(",".join(given))
    except ValueError as error:
        raise CliError(f"{error}. Write ids as 0 3 5-7.") from error
    there = instance_ids(found) | also
    if strange := ids - there:
        raise CliError(
            f"{found.name} has no instance {ranges.render(strange)}: it has {ranges.render(there) or 'none'}."
        )
    return ids


def _now(session: Session) -> str:
    """A value that no request before had."""
    stamp = datetime.fromtimestamp(session.client.now(), UTC).isoformat(timespec="microseconds")
    return re.sub(r"\+00:00$", "Z", stamp)


def _say(session: Session, text: str, how: Acting) -> None:
    session.say(f"{text} (server dry run)" if how.tries else text)


def _wait(session: Session, found: "SetView", judge: "Callable[[SetView], Outcome]", how: Acting) -> int:
    if not how.waits:
        return 0
    from kubectl_scaleset.follow import until

    return until(session, found, judge, timeout=options.seconds(how.timeout))
