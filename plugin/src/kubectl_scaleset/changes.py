"""How a verb changes something: the write, what it says, and the wait for its effect.

What is written is a merge patch of the object that was read: its uid is a precondition, and where the new value
depends on the old one, its resourceVersion too.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kubectl_scaleset import options
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting
from kubectl_scaleset.session import Session
from scaleset.records.kinds import SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.outcomes import Outcome
    from kubectl_scaleset.pictures import SetView


def carry_out(
    session: Session,
    found: "SetView",
    body: Mapping[str, Any],
    how: Acting,
    *,
    question: str,
    done: str,
    until: "Callable[[SetView], Outcome] | None" = None,
) -> int:
    """Ask the question, patch the set, say what is done, and wait for the effect if that is asked for."""
    session.confirm(question, yes=how.unasked)
    written = patch(session, found, body, how)
    say(session, f"{found.name}: {done}", how)
    return wait(session, written, how, until=until)


def request(session: Session, annotation: str, value: str | None = None) -> dict[str, Any]:
    """The patch with a request by that annotation; by default a new one."""
    return {"metadata": {"annotations": {annotation: stamp(session) if value is None else value}}}


def patch(session: Session, found: "SetView", body: Mapping[str, Any], how: Acting) -> "SetView":
    """Patch this very set and no other of its name."""
    from kubectl_scaleset.pictures import SetView

    metadata = {**body.get("metadata", {}), "uid": found.uid}
    answer = session.client.patch(
        SCALE_SETS, found.namespace, found.name, {**body, "metadata": metadata}, dry_run=how.tries
    )
    return SetView(answer)


def refusal(
    session: Session, found: "SetView", annotation: str, *, spec: Mapping[str, Any] | None = None
) -> str | None:
    """Why the operator would refuse that request, asked together with that change of the spec: the planner's own
    sentence. None if it would not, or if it cannot be known.
    """
    from kubectl_scaleset import snapshots
    from kubectl_scaleset.pictures import SetView

    if not found.status:
        return None  # No operator has seen the set yet.
    asked = SetView({**found.raw, "spec": _merged(found.spec, spec or {})})
    return snapshots.refusal(session, asked, annotation)


def require(session: Session, found: "SetView", annotation: str, *, spec: Mapping[str, Any] | None = None) -> None:
    """CliError with the planner's own sentence if the operator would refuse that request."""
    if (refused := refusal(session, found, annotation, spec=spec)) is not None:
        raise CliError(f"{found.name}: {refused}")


def _merged(now: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome of a JSON merge patch."""
    merged = {key: value for key, value in now.items() if patch.get(key, value) is not None}
    for key, value in patch.items():
        if isinstance(value, Mapping):
            there = now.get(key)
            merged[key] = _merged(there if isinstance(there, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def known(found: "SetView", given: list[str], *, also: frozenset[int] = frozenset()) -> frozenset[int]:
    """The ids that are named; CliError for one that the set does not have."""
    from kubectl_scaleset.pictures import instance_ids
    from scaleset.planner import ranges

    parts = [part.strip() for each in given for part in each.split(",") if part.strip()]
    try:
        chosen = {part: ranges.parse(part) for part in parts}
    except ValueError as error:
        raise CliError(f"{error}. Write ids as 0 3 5-7.") from error
    if backwards := next((part for part, ids in chosen.items() if not ids), None):
        first, _, last = backwards.partition("-")
        raise CliError(f"{backwards} is no range: write it as {last}-{first}.")
    ids = frozenset().union(*chosen.values())
    if not ids:
        raise CliError("Name instances, such as 0 3 5-7.")
    there = instance_ids(found) | also
    if strange := ids - there:
        raise CliError(
            f"{found.name} has no instance {ranges.render(strange)}: it has {ranges.render(there) or 'none'}."
        )
    return ids


def stamp(session: Session) -> str:
    """A value that no request before had."""
    stamp = datetime.fromtimestamp(session.client.now(), UTC).isoformat(timespec="microseconds")
    return re.sub(r"\+00:00$", "Z", stamp)


def say(session: Session, text: str, how: Acting) -> None:
    session.say(f"{text} (server dry run)" if how.tries else text)


def wait(
    session: Session, found: "SetView", how: Acting, *, until: "Callable[[SetView], Outcome] | None" = None
) -> int:
    """Wait for the effect if that is asked for: by default for the end of the rollout, as `status --watch` does."""
    if not how.waits:
        return 0
    from kubectl_scaleset import follow
    from kubectl_scaleset.outcomes import outcome

    return follow.until(session, found, until or outcome, timeout=options.seconds(how.timeout))
