"""What the next rollout would do: the operator's planner, run ahead of time.

The snapshot is made from the API server as it is now. Then the planner decides, its plan is carried out in memory, and
it decides again, until nothing runs any more. Whatever is replaced is taken to be healthy at once, so the forecast is
of a good image; time passes only as far as the planner asks to be woken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scaleset.api import names
from scaleset.api.model import InvalidSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.cli.catalogue import spec_of, understood
from scaleset.cli.failures import CliError, explain
from scaleset.cli.pictures import SetView
from scaleset.kube.errors import ApiError, Forbidden, NotFound
from scaleset.kube.resources import CLAIMS, PODS, REVISIONS, SCALE_SETS
from scaleset.kube.verdicts import ACCEPTED, asks_for_no_more, verdict
from scaleset.planning import models, pods, record
from scaleset.planning.decide import decide
from scaleset.planning.instances import Pod
from scaleset.planning.pods import Identity
from scaleset.planning.snapshot import DryRun, Plan, Snapshot, Turn, Verdict
from scaleset.planning.state import Rollout
from scaleset.records import projections
from scaleset.records.custom_objects import CustomObject
from scaleset.records.instances import owned

if TYPE_CHECKING:
    from scaleset.cli.session import Session

STEPS = 5000
"""More decisions than a rollout of 1000 instances one by one takes."""
PATIENCE = 2
"""So often may time pass without anything happening before a rollout counts as halted."""
BY_HAND = "kubectl-scaleset-plan"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One batch that would be taken."""

    number: int
    instances: tuple[int, ...]
    surge: tuple[int, ...] = ()
    """Those that would be created beside the ones they replace."""


@dataclass(frozen=True, slots=True)
class Course:
    """One rollout from its start to its end."""

    rollout: Rollout
    batches: tuple[Foreseen, ...]
    ending: str
    """Completed, or what it would end as and why; empty when it would not get to an end."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`running` or `next` is what happens by itself; `by_hand` is what a start by hand would do when nothing does."""

    running: Course | None = None
    next: Course | None = None
    by_hand: Course | None = None
    freed: Course | None = None
    """What would start by itself if nothing held it back."""
    held: tuple[str, str] | None = None
    """What holds the next rollout back: reason and sentence."""
    refused: str | None = None
    """Why a start by hand would be refused."""
    unchecked: str | None = None
    """Why the API server could not be asked whether it would take the new pods."""


def forecast(session: "Session", found: SetView) -> Forecast:
    """What the planner would do from now on. CliError if the spec cannot be understood."""
    world = _World(session, _snapshot(session, found))
    rollout = world.snapshot.state.rollout
    if rollout is not None and rollout.running:
        course = world.run()
        return Forecast(running=course, held=world.held, unchecked=world.unchecked)
    course = world.run()
    if course is not None:
        return Forecast(next=course, held=None, unchecked=world.unchecked)
    if world.held is not None and (changed := _freed(world.start, world.held[0])) is not None:
        other = _World(session, changed)
        freed = other.run()
        if freed is not None:
            return Forecast(freed=freed, held=world.held, unchecked=other.unchecked)
    asked = _World(session, _ask(world.start))
    by_hand = asked.run()
    refused = asked.refused if by_hand is None else None
    return Forecast(by_hand=by_hand, held=world.held, refused=refused, unchecked=world.unchecked or asked.unchecked)


def _freed(snapshot: Snapshot, reason: str) -> Snapshot | None:
    """The same without what holds a rollout back, where that is something that can pass by itself or be lifted."""
    if reason == "Suspended":
        return replace(snapshot, spec=snapshot.spec.model_copy(update={"suspend": False}))
    if reason == "ConcurrencyLimit":
        return replace(snapshot, turn=None)
    if reason in ("HealthGateWaiting", "InstancesInitializing"):
        well = {number: _well(pod, snapshot.now) for number, pod in snapshot.pods.items()}
        return replace(snapshot, pods=well, state=replace(snapshot.state, retry=None))
    return None


def _well(pod: Pod, now: float) -> Pod:
    """The same pod, healthy."""
    since = pod.ready_since if pod.ready and pod.ready_since is not None else now
    return replace(pod, ready=True, ready_since=since, running=True, running_since=since, ended=False, deleting=False)


def _ask(snapshot: Snapshot) -> Snapshot:
    """The same with a start by hand asked for, and no request before it left."""
    others = {key: value for key, value in snapshot.annotations.items() if key != names.ANNOTATION_CANCEL}
    return replace(snapshot, annotations={**others, names.ANNOTATION_START: BY_HAND})


class _World:
    """Carries plans out in memory. `held` and `refused` are what the last decision said of a rollout that waits."""

    def __init__(self, session: "Session", snapshot: Snapshot) -> None:
        self.start = self.snapshot = snapshot
        self.held: tuple[str, str] | None = None
        self.refused: str | None = None
        self.unchecked: str | None = None
        self._session = session

    def run(self) -> Course | None:
        """The running rollout, or the one that begins now; None if none does."""
        first = self.snapshot.state.rollout
        last = first.id if first is not None else None
        mine = last if first is not None and first.running else None
        batches: dict[int, Foreseen] = {}
        stuck = 0
        for _ in range(STEPS):
            plan = self._decide()
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
        """A rollout that does not get to its end without somebody's help."""
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

    def _decide(self) -> Plan:
        """Decide, observing what the plan asks for until it asks for nothing."""
        for _ in range(12):
            plan = decide(self.snapshot)
            if not plan.needs:
                return plan
            snapshot = replace(self.snapshot, fresh=True)
            if (asked := plan.needs.verdict) is not None:
                verdicts = {**snapshot.verdicts, asked.model.name: self._verdict(asked)}
                snapshot = replace(snapshot, verdicts=verdicts)
            if (asked := plan.needs.admission) is not None:
                snapshot = replace(snapshot, admissions={**snapshot.admissions, asked.instance: self._verdict(asked)})
            self.snapshot = snapshot
        raise CliError("The planner never has what it needs; please report it: kubectl scaleset report.")

    def _verdict(self, asked: DryRun) -> Verdict:
        """What the API server says to that pod; accepted when we may not ask."""
        owner = self.snapshot.owner
        body = pods.pod(owner, asked.model, asked.build, asked.instance, previous=None, created_at=self.snapshot.now)
        try:
            self._session.client.create(PODS, owner.namespace, body, dry_run=True)
        except Forbidden as error:
            if "cannot create resource" in error.message:
                self.unchecked = explain(error, server=self._session.server)
                return ACCEPTED
            said = verdict(error)
            return ACCEPTED if said.quota and self._replaces_no_less(body) else said
        except ApiError as error:
            return verdict(error)
        return ACCEPTED

    def _replaces_no_less(self, body: dict[str, Any]) -> bool:
        try:
            old = self._session.client.get(PODS, self.snapshot.owner.namespace, body["metadata"]["name"])
        except NotFound:
            return False
        return asks_for_no_more(old, body)

    def _carry_out(self, plan: Plan) -> bool:
        """The plan's writes, and what good pods do with them: they are healthy at once. Whether anything changed."""
        snapshot = self.snapshot
        rollout = plan.state.rollout
        rising = rollout.in_progress if rollout is not None else frozenset()
        there = {
            number: _well(pod, snapshot.now) if number in rising else pod
            for number, pod in snapshot.pods.items()
            if not pod.deleting
        }
        for deletion in plan.deletions:
            there.pop(deletion.instance, None)
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
            )
        stored = {model.name: model for model in (*snapshot.models, *plan.store)}
        self.snapshot = replace(
            snapshot,
            state=plan.state,
            pods=there,
            models=tuple(stored.values()),
            reported=dict(plan.status),
            refusals={},
            admissions={},
        )
        return snapshot.state != self.snapshot.state or snapshot.pods != self.snapshot.pods


_NOT_HELD = frozenset({"Idle", "Completed", "RollingForward", "Faulted", "Cancelled"})


def _look(rollout: Rollout, batches: dict[int, Foreseen]) -> None:
    batch = rollout.batch
    if batch is not None:
        batches[batch.number] = Foreseen(batch.number, tuple(sorted(batch.instances)), tuple(sorted(batch.surge)))


def _course(rollout: Rollout, batches: Mapping[int, Foreseen], ending: str) -> Course:
    return Course(rollout, tuple(batches[number] for number in sorted(batches)), ending)


def _ending(rollout: Rollout) -> str:
    if rollout.error is not None:
        return f"{rollout.code}: {rollout.error.message}"
    return f"{rollout.code}: {rollout.ending.message}" if rollout.ending is not None else str(rollout.code)


# --- the snapshot


def _snapshot(session: "Session", found: SetView) -> Snapshot:
    """What the operator would see, read afresh."""
    spec = spec_of(found)
    selector = f"{names.LABEL_NAME}={found.name}"
    client = session.client
    image = spec.image_reference
    seen: CustomObject[Any] = CustomObject(
        namespace=found.namespace,
        name=found.name,
        uid=found.uid,
        resource_version=str(found.raw["metadata"]["resourceVersion"]),
        generation=found.generation,
        created=found.created or 0.0,
        deleting=False,
        annotations=found.annotations,
        spec=spec,
        problem="",
        status=found.status,
    )
    mine, strangers = owned(
        (projections.pod(raw) for raw in client.list(PODS, found.namespace, selector=selector)[0]), seen
    )
    claims = [projections.claim(raw) for raw in client.list(CLAIMS, found.namespace, selector=selector)[0]]
    revisions = [projections.revision(raw) for raw in client.list(REVISIONS, found.namespace)[0]]
    catalogue = [
        version
        for version in understood(session.versions(image.gallery_namespace or found.namespace))
        if (version.definition.publisher, version.definition.offer) == (image.publisher, image.offer)
    ]
    policy = _policy(session, found)
    return Snapshot(
        owner=Identity(found.namespace, found.name, found.uid),
        generation=found.generation,
        spec=spec,
        state=record.read(ScaleSetStatus.parse({"status": found.status})),
        model=models.describe(found.name, spec),
        now=client.now(),
        policy=policy,
        annotations=found.annotations,
        pods=mine,
        strangers=strangers,
        claims={claim.name: claim for claim in claims},
        models=tuple(revision.model for revision in revisions if revision.owner == found.uid),
        catalogue=tuple(catalogue),
        turn=_turn(session, found, policy),
        fresh=True,
        reported=found.status,
    )


def _policy(session: "Session", found: SetView) -> UpgradePolicySpec | None:
    if not found.policy:
        return UpgradePolicySpec()
    for raw in session.policies(found.namespace):
        if raw["metadata"]["name"] == found.policy and not raw["metadata"].get("deletionTimestamp"):
            try:
                return UpgradePolicySpec.parse(raw)
            except InvalidSpec:
                return None
    return None


def _turn(session: "Session", found: SetView, policy: UpgradePolicySpec | None) -> Turn | None:
    """Where the set stands among those of its policy."""
    if policy is None or policy.max_concurrent_scale_sets is None:
        return None
    others = [SetView(raw) for raw in session.client.list(SCALE_SETS, found.namespace)[0]]
    same = [each for each in others if each.uid != found.uid and each.policy == found.policy]
    mine = projections.seconds(found.status.get("waitingSince"))
    rolling = sum(_rolls(each.rollout) and each.rolling for each in same)
    ahead = 0
    for each in same:
        since = projections.seconds(each.status.get("waitingSince"))
        if since is not None and not each.rolling and (mine is None or (since, each.name) < (mine, found.name)):
            ahead += 1
    return Turn(rolling, ahead)


def _rolls(rollout: Mapping[str, Any]) -> bool:
    return bool(rollout.get("batch") or rollout.get("batchesDone"))
