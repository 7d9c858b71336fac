"""The operator's memory of a set between two reconciles. It may be lost: a restart costs at most a repeated request.

Everything that the safety of a decision depends on is in the status instead.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from scaleset.controllers.slow_start import Pace
from scaleset.kube.resources import JSON
from scaleset.planner.instances import Build, Claim, Pod
from scaleset.planner.snapshot import Verdict

FIRST_RETRY = 2.0
LAST_RETRY = 60.0
AT_ONCE = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal by the API server: its message, and when to try again (in seconds of its clock)."""

    message: str
    retry_at: float
    attempts: int
    tried: bool = True
    """Whether the refusal was about this very instance, or about another one created in the same way."""
    build: Build | None = None
    """The build of the refused instance: the refusal is not about other builds."""


@dataclass(slots=True)
class Memory:
    """The memory of one ScaleSet."""

    generation: int = 0
    ages: dict[int, float] = field(default_factory=dict)
    former_pods: frozenset[str] = frozenset()
    """Existing pods, by uid, of removed instances: a reused id belongs to a new instance."""
    refusals: dict[int, Refusal] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    """Instances whose last create failed with an error that was not about them."""
    foreign_pods: dict[int, Refusal] = field(default_factory=dict)
    foreign_claims: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    patch_errors: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server refused to change in place, with its words."""
    delete_errors: dict[str, Refusal] = field(default_factory=dict)
    """Pods, by uid, that the API server refused to replace."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    strange_revisions: int = 0
    """Number of times in a row that a model could not be stored because a foreign ControllerRevision has its name."""
    names_taken: frozenset[str] = frozenset()
    """Models that were refused because a watched ControllerRevision of a former set has their name."""
    undeleted: dict[str, Refusal] = field(default_factory=dict)
    """Old ControllerRevisions that the API server refused to delete, by name."""
    declined: dict[str, Verdict] = field(default_factory=dict)
    """The last refusal of a replacement, by name of the model."""
    declines: dict[str, int] = field(default_factory=dict)
    unwritten_status: tuple[str, JSON] | None = None
    """The set's uid and the status of which the API server dropped a part: it is written again before anything else."""
    pace: Pace = field(default_factory=Pace)
    flushed: float = 0.0
    """When the status was written last, by the monotonic clock."""
    relist_at: float | None = None
    """When to list all objects of the set, by the same clock; None while it waits for nothing."""

    def new_generation(self, generation: int) -> None:
        """Forget refusals after a change of the spec: a refused object may be accepted now."""
        if generation != self.generation:
            self.generation = generation
            self.refusals.clear()
            self.delete_errors.clear()
            self.verdicts.clear()
            self.attempts.clear()
            self.declined.clear()
            self.declines.clear()
            self.pace.slow_down()

    def remember_pods(self, pods: Iterable[tuple[int, Pod]]) -> None:
        """Remember when instances were first created, since only the pod shows it. Refusals about missing pods are
        forgotten.
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
        """A reused id belongs to a new instance, although the old pod may still exist."""
        self.ages = {number: at for number, at in self.ages.items() if number in instances}
        self.former_pods |= {pod.uid for number, pod in pods.items() if number not in instances}

    def refused(self, number: int, message: str, *, now: float, build: Build) -> None:
        """Record a refused pod or claim of that instance; later tries are further apart."""
        before = self.refusals.get(number)
        same = before if before is not None and before.build == build else None
        self.refusals[number] = replace(_again(same, message, now=now), build=build)

    def not_tried(self, builds: Mapping[int, Build], *, like: int) -> None:
        """Record instances that were not tried after this refusal; it is taken to hold for them."""
        words = f"Not tried, since the API server refuses instance {like}: {self.refusals[like].message}"
        for number, build in builds.items():
            before = self.refusals.get(number)
            tried = before is not None and before.tried and before.build == build
            self.refusals[number] = replace(self.refusals[like], message=words, tried=tried, build=build)

    def due(self, builds: Mapping[int, Build], *, now: float) -> list[int]:
        """Instances to create now, in order, with refused or failed ones last, so that a permanently refused instance
        does not stop the others.
        """
        refusals = {n: r for n, r in self.refusals.items() if builds.get(n) == r.build}
        due = [n for n in builds if n not in refusals or now >= refusals[n].retry_at]
        return sorted(due, key=lambda n: n in self.failed or (n in refusals and refusals[n].tried))

    def refused_for(self, builds: Mapping[int, Build]) -> dict[int, str]:
        """Refusals of instances with these builds; an instance without a build is not recorded yet."""
        return {n: r.message for n, r in self.refusals.items() if builds.get(n, r.build) == r.build}

    def kept(self, uid: str, message: str, *, now: float) -> None:
        """Record that the API server refused to replace the pod."""
        self.delete_errors[uid] = _again(self.delete_errors.get(uid), message, now=now)

    def stranger(self, number: int, message: str, *, now: float) -> None:
        """Record that a foreign object has the name of that instance."""
        self.foreign_pods[number] = _again(self.foreign_pods.get(number), message, now=now)

    def expire(self, now: float) -> None:
        """Foreign objects are not watched, so their entries expire after a while."""
        self.foreign_pods = {n: r for n, r in self.foreign_pods.items() if now < r.retry_at}
        self.foreign_claims = {name: (c, until) for name, (c, until) in self.foreign_claims.items() if now < until}

    def only(self, creations: Mapping[int, Build], deletions: Collection[str]) -> None:
        """Forget refused creates that are not wanted any more. A refused delete that is not wanted any more is not
        repeated, but tried at once if it is wanted again.
        """
        self.refusals = {n: r for n, r in self.refusals.items() if n in creations and creations[n] == r.build}
        # A refused delete is remembered as long as the pod exists: in later batches other instances go first.
        self.delete_errors = {
            uid: refusal if uid in deletions else replace(refusal, retry_at=AT_ONCE)
            for uid, refusal in self.delete_errors.items()
        }

    def created(self, number: int) -> None:
        self.refusals.pop(number, None)
        self.foreign_pods.pop(number, None)

    def judged(self, model: str, verdict: Verdict, *, now: float) -> None:
        """Record the verdict on a model. A refused model is checked again after a growing back-off."""
        if not verdict.accepted or verdict.unanswered:
            attempts = self.attempts.get(model, 0)
            self.attempts[model] = attempts + 1
            verdict = replace(verdict, retry_at=now + delay(attempts))
        self.verdicts[model] = verdict

    def revisions_there(self, names: Collection[str]) -> None:
        """Store a model at once when the ControllerRevision that had its name is gone."""
        for model in self.names_taken.difference(names):
            self.verdicts.pop(model, None)
            self.attempts.pop(model, None)
            self.strange_revisions = 0
        self.names_taken = self.names_taken.intersection(names)

    def discards(self, model: str, *, now: float) -> bool:
        """Whether to delete that old revision now."""
        refusal = self.undeleted.get(model)
        return refusal is None or now >= refusal.retry_at

    def not_discarded(self, model: str, message: str, *, now: float) -> bool:
        """Record that an old revision was not deleted; returns whether this is new."""
        before = self.undeleted.get(model)
        self.undeleted[model] = _again(before, message, now=now)
        return before is None

    def admitted(self, model: str, verdict: Verdict, *, now: float) -> None:
        """Record the answer to a dry run of a replacement; after refusals, later tries are further apart."""
        if verdict.accepted:
            self.declined.pop(model, None)
            self.declines.pop(model, None)
            return
        attempts = self.declines.get(model, 0)
        self.declines[model] = attempts + 1
        self.declined[model] = replace(verdict, retry_at=now + delay(attempts))

    def next_retry(self) -> float | None:
        """When the next refused request is repeated."""
        refused = (*self.refusals.values(), *self.foreign_pods.values(), *self.delete_errors.values())
        times = [refusal.retry_at for refusal in refused if refusal.retry_at != AT_ONCE]
        times += [until for _, until in self.foreign_claims.values()]
        return min(times, default=None)


def delay(attempts: int) -> float:
    """Seconds until the next try, after that many refusals."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(attempts, 10))


def _again(before: Refusal | None, message: str, *, now: float) -> Refusal:
    attempts = before.attempts + 1 if before is not None else 0
    return Refusal(message, now + delay(attempts), attempts)
