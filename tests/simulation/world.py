"""The world that `decide()` acts on, in memory.

It carries plans out as the operator does (model, status, deletions, creations), may stop after any single write, and
lets pods behave by the tag of their image, as the stages of the embedded cluster do (`kubelet`). After a change in
place a pod stays Ready until its container is started again. The state goes through the JSON of the status at every
step, so what does not survive a restart cannot help a decision; refusals are remembered by the operator's own memory.

Nobody is woken who did not ask for it: the operator looks again when something that it watches has changed (a status
that it wrote itself is nothing new), and when it wanted to be woken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.memory import Memory
from scaleset.planner import revisions as model_rules
from scaleset.planner import status_codec
from scaleset.planner.decide import decide
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Claim, Pod
from scaleset.planner.plan import Creation, Deletion, Event, ImageChange, Plan
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import QueuePosition, Snapshot, Verdict
from scaleset.planner.state import State
from tests.simulation import kubelet
from tests.simulation.inputs import DEFINITION, EPOCH, OWNER, policy, spec, version

__all__ = ["DEFINITION", "EPOCH", "OWNER", "World", "policy", "spec", "version"]


@dataclass
class World:
    """One ScaleSet and its surroundings."""

    spec: ScaleSetSpec = field(default_factory=spec)
    policy: UpgradePolicySpec | None = field(default_factory=policy)
    catalogue: list[GalleryVersion] = field(default_factory=list)
    now: float = EPOCH
    start: float = 1.0
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    pods: dict[int, Pod] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    models: dict[str, Revision] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    """What the operator remembers until it dies, of what was refused above all."""
    status: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    """The status as the operator wrote it last."""
    quota: Callable[[Creation], str | None] = lambda _: None
    """What the API server says against creating a pod."""
    keeps: Callable[[ImageChange], str | None] = lambda _: None
    """What the API server says against changing an image in place."""
    keeps_alive: Callable[[Deletion], str | None] = lambda _: None
    """What the API server says against deleting a pod."""
    grace: float = 30.0
    """Seconds that a deleted pod may take to end."""
    reports: bool = False
    """Whether somebody writes the condition that the spec names (`kubelet.report`)."""
    leaves: set[int] = field(default_factory=set)
    """Instances whose pods are evicted before they are ready."""
    rejects: set[int] = field(default_factory=set)
    """Instances whose pods the kubelet rejects."""
    deaf: set[int] = field(default_factory=set)
    """Instances whose kubelet does not come to the change of an image."""
    foreign_pods: dict[int, str] = field(default_factory=dict)
    verdict: Callable[[Revision], Verdict] = lambda _: Verdict(accepted=True)
    admit: Callable[[int], Verdict] = lambda _: Verdict(accepted=True)
    """What the API server says to a dry run of that instance's pod."""
    turn: Callable[[], QueuePosition | None] = lambda: None
    """Where the set stands among those of its policy."""
    held: set[int] = field(default_factory=set)
    """Instances whose pod stays Terminating when it is deleted."""
    broken: set[int] = field(default_factory=set)
    """Instances that are not ready whatever they run."""
    sick: set[str] = field(default_factory=set)
    """Pods that are not ready; the next of the same instance is."""
    says: str = "containers not ready"
    """What Kubernetes says about a pod that is not ready yet."""
    bits: dict[str, str] = field(default_factory=dict)
    """The digests that tags mean now; an image without one is shown as runtimes show an imported one."""
    gone: set[str] = field(default_factory=set)
    """Digests that no node can pull any more."""
    events: list[Event] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    wake_at: float | None = None
    known: tuple[Any, ...] | None = None
    """What the operator had seen when it looked last; None when it has to look in any case."""
    observed: Snapshot | None = None
    """What the last plan was decided on."""
    acted: Callable[[Snapshot, Plan], None] = lambda *_: None
    """Told of every plan that was carried out whole, and what it was decided on."""
    uids: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))

    # --- observing

    @property
    def model(self) -> Revision:
        return model_rules.describe(OWNER.name, self.spec)

    @property
    def ages(self) -> dict[int, float]:
        """When each instance was first created, as the operator remembers it."""
        return self.memory.ages

    @property
    def state(self) -> State:
        return status_codec.read(ScaleSetStatus.parse({"status": self.status}))

    def snapshot(self, *, fresh: bool = False, pods: Mapping[int, Pod] | None = None, **changes: Any) -> Snapshot:
        """What the operator would see; `pods` may be an older view of them."""
        self.memory.new_generation(self.generation)
        self.memory.remember_pods((self.pods if pods is None else pods).items())
        reported = ScaleSetStatus.parse({"status": self.status})
        state = status_codec.read(reported)
        base = Snapshot(
            owner=OWNER,
            generation=self.generation,
            spec=self.spec,
            annotations=dict(self.annotations),
            policy=self.policy,
            state=state,
            model=self.model,
            now=self.now,
            pods=dict(self.pods if pods is None else pods),
            foreign_pods=dict(self.foreign_pods),
            claims=dict(self.claims),
            models=tuple(self.models.values()),
            catalogue=tuple(self.catalogue),
            refusals=self.memory.create_errors_of(state.builds),
            patch_errors=dict(self.memory.patch_errors),
            delete_errors={uid: refusal.message for uid, refusal in self.memory.delete_errors.items()},
            ages=dict(self.ages),
            verdicts=self._refused_models(),
            declined=dict(self.memory.admission_errors),
            queue=self.turn(),
            fresh=fresh,
            reported=reported,
        )
        return replace(base, **changes)

    def plan(self, *, pods: Mapping[int, Pod] | None = None) -> Plan:
        """Decide, observing what the plan asks for until it asks for nothing."""
        snapshot = self.snapshot(pods=pods)
        for _ in range(6):
            plan = decide(snapshot)
            if not plan.needs:
                self.observed = snapshot
                return plan
            if plan.needs.fresh:
                snapshot = replace(snapshot, fresh=True, pods=dict(self.pods))
            if plan.needs.verdict is not None:
                model = plan.needs.verdict.model
                self.memory.verdicts.add(model.name, self.verdict(model), now=self.now)
                snapshot = replace(snapshot, verdicts=dict(self.memory.verdicts))
            if plan.needs.admission is not None:
                asked = plan.needs.admission
                verdict = self.admit(asked.instance)
                self.memory.add_admission(asked.model.name, verdict, now=self.now)
                admissions = {**snapshot.admissions, asked.about: verdict}
                snapshot = replace(snapshot, admissions=admissions, declined=dict(self.memory.admission_errors))
        raise AssertionError("the plan never has what it needs")

    def _refused_models(self) -> dict[str, Verdict]:
        """What was accepted is asked about again: tests take an answer back in the middle of a life."""
        return {name: verdict for name, verdict in self.memory.verdicts.items() if not verdict.accepted}

    # --- acting

    def actions(self, plan: Plan) -> list[tuple[str, Callable[[], None]]]:
        """The plan's writes, in order."""
        steps: list[tuple[str, Callable[[], None]]] = []
        steps += [(f"store {model.name}", partial(self._store, model)) for model in plan.store]
        steps += [(f"discard {model.name}", partial(self._discard, model)) for model in plan.discard]
        if self._differs(plan.status):
            steps.append(("status", partial(self._write, plan.status)))
        kept = {uid for uid, refusal in self.memory.delete_errors.items() if self.now < refusal.retry_at}
        steps += [(f"delete {d.instance}", partial(self.delete, d)) for d in plan.deletions if d.uid not in kept]
        steps += [(f"change {c.instance}", partial(self.change_image, c)) for c in plan.changes if c.uid not in kept]
        creations = {creation.instance: creation for creation in plan.creations}
        due = self.memory.due({number: c.build for number, c in creations.items()}, now=self.now)
        steps += [(f"create {number}", partial(self.create, creations[number])) for number in due]
        return steps

    def step(self, *, writes: int | None = None) -> Plan:
        """One look; with `writes` the operator dies after that many of them, and another one comes."""
        plan = self.plan()
        self.known = self._watched()
        steps = self.actions(plan)
        self.memory.forget_unplanned(
            {creation.instance: creation.build for creation in plan.creations},
            [*(deletion.uid for deletion in plan.deletions), *(change.uid for change in plan.changes)],
        )
        self.memory.forget_removed(plan.state.builds, self.pods)
        for name, action in steps[:writes]:
            self.writes.append(name)
            action()
        if writes is None or writes >= len(steps):
            self.events += plan.events
            self.wake_at = self.next_look(plan)
            if self.observed is not None:
                self.acted(self.observed, plan)
        else:
            self.dies()
        self.plans.append(plan)
        return plan

    def dies(self) -> None:
        """The operator dies, and another one knows nothing but what is written down."""
        self.memory, self.known = Memory(), None

    def next_look(self, plan: Plan) -> float | None:
        """When the operator looks again, whatever happens: when the plan wants it, or to ask again what was refused."""
        times = [at for at in (plan.wake_at, self.memory.next_retry()) if at is not None]
        return min(times, default=None)

    @property
    def stirred(self) -> bool:
        """Whether there is a reason to look: something watched has changed, or the time has come."""
        return self.known != self._watched() or (self.wake_at is not None and self.wake_at <= self.now)

    def _watched(self) -> tuple[Any, ...]:
        inputs = (self.generation, self.spec, self.policy, dict(self.annotations), tuple(self.catalogue), self.turn())
        objects = (dict(self.pods), dict(self.claims), dict(self.foreign_pods), dict(self.models))
        return (*inputs, *objects, self.status if self.status != self.written else None)

    def settle(self, *, most: int = 50) -> None:
        """Look until there is no reason to look again now."""
        for _ in range(most):
            if not self.stirred:
                return
            self.step()
        raise AssertionError(f"not settled after {most} looks: {self.writes[-20:]}")

    def run(self, seconds: float, *, each: Callable[[World], None] | None = None) -> None:
        """Let time pass, from one thing that happens to the next."""
        end = self.now + seconds
        self.settle()
        while self.now < end:
            happenings = (kubelet.next_moment(self, number, pod) for number, pod in self.pods.items())
            moments = [moment for moment in (*happenings, self.wake_at) if moment is not None and moment > self.now]
            self.now = min(min(moments, default=end), end)
            self.happen()
            self.settle()
            if each is not None:
                each(self)

    def lives(self, seconds: float, each: Callable[[World], None], *, step: float = 1.0) -> None:
        """Let time pass second by second; `each` does to the pods what nobody foresees."""
        end = self.now + seconds
        self.settle()
        while self.now < end:
            self.now += step
            self.happen()
            each(self)
            self.settle()

    # --- what pods do

    def happen(self) -> None:
        """Pods do what their time has come for."""
        for number, pod in list(self.pods.items()):
            kubelet.happen(self, number, pod)
        self.pods.update({number: kubelet.report(self, pod) for number, pod in self.pods.items()})

    def breaks(self, number: int) -> None:
        """The instance loses its health."""
        self.broken.add(number)
        pod = self.pods[number]
        self.pods[number] = replace(pod, ready=False, ready_since=self.now, message="readiness probe failed: 503")

    def sickens(self, number: int) -> None:
        """The pod loses its health; a new one would be healthy."""
        self.sick.add(self.pods[number].uid)
        pod = self.pods[number]
        self.pods[number] = replace(pod, ready=False, ready_since=self.now, message="out of memory")

    def heals(self, number: int) -> None:
        self.broken.discard(number)
        self.happen()

    def loses(self, number: int) -> None:
        """Somebody else deletes the pod."""
        self.pods.pop(number, None)

    def publish(self, number: str, **changes: Any) -> None:
        self.catalogue.append(version(number, **changes))

    def change(self, **changes: Any) -> None:
        """The user edits the spec (Python names)."""
        self.spec = self.spec.model_copy(update=changes)
        self.generation += 1

    @property
    def versions(self) -> dict[int, str]:
        return {number: pod.version for number, pod in sorted(self.pods.items())}

    def works(self, number: int, pod: Pod) -> bool:
        return number not in self.broken and pod.uid not in self.sick and kubelet.works(pod)

    # --- writes

    def _store(self, model: Revision) -> None:
        self.models[model.name] = model

    def _discard(self, model: Revision) -> None:
        del self.models[model.name]

    def _differs(self, status: Mapping[str, Any]) -> bool:
        return self._stored(status) != self.status

    @staticmethod
    def _stored(status: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in json.loads(json.dumps(status)).items() if value is not None}

    def _write(self, status: Mapping[str, Any]) -> None:
        self.status, self.written = self._stored(status), self._stored(status)

    def delete(self, deletion: Deletion) -> None:
        pod = self.pods.get(deletion.instance)
        if pod is None or pod.uid != deletion.uid:
            return
        if (refusal := self.keeps_alive(deletion)) is not None:
            self._not_replaced(pod, refusal)
            return
        self.pods[deletion.instance] = replace(pod, deleting=True, deletion_due=self.now + self.grace)

    def _not_replaced(self, pod: Pod, refusal: str) -> None:
        if pod.uid not in self.memory.delete_errors:
            self.known = None  # The first time it is decided about at once.
        self.memory.delete_errors.add(pod.uid, refusal, now=self.now)

    def change_image(self, wanted: ImageChange) -> None:
        number, pod = wanted.instance, self.pods.get(wanted.instance)
        if pod is None or (pod.uid, pod.resource_version) != (wanted.uid, wanted.resource_version):
            return
        if (refusal := self.keeps(wanted)) is not None:
            if wanted.only:
                self._not_replaced(pod, refusal)
                return
            self.memory.patch_errors[pod.uid] = refusal
            self.known = None
            return
        image, before = wanted.build.reference, wanted.change
        self.pods[number] = replace(
            pod,
            model=wanted.build.model,
            version=wanted.build.version,
            images=tuple({**dict(pod.images), **dict.fromkeys((ran.container for ran in before.ran), image)}.items()),
            previous=wanted.previous,
            asked_image=wanted.build.image,
            image_ids=(),
            image_errors=(),
            change=replace(before, at=float(int(before.at))),
            conditions=tuple(each._replace(stale=True) for each in pod.conditions),
            current=image == before.image,
            resource_version=str(next(self.uids)),
        )

    def create(self, creation: Creation) -> None:
        number = creation.instance
        if number in self.pods:
            return
        if (refusal := self.quota(creation)) is not None:
            self.memory.create_errors.add(number, refusal, now=self.now, build=creation.build)
            return
        self.memory.created(number)
        for name in creation.claims:
            claim = OWNER.claim(name, number)
            self.claims.setdefault(claim, Claim(OWNER.namespace, claim, f"claim-{claim}", "1", OWNER.name))
        created = float(int(self.now))
        names = self.models[creation.build.model].image_containers
        self.pods[number] = Pod(
            namespace=OWNER.namespace,
            name=OWNER.instance(number),
            uid=f"pod-{next(self.uids)}",
            resource_version="1",
            owner=OWNER.uid,
            set_name=OWNER.name,
            model=creation.build.model,
            version=creation.build.version,
            created=created,
            started=created,
            message=self.says,
            previous=creation.previous,
            instance_created=creation.created_at,
            asked_image=creation.build.image,
            images=tuple((name, creation.build.reference) for name in names),
            container_ids=tuple((name, f"container-{next(self.uids)}") for name in names),
            restart=creation.build.restart,
            os_type=creation.build.os_type,
        )
