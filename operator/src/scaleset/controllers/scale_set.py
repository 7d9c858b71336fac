"""The reconcile of a ScaleSet: observe, decide, act.

Observation is cached; what a plan needs beyond that (a fresh LIST, a dry run) is fetched and the decision taken
again. Acting goes in the order of the plan: the model, the status, then pods and claims, then events. Whatever fails
in between is decided again from what is there then.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from scaleset.api import names
from scaleset.api.conditions import Condition, set_condition
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers import dry_runs
from scaleset.controllers.caches import Caches
from scaleset.controllers.concurrency_limit import Turns
from scaleset.controllers.instance_writer import InstanceWriter
from scaleset.controllers.memory import Memory
from scaleset.controllers.observation import observe
from scaleset.controllers.status_writer import JSON, StatusWriter, check_kept, compared, merge_patch, urgent
from scaleset.kube.client import Client
from scaleset.kube.errors import NamespaceTerminating, NotKept
from scaleset.observability.fleet import Fleet
from scaleset.observability.logging import NOTHING
from scaleset.planner.decide import decide
from scaleset.planner.pod_builder import Identity
from scaleset.planner.snapshot import Event, Needs, Plan, Question, Snapshot, Verdict
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.projections import Key

log = logging.getLogger(__name__)

OBSERVATIONS = 6
"""How often a plan may ask for more before the attempt is given up."""
FLUSH_SECONDS = 5.0
"""Counts and sentences that change while a batch runs are written together, this often at most."""
DOUBT_SECONDS = 60.0
"""A set that waits for something lists what it knows anew, at least so often. An event that was lost leaves no trace,
and what it would have told may be all that the set waits for.
"""
DECISION = (
    "decision scaleset=%(namespace)s/%(scaleset)s rollout=%(rollout)s batch=%(batch)s reason=%(reason)s "
    'message="%(message)s"'
)


class Recorder(Protocol):
    """Where events go."""

    def record(self, regarding: ScaleSetObject, event: Event) -> None:
        """Tell it, some time soon."""


class ScaleSetController:
    """Reconciles ScaleSets by key (namespace, name). `now` is the API server's clock; `wake` is for other sets."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        *,
        recorder: Recorder,
        fleet: Fleet,
        now: Callable[[], float],
        wake: Callable[[Key], None],
    ) -> None:
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._fleet = fleet
        self._now = now
        self._memories: dict[Key, tuple[str, Memory]] = {}
        self._instances = InstanceWriter(client, caches, now=now)
        self._status = StatusWriter(client)
        self._turns = Turns(caches, wake=wake)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one set and do what is to be done; seconds until it is to be looked at again."""
        seen = self._caches.scale_sets.get(*key)
        if seen is None or seen.deleting:
            self._memories.pop(key, None)
            self._fleet.gone(key)
            return None
        self._fleet.saw(seen)
        if seen.spec is None:
            return await self._refuse(seen)
        memory = self._remember(key, seen.uid)
        memory.new_generation(seen.generation)
        memory.expire(self._now())
        if memory.unwritten_status is not None:
            return await self._write_again(seen, memory)
        if memory.relist_at is not None and memory.relist_at <= monotonic():
            await self._look_closely(key, memory)
        try:
            snapshot, plan = await self._decide(seen, memory)
            self._fleet.looked(seen, snapshot)
            with self._turns.taken(seen, plan.state):
                return await self._act(seen, snapshot, plan, memory)
        except NamespaceTerminating:
            # The set is about to be deleted with all that it has: whatever is missing stays so.
            where = {"namespace": seen.namespace, "scaleset": seen.name}
            log.debug("namespace_terminating scaleset=%(namespace)s/%(scaleset)s", where)
            return None

    def _remember(self, key: Key, uid: str) -> Memory:
        """What is remembered of that very set, and not of one that had its name before."""
        known = self._memories.get(key)
        if known is None or known[0] != uid:
            known = self._memories[key] = (uid, Memory())
        return known[1]

    # Observe and decide

    async def _look_closely(self, key: Key, memory: Memory) -> None:
        """List all that belongs to the set."""
        selector = f"{names.LABEL_NAME}={key[1]}"
        caches = (self._caches.pods, self._caches.claims, self._caches.revisions)
        await asyncio.gather(*(cache.refresh(key, label_selector=selector) for cache in caches))
        memory.relist_at = None

    async def _decide(self, seen: ScaleSetObject, memory: Memory) -> tuple[Snapshot, Plan]:
        fresh = False
        admissions: dict[Question, Verdict] = {}
        for _ in range(OBSERVATIONS):
            turn = self._turns.turn(seen)
            snapshot = observe(
                self._caches, seen, memory, now=self._now(), fresh=fresh, admissions=admissions, turn=turn
            )
            plan = decide(snapshot)
            if not plan.needs:
                return snapshot, plan
            fresh = fresh or plan.needs.fresh
            await self._observe_more(snapshot, plan.needs, memory, admissions)
        raise RuntimeError(f"ScaleSet {seen.namespace}/{seen.name}: the plan never has what it needs")

    async def _observe_more(
        self, snapshot: Snapshot, needs: Needs, memory: Memory, admissions: dict[Question, Verdict]
    ) -> None:
        """Fetch what the plan asks for."""
        owner = snapshot.owner
        if needs.verdict is not None:
            verdict = await dry_runs.check(self._client, owner, needs.verdict, now=self._now())
            memory.judged(needs.verdict.model.name, verdict, now=self._now())
        if needs.fresh:
            await self._look_afresh(owner, snapshot.spec)
        if needs.admission is not None:
            asked = needs.admission
            admissions[asked.about] = verdict = await dry_runs.ask(self._client, owner, asked, now=self._now())
            memory.admitted(asked.model.name, verdict, now=self._now())

    async def _look_afresh(self, owner: Identity, spec: ScaleSetSpec) -> None:
        """Read, from now on, all that a batch is admitted on: the pods, the gallery and the policy."""
        namespace, policy = owner.namespace, spec.upgrade_policy_ref
        reads = [
            self._caches.pods.refresh((namespace, owner.name), label_selector=f"{names.LABEL_NAME}={owner.name}"),
            self._caches.versions.refresh(spec.image_reference.gallery_namespace or namespace),
        ]
        if policy is not None:
            reads.append(self._caches.policies.look_up(namespace, policy.name))
        await asyncio.gather(*reads)

    # Act

    async def _act(self, seen: ScaleSetObject, snapshot: Snapshot, plan: Plan, memory: Memory) -> float | None:
        """Carry the plan out; seconds until the next look."""
        owner = snapshot.owner
        if not await self._instances.store(owner, plan.store, memory):
            return 0.0
        before, after = compared(ScaleSetStatus, seen.status, plan.status)
        patch = merge_patch(before, after)
        later = _postpone(plan, memory) if patch and not urgent(before, after) else None
        if patch and later is None:
            if not await self._status.send(self._caches.scale_sets, seen, patch):
                return 0.0
            self._check_kept(seen, after, memory)
            memory.flushed = monotonic()
        self._fleet.decided(seen, snapshot, plan)
        for event in plan.events:
            log.info(DECISION, _told(seen, event))
            self._recorder.record(seen, event)
        models = {model.name: model for model in (*snapshot.models, *plan.store, snapshot.model)}
        memory.only(
            {creation.instance: creation.build for creation in plan.creations},
            [*(deletion.uid for deletion in plan.deletions), *(change.uid for change in plan.changes)],
        )
        memory.forget_others(plan.state.builds, snapshot.pods)
        unfinished = await self._instances.carry_out(owner, plan, models, memory)
        await self._instances.discard(owner, plan.discard, memory)
        if unfinished:
            return 0.0
        times = [at - self._now() for at in (plan.wake_at, memory.next_retry()) if at is not None]
        times += [later] if later is not None else []
        if (left := _doubt(plan, memory)) is not None:
            times.append(left)
        return max(0.0, min(times)) if times else None

    async def _write_again(self, seen: ScaleSetObject, memory: Memory) -> float:
        """What decisions go on from and the API server did not keep: nothing else is done until it does."""
        uid, status = memory.unwritten_status or ("", {})
        if uid == seen.uid:
            if not await self._status.write(self._caches.scale_sets, seen, status):
                return 0.0
            self._check_kept(seen, status, memory)
        memory.unwritten_status = None
        return 0.0

    def _check_kept(self, seen: ScaleSetObject, status: JSON, memory: Memory) -> None:
        """What was just written ahead has to stand there, or nothing may follow from it."""
        stored = self._caches.scale_sets.get(seen.namespace, seen.name)
        if stored is None or stored.uid != seen.uid:
            return
        try:
            check_kept(stored, status)
        except NotKept as error:
            memory.unwritten_status = (seen.uid, status)
            self._recorder.record(seen, Event("StatusNotKept", error.message, warning=True))
            raise

    async def _refuse(self, seen: ScaleSetObject) -> float | None:
        """A set that cannot be understood gets a condition; its instances stay as they are."""
        self._fleet.refused(seen)
        existing = ScaleSetStatus.parse({"status": seen.status}).conditions
        before = next((c.message for c in existing if c.type == "Accepted"), "")
        for kind, status in (("Accepted", "False"), ("Ready", "False"), ("Stalled", "True")):
            condition = Condition.model_validate(
                {
                    "type": kind,
                    "status": status,
                    "reason": "InvalidSpec",
                    "message": seen.problem,
                    "observedGeneration": seen.generation,
                }
            )
            existing = set_condition(existing, condition, datetime.fromtimestamp(self._now(), UTC))
        wanted: dict[str, Any] = {
            "observedGeneration": seen.generation,
            "conditions": [condition.to_raw() for condition in existing],
        }
        written = await self._status.write(self._caches.scale_sets, seen, wanted)
        if written and before != seen.problem:
            event = Event("InvalidSpec", seen.problem, warning=True)
            log.info(DECISION, _told(seen, event))
            self._recorder.record(seen, event)
        return None if written else 0.0


def _told(seen: ScaleSetObject, event: Event) -> dict[str, Any]:
    """The sentence of an event for the log, and what it is about."""
    return {
        "namespace": seen.namespace,
        "scaleset": seen.name,
        "rollout": event.rollout or NOTHING,
        "batch": event.batch or NOTHING,
        "reason": event.reason,
        "message": event.message,
    }


def _doubt(plan: Plan, memory: Memory) -> float | None:
    """Seconds until what is known of the set is to be listed anew; None while all of it is as it should be."""
    conditions = {condition["type"]: condition["status"] for condition in plan.status.get("conditions", ())}
    if conditions.get("Ready") == "True":
        memory.relist_at = None
    elif memory.relist_at is None:
        memory.relist_at = monotonic() + DOUBT_SECONDS * (0.5 + 0.5 * random.random())  # not all sets at once
    return None if memory.relist_at is None else memory.relist_at - monotonic()


def _postpone(plan: Plan, memory: Memory) -> float | None:
    """Seconds that counts and sentences may wait; None when there is something to tell with them.

    Deletes and creates need not wait for them either: what authorises those is in the part that is urgent.
    """
    if plan.store or plan.events:
        return None
    left = memory.flushed + FLUSH_SECONDS - monotonic()
    return left if left > 0 else None
