"""The verb that removes chosen instances: they are what scaling in takes, and the set gets as much smaller, in one
write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting, Ids, Name
from kubectl_scaleset.session import Session
from scaleset.kube.errors import Conflict

if TYPE_CHECKING:
    from kubectl_scaleset.outcomes import Outcome
    from kubectl_scaleset.pictures import SetView

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be written for the chosen instances."""

    new: frozenset[int]
    """The chosen instances that no earlier request removes already."""
    replicas: int
    preferred: tuple[int, ...]


def delete_instances(session: Session, name: Name, ids: Ids, how: Acting) -> int:
    """Remove these instances and make the set as much smaller, in one write. Their disks stay.

    Scaling in takes them first, a batch at a time; protected instances are refused. --wait: until they are gone.
    """
    from kubectl_scaleset import waits
    from scaleset.planner import ranges

    found = session.scale_set(name)
    chosen = changes.known(found, ids)
    asked = removal(found, chosen)
    what = f"instance{'s' if len(chosen) > 1 else ''} {ranges.render(chosen)}"

    def gone(now: "SetView") -> "Outcome":
        return waits.gone(now, chosen)

    if not asked.new:
        session.say(f"{name}: {what} will be removed already.")
        return changes.wait(session, found, how, until=gone)
    size = f"from {found.desired} to {asked.replicas} instances"
    session.confirm(f"Remove {what} of {name}, and scale it {size}?", yes=how.unasked)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            written = changes.patch(session, found, _body(found, asked), how)
            break
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            found = session.scale_set(name)
            asked = removal(found, chosen)
    changes.say(session, f"{name}: {what} will be removed, replicas: {asked.replicas}", how)
    return changes.wait(session, written, how, until=gone)


def removal(found: "SetView", chosen: frozenset[int]) -> Removal:
    """The new size and the new list. Instances that an earlier request chose, and that are still to go, are not counted
    twice and stay in the list. CliError for instances that scaling in would pass over.
    """
    from kubectl_scaleset.pictures import instance_ids

    _refuse_protected(found, chosen)
    _refuse_successors(found, chosen)
    there = instance_ids(found)
    surplus = max(0, len(there - _surged(found)) - found.desired)
    policy = found.spec.get("scaleInPolicy") or {}
    earlier: Sequence[int] = [n for n in policy.get("preferredInstances") or () if n in there]
    pending = tuple(n for n in earlier if n not in _protected(found))[:surplus]
    new = chosen.difference(pending)
    replicas = found.desired - len(new)
    if replicas < 0:
        raise CliError(f"{found.name} is to have {found.desired} instances, so {len(new)} more cannot be removed.")
    return Removal(new, replicas, (*pending, *sorted(new)))


def _body(found: "SetView", asked: Removal) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": found.raw["metadata"]["resourceVersion"]},
        "spec": {"replicas": asked.replicas, "scaleInPolicy": {"preferredInstances": list(asked.preferred)}},
    }


def _protected(found: "SetView") -> frozenset[int]:
    """Instances that scaling in passes over."""
    keep = ("protectFromScaleIn", "protectFromScaleSetActions")
    rows = found.spec.get("protectedInstances") or ()
    return frozenset(int(row["id"]) for row in rows if any(row.get(field) for field in keep))


def _refuse_protected(found: "SetView", chosen: frozenset[int]) -> None:
    from scaleset.planner import ranges

    if kept := chosen & _protected(found):
        ids = ranges.render(kept)
        raise CliError(
            f"{found.name}: scaling in passes over protected instances, and {ids} {_is(kept)} protected. "
            f"First run `kubectl scaleset unprotect {found.name} {ids}`."
        )


def _surged(found: "SetView") -> frozenset[int]:
    """New instances of the running batch, each beside the old one that it replaces."""
    from scaleset.planner import ranges

    batch = found.rollout.get("batch") or {} if found.rolling else {}
    return frozenset(ranges.parse(batch.get("surge") or ""))


def _refuse_successors(found: "SetView", chosen: frozenset[int]) -> None:
    from scaleset.planner import ranges

    if new := chosen & _surged(found):
        raise CliError(
            f"{found.name}: {ranges.render(new)} {_is(new)} in the running batch, in place of instances that still "
            "run. Wait until the batch has ended."
        )


def _is(ids: frozenset[int]) -> str:
    return "is" if len(ids) == 1 else "are"
