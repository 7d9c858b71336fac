"""The observations of one ScaleSet: the snapshot, from watched and remembered data, and dry runs on the API server.

Dry runs of pods and of their claims are made before a model is accepted, and before a pod is deleted for a replacement.
The requests are in `preflight.admission` and `preflight.model_checks`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TypeVar

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.caches import Caches
from scaleset.controllers.memory import Memory
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Claim
from scaleset.planner.plan import DryRun, ModelCheck
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Question, QueuePosition, Snapshot, Verdict
from scaleset.preflight import model_checks
from scaleset.preflight.admission import questions
from scaleset.preflight.conversation import Answer, Call, Questions
from scaleset.records.custom_objects import ScaleSetObject, owned
from scaleset.records.versions import followed

T = TypeVar("T")


def observe(
    caches: Caches,
    seen: ScaleSetObject,
    memory: Memory,
    *,
    now: float,
    fresh: bool = False,
    admissions: Mapping[Question, Verdict] | None = None,
    turn: QueuePosition | None = None,
) -> Snapshot:
    """The snapshot of a set with a parsed spec."""
    if seen.spec is None or seen.model is None:
        raise ValueError(f"ScaleSet {seen.namespace}/{seen.name} has no valid spec: {seen.problem}")
    mine, foreign_pods = owned(caches.pods.of((seen.namespace, seen.name)), seen)
    memory.remember_pods(mine.items())
    understood = memory.understand(seen.status)
    state = understood.state
    return Snapshot(
        owner=Identity(seen.namespace, seen.name, seen.uid, seen.spec.deletes_claims),
        generation=seen.generation,
        spec=seen.spec,
        state=state,
        model=seen.model,
        now=now,
        policy=_policy(caches, seen.namespace, seen.spec),
        annotations=seen.annotations,
        pods=mine,
        foreign_pods={**{n: refusal.message for n, refusal in memory.foreign_pods.items()}, **foreign_pods},
        claims=_claims(caches.claims.of((seen.namespace, seen.name)), memory),
        models=_models(caches, seen),
        catalogue=_catalogue(caches, seen.namespace, seen.spec),
        refusals=memory.create_errors_of(state.builds),
        patch_errors=dict(memory.patch_errors),
        delete_errors={uid: refusal.message for uid, refusal in memory.delete_errors.items()},
        ages=memory.ages,
        verdicts=memory.verdicts,
        admissions=admissions or {},
        declined=memory.admission_errors,
        queue=turn,
        fresh=fresh,
        reported=understood.reported,
    )


def _claims(claims: Iterable[Claim], memory: Memory) -> dict[str, Claim]:
    known = {name: claim for name, (claim, _) in memory.foreign_claims.items()}
    known.update({claim.name: claim for claim in claims})
    return known


def _models(caches: Caches, seen: ScaleSetObject) -> tuple[Revision, ...]:
    revisions = caches.revisions.of((seen.namespace, seen.name))
    return tuple(revision.model for revision in revisions if revision.owner == seen.uid)


def _policy(caches: Caches, namespace: str, spec: ScaleSetSpec) -> UpgradePolicySpec | None:
    """The policy of the set: its own, or the named one, which may be missing or not parse; else all defaults."""
    if spec.upgrade_policy_ref is None:
        return spec.upgrade_policy or UpgradePolicySpec()
    found = caches.policies.get(namespace, spec.upgrade_policy_ref.name)
    return found.spec if found is not None and not found.deleting else None


def _catalogue(caches: Caches, namespace: str, spec: ScaleSetSpec) -> tuple[GalleryVersion, ...]:
    """The published versions of the image, of every sku: instances may still run another sku."""
    key = followed(namespace, spec.image_reference)
    return caches.relations.catalogue.of(caches.versions.of(key))


async def try_pods(client: Client, owner: Identity, dry_run: DryRun, *, now: float) -> Verdict:
    """The API server's verdict. Unavailable if there is none."""
    return await _hold(client, owner, questions(owner, dry_run, now=now))


async def check_model(client: Client, owner: Identity, asked: ModelCheck, *, now: float) -> Verdict:
    """The API server's verdict on a model. Unavailable if there is none, except for a model that runs already."""
    try:
        said = await _hold(client, owner, model_checks.converse(owner, asked, now=now))
    except ApiError:
        if not asked.runs:
            raise
        return Verdict(accepted=True, unanswered=True)
    return said or await try_pods(client, owner, DryRun(asked.model, asked.build, asked.instance), now=now)


async def _hold(client: Client, owner: Identity, asking: Questions[T]) -> T:
    """Hold a conversation, the requests of each step together."""
    try:
        calls = next(asking)
        while True:
            calls = asking.send(await asyncio.gather(*(_answer(client, owner.namespace, call) for call in calls)))
    except StopIteration as done:
        found: T = done.value
        return found


async def _answer(client: Client, namespace: str, call: Call) -> Answer:
    try:
        if call.verb == "try":
            return await client.create(call.resource, namespace, call.body, dry_run=True, strict=call.strict)
        if call.verb == "get":
            return await client.get(call.resource, namespace, call.name)
        listed, _ = await client.list(call.resource, namespace, label_selector=call.selector or None)
    except ApiError as error:
        return error
    else:
        return listed
