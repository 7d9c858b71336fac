"""The world that `decide()` acts on, in memory.

It carries plans out as the operator does (model, status, deletions, creations), may stop after any single write, and
lets pods behave by the tag of their image, as the stages of the embedded cluster do. After a change in place a pod
stays Ready until its container is started again. The state goes through the JSON of the status at every step, so what
does not survive a restart cannot help a decision.
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
from scaleset.planning import models as model_rules
from scaleset.planning import record
from scaleset.planning.decide import decide
from scaleset.planning.gallery import Definition, GalleryVersion
from scaleset.planning.instances import Claim, Pod
from scaleset.planning.models import Model
from scaleset.planning.pods import Identity
from scaleset.planning.snapshot import Creation, Deletion, Event, ImageChange, Plan, Snapshot, Turn, Verdict
from scaleset.planning.state import State

OWNER = Identity("shop", "web", "uid-web")
EPOCH = 1_800_000_000.0
DEFINITION = Definition("shop", "contoso", "web", "stable")


def spec(**changes: Any) -> ScaleSetSpec:
    """A valid spec; top-level fields may be replaced, in JSON names."""
    raw: dict[str, Any] = {
        "replicas": 10,
        "imageReference": {"publisher": "contoso", "offer": "web", "sku": "stable", "version": "latest"},
        "upgradePolicyRef": {"name": "careful"},
        # One update domain, so that batches go by id; tests of the order set their own.
        "updateDomains": 1,
        "template": {
            "spec": {"containers": [{"name": "app", "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}]}
        },
    }
    return ScaleSetSpec.model_validate({**raw, **changes})


def policy(
    *, mode: str = "Manual", automatic: bool = True, rolling: Mapping[str, Any] | None = None, **changes: Any
) -> UpgradePolicySpec:
    """A policy with automatic image upgrades on."""
    return UpgradePolicySpec.model_validate(
        {
            "mode": mode,
            "rollingUpgradePolicy": dict(rolling or {}),
            "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": automatic, **changes.pop("os", {})},
            **changes,
        }
    )


def version(number: str, *, suffix: str = "", name: str | None = None, **changes: Any) -> GalleryVersion:
    """A published version; `suffix` goes to the image tag and says how its pods behave: `-bad` never becomes ready."""
    image = f"example.com/web:{number}{suffix}"
    base = GalleryVersion(
        name=name or f"web-{number}", definition=DEFINITION, version=number, image=image, created=EPOCH
    )
    return replace(base, **changes)


BACK_OFF = 2.0
"""Seconds until the API server is asked again about what it refused."""


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
    models: dict[str, Model] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    """Instances whose pod the API server would not create when last asked."""
    quota: Callable[[Creation], str | None] = lambda _: None
    """What the API server says against creating a pod."""
    unchangeable: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, whose image the API server would not change in place when last asked."""
    keeps: Callable[[ImageChange], str | None] = lambda _: None
    """What the API server says against changing an image in place."""
    undeletable: dict[str, str] = field(default_factory=dict)
    """Pods, by uid, that the API server would not delete when last asked."""
    keeps_alive: Callable[[Deletion], str | None] = lambda _: None
    """What the API server says against deleting a pod."""
    grace: float = 30.0
    """Seconds that a deleted pod may take to end."""
    deaf: set[int] = field(default_factory=set)
    """Instances whose kubelet does not come to the change of an image."""
    strangers: dict[int, str] = field(default_factory=dict)
    verdict: Callable[[Model], Verdict] = lambda _: Verdict(accepted=True)
    admit: Callable[[int], Verdict] = lambda _: Verdict(accepted=True)
    """What the API server says to a dry run of that instance's pod."""
    declined: dict[str, Verdict] = field(default_factory=dict)
    """The last refusal of what was to be replaced, by name of the model."""
    turn: Callable[[], Turn | None] = lambda: None
    """Where the set stands among those of its policy."""
    ages: dict[int, float] = field(default_factory=dict)
    """When each instance was first created."""
    held: set[int] = field(default_factory=set)
    """Instances whose pod stays Terminating when it is deleted."""
    broken: set[int] = field(default_factory=set)
    """Instances that are not ready whatever they run."""
    sick: set[str] = field(default_factory=set)
    """Pods that are not ready; the next of the same instance is."""
    says: str = "containers not ready"
    """What Kubernetes says about a pod that is not ready yet."""
    events: list[Event] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    wake_at: float | None = None
    observed: Snapshot | None = None
    """What the last plan was decided on."""
    acted: Callable[[Snapshot, Plan], None] = lambda *_: None
    """Told of every plan that was carried out whole, and what it was decided on."""
    uids: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))

    # --- observing

    @property
    def model(self) -> Model:
        return model_rules.describe(OWNER.name, self.spec)

    @property
    def state(self) -> State:
        return record.read(ScaleSetStatus.parse({"status": self.status}))

    def snapshot(self, *, fresh: bool = False, pods: Mapping[int, Pod] | None = None, **changes: Any) -> Snapshot:
        """What the operator would see; `pods` may be an older view of them."""
        base = Snapshot(
            owner=OWNER,
            generation=self.generation,
            spec=self.spec,
            state=self.state,
            model=self.model,
            now=self.now,
            policy=self.policy,
            annotations=dict(self.annotations),
            pods=dict(self.pods if pods is None else pods),
            strangers=dict(self.strangers),
            claims=dict(self.claims),
            models=tuple(self.models.values()),
            catalogue=tuple(self.catalogue),
            refusals=dict(self.refusals),
            unchangeable=dict(self.unchangeable),
            undeletable=dict(self.undeletable),
            ages=dict(self.ages),
            declined=dict(self.declined),
            turn=self.turn(),
            fresh=fresh,
            reported=self.status,
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
                snapshot = replace(snapshot, verdicts={model.name: self.verdict(model)})
            if plan.needs.admission is not None:
                asked = plan.needs.admission
                verdict = self.admit(asked.instance)
                self._decline(asked.model, verdict)
                admissions = {**snapshot.admissions, asked.about: verdict}
                snapshot = replace(snapshot, admissions=admissions, declined=dict(self.declined))
        raise AssertionError("the plan never has what it needs")

    def _decline(self, model: Model, verdict: Verdict) -> None:
        self.declined.pop(model.name, None)
        if not verdict.accepted:
            self.declined[model.name] = replace(verdict, retry_at=self.now + BACK_OFF)

    # --- acting

    def actions(self, plan: Plan) -> list[tuple[str, Callable[[], None]]]:
        """The plan's writes, in order."""
        steps: list[tuple[str, Callable[[], None]]] = []
        steps += [(f"store {model.name}", partial(self._store, model)) for model in plan.store]
        steps += [(f"discard {model.name}", partial(self._discard, model)) for model in plan.discard]
        if self._differs(plan.status):
            steps.append(("status", partial(self._write, plan.status)))
        steps += [
            (f"delete {d.instance}", partial(self.delete, d))
            for d in plan.deletions
            if d.uid not in self.undeletable or self.keeps_alive(d) is None
        ]
        steps += [(f"change {c.instance}", partial(self.change_image, c)) for c in plan.changes]
        steps += [
            (f"create {c.instance}", partial(self.create, c))
            for c in plan.creations
            if self.refusals.get(c.instance) is None or self.quota(c) is None
        ]
        return steps

    def step(self, *, writes: int | None = None) -> Plan:
        """One reconcile; with `writes` the operator dies after that many of them."""
        plan = self.plan()
        known = plan.state.builds.keys() | self.pods.keys()
        self.ages = {number: at for number, at in self.ages.items() if number in known}
        steps = self.actions(plan)
        for name, action in steps[:writes]:
            self.writes.append(name)
            action()
        if writes is None or writes >= len(steps):
            self.events += plan.events
            self.wake_at = plan.wake_at
            if self.observed is not None:
                self.acted(self.observed, plan)
        self.plans.append(plan)
        return plan

    def settle(self, *, most: int = 50) -> None:
        """Reconcile until nothing is left to do now."""
        for _ in range(most):
            before = len(self.writes)
            plan = self.step()
            if len(self.writes) == before and (plan.wake_at is None or plan.wake_at > self.now):
                return
        raise AssertionError(f"not settled after {most} reconciles: {self.writes[-20:]}")

    def run(self, seconds: float, *, each: Callable[[World], None] | None = None) -> None:
        """Let time pass, from one thing that happens to the next."""
        end = self.now + seconds
        self.settle()
        while self.now < end:
            moments = [
                moment for moment in (*self._happenings(), self.wake_at) if moment is not None and moment > self.now
            ]
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
        """Pods become ready when their time has come."""
        for number, pod in list(self.pods.items()):
            if pod.deleting:
                if number not in self.held:
                    del self.pods[number]
            elif not pod.current and number not in self.deaf and self.now > pod.begun:
                self.pods[number] = self._restarted(pod)
            elif not pod.ready and self.now >= pod.begun + self.start and self._works(number, pod):
                self.pods[number] = replace(
                    pod, ready=True, ready_since=self.now, running=True, running_since=pod.begun, message=""
                )

    def _restarted(self, pod: Pod) -> Pod:
        """The kubelet starts the container again, with the image that the pod has now."""
        return replace(
            pod,
            current=True,
            ready=False,
            ready_since=pod.begun,
            started=self.now,
            running=False,
            message=self.says,
            resource_version=str(next(self.uids)),
            container_ids=(("app", f"container-{next(self.uids)}"),),
        )

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

    def _works(self, number: int, pod: Pod) -> bool:
        return number not in self.broken and pod.uid not in self.sick and not pod.images[0][1].endswith("-bad")

    def _happenings(self) -> Iterator[float]:
        for number, pod in self.pods.items():
            restarts = not pod.current and number not in self.deaf
            if restarts or (pod.deleting and number not in self.held):
                yield self.now + 0.01
            elif not pod.ready and not pod.deleting and self._works(number, pod):
                yield max(pod.begun + self.start, self.now + 0.01)

    # --- writes

    def _store(self, model: Model) -> None:
        self.models[model.name] = model

    def _discard(self, model: Model) -> None:
        del self.models[model.name]

    def _differs(self, status: Mapping[str, Any]) -> bool:
        return self._stored(status) != self.status

    @staticmethod
    def _stored(status: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in json.loads(json.dumps(status)).items() if value is not None}

    def _write(self, status: Mapping[str, Any]) -> None:
        self.status = self._stored(status)

    def delete(self, deletion: Deletion) -> None:
        pod = self.pods.get(deletion.instance)
        if pod is None or pod.uid != deletion.uid:
            return
        if (refusal := self.keeps_alive(deletion)) is not None:
            self.undeletable[pod.uid] = refusal
            return
        self.undeletable.pop(pod.uid, None)
        self.pods[deletion.instance] = replace(pod, deleting=True, deletion_due=self.now + self.grace)

    def change_image(self, wanted: ImageChange) -> None:
        number, pod = wanted.instance, self.pods.get(wanted.instance)
        if pod is None or (pod.uid, pod.resource_version) != (wanted.uid, wanted.resource_version):
            return
        if (refusal := self.keeps(wanted)) is not None:
            self.unchangeable[pod.uid] = refusal
            return
        image, before = wanted.build.image, wanted.change
        self.pods[number] = replace(
            pod,
            model=wanted.build.model,
            version=wanted.build.version,
            images=tuple({**dict(pod.images), **dict.fromkeys((ran.container for ran in before.ran), image)}.items()),
            previous=wanted.previous,
            asked_image=image,
            change=replace(before, at=float(int(before.at))),
            current=image == before.image,
            resource_version=str(next(self.uids)),
        )

    def create(self, creation: Creation) -> None:
        number = creation.instance
        if number in self.pods:
            return
        if (refusal := self.quota(creation)) is not None:
            self.refusals[number] = refusal
            return
        self.refusals.pop(number, None)
        for name in creation.claims:
            claim = OWNER.claim(name, number)
            self.claims.setdefault(claim, Claim(OWNER.namespace, claim, f"claim-{claim}", "1", OWNER.name))
        created = float(int(self.now))
        names = self.models[creation.build.model].image_containers
        self.ages[number] = creation.created_at
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
            images=tuple((name, creation.build.image) for name in names),
            container_ids=tuple((name, f"container-{next(self.uids)}") for name in names),
        )
