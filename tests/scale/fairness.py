"""The operator's own part in a rollout, as a watch of the pods shows it: not what nodes take to start and stop pods."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.cluster.harness.api import condition
from tests.cluster.harness.trace import VERSION_LABEL, Seen


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds, the longest of each kind."""

    first: float
    """From the publication until the first pod is told to go."""
    recreate: float
    """From a pod's end until there is the next one of its name."""
    batch: float
    """From the last pod's Ready until the next batch's first pod is told to go."""


def delays(seen: Sequence[Seen], version: str) -> Delays:
    """What a set's trace shows of its rollout to that version."""
    published = next(each.at for each in seen if each.kind == "galleryimageversions" and _is(each, version))
    pods = [each for each in seen if each.kind == "pods" and each.at >= published]
    told: dict[str, float] = {}
    gone: dict[str, float] = {}
    made: dict[str, float] = {}
    ready: dict[str, float] = {}
    for each in pods:
        name, new = each.name, each.object["metadata"]["labels"].get(VERSION_LABEL) == version
        if not new and (each.terminating or each.type == "DELETED"):
            told.setdefault(name, each.at)
        if not new and each.type == "DELETED":
            gone[name] = each.at
        if new:
            made.setdefault(name, each.at)
        if new and condition(each.object, "Ready") == "True":
            ready.setdefault(name, each.at)
    batches = [
        at - max(each for each in ready.values() if each < at)
        for at in told.values()
        if any(each < at for each in ready.values())
    ]
    return Delays(
        first=min(told.values()) - published,
        recreate=max(made[name] - at for name, at in gone.items()),
        batch=max(batches, default=0.0),
    )


def _is(seen: Seen, version: str) -> bool:
    return str(seen.object["spec"]["version"]) == version
