"""The operator's memory of a set between two reconciles. It may be lost: a restart costs at most a repeated request.

Everything that the safety of a decision depends on is in the status instead.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.slow_start import Pace
from scaleset.kube.resources import JSON
from scaleset.planner import status_codec
from scaleset.planner.instances import Build, Claim, Pod
from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import State

K = TypeVar("K", int, str)

FIRST_RETRY = 2.0
LAST_RETRY = 60.0
AT_ONCE = 0.0


def delay(attempts: int) -> float:
    """Seconds until the next try, after that many refusals."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(attempts, 10))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal by the API server."""

    message: str
    retry_at: float
    """When to try again, in seconds of the API server's clock."""
    attempts: int
    """Number of refusals before this one."""
    tried: bool = True
    """Whether the refusal was about this very instance, or about another one created in the same way."""
    build: Build | None = None
    """The build of the refused instance: the refusal is not about other builds."""


class Refusals(dict[K, Refusal]):
    """Refusals of requests about something; later tries are further apart."""

    def add(self, key: K, message: str, *, now: float, build: Build | None = None) -> None:
        """Record one more refusal; those of another build do not count."""
        before = self.get(key)
        attempts = before.attempts + 1 if before is not None and before.build == build else 0
        self[key] = Refusal(message, now + delay(attempts), attempts, build=build)

    def due(self, key: K, now: float) -> bool:
        """Whether to send the request now."""
        return key not in self or now >= self[key].retry_at


class Verdicts(dict[str, Verdict]):
    """Answers to dry runs by name of the model. After a refusal, later tries are further apart."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts: dict[str, int] = {}

    def add(self, model: str, verdict: Verdict, *, now: float) -> None:
        if not verdict.accepted or verdict.unanswered:
            attempts = self._attempts.get(model, 0)
            self._attempts[model] = attempts + 1
            verdict = replace(verdict, retry_at=now + delay(attempts))
        self[model] = verdict

    def forget(self, model: str) -> None:
        self.pop(model, None)
        self._attempts.pop(model, None)


@dataclass(frozen=True, slots=True)
class Understood:
    """A status in the forms that a decision needs."""

    status: Mapping[str, Any]
    """As the API server has it."""
    reported: ScaleSetStatus
    state: State
    raw: JSON
    """What is understood of it, in the form in which a plan's status is written."""

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Self:
        reported = ScaleSetStatus.parse({"status": status})
        return cls(status, reported, status_codec.read(reported), reported.to_raw())

    @property
    def under_way(self) -> bool:
        """Whether many looks will follow before the status changes."""
        return bool(self.state.applying) or (self.state.rollout is not None and self.state.rollout.running)


@dataclass(slots=True)
class Memory:
    """The memory of one ScaleSet."""

    generation: int = 0
    ages: dict[int, float] = field(default_factory=dict)
    former_pods: frozenset[str] = frozenset()
    """Existing pods, by uid, of removed instances: a reused id belongs to a new instance."""
    create_errors: Refusals[int] = field(default_factory=Refusals)
    """Refused pods and claims, by instance."""
    failed: set[int] = field(default_factory=set)
    """Instances whose last create failed with an error that was not about them."""
    foreign_pods: Refusals[int] = field(default_factory=Refusals)
    """Instances whose name a foreign pod has."""
    foreign_claims: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    patch_errors: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server refused to change in place, with its words."""
    delete_errors: Refusals[str] = field(default_factory=Refusals)
    """Pods, by uid, that the API server refused to replace."""
    discard_errors: Refusals[str] = field(default_factory=Refusals)
    """Old ControllerRevisions that the API server refused to delete, by name."""
    verdicts: Verdicts = field(default_factory=Verdicts)
    admission_errors: Verdicts = field(default_factory=Verdicts)
    """The last refusal of a replacement, by name of the model."""
    foreign_revisions: int = 0
    """Number of times in a row that a model could not be stored because a foreign ControllerRevision has its name."""
    taken_names: frozenset[str] = frozenset()
    """Models that were refused because a watched ControllerRevision of a former set has their name."""
    unwritten_status: tuple[str, JSON] | None = None
    """The set's uid and the status of which the API server dropped a part: it is written again before anything else."""
    pace: Pace = field(default_factory=Pace)
    flushed: float = 0.0
    """When the status was written last, by the monotonic clock."""
    relist_at: float | None = None
    """When to list all objects of the set, by the same clock; None while it waits for nothing."""
    understood: Understood | None = None

    def understand(self, status: Mapping[str, Any]) -> Understood:
        """Understand a status, once for all looks at it."""
        if self.understood is None or self.understood.status is not status:
            self.understood = Understood.of(status)
        return self.understood

    def rest(self) -> None:
        """Forget what is only kept for many looks in a row: ten thousand sets at rest are looked at once in a while."""
        if self.understood is not None and not self.understood.under_way:
            self.understood = None

    def new_generation(self, generation: int) -> None:
        """Forget refusals after a change of the spec: a refused object may be accepted now."""
        if generation != self.generation:
            self.generation = generation
            self.create_errors.clear()
            self.delete_errors.clear()
            self.verdicts, self.admission_errors = Verdicts(), Verdicts()
            self.pace.slow_down()

    def remember_pods(self, pods: Iterable[tuple[int, Pod]]) -> None:
        """Remember when instances were first created, since only the pod shows it. Refusals about missing pods are
        forgotten.
        """
        present = dict(pods)
        if self.patch_errors or self.delete_errors or self.former_pods:
            uids = {pod.uid for pod in present.values()}
            self.patch_errors = {uid: words for uid, words in self.patch_errors.items() if uid in uids}
            self.delete_errors = Refusals({uid: r for uid, r in self.delete_errors.items() if uid in uids})
            self.former_pods &= uids
        self.ages.update(
            {
                number: pod.instance_created or pod.created
                for number, pod in present.items()
                if pod.uid not in self.former_pods
            }
        )

    def forget_removed(self, instances: Collection[int], pods: Mapping[int, Pod]) -> None:
        """Forget removed instances: a reused id belongs to a new one, although the old pod may still exist."""
        self.ages = {number: at for number, at in self.ages.items() if number in instances}
        self.former_pods |= {pod.uid for number, pod in pods.items() if number not in instances}

    def add_untried(self, builds: Mapping[int, Build], *, like: int) -> None:
        """Record instances that were not tried after the refusal of `like`; it is taken to hold for them."""
        words = f"Not tried, since the API server refuses instance {like}: {self.create_errors[like].message}"
        for number, build in builds.items():
            before = self.create_errors.get(number)
            tried = before is not None and before.tried and before.build == build
            self.create_errors[number] = replace(self.create_errors[like], message=words, tried=tried, build=build)

    def due(self, builds: Mapping[int, Build], *, now: float) -> list[int]:
        """Instances to create now, in order, with refused or failed ones last, so that a permanently refused instance
        does not stop the others.
        """
        errors = Refusals({n: r for n, r in self.create_errors.items() if builds.get(n) == r.build})
        due = [n for n in builds if errors.due(n, now)]
        return sorted(due, key=lambda n: n in self.failed or (n in errors and errors[n].tried))

    def create_errors_of(self, builds: Mapping[int, Build]) -> dict[int, str]:
        """Messages about instances with these builds; an instance without a build is not recorded yet."""
        return {n: r.message for n, r in self.create_errors.items() if builds.get(n, r.build) == r.build}

    def expire(self, now: float) -> None:
        """Foreign objects are not watched, so their entries expire after a while."""
        self.foreign_pods = Refusals({n: r for n, r in self.foreign_pods.items() if now < r.retry_at})
        self.foreign_claims = {name: (c, until) for name, (c, until) in self.foreign_claims.items() if now < until}

    def forget_unplanned(self, creations: Mapping[int, Build], deletions: Collection[str]) -> None:
        """Forget refused creates that are not wanted any more. A refused delete that is not wanted any more is not
        repeated, but tried at once if it is wanted again.
        """
        wanted = {n: r for n, r in self.create_errors.items() if n in creations and creations[n] == r.build}
        self.create_errors = Refusals(wanted)
        # A refused delete is remembered as long as the pod exists: in later batches other instances go first.
        for uid in self.delete_errors.keys() - set(deletions):
            self.delete_errors[uid] = replace(self.delete_errors[uid], retry_at=AT_ONCE)

    def created(self, number: int) -> None:
        self.create_errors.pop(number, None)
        self.foreign_pods.pop(number, None)

    def revisions_found(self, names: Collection[str]) -> None:
        """Store a model at once when the ControllerRevision that had its name is gone."""
        for model in self.taken_names.difference(names):
            self.verdicts.forget(model)
            self.foreign_revisions = 0
        self.taken_names = self.taken_names.intersection(names)

    def add_admission(self, model: str, verdict: Verdict, *, now: float) -> None:
        """Record the answer to a dry run of a replacement; only refusals are remembered."""
        if verdict.accepted:
            self.admission_errors.forget(model)
        else:
            self.admission_errors.add(model, verdict, now=now)

    def next_retry(self) -> float | None:
        """When the next refused request is repeated."""
        refused = (*self.create_errors.values(), *self.foreign_pods.values(), *self.delete_errors.values())
        times = [refusal.retry_at for refusal in refused if refusal.retry_at != AT_ONCE]
        times += [until for _, until in self.foreign_claims.values()]
        return min(times, default=None)
