"""The reconcile of a ScaleSet: observe, decide, act.

Observations come from caches. If a plan needs more (a fresh LIST, a dry run), it is fetched and the decision is taken
again. Actions follow the order of the plan: the model, the status, then pods and claims, then events. After a failure
the next decision starts from the state at that time.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from time import monotonic
from typing import Any, Protocol

from scaleset.api import names
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.caches import Caches
from scaleset.controllers.concurrency_limit import ConcurrencyLimit
from scaleset.controllers.instance_writer import InstanceWriter
from scaleset.controllers.memory import Memory
from scaleset.controllers.observation import check_model, observe, try_pods
from scaleset.controllers.status_writer import (
    StatusWriter,
    check_kept,
    condition,
    conditions,
    merge_patch,
    urgent,
)
from scaleset.kube.client import Client
from scaleset.kube.errors import NamespaceTerminating, NotKept
from scaleset.kube.resources import JSON, Key, Wake
from scaleset.observability.fleet import Fleet
from scaleset.observability.logging import NOTHING
from scaleset.planner.decide import decide
from scaleset.planner.plan import DryRun, Event, ModelCheck, Needs, Plan
from scaleset.planner.pod_builder import Identity
from scaleset.planner.snapshot import Question, Snapshot, Verdict
from scaleset.records.custom_objects import ScaleSetObject

log = logging.getLogger(__name__)

OBSERVATIONS = 6
"""Most rounds in which a plan may need more observations."""
FLUSH_SECONDS = 5.0
"""Least seconds between two writes of counts and sentences while a batch runs."""
RELIST_SECONDS = 60.0
"""Longest time until a waiting set lists its objects anew. A lost event leaves no trace, and the set may wait for
exactly this event.
"""
DECISION = (
    "decision scaleset=%(namespace)s/%(scaleset)s rollout=%(rollout)s batch=%(batch)s reason=%(reason)s "
    'message="%(message)s"'
)


class Recorder(Protocol):
    """Where events go."""

    def record(self, regarding: ScaleSetObject, event: Event) -> None:
        """Send the event soon."""


@dataclass(eq=False)
class ScaleSetController:
    """Reconciles ScaleSets by key (namespace, name). `now` is the API server's clock; `wake` is for other sets."""

    client: Client
    caches: Caches
    _: KW_ONLY
    recorder: Recorder
    fleet: Fleet
    now: Callable[[], float]
    wake: Wake

    def __post_init__(self) -> None:
        self._memories: dict[Key, tuple[str, Memory]] = {}
        self._instances = InstanceWriter(self.client, self.caches, now=self.now)
        self._status = StatusWriter(self.client)
        self._limit = ConcurrencyLimit(self.caches, wake=self.wake)

    async def reconcile(self, key: Key) -> float | None:
        """Observe, decide and act for one set; returns the seconds until its next reconcile."""
        seen = self.caches.scale_sets.get(*key)
        if seen is None or seen.deleting:
            self._memories.pop(key, None)
            self.fleet.gone(key)
            return None
        self.fleet.added(seen)
        if seen.spec is None:
            return await self._report_invalid(seen)
        memory = self._remember(key, seen.uid)
        memory.new_generation(seen.generation)
        memory.expire(self.now())
        if memory.taken_names:
            memory.revisions_found({revision.name for revision in self.caches.revisions.of(key)})
        if memory.unwritten_status is not None:
            return await self._write_again(seen, memory)
        if memory.relist_at is not None and memory.relist_at <= monotonic():
            await self._relist(key, memory)
        try:
            snapshot, plan = await self._decide(seen, memory)
            self.fleet.observed(seen, snapshot)
            with self._limit.taken(seen, plan.state):
                return await self._act(seen, snapshot, plan, memory)
        except NamespaceTerminating:
            # The set is being deleted with all its objects: nothing is created any more.
            where = {"namespace": seen.namespace, "scaleset": seen.name}
            log.debug("namespace_terminating scaleset=%(namespace)s/%(scaleset)s", where)
            return None

    def _remember(self, key: Key, uid: str) -> Memory:
        """The memory of exactly that set, not of an earlier one of its name."""
        known = self._memories.get(key)
        if known is None or known[0] != uid:
            known = self._memories[key] = (uid, Memory())
        return known[1]

    # Observe and decide

    async def _relist(self, key: Key, memory: Memory) -> None:
        """List all objects of the set."""
        selector = f"{names.LABEL_NAME}={key[1]}"
        caches = (self.caches.pods, self.caches.claims, self.caches.revisions)
        await asyncio.gather(*(cache.refresh(key, label_selector=selector) for cache in caches))
        memory.relist_at = None

    async def _decide(self, seen: ScaleSetObject, memory: Memory) -> tuple[Snapshot, Plan]:
        fresh = False
        admissions: dict[Question, Verdict] = {}
        for _ in range(OBSERVATIONS):
            turn = self._limit.turn(seen)
            snapshot = observe(self.caches, seen, memory, now=self.now(), fresh=fresh, admissions=admissions, turn=turn)
            plan = decide(snapshot)
            if not plan.needs:
                return snapshot, plan
            await self._observe_more(snapshot, plan.needs, memory, admissions)
            fresh = fresh or plan.needs.fresh
        raise RuntimeError(f"ScaleSet {seen.namespace}/{seen.name}: the plan never has what it needs")

    async def _observe_more(
        self, snapshot: Snapshot, needs: Needs, memory: Memory, admissions: dict[Question, Verdict]
    ) -> None:
        """Fetch what the plan needs. A fresh LIST mostly shows what is known already, so what a plan would need then is
        fetched beside it, and a batch waits for one round trip less.
        """
        if needs.fresh:
            needs = needs.and_of(decide(replace(snapshot, fresh=True)).needs)
        owner, reads = snapshot.owner, []
        if needs.fresh:
            reads.append(self._refresh(owner, snapshot.spec))
        if needs.verdict is not None:
            reads.append(self._check(owner, needs.verdict, memory))
        if needs.admission is not None:
            reads.append(self._try(owner, needs.admission, memory, admissions))
        await asyncio.gather(*reads)

    async def _check(self, owner: Identity, asked: ModelCheck, memory: Memory) -> None:
        """Ask the API server about a model."""
        verdict = await check_model(self.client, owner, asked, now=self.now())
        memory.verdicts.add(asked.model.name, verdict, now=self.now())

    async def _try(self, owner: Identity, asked: DryRun, memory: Memory, admissions: dict[Question, Verdict]) -> None:
        """Ask the API server whether it would admit a batch."""
        admissions[asked.about] = verdict = await try_pods(self.client, owner, asked, now=self.now())
        memory.add_admission(asked.model.name, verdict, now=self.now())

    async def _refresh(self, owner: Identity, spec: ScaleSetSpec) -> None:
        """Read everything that a batch is admitted on anew: the pods, the gallery and the policy."""
        namespace, policy = owner.namespace, spec.upgrade_policy_ref
        reads = [
            self.caches.pods.refresh((namespace, owner.name), label_selector=f"{names.LABEL_NAME}={owner.name}"),
            self.caches.versions.refresh(spec.image_reference.gallery_namespace or namespace),
        ]
        if policy is not None:
            reads.append(self.caches.policies.look_up(namespace, policy.name))
        await asyncio.gather(*reads)

    # Act

    async def _act(self, seen: ScaleSetObject, snapshot: Snapshot, plan: Plan, memory: Memory) -> float | None:
        """Carry out the plan; returns the seconds until the next reconcile."""
        owner = snapshot.owner
        if not await self._instances.store(owner, plan.store, memory):
            return 0.0
        before, after = memory.understand(seen.status).raw, plan.status
        memory.rest()
        patch = merge_patch(before, after)
        later = _postpone(plan, memory) if patch and not urgent(before, after) else None
        if patch and later is None:
            if not await self._status.send(self.caches.scale_sets, seen, patch):
                return 0.0
            self._check_kept(seen, after, memory)
            memory.flushed = monotonic()
        self.fleet.decided(seen, snapshot, plan)
        for event in plan.events:
            log.info(DECISION, _log_values(seen, event))
            self.recorder.record(seen, event)
        models = {model.name: model for model in (*snapshot.models, *plan.store, snapshot.model)}
        memory.forget_unplanned(
            {creation.instance: creation.build for creation in plan.creations},
            [*(deletion.uid for deletion in plan.deletions), *(change.uid for change in plan.changes)],
        )
        memory.forget_removed(plan.state.builds, snapshot.pods)
        unfinished = await self._instances.carry_out(owner, plan, models, memory)
        await self._instances.discard(owner, plan.discard, memory)
        if unfinished:
            return 0.0
        times = [at - self.now() for at in (plan.wake_at, memory.next_retry()) if at is not None]
        times += [later] if later is not None else []
        if (left := _relist_in(plan, memory)) is not None:
            times.append(left)
        return max(0.0, min(times)) if times else None

    async def _write_again(self, seen: ScaleSetObject, memory: Memory) -> float:
        """Write again the fields that decisions depend on and that the API server dropped: nothing else is done until
        they are kept.
        """
        uid, status = memory.unwritten_status or ("", {})
        if uid == seen.uid:
            if not await self._status.write(self.caches.scale_sets, seen, status):
                return 0.0
            self._check_kept(seen, status, memory)
        memory.unwritten_status = None
        return 0.0

    def _check_kept(self, seen: ScaleSetObject, status: JSON, memory: Memory) -> None:
        """Verify that the API server kept the state just written; otherwise it must not be acted on."""
        stored = self.caches.scale_sets.get(seen.namespace, seen.name)
        if stored is None or stored.uid != seen.uid:
            return
        try:
            check_kept(stored, status)
        except NotKept as error:
            memory.unwritten_status = (seen.uid, status)
            self.recorder.record(seen, Event("StatusNotKept", error.message, warning=True))
            raise

    async def _report_invalid(self, seen: ScaleSetObject) -> float | None:
        """A set whose spec cannot be parsed gets a condition; its instances stay as they are."""
        self.fleet.refused(seen)
        existing = ScaleSetStatus.parse({"status": seen.status}).conditions
        before = next((c.message for c in existing if c.type == "Accepted"), "")
        found = [
            condition(seen, kind, "InvalidSpec", seen.problem, holds=kind == "Stalled")
            for kind in ("Accepted", "Ready", "Stalled")
        ]
        wanted = {"observedGeneration": seen.generation, "conditions": conditions(existing, *found, now=self.now())}
        written = await self._status.write(self.caches.scale_sets, seen, wanted)
        if written and before != seen.problem:
            event = Event("InvalidSpec", seen.problem, warning=True)
            log.info(DECISION, _log_values(seen, event))
            self.recorder.record(seen, event)
        return None if written else 0.0


def _log_values(seen: ScaleSetObject, event: Event) -> dict[str, Any]:
    """Log values of an event: its sentence and its subject."""
    return {
        "namespace": seen.namespace,
        "scaleset": seen.name,
        "rollout": event.rollout or NOTHING,
        "batch": event.batch or NOTHING,
        "reason": event.reason,
        "message": event.message,
    }


def _relist_in(plan: Plan, memory: Memory) -> float | None:
    """Seconds until the objects of the set are listed anew; None while the set waits for nothing."""
    conditions = {condition["type"]: condition["status"] for condition in plan.status.get("conditions", ())}
    if conditions.get("Ready") == "True":
        memory.relist_at = None
    elif memory.relist_at is None:
        memory.relist_at = monotonic() + RELIST_SECONDS * (0.5 + 0.5 * random.random())  # spread over time
    return None if memory.relist_at is None else memory.relist_at - monotonic()


def _postpone(plan: Plan, memory: Memory) -> float | None:
    """Seconds that counts and sentences may wait; None if events go with them.

    Deletes and creates do not depend on them: the urgent part of the status authorises those.
    """
    if plan.store or plan.events:
        return None
    left = memory.flushed + FLUSH_SECONDS - monotonic()
    return left if left > 0 else None
