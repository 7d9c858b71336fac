"""Where the milliseconds of a batch go, from the API server's audit log: who asked for what, and when it was answered.

All times are the API server's. They count from the moment at which the batch before was Ready.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import NamedTuple

from tests.cluster.harness.trace import Write

SIMULATOR, SCHEDULER = "kwok", "kube-scheduler"
GAP_SECONDS = 0.4
"""Instances take a second to start, so replacements that lie further apart are of two batches."""


class Request(NamedTuple):
    """One request: seconds at which it was received and answered."""

    agent: str
    what: str
    pod: str
    begun: float
    ended: float

    @classmethod
    def of(cls, found: Write) -> "Request":
        """`what` is as in `delete pods` or `try pods`, a dry run."""
        verb = "try" if found.dry_run else found.verb
        what = " ".join(filter(None, (verb, found.resource, found.subresource)))
        pod = found.name if found.resource == "pods" else ""
        return cls(found.user_agent, what, pod, _seconds(found.time), _seconds(found.answered))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Medians over the batches of some rollouts, but the first of each: milliseconds of each milestone."""

    contender: str
    replicas: int
    code: str
    batches: int
    milestones: Mapping[str, float]

    @property
    def key(self) -> tuple[str, int]:
        return self.contender, self.replicas


def timeline(contender: str, replicas: int, *, code: str, agent: str, rollouts: Iterable[Sequence[Write]]) -> Timeline:
    """The timeline of these rollouts by the controller whose User-Agent begins with `agent`."""
    found = [
        batch
        for writes in rollouts
        for batch in _milestones([Request.of(each) for each in writes if each.code < 300], agent)
    ]
    names = [name for name in MILESTONES if any(name in batch for batch in found)]
    middle = {name: 1000 * median(batch[name] for batch in found if name in batch) for name in names}
    return Timeline(contender, replicas, code, len(found), middle)


def _milestones(requests: Sequence[Request], agent: str) -> list[dict[str, float]]:
    ours = sorted((each for each in requests if each.agent.startswith(agent)), key=lambda each: each.begun)
    waves = _waves([each for each in ours if each.what in ("delete pods", "patch pods")])
    found = []
    for before, wave, after in zip(waves, waves[1:], [*waves[2:], None], strict=False):
        until = after[0].begun if after is not None else float("inf")
        start = _ready(requests, before, until=wave[0].begun)
        if start is None:
            continue
        asked = [each for each in ours if start <= each.begun < wave[0].begun]
        done = _of_pods(requests, wave, until=until)
        times = {name: moment(_Batch(agent, asked, wave, done)) for name, moment in MILESTONES.items()}
        found.append({name: at - start for name, at in times.items() if at is not None})
    return found


@dataclass(frozen=True, slots=True)
class _Batch:
    """Requests of one batch: by the controller before it, those that replace, and all about its pods since."""

    agent: str
    asked: Sequence[Request]
    wave: Sequence[Request]
    done: Sequence[Request]

    def of(self, agent: str, what: str) -> list[Request]:
        return [each for each in self.done if each.agent.startswith(agent) and each.what == what]


def _waves(replaced: Sequence[Request]) -> list[list[Request]]:
    waves: list[list[Request]] = []
    for each in replaced:
        if not waves or each.begun - waves[-1][-1].begun > GAP_SECONDS:
            waves.append([])
        waves[-1].append(each)
    return waves


def _of_pods(requests: Iterable[Request], wave: Sequence[Request], *, until: float) -> list[Request]:
    pods = {each.pod for each in wave}
    return [each for each in requests if each.pod in pods and wave[0].begun <= each.begun < until]


def _ready(requests: Sequence[Request], wave: Sequence[Request], *, until: float) -> float | None:
    """When the last pod of a batch was written down as Ready: nothing is said of it after that."""
    return _last(_Batch("", (), wave, _of_pods(requests, wave, until=until)).of(SIMULATOR, "patch pods status"))


def _first(requests: Sequence[Request]) -> float | None:
    return min((each.begun for each in requests), default=None)


def _last(requests: Sequence[Request]) -> float | None:
    return max((each.ended for each in requests), default=None)


def _started(batch: _Batch) -> float | None:
    """The first that the simulator says of each pod, once the pod is bound or changed."""
    told: dict[str, Request] = {}
    for each in sorted(batch.of(SIMULATOR, "patch pods status"), key=lambda each: each.begun):
        told.setdefault(each.pod, each)
    return _last(list(told.values()))


def _status(batch: _Batch) -> list[Request]:
    return [each for each in batch.asked if each.what.endswith(" status")]


def _observed(batch: _Batch) -> list[Request]:
    written = _first(_status(batch))
    return [each for each in batch.asked if written is None or each.ended <= written]


MILESTONES: Mapping[str, Callable[[_Batch], float | None]] = {
    "the operator asks": lambda batch: _first(_observed(batch)),
    "the list and the dry run are answered": lambda batch: _last(_observed(batch)),
    "the batch is to be written down": lambda batch: _first(_status(batch)),
    "it is written down": lambda batch: _last(_status(batch)),
    "the first pod is replaced": lambda batch: _first(batch.wave),
    "the last such request is answered": lambda batch: _last(batch.wave),
    "the last old pod is gone": lambda batch: _last(batch.of(SIMULATOR, "delete pods")),
    "the first new pod is asked for": lambda batch: _first(batch.of(batch.agent, "create pods")),
    "the last new pod is there": lambda batch: _last(batch.of(batch.agent, "create pods")),
    "the last is bound": lambda batch: _last(batch.of(SCHEDULER, "create pods binding")),
    "the last has started": _started,
    "the last is Ready": lambda batch: _last(batch.of(SIMULATOR, "patch pods status")),
}
"""In the order in which they come."""


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
