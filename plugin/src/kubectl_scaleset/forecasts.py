"""A forecast of the next rollout: the operator's planner, run ahead of time. Pure.

The planner decides on a snapshot, its plan is carried out in memory, and it decides again, until the rollout has ended.
Replaced instances become healthy at once, so the forecast assumes a good image. Time passes only until the next moment
that the planner waits for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from scaleset.api import names
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planner.decide import decide
from scaleset.planner.gallery import same
from scaleset.planner.health import OWN, source
from scaleset.planner.instances import Build, Pod, Reported
from scaleset.planner.plan import DryRun, ModelCheck, Plan
from scaleset.planner.snapshot import Snapshot, Verdict
from scaleset.planner.state import Code, Rollout
from scaleset.planner.targets import FailedTarget

STEPS = 5000
"""Most decisions; a rollout of 1000 instances one by one takes fewer."""
PATIENCE = 2
"""Number of times that time may pass without a change before a rollout counts as halted."""
BY_HAND = "kubectl-scaleset-plan"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One batch of the forecast."""

    number: int
    instances: tuple[int, ...]
    """Instances that would be replaced."""
    surge: bool = False
    """Whether as many new instances would be created first. Their ids depend on how fast the old ones end."""


@dataclass(frozen=True, slots=True)
class Course:
    """One rollout from its start to its end."""

    rollout: Rollout
    batches: tuple[Foreseen, ...]
    ending: str
    """Completed, or another end with its reason; empty if the rollout would not end."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`running` or `next` happens by itself; `by_hand` is the effect of a start by hand if neither exists."""

    running: Course | None = None
    next: Course | None = None
    by_hand: Course | None = None
    freed: Course | None = None
    """The rollout that would start by itself if nothing held it back."""
    held: tuple[str, str] | None = None
    """Why the next rollout does not start: reason and sentence."""
    refused: str | None = None
    """Why a start by hand would be refused."""
    unchecked: str | None = None
    """Why the new pods could not be dry-run."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """The instances that a request for the newest model would replace, and why it would be refused."""

    instances: frozenset[int]
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class ByHand:
    """The effect of a start by hand: its rollout, why it would be refused, and an earlier failure of its target."""

    refused: str | None = None
    failed: FailedTarget | None = None


Admits = Callable[[DryRun | ModelCheck, float], Verdict]
"""The API server's verdict on a pod or a model at that time."""


def foresee(snapshot: Snapshot, admits: Admits) -> Forecast:
    """The forecast from now on. The snapshot counts as fresh."""
    world = _World(snapshot, admits)
    running = snapshot.state.rollout is not None and snapshot.state.rollout.running
    course = world.run()
    if running:
        return Forecast(running=course, held=world.held)
    if course is not None:
        return Forecast(next=course)
    if world.held is not None and (changed := _freed(snapshot, world.held[0])) is not None:
        freed = _World(changed, admits).run()
        if freed is not None:
            return Forecast(freed=freed, held=world.held)
    asked = _World(_ask(snapshot), admits)
    by_hand = asked.run()
    return Forecast(by_hand=by_hand, held=world.held, refused=asked.refused if by_hand is None else None)


def at_once(snapshot: Snapshot, value: str, admits: Admits) -> AtOnce:
    """The effect of that value of the annotation `apply-model`, without other pending requests."""
    plan = _World(_ask(snapshot, names.ANNOTATION_APPLY, value), admits).decide()
    refused = next((e.message for e in plan.events if e.reason == "StartRefused"), None)
    before, after = snapshot.state.builds, plan.state.builds
    return AtOnce(frozenset(n for n in plan.state.applying if after.get(n) != before.get(n)), refused)


def by_hand(snapshot: Snapshot, admits: Admits) -> ByHand:
    """The effect of a start by hand, decided once. A start without any work is refused here: it would only add an entry
    to the history.
    """
    world = _World(_ask(snapshot), admits)
    plan = world.decide()
    refused = next((event.message for event in plan.events if event.reason == "StartRefused"), None)
    before, rollout = snapshot.state.rollout, plan.state.rollout
    if refused is not None or rollout is None or (before is not None and rollout.id == before.id):
        return ByHand(refused)
    if rollout.code is Code.COMPLETED and not rollout.upgraded:
        return ByHand(f"Nothing to upgrade: no unprotected instance runs less than version {rollout.target.version}.")
    build = rollout.target.build_for(Build(rollout.target.model, "", ""))
    found = (f for f in snapshot.state.failed_targets if f.version and same(f.version, build.version))
    return ByHand(failed=next((f for f in found if f.image in (None, build.image)), None))


def refusal(snapshot: Snapshot, annotation: str, admits: Admits) -> str | None:
    """Why a request by that annotation would be refused, decided once; None if it would not be."""
    plan = _World(_ask(snapshot, annotation), admits).decide()
    refused = next((event.message for event in plan.events if event.reason == "StartRefused"), None)
    return refused.removeprefix(f"{annotation}: ") if refused is not None else None


def _freed(snapshot: Snapshot, reason: str) -> Snapshot | None:
    """The snapshot without the reason that holds a rollout back, if that reason can pass by itself or be lifted."""
    if reason == "Suspended":
        spec, policy, off = snapshot.spec, snapshot.policy, {"suspend": False}
        lifted = policy.model_copy(update=off) if policy is not None else None
        return replace(snapshot, spec=spec.model_copy(update=off), policy=lifted)
    if reason == "ConcurrencyLimit":
        return replace(snapshot, queue=None)
    if reason in ("HealthGateWaiting", "InstancesInitializing"):
        well = {number: _well(pod, snapshot) for number, pod in snapshot.pods.items()}
        return replace(snapshot, pods=well, state=replace(snapshot.state, retry=None))
    return None


def _well(pod: Pod, snapshot: Snapshot) -> Pod:
    """The pod in a healthy state, by every health source."""
    now = snapshot.now
    since = pod.ready_since if pod.ready and pod.ready_since is not None else now
    alive = replace(pod, ended=False, deleting=False, current=True, unschedulable=False, restarts=0)
    conditions = _good_conditions(snapshot, since)
    return replace(alive, ready=True, ready_since=since, running=True, running_since=since, conditions=conditions)


def _good_conditions(snapshot: Snapshot, since: float) -> tuple[Reported, ...]:
    """The condition that decides health, if one does, as a healthy pod has it."""
    kinds = {source(model) for model in (snapshot.model, *snapshot.models)}
    return tuple(Reported(kind, "True", since) for kind in sorted(kinds.difference(OWN)))


def _ask(snapshot: Snapshot, annotation: str = names.ANNOTATION_START, value: str = BY_HAND) -> Snapshot:
    """The snapshot with a request by that annotation, a start by hand by default, and without other requests."""
    others = {key: each for key, each in snapshot.annotations.items() if key not in names.REQUESTS}
    return replace(snapshot, annotations={**others, annotation: value})


class _World:
    """Carries plans out in memory. `held` and `refused` are from the last decision about a waiting rollout."""

    def __init__(self, snapshot: Snapshot, admits: Admits) -> None:
        self.snapshot = snapshot
        self.held: tuple[str, str] | None = None
        self.refused: str | None = None
        self._admits = admits

    def run(self) -> Course | None:
        """The course of the running rollout, or of the one that begins now; None without one."""
        first = self.snapshot.state.rollout
        last = first.id if first is not None else None
        mine = last if first is not None and first.running else None
        batches: dict[int, Foreseen] = {}
        stuck = 0
        for _ in range(STEPS):
            plan = self.decide()
            rollout = plan.state.rollout
            if mine is None:
                self._listen(plan)
                mine = rollout.id if rollout is not None and rollout.id != last else None
            if rollout is not None and rollout.id == mine:
                _look(rollout, batches)
                if not rollout.running:
                    return _course(rollout, batches, _ending(rollout))
            stuck = 0 if self._carry_out(plan) else stuck + 1
            if stuck and (mine is None or plan.wake_at is None or stuck > PATIENCE):
                break
            if stuck and plan.wake_at is not None:
                self.snapshot = replace(self.snapshot, now=max(self.snapshot.now, plan.wake_at))
        return self._halted(batches) if mine is not None else None

    def _halted(self, batches: Mapping[int, Foreseen]) -> Course | None:
        """The course of a rollout that does not end without help."""
        rollout = self.snapshot.state.rollout
        if rollout is None:
            return None
        if rollout.waiting is not None:
            self.held = (rollout.waiting.reason, rollout.waiting.message)
        return _course(rollout, batches, "")

    def _listen(self, plan: Plan) -> None:
        self.held = None
        for condition in plan.status.get("conditions") or ():
            if condition["type"] == "Progressing" and condition["reason"] not in _NOT_HELD:
                self.held = (condition["reason"], condition["message"])
            if condition["type"] == "Accepted" and condition["status"] == "False":
                self.held = (condition["reason"], condition["message"])
        for event in plan.events:
            if event.reason == "StartRefused":
                self.refused = event.message

    def decide(self) -> Plan:
        """Decide, and observe what the plan needs, until it needs nothing more."""
        for _ in range(12):
            plan = decide(self.snapshot)
            if not plan.needs:
                return plan
            snapshot = replace(self.snapshot, fresh=True)
            if (check := plan.needs.verdict) is not None:
                verdicts = {**snapshot.verdicts, check.model.name: self._admits(check, snapshot.now)}
                snapshot = replace(snapshot, verdicts=verdicts)
            if (asked := plan.needs.admission) is not None:
                snapshot = replace(
                    snapshot, admissions={**snapshot.admissions, asked.about: self._admits(asked, snapshot.now)}
                )
            self.snapshot = snapshot
        raise RuntimeError("the plan never has what it needs")

    def _carry_out(self, plan: Plan) -> bool:
        """Carry out the plan's writes; new pods are healthy at once. Returns whether anything changed."""
        snapshot = self.snapshot
        rollout = plan.state.rollout
        rising = rollout.in_progress if rollout is not None else frozenset()
        there = {
            number: _well(pod, snapshot) if number in rising else pod
            for number, pod in snapshot.pods.items()
            if not pod.deleting
        }
        for deletion in plan.deletions:
            there.pop(deletion.instance, None)
        for wanted in plan.changes:
            build, pod = wanted.build, replace(snapshot.pods[wanted.instance], change=wanted.change)
            changed = replace(pod, model=build.model, version=build.version, asked_image=build.image)
            there[wanted.instance] = _well(changed, snapshot)
        for creation in plan.creations:
            build = creation.build
            there[creation.instance] = Pod(
                namespace=snapshot.owner.namespace,
                name=f"{snapshot.owner.name}-{creation.instance}",
                uid=f"{build.model}/{build.version}/{creation.instance}",
                resource_version="0",
                owner=snapshot.owner.uid,
                set_name=snapshot.owner.name,
                model=build.model,
                version=build.version,
                created=snapshot.now,
                ready=True,
                ready_since=snapshot.now,
                started=snapshot.now,
                running=True,
                running_since=snapshot.now,
                instance_created=creation.created_at,
                asked_image=build.image,
                restart=build.restart,
                conditions=_good_conditions(snapshot, snapshot.now),
            )
        stored = {model.name: model for model in (*snapshot.models, *plan.store)}
        self.snapshot = replace(
            snapshot,
            state=plan.state,
            pods=there,
            models=tuple(stored.values()),
            reported=ScaleSetStatus.parse({"status": plan.status}),
            refusals={},
            admissions={},
        )
        return snapshot.state != self.snapshot.state or snapshot.pods != self.snapshot.pods


_NOT_HELD = frozenset({"Idle", "Completed", "RollingForward", "Faulted", "Cancelled"})


def _look(rollout: Rollout, batches: dict[int, Foreseen]) -> None:
    batch = rollout.batch
    if batch is not None:
        old = batch.replaces or batch.instances
        batches[batch.number] = Foreseen(batch.number, tuple(sorted(old)), bool(batch.surge))


def _course(rollout: Rollout, batches: Mapping[int, Foreseen], ending: str) -> Course:
    return Course(rollout, tuple(batches[number] for number in sorted(batches)), ending)


def _ending(rollout: Rollout) -> str:
    if rollout.error is not None:
        return f"{rollout.code}: {rollout.error.message}"
    return f"{rollout.code}: {rollout.ending.message}" if rollout.ending is not None else str(rollout.code)
