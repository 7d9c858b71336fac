"""Mistakes that somebody could make in a few lines of the planner or of what carries its plans out.

Each is a function that patches the operator in this process. tests/faults/test_checker.py shows that the trace checker
catches every one of them.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scaleset.api.names import ANNOTATION_CHANGED, LABEL_NAME
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers import observation
from scaleset.controllers.instance_writer import InstanceWriter
from scaleset.controllers.scale_set import ScaleSetController
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError
from scaleset.kube.lease import Lease
from scaleset.kube.resources import CLAIMS, PODS
from scaleset.planner import batches, breach, decide, gallery, gates, in_place, outdated, pod_diff, rollout
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Pod
from scaleset.planner.state import Policy
from scaleset.planner.step import Step
from scaleset.records import projections
from scaleset.records.kinds import SCALE_SETS
from scaleset.runtime.clock import ServerClock

BUGS: dict[str, Callable[[], None]] = {}


def bug(function: Callable[[], None]) -> Callable[[], None]:
    BUGS[function.__name__] = function
    return function


def _patch(owner: object, name: str, value: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this mistake changes nothing"
    setattr(owner, name, value)


def _advance_by(mutant: Callable[[Facts], Step]) -> None:
    """Rollouts advance like that."""
    assert rollout.advance in decide.PARTS
    _patch(decide, "PARTS", tuple(mutant if part is rollout.advance else part for part in decide.PARTS))


@bug
def none() -> None:
    """The control: what the checker must find nothing in."""


@bug
def batch_is_one_too_large() -> None:
    limit = batches.batch_limit
    for module in (batches, pod_diff):
        _patch(module, "batch_limit", lambda replicas, percent: limit(replicas, percent) + 1)


@bug
def batch_is_rounded_up() -> None:
    for module in (batches, pod_diff):
        _patch(module, "batch_limit", lambda replicas, percent: max(1, -(-replicas * percent // 100)))


@bug
def next_batch_before_the_end_of_this() -> None:
    def mutant(facts: Facts) -> Step:
        step = rollout.advance(facts)
        facts = facts.after(step)
        running = facts.rollout
        early = running is not None and running.in_progress and running.pending
        admitted = rollout.admit(facts, running) if running is not None and early else None
        return step.then(admitted) if admitted is not None else step

    _advance_by(mutant)


@bug
def no_uid_precondition() -> None:
    async def delete(self: Client, resource: Any, namespace: str, name: str, **_: Any) -> Any:
        return await self._write("DELETE", resource, resource.item(namespace, name), {}, timeout=15.0)

    _patch(Client, "delete", delete)


@bug
def force_delete() -> None:
    async def delete(self: Client, resource: Any, namespace: str, name: str, *, uid: str, **_: Any) -> Any:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        return await self._write("DELETE", resource, resource.item(namespace, name), body, timeout=15.0)

    _patch(Client, "delete", delete)


@bug
def admits_on_cached_pods() -> None:
    _patch(Facts, "fresh", property(lambda _: True))


@bug
def ignores_the_gate() -> None:
    _patch(gates.Gate, "open", property(lambda _: True))


@bug
def goes_on_after_a_breach() -> None:
    _patch(breach, "found", lambda _facts, _rollout: None)


@bug
def retries_a_failed_version() -> None:
    _patch(outdated, "remembered", lambda _facts, _target: None)


@bug
def restores_outside_its_batch() -> None:
    def mutant(facts: Facts) -> Step:
        step = rollout.advance(facts)
        facts = facts.after(step)
        for number in facts.rollout.successful if facts.rollout is not None else ():
            state = step.state
            old = next((b for b in state.builds.values() if b.version < state.builds[number].version), None)
            if facts.instances[number].bad and old is not None:
                builds = {**state.builds, number: old}
                step = step.to(replace(state, builds=builds, applying=state.applying | {number}))
        return step

    _advance_by(mutant)


@bug
def deadline_by_the_wall_clock() -> None:
    """Start it with a wall clock that is wrong."""
    _patch(ServerClock, "now", lambda self: self._wall())


@bug
def deletes_claims() -> None:
    delete = InstanceWriter._delete

    async def mutant(self: InstanceWriter, owner: Any, deletion: Any, memory: Any) -> bool:
        done = await delete(self, owner, deletion, memory)
        for claim in self.caches.claims.of((owner.namespace, owner.name)):
            if claim.name.endswith(f"-{deletion.name}"):
                raw = await self.client.get(CLAIMS, owner.namespace, claim.name)
                await self.client.delete(CLAIMS, owner.namespace, claim.name, uid=raw["metadata"]["uid"])
        return done

    _patch(InstanceWriter, "_delete", mutant)


@bug
def status_after_delete() -> None:
    act = ScaleSetController._act

    async def mutant(self: ScaleSetController, seen: Any, snapshot: Any, plan: Any, memory: Any) -> Any:
        models = {model.name: model for model in (*snapshot.models, *plan.store, snapshot.model)}
        await self._instances.carry_out(snapshot.owner, replace(plan, creations=()), models, memory)
        return await act(self, seen, snapshot, plan, memory)

    _patch(ScaleSetController, "_act", mutant)


@bug
def writes_without_the_lease() -> None:
    async def run(self: Lease) -> None:
        self.on_started()
        await asyncio.Event().wait()

    _patch(Lease, "held", lambda _: True)
    _patch(Lease, "run", run)


@bug
def rolls_to_what_is_excluded() -> None:
    _patch(gallery, "why_not", lambda *_, **__: None)


@bug
def heals_with_a_newer_version() -> None:
    creation = pod_diff._creation
    _patch(pod_diff, "_creation", lambda facts, number, build: creation(facts, number, facts.target_build or build))


@bug
def restarts_what_is_unhealthy() -> None:
    rule = pod_diff._authorised
    _patch(pod_diff, "_authorised", lambda instance, replaceable: rule(instance, replaceable) or instance.bad)


@bug
def deletes_pods_of_others() -> None:
    def mutant(pods: Any, seen: Any) -> Any:
        named = {projections.instance_number(seen.name, pod.name): pod for pod in pods}
        return {number: pod for number, pod in named.items() if number is not None}, {}

    _patch(observation, "owned", mutant)


@bug
def takes_notes_on_pods() -> None:
    create = InstanceWriter._create_pod

    async def mutant(self: InstanceWriter, owner: Any, creation: Any, *rest: Any) -> None:
        await create(self, owner, creation, *rest)
        body = {"metadata": {"labels": {LABEL_NAME: owner.name}, "annotations": {"note": "made by us"}}}
        await self.client.patch(PODS, owner.namespace, owner.instance(creation.instance), body)

    _patch(InstanceWriter, "_create_pod", mutant)


@bug
def writes_the_status_all_the_time() -> None:
    reconcile = ScaleSetController.reconcile

    async def mutant(self: ScaleSetController, key: Any) -> float:
        await reconcile(self, key)
        seen = self.caches.scale_sets.get(*key)
        if seen is not None:
            count = (int(seen.status.get("updatedReplicas") or 0) + 1) % 2
            body = {"metadata": {"resourceVersion": seen.resource_version}, "status": {"updatedReplicas": count}}
            try:
                self.caches.scale_sets.remember(await self.client.patch_status(SCALE_SETS, key[0], key[1], body))
            except ApiError:
                await self.caches.scale_sets.reread(seen)
        return 0.1

    _patch(ScaleSetController, "reconcile", mutant)


@bug
def jumps_to_a_newer_version_in_a_batch() -> None:
    def mutant(facts: Facts) -> Step:
        step, running, wanted = facts.step(), facts.rollout, facts.wanted
        if running is not None and wanted is not None and wanted.version != running.target.version:
            moves: Mapping[int, Any] = outdated.by_image(facts, wanted.target)
            extra = dict(list(moves.items())[-1:])
            state = facts.state
            step = step.to(replace(state, builds={**state.builds, **extra}, applying=state.applying | extra.keys()))
        return step.then(rollout.advance(facts.after(step)))

    _advance_by(mutant)


@bug
def counts_what_failed_as_done() -> None:
    """Restores, but does not remember: `triggers` tries the version again after the halt."""
    _patch(outdated, "remember", lambda facts, _rollout, _reason: facts.state)
    _patch(outdated, "retry_for", lambda _facts, _target: None)


# Changes in place


def _patches(alter: Callable[[dict[str, Any]], None]) -> None:
    """Every PATCH that changes an image is sent otherwise."""
    render = in_place.patch

    def mutant(wanted: Any) -> dict[str, Any]:
        body = render(wanted)
        alter(body)
        return body

    _patch(in_place, "patch", mutant)


@bug
def changes_any_version_of_the_pod() -> None:
    _patches(lambda body: body["metadata"].pop("resourceVersion"))


@bug
def forgets_what_ran_before() -> None:
    """Without its note it takes Ready of the container before for Ready of the new one."""
    _patches(lambda body: body["metadata"]["annotations"].pop(ANNOTATION_CHANGED))


@bug
def believes_the_container_before() -> None:
    _patch(projections, "_restarted", lambda *_: True)
    _patch(projections, "_observed", lambda *_: True)


@bug
def changes_what_needs_a_new_pod() -> None:
    _patch(in_place, "_difference", lambda *_: None)


@bug
def changes_though_nobody_asked() -> None:
    _patch(UpgradePolicySpec, "changes_in_place", property(lambda _: True))
    _patch(Policy, "in_place", property(lambda _: True))


@bug
def status_after_change() -> None:
    status_after_delete()


@bug
def deadline_from_the_birth_of_the_pod() -> None:
    _patch(Pod, "begun", property(lambda self: self.created))
