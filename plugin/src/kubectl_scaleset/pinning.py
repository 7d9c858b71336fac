"""Verbs that choose the version of a set: rollback, pin, unpin."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError, did_you_mean
from kubectl_scaleset.options import Acting, Flag, Name, Word
from kubectl_scaleset.session import Session
from scaleset.api import names
from scaleset.kube.resources import JSON
from scaleset.planner.gallery import LATEST, is_number, number, same

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView


To = Annotated[
    str | None,
    Flag(("--to",), "Version to go back to; default: the one before, by the set's history.", metavar="VERSION"),
]
Exclude = Annotated[bool, Flag(("--exclude",), "Exclude the version that is left from `latest`, for every set.")]
Version = Annotated[str, Word("VERSION", "A published version, such as 1.10.0.")]


def rollback(session: Session, name: Name, how: Acting, to: To = None, exclude: Exclude = False) -> int:
    """Go back to an earlier version in batches, and pin it. The version that is left counts as failed here, so that
    unpinning does not bring it back.

    With --wait it prints and exits as `status --watch` does. --exclude: first says how many sets follow the version.
    """
    from kubectl_scaleset import galleries

    found = session.scale_set(name)
    published = _published(session, found)
    leaves = _leaves(found)
    version = _known(found, to, published) if to is not None else _before(found, leaves, published)
    if leaves and number(version) >= number(leaves):
        raise CliError(
            f"{name} runs {leaves}, which is not above {version}: use kubectl scaleset pin {name} {version}."
        )
    left = next((raw for raw in published if leaves and same(raw["spec"]["version"], leaves)), None)
    follows = f" {galleries.following(session, left).sentence}" if exclude and left is not None else ""
    body = _pinned(version, names.ANNOTATION_ROLLBACK, session)
    changes.require(session, found, names.ANNOTATION_ROLLBACK, spec=body["spec"])
    session.confirm(
        f"Roll {name} back from {leaves or 'no version'} to {version} in batches, and pin it?{follows}", yes=how.unasked
    )
    found = changes.patch(session, found, body, how)
    changes.say(session, f"{name}: rollback to {version} requested, pinned until kubectl scaleset unpin {name}", how)
    if exclude and left is not None:
        galleries.set_excluded(session, left, how, excluded=True)
    elif exclude:
        session.note(f"Version {leaves or 'unknown'} is published no more: there is nothing to exclude.")
    return changes.wait(session, found, how)


def pin(session: Session, name: Name, version: Version, how: Acting) -> int:
    """Keep a set on a version, whatever `latest` means: it goes there in batches, with restore.

    With --wait it prints and exits as `status --watch` does.
    """
    found = session.scale_set(name)
    if same(_wanted(found), version):
        session.say(f"{name}: pinned to {_wanted(found)} already.")
        return changes.wait(session, found, how)
    chosen = _known(found, version, _published(session, found))
    body = _pinned(chosen, names.ANNOTATION_MODEL_ROLLOUT, session)
    changes.require(session, found, names.ANNOTATION_MODEL_ROLLOUT, spec=body["spec"])
    question = f"Pin {name} to version {chosen}? It goes there in batches."
    return changes.carry_out(session, found, body, how, question=question, done=f"pinned to {chosen}")


def unpin(session: Session, name: Name, how: Acting) -> int:
    """Let a set follow `latest` again. Warns if the latest version failed here, which is then not tried again.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset import catalogue

    found = session.scale_set(name)
    if _wanted(found) == LATEST:
        session.say(f"{name}: follows latest already.")
        return changes.wait(session, found, how)
    latest = next((each for each in catalogue.choices(session, found, quiet=True) if each.chosen), None)
    failed = latest is not None and latest.why_not is not None
    if latest is not None and failed:
        session.note(
            f"Warning: latest means {latest.version}, which {catalogue.how_it_failed(found, latest)} here. "
            f"{name} stays as it is until there is a newer version, or until kubectl scaleset retry {name}."
        )
    goal = f", which is {latest.version} now" if latest is not None else ""
    body = _pinned(LATEST, names.ANNOTATION_MODEL_ROLLOUT, session)
    if failed:
        del body["metadata"]  # a rollout by hand to it would be refused
    else:
        changes.require(session, found, names.ANNOTATION_MODEL_ROLLOUT, spec=body["spec"])
    question = f"Let {name} follow latest again{goal}?"
    return changes.carry_out(session, found, body, how, question=question, done=f"follows latest{goal}")


def _pinned(version: str, annotation: str, session: Session) -> JSON:
    """The version and the request for its rollout, in one write."""
    return {**changes.request(session, annotation), "spec": {"imageReference": {"version": version}}}


def _wanted(found: "SetView") -> str:
    return str((found.spec.get("imageReference") or {}).get("version") or LATEST)


def _published(session: Session, found: "SetView") -> list[JSON]:
    """The published versions of the set's image definition, the highest first."""
    image = found.spec.get("imageReference") or {}
    asked = [image.get(part) for part in ("publisher", "offer", "sku")]
    mine = [
        raw
        for raw in session.versions(image.get("galleryNamespace") or found.namespace)
        if [raw["spec"].get(part) for part in ("publisher", "offer", "sku")] == asked
        and is_number(str(raw["spec"].get("version")))
    ]
    return sorted(mine, key=lambda raw: number(raw["spec"]["version"]), reverse=True)


def _known(found: "SetView", version: str, published: list[JSON]) -> str:
    """The version in its published spelling; CliError for one that is not published."""
    listed = [str(raw["spec"]["version"]) for raw in published]
    there = next((each for each in listed if same(each, version)), None)
    if there is None:
        raise CliError(f"Version {version} is not published for {found.name}.{did_you_mean(version, listed)}")
    return there


def _runs(found: "SetView", field: str) -> list[str]:
    return [str(row["version"]) for row in found.status.get(field) or () if is_number(str(row.get("version") or ""))]


def _leaves(found: "SetView") -> str:
    """The highest version that an instance runs, or that the running rollout leads to."""
    versions = [*_runs(found, "builds"), *([found.target] if found.rolling and is_number(found.target) else [])]
    return max(versions, key=number, default="")


def _before(found: "SetView", leaves: str, published: Iterable[JSON]) -> str:
    """The version before: what instances ran before this rollout, else what an earlier upgrade led to, else the next
    lower one that is published and did not fail here.
    """
    listed = [str(raw["spec"]["version"]) for raw in published]
    failed = [str(row.get("version")) for row in found.status.get("failedTargets") or ()]
    for version in _candidates(found, listed):
        if leaves and number(version) >= number(leaves):
            continue
        there = next((each for each in listed if same(each, version)), None)
        if there is not None and not any(same(version, each) for each in failed):
            return there
    lower = f"below {leaves}" if leaves else "to go back to"
    raise CliError(f"{found.name} has no published version {lower} that did not fail here: name one with --to.")


def _candidates(found: "SetView", listed: list[str]) -> Iterator[str]:
    yield from sorted(_runs(found, "previousBuilds"), key=number, reverse=True)
    yield from sorted(set(_runs(found, "builds")), key=number, reverse=True)
    for entry in found.status.get("osUpgradeHistory") or ():
        seen = entry.get("properties") or {}
        version = str((seen.get("targetImageReference") or {}).get("version") or "")
        if (seen.get("runningStatus") or {}).get("code") == "Completed" and is_number(version):
            yield version
    yield from listed
