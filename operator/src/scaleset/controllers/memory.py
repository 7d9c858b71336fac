"""What the operator remembers of a set between two looks and may forget: a restart costs at most a repeated question.

Everything that a decision depends on for safety is in the status instead.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from scaleset.controllers.slow_start import Pace
from scaleset.controllers.status_writer import JSON
from scaleset.planner.instances import Build, Claim, Pod
from scaleset.planner.snapshot import Verdict

FIRST_RETRY = 2.0
LAST_RETRY = 60.0
AT_ONCE = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server would not create something: its words, and when to ask again (its own clock, seconds)."""

    message: str
    retry_at: float
    attempts: int
    tried: bool = True
    """Whether it was said of that very instance, or of another one created in the same way."""
    build: Build | None = None
    """What the instance was to run: of another build nothing was said."""


@dataclass(slots=True)
class Memory:
    """Of one ScaleSet."""

    generation: int = 0
    ages: dict[int, float] = field(default_factory=dict)
    former_pods: frozenset[str] = frozenset()
    """Pods that are there still, by uid, of instances that are no more: whoever has their id now is a new one."""
    refusals: dict[int, Refusal] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    """Instances that could not be created when it was last tried, with an error that says nothing about them."""
    foreign_pods: dict[int, Refusal] = field(default_factory=dict)
    foreign_claims: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    patch_errors: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server would not change in place, with its words."""
    delete_errors: dict[str, Refusal] = field(default_factory=dict)
    """Pods, by uid, that the API server would not let be replaced."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    strange_revisions: int = 0
    """How often in a row a model could not be stored because a stranger's ControllerRevision has its name."""
    undeleted: dict[str, Refusal] = field(default_factory=dict)
    """Old ControllerRevisions that the API server would not delete, by name."""
    declined: dict[str, Verdict] = field(default_factory=dict)
    """The last refusal, by name of the model, of what was to be replaced."""
    declines: dict[str, int] = field(default_factory=dict)
    unwritten_status: tuple[str, JSON] | None = None
    """The set's uid and the status of which the API server dropped a part: to be written again before all else."""
    pace: Pace = field(default_factory=Pace)
    flushed: float = 0.0
    """When the status was written last, by our monotonic clock."""
    relist_at: float | None = None
    """When to list all that belongs to the set, by the same clock; None while it waits for nothing."""

    def new_generation(self, generation: int) -> None:
        """The user changed the spec: what was refused may be accepted now."""
        if generation != self.generation:
            self.generation = generation
            self.refusals.clear()
            self.delete_errors.clear()
            self.verdicts.clear()
            self.attempts.clear()
            self.declined.clear()
            self.declines.clear()
            self.pace.slow_down()

    def saw(self, pods: Iterable[tuple[int, Pod]]) -> None:
        """Remember when instances were first created: a pod that is gone cannot say it any more. What was said of pods
        that are gone is forgotten.
        """
        present = dict(pods)
        if self.patch_errors or self.delete_errors or self.former_pods:
            uids = {pod.uid for pod in present.values()}
            self.patch_errors = {uid: words for uid, words in self.patch_errors.items() if uid in uids}
            self.delete_errors = {uid: refusal for uid, refusal in self.delete_errors.items() if uid in uids}
            self.former_pods &= uids
        self.ages.update(
            {
                number: pod.instance_created or pod.created
                for number, pod in present.items()
                if pod.uid not in self.former_pods
            }
        )

    def forget_others(self, instances: Collection[int], pods: Mapping[int, Pod]) -> None:
        """Whoever gets the id of an instance that is no more is a new one, though the old pod may be there yet."""
        self.ages = {number: at for number, at in self.ages.items() if number in instances}
        self.former_pods |= {pod.uid for number, pod in pods.items() if number not in instances}

    def refused(self, number: int, message: str, *, now: float, build: Build) -> None:
        """A pod or claim of that instance was refused; later tries are further apart."""
        before = self.refusals.get(number)
        same = before if before is not None and before.build == build else None
        self.refusals[number] = replace(_again(same, message, now=now), build=build)

    def not_tried(self, builds: Mapping[int, Build], *, like: int) -> None:
        """Instances that were not even asked for after that one was refused; they would have been."""
        words = f"Not tried, since the API server refuses instance {like}: {self.refusals[like].message}"
        for number, build in builds.items():
            before = self.refusals.get(number)
            tried = before is not None and before.tried and before.build == build
            self.refusals[number] = replace(self.refusals[like], message=words, tried=tried, build=build)

    def due(self, builds: Mapping[int, Build], *, now: float) -> list[int]:
        """Those to be asked for now, in their order, but last those that were refused or failed themselves: one that
        always is must not keep the others.
        """
        refusals = {n: r for n, r in self.refusals.items() if builds.get(n) == r.build}
        due = [n for n in builds if n not in refusals or now >= refusals[n].retry_at]
        return sorted(due, key=lambda n: n in self.failed or (n in refusals and refusals[n].tried))

    def refused_for(self, builds: Mapping[int, Build]) -> dict[int, str]:
        """What was said of instances with these builds; one without a build is not recorded yet."""
        return {n: r.message for n, r in self.refusals.items() if builds.get(n, r.build) == r.build}

    def kept(self, uid: str, message: str, *, now: float) -> None:
        """The API server would not let that pod be replaced."""
        self.delete_errors[uid] = _again(self.delete_errors.get(uid), message, now=now)

    def stranger(self, number: int, message: str, *, now: float) -> None:
        """The name of that instance is taken."""
        self.foreign_pods[number] = _again(self.foreign_pods.get(number), message, now=now)

    def expire(self, now: float) -> None:
        """Strangers and foreign claims are not watched, so look again after a while."""
        self.foreign_pods = {n: r for n, r in self.foreign_pods.items() if now < r.retry_at}
        self.foreign_claims = {name: (c, until) for name, (c, until) in self.foreign_claims.items() if now < until}

    def only(self, creations: Mapping[int, Build], deletions: Collection[str]) -> None:
        """Forget refusals of what nobody wants any more: to create an instance with a build. A pod that nobody wants to
        delete any more is not asked about, and at once when somebody does again.
        """
        self.refusals = {n: r for n, r in self.refusals.items() if n in creations and creations[n] == r.build}
        # That a pod may not be deleted is known as long as it is there: those that may go before it in later batches.
        self.delete_errors = {
            uid: refusal if uid in deletions else replace(refusal, retry_at=AT_ONCE)
            for uid, refusal in self.delete_errors.items()
        }

    def created(self, number: int) -> None:
        self.refusals.pop(number, None)
        self.foreign_pods.pop(number, None)

    def judged(self, model: str, verdict: Verdict, *, now: float) -> None:
        """What the API server said of a model; it is asked again after a growing while, unless it took it."""
        if not verdict.accepted or verdict.unanswered:
            attempts = self.attempts.get(model, 0)
            self.attempts[model] = attempts + 1
            verdict = replace(verdict, retry_at=now + delay(attempts))
        self.verdicts[model] = verdict

    def discards(self, model: str, *, now: float) -> bool:
        """Whether to try now to delete that old revision."""
        refusal = self.undeleted.get(model)
        return refusal is None or now >= refusal.retry_at

    def not_discarded(self, model: str, message: str, *, now: float) -> bool:
        """An old revision was not deleted; whether that is news."""
        before = self.undeleted.get(model)
        self.undeleted[model] = _again(before, message, now=now)
        return before is None

    def admitted(self, model: str, verdict: Verdict, *, now: float) -> None:
        """The answer to a dry run of what is to be replaced; after a refusal later tries are further apart."""
        if verdict.accepted:
            self.declined.pop(model, None)
            self.declines.pop(model, None)
            return
        attempts = self.declines.get(model, 0)
        self.declines[model] = attempts + 1
        self.declined[model] = replace(verdict, retry_at=now + delay(attempts))

    def next_retry(self) -> float | None:
        """When something refused is to be asked for again."""
        refused = (*self.refusals.values(), *self.foreign_pods.values(), *self.delete_errors.values())
        times = [refusal.retry_at for refusal in refused if refusal.retry_at != AT_ONCE]
        times += [until for _, until in self.foreign_claims.values()]
        return min(times, default=None)


def delay(attempts: int) -> float:
    """Seconds until the next try after so many refusals before."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(attempts, 10))


def _again(before: Refusal | None, message: str, *, now: float) -> Refusal:
    attempts = before.attempts + 1 if before is not None else 0
    return Refusal(message, now + delay(attempts), attempts)
