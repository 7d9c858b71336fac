"""The decision while it is being taken.

`decide` runs a few steps over one Draft. A step reads the snapshot and what earlier steps settled, and replaces
`state` by a new one. Nothing outside this package sees a Draft.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planning import health
from scaleset.planning.batches import Rules
from scaleset.planning.gallery import Asker, Definition, same
from scaleset.planning.gates import Gate, before_batch
from scaleset.planning.instances import Build, HealthState, Instance, Pod
from scaleset.planning.models import Model
from scaleset.planning.placement import place
from scaleset.planning.snapshot import (
    Creation,
    Deletion,
    DryRun,
    Event,
    ImageChange,
    Needs,
    Newcomer,
    Snapshot,
    Verdict,
)
from scaleset.planning.state import Rollout, State, Target, Waiting

INVALID = "InvalidSpec"
NO_POD = "The pod does not exist."


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether the spec can be carried out: the condition Accepted."""

    reason: str
    message: str
    accepted: bool = False

    @property
    def refuses_all(self) -> bool:
        """Whether the spec contradicts itself or its policy: then nothing of it is acted on, its size included. What
        only misses something outside it (a policy, an image, room for its pods) is about new pods: scaling goes on
        with the model before, and scaling in may be what makes room.
        """
        return self.reason == INVALID


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new instance would run: the newest accepted model, and the version that its image reference means now."""

    model: Model
    version: str | None
    image: str | None

    @property
    def target(self) -> Target:
        """As the target of an image upgrade or of a changed image reference."""
        reference = self.model.reference
        return Target(
            self.model.name,
            reference.publisher,
            reference.offer,
            reference.sku,
            reference.version,
            self.version,
            self.image,
        )


@dataclass(slots=True)
class Draft:
    """Working state of one decision."""

    snapshot: Snapshot
    state: State
    models: dict[str, Model]
    policy: UpgradePolicySpec
    acceptance: Acceptance
    reported: ScaleSetStatus
    """What users were told so far."""
    wanted: Wanted | None = None
    latest: str | None = None
    eligible: tuple[str, ...] = ()
    """Versions that `latest` chooses from, highest first."""
    instances: dict[int, Instance] = field(default_factory=dict)
    waiting: Waiting | None = None
    """Why no rollout starts."""
    shrinking: Waiting | None = None
    """How far scaling in is, and what it waits for; None when the set is not larger than wanted."""
    needs: Needs = field(default_factory=Needs)
    events: list[Event] = field(default_factory=list)
    creations: list[Creation] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    changes: list[ImageChange] = field(default_factory=list)
    blocked: dict[int, str] = field(default_factory=dict)
    store: list[Model] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.snapshot.now

    @property
    def replicas(self) -> int:
        """How many instances there are to be: the size that was accepted last."""
        accepted = self.state.replicas
        return self.snapshot.spec.replicas if accepted is None else accepted

    @property
    def rollout(self) -> Rollout | None:
        """The running rollout."""
        rollout = self.state.rollout
        return rollout if rollout is not None and rollout.running else None

    @property
    def newest(self) -> Model | None:
        """The stored model that was accepted last."""
        stored = (model for model in self.models.values() if model.number)
        return max(stored, key=lambda model: model.number, default=None)

    @property
    def running(self) -> Rollout:
        """The running rollout, for steps that are taken only while there is one."""
        rollout = self.rollout
        if rollout is None:
            raise LookupError("no rollout is running")
        return rollout

    @property
    def goal(self) -> Wanted:
        """What is wanted, for steps that are taken only once the spec, or one before it, was accepted."""
        if self.wanted is None:
            raise LookupError("no model was accepted yet")
        return self.wanted

    @property
    def asker(self) -> Asker:
        spec = self.snapshot.spec
        return Asker(self.snapshot.owner.namespace, spec.location or "default")

    @property
    def health_source(self) -> str:
        """By the model that counts: a spec that is refused does not change how running instances are judged."""
        return health.source(self.wanted.model if self.wanted is not None else self.snapshot.model)

    @property
    def health_timeout(self) -> float:
        return self.policy.health_timeout.total_seconds()

    def definition(self, model: Model) -> Definition:
        """The image definition that a model refers to."""
        reference = model.reference
        gallery = reference.gallery or self.snapshot.owner.namespace
        return Definition(gallery, reference.publisher, reference.offer, reference.sku)

    def batch_rules(self, rollout: Rollout) -> Rules:
        """How batches are put together. A new model is how one recovers, so its rollout goes to the broken first."""
        policy = rollout.policy.rolling
        return Rules(
            replicas=self.replicas,
            policy=policy,
            unhealthy_first=policy.prioritize_unhealthy_instances or rollout.mends,
            by_update_domain=self.snapshot.spec.service_fabric is not None,
        )

    def wake(self, at: float | None) -> None:
        """Ask to decide again at that time."""
        if at is not None:
            self.wakes.append(at)

    def tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.events.append(self.about(Event(reason, message, warning), self.state.rollout))

    def about(self, event: Event, rollout: Rollout | None) -> Event:
        """The event with the rollout and the batch that it is about: one that runs, or has just ended."""
        if rollout is None or not (rollout.running or rollout.completed == self.now):
            return replace(event, rollout=None, batch=None)
        return replace(event, rollout=rollout.id, batch=rollout.batch.number if rollout.batch is not None else None)

    def update(self, rollout: Rollout) -> None:
        self.state = replace(self.state, rollout=rollout)

    def need_fresh(self) -> bool:
        """True when the pods are fresh; otherwise asks for them."""
        if not self.snapshot.fresh:
            self.needs = replace(self.needs, fresh=True)
        return self.snapshot.fresh

    def need_admission(self, dry_run: DryRun) -> Verdict | None:
        """What the API server says to this batch; None when it has to be asked first."""
        verdict = self.snapshot.admissions.get(dry_run.about)
        if verdict is None:
            self.needs = replace(self.needs, admission=dry_run)
        return verdict

    def need_admission_again(self, dry_run: DryRun) -> Verdict | None:
        """The same for what every look asks about until it is taken: after a refusal the answer holds for a while."""
        declined = self.snapshot.declined.get(dry_run.model.name)
        retry_at = declined.retry_at if declined is not None else None
        held = retry_at is not None and self.now < retry_at and dry_run.about not in self.snapshot.admissions
        verdict = declined if held else self.need_admission(dry_run)
        if verdict is not None and not verdict.accepted:
            self.wake(retry_at)
        return verdict

    def dry_run(self, model: Model, moves: Mapping[int, Build]) -> DryRun:
        """The question whether the API server would take everything that those instances need in that model."""
        batch = tuple(Newcomer(n, moves[n], self.missing_claims(model, n)) for n in sorted(moves))
        return DryRun(model, batch[0].build, batch[0].instance, batch)

    def missing_claims(self, model: Model, number: int) -> tuple[str, ...]:
        """Claims that an instance needs in that model and has not."""
        owner, claims = self.snapshot.owner, self.snapshot.claims
        return tuple(name for name in model.claim_names if owner.claim(name, number) not in claims)

    def protected(self) -> frozenset[int]:
        """Instances that set actions pass over."""
        return frozenset(
            item.id for item in self.snapshot.spec.protected_instances if item.protect_from_scale_set_actions
        )

    def gate(self, *, percent: int, healthy_for: float = 0.0, apart_from: frozenset[int] = frozenset()) -> Gate:
        """The gate before a batch, over all instances but those of the batch itself."""
        since = {
            number: at
            for number, instance in self.instances.items()
            if instance.pod is not None
            and (at := health.healthy_since(instance.pod, by=self.health_source)) is not None
        }
        others = (instance for number, instance in self.instances.items() if number not in apart_from)
        return before_batch(
            others, replicas=self.replicas, percent=percent, healthy_since=since, now=self.now, healthy_for=healthy_for
        )

    def refusal(self, number: int) -> str | None:
        """Why the API server would not create the pod or a claim of that instance when last asked."""
        return self.snapshot.refusals.get(number)

    def look(self, ids: Iterable[int]) -> None:
        """Judge the health of those instances."""
        by, timeout, now = self.health_source, self.health_timeout, self.now
        spec = self.snapshot.spec
        zones = len(spec.zones)
        for number in ids:
            build = self.state.builds.get(number)
            pod = self.snapshot.pods.get(number)
            state, message, since = self._judge(number, pod, by=by, timeout=timeout, now=now)
            where = place(number, zones=zones, update_domains=spec.domains)
            held = pod is not None and (pod.deleting or pod.uid in self.snapshot.undeletable)
            self.instances[number] = Instance(number, build, pod, state, message, since, where, held)

    def _judge(
        self, number: int, pod: Pod | None, *, by: str, timeout: float, now: float
    ) -> tuple[HealthState, str, float | None]:
        if pod is None:
            refusal = self.blocked.get(number) or self.refusal(number)
            return HealthState.UNHEALTHY, refusal or NO_POD, None
        state = health.state(pod, by=by, now=now, timeout=timeout)
        if state is HealthState.HEALTHY and self.restarted(number, pod):
            return HealthState.UNHEALTHY, "A container has ended since the upgrade.", pod.running_since
        if state is HealthState.HEALTHY:
            return state, "", pod.ready_since
        if state is HealthState.INITIALIZING and (self._ends(number) or self._was_healthy(number, pod)):
            state = HealthState.UNHEALTHY
        if state is HealthState.INITIALIZING:
            self.wake(pod.begun + timeout)
        message = "The pod is terminating." if pod.deleting else pod.message
        return state, message or "Instance found to be unhealthy or unreachable.", pod.ready_since or pod.begun

    def _ends(self, number: int) -> bool:
        """Whether pods of the instance have ended one after the other: nobody waits for the next one."""
        ended = self.state.ended.get(number)
        return ended is not None and ended.count > 1

    def restarted(self, number: int, pod: Pod) -> bool:
        """Whether a container has ended since the running rollout upgraded this instance, where the state of the
        containers is all that tells of its health: a container that was started again is running, too.
        """
        rollout = self.rollout
        if rollout is None or self.health_source != health.INSTANCE_STATE or not pod.restarted:
            return False
        build = self.state.builds.get(number)
        if build is None or not build.same_as(pod):
            return False  # It is the pod from before, and that is over.
        return number in rollout.successful or number in rollout.verifying

    def _was_healthy(self, number: int, pod: Pod) -> bool:
        """Whether this very pod was healthy when its batch ended. After a change in place its status forgets that with
        the second crash; a new pod never was.
        """
        rollout = self.state.rollout
        if pod.change is None or rollout is None or number not in rollout.successful:
            return False
        goal = rollout.target.version
        return pod.model == rollout.target.model and (goal is None or same(pod.version, goal))


def known_image(draft: Draft, version: str) -> str | None:
    """Image of a version that an instance runs or ran, whatever became of its GalleryImageVersion."""
    state = draft.state
    if same(state.current_version, version) and state.current_image:
        return state.current_image
    for builds in (state.builds, state.previous):
        for build in builds.values():
            if same(build.version, version):
                return build.image
    return None


def target_build(draft: Draft) -> Build | None:
    """Newest model and wanted version; None when there is nothing to create instances from."""
    wanted = draft.wanted
    if wanted is None or wanted.version is None or wanted.image is None:
        return None
    return Build(wanted.model.name, wanted.version, wanted.image)
