"""What a trace tells about rollouts after the fact: their batches, who rolled when, how many were ready."""

from dataclasses import dataclass
from itertools import chain

from .api import Json
from .recorder import Recorder
from .trace import VERSION_LABEL, parse_ranges


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as the status had it when it was admitted."""

    run: str
    number: int
    instances: frozenset[int]
    surge: frozenset[int]
    replaces: frozenset[int]


def batches(recorder: Recorder, name: str = "web") -> list[Batch]:
    """Every batch of a set, in order."""
    found: dict[tuple[str, int], Batch] = {}
    for seen in recorder.trace().of("scalesets"):
        rollout: Json = (seen.object.get("status") or {}).get("rollingUpgrade") or {}
        batch = rollout.get("batch")
        if seen.name == name and batch and (rollout["id"], batch["number"]) not in found:
            parts = (parse_ranges(batch.get(part)) for part in ("instances", "surge", "replaces"))
            found[rollout["id"], batch["number"]] = Batch(rollout["id"], batch["number"], *parts)
    return list(found.values())


def touched(recorder: Recorder, name: str = "web") -> list[list[int]]:
    """The instances of each batch."""
    return [sorted(batch.instances) for batch in batches(recorder, name)]


def made_at(recorder: Recorder, name: str, version: str) -> list[float]:
    """When each pod of that name and version was made, one after the other."""
    pods = (seen for seen in recorder.trace().of("pods") if seen.name == name)
    first: dict[str, float] = {}
    for seen in pods:
        if seen.label(VERSION_LABEL) == version:
            first.setdefault(seen.uid, seen.at)
    return list(first.values())


def rolling(recorder: Recorder) -> list[list[str]]:
    """Which sets had a rollout with a batch behind or before it, each time that this changed."""
    now: set[str] = set()
    history: list[list[str]] = [[]]
    for seen in recorder.trace().of("scalesets"):
        rollout: Json = (seen.object.get("status") or {}).get("rollingUpgrade") or {}
        code = (rollout.get("runningStatus") or {}).get("code")
        if code == "RollingForward" and (rollout.get("batch") or rollout.get("batchesDone")):
            now.add(seen.name)
        else:
            now.discard(seen.name)
        if sorted(now) != history[-1]:
            history.append(sorted(now))
    return history


def order(recorder: Recorder) -> list[str]:
    """The sets in the order in which they began to roll."""
    return list(dict.fromkeys(chain.from_iterable(rolling(recorder))))


def fewest_ready(recorder: Recorder, name: str = "web") -> int:
    """The smallest number of ready pods of a set since it first had as many as it was to have."""
    ready: set[str] = set()
    fewest: int | None = None
    replicas = 0
    for seen in recorder.trace().of("pods", "scalesets"):
        if seen.kind == "scalesets":
            replicas = seen.object["spec"].get("replicas", 1) if seen.name == name else replicas
        elif seen.scale_set == name:
            alive = seen.ready and not seen.terminating and seen.type != "DELETED"
            (ready.add if alive else ready.discard)(seen.uid)
            if fewest is not None or len(ready) >= replicas > 0:
                fewest = min(len(ready) if fewest is None else fewest, len(ready))
    return fewest or 0
