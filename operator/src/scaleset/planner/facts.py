"""The input of a decision: everything observed, and everything derived from it.

`Facts` are computed once per decision and never change. If one part of a decision changes the state, the next part gets
new facts (`Facts.after`), in which the instances with a changed build or rollout are judged anew.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner import health, ordered_creation
from scaleset.planner.batches import Rules
from scaleset.planner.gallery import Asker, Definition, exact, same
from scaleset.planner.gates import Gate, before_batch
from scaleset.planner.instances import Build, HealthState, Instance, Pod
from scaleset.planner.placement import place
from scaleset.planner.plan import DryRun, Needs
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Newcomer, Snapshot, Verdict
from scaleset.planner.state import NOBODY, Batch, Kind, Rollout, State, Waiting, extra
from scaleset.planner.step import NO_NEEDS, Step
from scaleset.planner.targets import PENDING, Acceptance, Wanted


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one ScaleSet in one decision."""

    snapshot: Snapshot
    state: State
    """The state as decided so far. `snapshot.state` is the stored one."""
    models: Mapping[str, Revision]
    policy: UpgradePolicySpec
    acceptance: Acceptance = PENDING
    wanted: Wanted | None = None
    eligible: tuple[str, ...] = ()
    """Versions that `latest` chooses from, highest first."""
    blocked: Mapping[int, str] = field(default_factory=dict)
    waiting: Waiting | None = None
    """Why no rollout starts."""
    shrinking: Waiting | None = None
    """Progress of scaling in, and its reason to wait; None if the set is not larger than wanted."""
    needs: Needs = NO_NEEDS
    health_source: str = ""
    """The health source of the accepted model, in one word (`health.source`): a refused spec does not change how
    running instances are judged.
    """
    instances: Mapping[int, Instance] = field(default_factory=dict)
    """Instances by id: the recorded ones, and those still to be created."""

    # What a part of a decision returns

    def step(self, state: State | None = None, *, again: bool = False) -> Step:
        """A step to that state; without one nothing changes."""
        return Step(self.state if state is None else state, self.now, again=again)

    def roll(self, rollout: Rollout) -> Step:
        """A step in which only the rollout changes."""
        return self.step(replace(self.state, rollout=rollout))

    def need(self, needs: Needs) -> Step:
        """A step that cannot be taken before more is observed."""
        return replace(self.step(), needs=needs)

    def need_fresh(self) -> Step:
        """A step that is taken on a fresh LIST only."""
        return self.need(Needs(fresh=True))

    def need_admission(self, moves: Mapping[int, Build]) -> Step:
        """A step that is taken after a dry run of those builds only."""
        return self.need(Needs(admission=self._dry_run(moves)))

    def after(self, step: Step) -> "Facts":
        """The facts once that step is taken."""
        facts = self._moved(step)
        return replace(facts, needs=self.needs.and_of(step.needs)) if step.needs else facts

    def _moved(self, step: Step) -> "Facts":
        if step.state is self.state and not (step.waiting or step.shrinking or step.blocked):
            return self
        moved = replace(
            self,
            state=step.state,
            blocked={**self.blocked, **step.blocked},
            waiting=step.waiting or self.waiting,
            shrinking=step.shrinking or self.shrinking,
        )
        if not self.health_source:
            return moved
        ids = tuple(_ids(moved))
        stale = _judged_otherwise(self, moved)
        if not stale and ids == tuple(self.instances):
            return moved
        known = self.instances
        judged = {n: _judge(moved, n) if n in stale or n not in known else known[n] for n in ids}
        return replace(
            moved,
            instances=_in_order(moved, judged),
            blocked={n: why for n, why in moved.blocked.items() if n in ids},
        )

    def judged(self) -> "Facts":
        """The facts with every instance judged, once the accepted model is known."""
        by = health.source(self.wanted.model if self.wanted is not None else self.snapshot.model)
        facts = replace(self, health_source=by)
        return replace(facts, instances=_in_order(facts, {n: _judge(facts, n) for n in _ids(facts)}))

    # Derived facts

    @property
    def now(self) -> float:
        return self.snapshot.now

    @property
    def reported(self) -> ScaleSetStatus:
        """The status that users see now."""
        return self.snapshot.reported

    @property
    def fresh(self) -> bool:
        """Whether the pods are from a LIST that began after our last write."""
        return self.snapshot.fresh

    @property
    def latest(self) -> str | None:
        """The version that `latest` means now."""
        return next(iter(self.eligible), None)

    @property
    def replicas(self) -> int:
        """The wanted number of instances: the size that was accepted last."""
        accepted = self.state.replicas
        return self.snapshot.spec.replicas if accepted is None else accepted

    @property
    def rollout(self) -> Rollout | None:
        """The running rollout."""
        rollout = self.state.rollout
        return rollout if rollout is not None and rollout.running else None

    @property
    def running(self) -> Rollout:
        """The running rollout, for steps that are taken only while there is one."""
        rollout = self.rollout
        if rollout is None:
            raise LookupError("no rollout is running")
        return rollout

    @property
    def obstacle(self) -> Waiting | None:
        """Why the running rollout waits, or why no rollout starts."""
        return self.rollout.waiting if self.rollout is not None else self.waiting

    @property
    def last_batch(self) -> Batch | None:
        """The batch that ended in this decision."""
        before, rollout = self.snapshot.state.rollout, self.rollout
        if before is None or rollout is None or before.id != rollout.id or rollout.batch is not None:
            return None
        return before.batch

    @property
    def in_batch(self) -> frozenset[int]:
        """Instances of the running batch that are not decided yet."""
        return self.rollout.in_progress if self.rollout is not None else NOBODY

    @property
    def in_hand(self) -> frozenset[int]:
        """Instances that a batch or a request is replacing."""
        return self.state.applying | self.in_batch

    @property
    def newest(self) -> Revision | None:
        """The stored model that was accepted last."""
        stored = (model for model in self.models.values() if model.number)
        return max(stored, key=lambda model: model.number, default=None)

    @property
    def goal(self) -> Wanted:
        """The accepted build, for steps taken only once this spec or an earlier one was accepted."""
        if self.wanted is None:
            raise LookupError("no model was accepted yet")
        return self.wanted

    @property
    def target_build(self) -> Build | None:
        """Newest model and wanted version; None if no instance can be created."""
        wanted = self.wanted
        if wanted is None or wanted.version is None or wanted.image is None:
            return None
        return Build(wanted.model.name, wanted.version, wanted.image, os_type=wanted.os_type)

    @property
    def asker(self) -> Asker:
        spec = self.snapshot.spec
        return Asker(self.snapshot.owner.namespace, spec.location or "default")

    @property
    def health_timeout(self) -> float:
        return self.policy.health_timeout.total_seconds()

    @property
    def protected(self) -> frozenset[int]:
        """Instances that set actions pass over."""
        return frozenset(
            item.id for item in self.snapshot.spec.protected_instances if item.protect_from_scale_set_actions
        )

    def only_in_place(self, number: int) -> bool:
        """Whether the pod of that instance may not be made again for an upgrade. A restore is none: a failed instance
        is made again where its image cannot be put back in place.
        """
        rollout = self.rollout
        if rollout is not None and number in rollout.in_progress:
            return rollout.policy.only_in_place and number not in rollout.failed
        return self.policy.only_in_place

    def definition(self, model: Revision) -> Definition:
        """The image definition that a model refers to."""
        reference = model.reference
        gallery = reference.gallery or self.snapshot.owner.namespace
        return Definition(gallery, reference.publisher, reference.offer, reference.sku)

    def known_image(self, version: str) -> str | None:
        """Image of a version that an instance runs or ran, even if its GalleryImageVersion is gone."""
        state = self.state
        if same(state.current_version, version) and state.current_image:
            return state.current_image
        return next((build.image for build in self._builds_of(version)), None)

    def known_os_type(self, version: str) -> str | None:
        """Operating system of a version that an instance runs or ran, else what its GalleryImageVersion says now."""
        recorded = next((build.os_type for build in self._builds_of(version) if build.os_type is not None), None)
        if recorded is not None:
            return recorded
        found = exact(self.snapshot.catalogue, self.definition(self.goal.model), version, self.asker)
        return found.os_type if found is not None else None

    def _builds_of(self, version: str) -> Iterator[Build]:
        """The builds of that version that instances run, then those that they ran before."""
        known = chain(self.state.builds.values(), self.state.previous.values())
        return (build for build in known if same(build.version, version))

    def batch_rules(self, rollout: Rollout) -> Rules:
        """The rules of a batch. A new model is the usual way to recover, so its rollout replaces broken instances
        first.
        """
        policy = rollout.policy.rolling
        return Rules(
            replicas=self.replicas,
            policy=policy,
            unhealthy_first=policy.prioritize_unhealthy_instances or rollout.mends,
            by_update_domain=self.snapshot.spec.service_fabric is not None,
            by_model=rollout.kind is Kind.RESTART,
            descending=self.snapshot.spec.descends,
        )

    def gate(self, *, percent: int, healthy_for: float = 0.0) -> Gate:
        """The health gate before a batch, over all instances."""
        since = {
            number: at
            for number, instance in self.instances.items()
            if healthy_for
            and instance.pod is not None
            and (at := health.healthy_since(instance.pod, by=self.health_source)) is not None
        }
        return before_batch(
            self.instances.values(),
            replicas=self.replicas,
            percent=percent,
            healthy_since=since,
            now=self.now,
            healthy_for=healthy_for,
        )

    def restarted(self, number: int, pod: Pod) -> bool:
        """Whether a container has ended since the running rollout upgraded this instance. Only asked if the state of
        the containers is the sole health signal, since a restarted container runs as well.
        """
        rollout = self.rollout
        if rollout is None or self.health_source != health.INSTANCE_STATE or not pod.restarted:
            return False
        build = self.state.builds.get(number)
        if build is None or not build.same_as(pod):
            return False  # This is the previous pod, and it has ended.
        return number in rollout.successful or number in rollout.verifying

    # Answers of the API server

    def refusal(self, number: int) -> str | None:
        """Why the API server would not create the pod or a claim of that instance when last asked."""
        return self.snapshot.refusals.get(number)

    def _dry_run(self, moves: Mapping[int, Build]) -> DryRun:
        """A dry run of everything that those instances need for their new builds, which are of one model."""
        model = self.models[moves[min(moves)].model]
        batch = tuple(Newcomer(n, moves[n], self.missing_claims(model, n)) for n in sorted(moves))
        return DryRun(model, batch[0].build, batch[0].instance, batch)

    def missing_claims(self, model: Revision, number: int) -> tuple[str, ...]:
        """Claims that an instance lacks for that model."""
        owner, claims = self.snapshot.owner, self.snapshot.claims
        return tuple(name for name in model.claim_names if owner.claim(name, number) not in claims)

    def admission(self, moves: Mapping[int, Build]) -> Verdict | None:
        """The answer to a dry run of those builds; None if it has not been made yet."""
        return self.snapshot.admissions.get(self._dry_run(moves).about)

    def held_admission(self, moves: Mapping[int, Build]) -> Verdict | None:
        """The answer to a dry run that every decision repeats until it is accepted. A refusal is kept for a while."""
        dry_run = self._dry_run(moves)
        declined = self.snapshot.declined.get(dry_run.model.name)
        retry_at = declined.retry_at if declined is not None else None
        held = retry_at is not None and self.now < retry_at and dry_run.about not in self.snapshot.admissions
        return declined if held else self.snapshot.admissions.get(dry_run.about)


Part = Callable[[Facts], Step]


def in_order(facts: Facts, *parts: Part) -> tuple[Facts, Step]:
    """Run the parts of a decision in order, each on the facts after the previous part."""
    done = facts.step()
    for part in parts:
        step = part(facts)
        done = done.then(step)
        facts = facts.after(step)
    return facts, done


# --- the instances


def _ids(facts: Facts) -> Iterator[int]:
    """Recorded instances, and the lowest free ids for those still to be created. An id in use by the stored state is
    not free in this decision, even if its instance is let go: the pod is still there.
    """
    builds, stored = facts.state.builds, facts.snapshot.state
    yield from sorted(builds)
    missing = max(0, facts.replicas + extra(facts.state) - len(builds))
    batch = stored.rollout.batch if stored.rollout is not None else None
    taken = {*builds, *stored.builds, *(batch.surge | batch.replaces if batch is not None else ())}
    yield from islice((number for number in count(facts.snapshot.spec.first_id) if number not in taken), missing)


def _judged_otherwise(before: Facts, now: Facts) -> set[int]:
    """Instances that the new state may judge differently."""
    old, new = before.state, now.state
    stale = {n for n, build in new.builds.items() if old.builds.get(n) is not build} if old is not new else set()
    stale |= before.blocked.keys() ^ now.blocked.keys()
    if old.ended is not new.ended:
        stale |= old.ended.keys() | new.ended.keys()
    if old.rollout is not new.rollout:
        stale |= _watched(old.rollout) ^ _watched(new.rollout)
        stale |= _successful(old.rollout) ^ _successful(new.rollout)
    return stale


def _watched(rollout: Rollout | None) -> frozenset[int]:
    return rollout.successful | rollout.verifying if rollout is not None and rollout.running else NOBODY


def _successful(rollout: Rollout | None) -> frozenset[int]:
    return rollout.successful if rollout is not None else NOBODY


def _in_order(facts: Facts, judged: Mapping[int, Instance]) -> Mapping[int, Instance]:
    if not facts.snapshot.spec.ordered or len(judged) == len(facts.state.builds):
        return judged
    return ordered_creation.queued(
        {n: _judge(facts, n) if i.queued_behind is not None else i for n, i in judged.items()}
    )


def _judge(facts: Facts, number: int) -> Instance:
    spec = facts.snapshot.spec
    pod = facts.snapshot.pods.get(number)
    state, message, since = _health(facts, number, pod)
    where = place(number, zones=len(spec.zones), update_domains=spec.domains)
    held = pod is not None and (pod.deleting or pod.uid in facts.snapshot.delete_errors)
    return Instance(number, facts.state.builds.get(number), pod, state, message, since, where, held)


def _health(facts: Facts, number: int, pod: Pod | None) -> tuple[HealthState, str, float | None]:
    if pod is None:
        refusal = facts.blocked.get(number) or facts.refusal(number)
        return HealthState.UNHEALTHY, refusal or health.NO_POD, None
    state = health.state(pod, by=facts.health_source, now=facts.now, timeout=facts.health_timeout)
    if state is HealthState.HEALTHY and facts.restarted(number, pod):
        return HealthState.UNHEALTHY, "A container has ended since the upgrade.", pod.running_since
    if state is HealthState.HEALTHY:
        return state, "", health.changed(pod, by=facts.health_source, now=facts.now)
    if state is HealthState.INITIALIZING and (_ends(facts.state, number) or _was_healthy(facts.state, number, pod)):
        state = HealthState.UNHEALTHY
    message = "The pod is terminating." if pod.deleting else health.explanation(pod, by=facts.health_source)
    return state, message, health.changed(pod, by=facts.health_source, now=facts.now)


def _ends(state: State, number: int) -> bool:
    """Whether several pods of the instance have ended in a row. The rollout does not wait for the next one."""
    ended = state.ended.get(number)
    return ended is not None and ended.count > 1


def _was_healthy(state: State, number: int, pod: Pod) -> bool:
    """Whether the current pod was healthy when its batch ended. After a change in place, a second crash removes that
    from the pod's status. A new pod never was healthy then.
    """
    rollout = state.rollout
    if pod.change is None or rollout is None or number not in rollout.successful:
        return False
    goal = rollout.target.version
    return pod.model == rollout.target.model and (goal is None or same(pod.version, goal))
