"""What the operator remembers of a set between two looks and may forget: a restart costs at most a repeated question.

Everything that a decision depends on for safety is in the status instead.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from scaleset.controllers.pace import Pace
from scaleset.controllers.patches import JSON
from scaleset.planning.instances import Claim, Pod
from scaleset.planning.snapshot import Verdict

FIRST_RETRY = 2.0
LAST_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server would not create something: its words, and when to ask again (its own clock, seconds)."""

    message: str
    retry_at: float
    attempts: int
    tried: bool = True
    """Whether it was said of that very instance, or of another one created in the same way."""


@dataclass(slots=True)
class Memory:
    """Of one ScaleSet."""

    generation: int = 0
    ages: dict[int, float] = field(default_factory=dict)
    departed: frozenset[str] = frozenset()
    """Pods that are there still, by uid, of instances that are no more: whoever has their id now is a new one."""
    refusals: dict[int, Refusal] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    """Instances that could not be created when it was last tried, with an error that says nothing about them."""
    strangers: dict[int, Refusal] = field(default_factory=dict)
    foreign_claims: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    unchangeable: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server would not change in place, with its words."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    declined: dict[str, Verdict] = field(default_factory=dict)
    """The last refusal, by name of the model, of what was to be replaced."""
    declines: dict[str, int] = field(default_factory=dict)
    unkept: tuple[str, JSON] | None = None
    """The set's uid and the status of which the API server dropped a part: to be written again before all else."""
    pace: Pace = field(default_factory=Pace)
    flushed: float = 0.0
    """When the status was written last, by our monotonic clock."""
    doubt_at: float | None = None
    """When to list all that belongs to the set, by the same clock; None while it waits for nothing."""

    def new_generation(self, generation: int) -> None:
        """The user changed the spec: what was refused may be accepted now."""
        if generation != self.generation:
            self.generation = generation
            self.refusals.clear()
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
        if self.unchangeable or self.departed:
            uids = {pod.uid for pod in present.values()}
            self.unchangeable = {uid: words for uid, words in self.unchangeable.items() if uid in uids}
            self.departed &= uids
        self.ages.update(
            {
                number: pod.instance_created or pod.created
                for number, pod in present.items()
                if pod.uid not in self.departed
            }
        )

    def forget_others(self, instances: Collection[int], pods: Mapping[int, Pod]) -> None:
        """Whoever gets the id of an instance that is no more is a new one, though the old pod may be there yet."""
        self.ages = {number: at for number, at in self.ages.items() if number in instances}
        self.departed |= {pod.uid for number, pod in pods.items() if number not in instances}

    def refused(self, number: int, message: str, *, now: float) -> None:
        """A pod or claim of that instance was refused; later tries are further apart."""
        self.refusals[number] = _again(self.refusals.get(number), message, now=now)

    def not_tried(self, numbers: Iterable[int], *, like: int) -> None:
        """Instances that were not even asked for after that one was refused; they would have been."""
        for number in numbers:
            before = self.refusals.get(number)
            self.refusals[number] = replace(self.refusals[like], tried=before is not None and before.tried)

    def due(self, numbers: Iterable[int], *, now: float) -> list[int]:
        """Those to be asked for now, in their order, but last those that were refused or failed themselves: one that
        always is must not keep the others.
        """
        refusals = self.refusals
        due = [n for n in numbers if n not in refusals or now >= refusals[n].retry_at]
        return sorted(due, key=lambda n: n in self.failed or (n in refusals and refusals[n].tried))

    def stranger(self, number: int, message: str, *, now: float) -> None:
        """The name of that instance is taken."""
        self.strangers[number] = _again(self.strangers.get(number), message, now=now)

    def forgive(self, now: float) -> None:
        """Strangers and foreign claims are not watched, so look again after a while."""
        self.strangers = {n: r for n, r in self.strangers.items() if now < r.retry_at}
        self.foreign_claims = {name: (c, until) for name, (c, until) in self.foreign_claims.items() if now < until}

    def only(self, wanted: Iterable[int]) -> None:
        """Forget refusals of instances that nobody wants to create any more."""
        kept = self.refusals.keys() & set(wanted)
        self.refusals = {n: refusal for n, refusal in self.refusals.items() if n in kept}

    def created(self, number: int) -> None:
        self.refusals.pop(number, None)
        self.strangers.pop(number, None)

    def judged(self, model: str, verdict: Verdict, *, now: float) -> None:
        """A dry run's answer; a refusal is asked about again after a growing while."""
        if not verdict.accepted:
            attempts = self.attempts.get(model, 0)
            self.attempts[model] = attempts + 1
            verdict = Verdict(accepted=False, message=verdict.message, retry_at=now + delay(attempts))
        self.verdicts[model] = verdict

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
        times = [refusal.retry_at for refusal in (*self.refusals.values(), *self.strangers.values())]
        times += [until for _, until in self.foreign_claims.values()]
        return min(times, default=None)


def delay(attempts: int) -> float:
    """Seconds until the next try after so many refusals before."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(attempts, 10))


def _again(before: Refusal | None, message: str, *, now: float) -> Refusal:
    attempts = before.attempts + 1 if before is not None else 0
    return Refusal(message, now + delay(attempts), attempts)
