"""Carries out a plan: creates, changes and deletes models, claims and pods.

Every call can be repeated. Names are deterministic, so a repeated create is answered with AlreadyExists, and the
existing object is own or foreign. A delete names the uid, so it reaches exactly that pod. A change of a pod's image
names the observed version as well. Claims are only ever created.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from functools import partial

from scaleset.api import names
from scaleset.controllers.caches import Caches
from scaleset.controllers.memory import Memory, delay
from scaleset.kube.client import Client
from scaleset.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
    Unavailable,
    refuses,
)
from scaleset.kube.resources import CLAIMS, JSON, PODS, REVISIONS, Resource
from scaleset.planner import in_place, pod_builder
from scaleset.planner.instances import Claim
from scaleset.planner.plan import Creation, Deletion, ImageChange, Plan
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revision_check import NOT_STORED
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from scaleset.preflight.conversation import verdict
from scaleset.records import projections
from scaleset.records.custom_objects import not_ours
from scaleset.records.projections import plain

log = logging.getLogger(__name__)

STRANGE = 8
"""Silent retries if a foreign revision has the name: some ten seconds."""


@dataclass(eq=False)
class InstanceWriter:
    """Carries out the part of a plan about instances."""

    client: Client
    caches: Caches
    _: KW_ONLY
    now: Callable[[], float]

    async def store(self, owner: Identity, models: Iterable[Revision], memory: Memory) -> bool:
        """Store models, or renumber stored ones. False if one is refused: the refusal is remembered, and the decision
        must be taken again without that model.
        """
        for model in models:
            try:
                raw = await self._store(owner, model)
            except AlreadyExists as error:
                # Usually the garbage collector has not deleted it yet: reported only if it lasts.
                memory.foreign_revisions += 1
                if memory.foreign_revisions < STRANGE:
                    raise
                words = f"{plain(error.message)}, and it belongs to another owner. Delete it"
                watched = self.caches.revisions.of((owner.namespace, owner.name))
                memory.taken_names |= {each.name for each in watched if each.name == model.name}
            except NotFound:
                raise
            except ApiError as error:
                words = verdict(error).message
            else:
                memory.foreign_revisions = 0
                self.caches.revisions.remember(raw)
                continue
            memory.verdicts.add(model.name, Verdict(accepted=False, message=words, reason=NOT_STORED), now=self.now())
            return False
        return True

    async def _store(self, owner: Identity, model: Revision) -> JSON:
        if model.uid:
            body = {"metadata": {"uid": model.uid}, "revision": model.number}
            return await self.client.patch(REVISIONS, owner.namespace, model.name, body)
        raw, taken = await self._create_or_read(REVISIONS, owner, pod_builder.revision(owner, model, model.number))
        if taken is None or projections.revision(raw).owner == owner.uid:
            return raw
        if raw["metadata"].get("ownerReferences") or raw.get("data") != model.data:
            raise taken  # It belongs to a previous set of this name; the garbage collector is about to delete it.
        return await self._adopt(owner, model, raw)

    async def _create_or_read(
        self, resource: Resource, owner: Identity, body: JSON
    ) -> tuple[JSON, AlreadyExists | None]:
        """The object of that name, and whether it existed before. An object that vanished between the two calls is
        created now. This is tried only once, since an admission webhook may answer so for ever.
        """
        for again in (True, False):
            try:
                return await self.client.create(resource, owner.namespace, body), None
            except AlreadyExists as taken:
                try:
                    return await self.client.get(resource, owner.namespace, body["metadata"]["name"]), taken
                except NotFound:
                    if not again:
                        raise taken from None
        raise AssertionError("unreachable")

    async def _adopt(self, owner: Identity, model: Revision, orphan: JSON) -> JSON:
        """Adopt the same model, left behind by a set of this name that was deleted with --cascade=orphan."""
        metadata = {"uid": orphan["metadata"]["uid"], "ownerReferences": [owner.owner_reference()]}
        body = {"metadata": metadata, "revision": model.number}
        return await self.client.patch(REVISIONS, owner.namespace, model.name, body)

    async def discard(self, owner: Identity, models: Iterable[Revision], memory: Memory) -> None:
        """Delete models that are not needed any more. A refused delete does no harm."""
        for model in models:
            if not memory.discard_errors.due(model.name, self.now()):
                continue
            try:
                await self.client.delete(REVISIONS, owner.namespace, model.name, uid=model.uid)
            except (NotFound, Conflict):
                log.debug(
                    "revision_gone revision=%(namespace)s/%(revision)s",
                    {"namespace": owner.namespace, "revision": model.name},
                )
            except ApiError as error:
                words = verdict(error).message
                if model.name not in memory.discard_errors:
                    log.warning(
                        'revision_not_deleted revision=%(namespace)s/%(revision)s error="%(error)s"',
                        {"namespace": owner.namespace, "revision": model.name, "error": words},
                    )
                memory.discard_errors.add(model.name, words, now=self.now())
                continue
            memory.discard_errors.pop(model.name, None)
            self.caches.revisions.forget(owner.namespace, model.name, model.uid)

    async def carry_out(self, owner: Identity, plan: Plan, models: dict[str, Revision], memory: Memory) -> bool:
        """Delete, change and create, as many at a time as the set's pace allows. Returns whether to decide again at
        once, because a change could not be made. The first error with an unknown outcome, or about no single instance,
        is raised after all calls.

        A refused delete does not stop the other deletes: they go in order of ids, so it would stop them for ever. A
        server in trouble, or one that does not answer, gets no further calls.
        """
        now = self.now()
        errors = memory.delete_errors
        calls = [partial(self._delete, owner, d, memory) for d in plan.deletions if errors.due(d.uid, now)]
        calls += [partial(self._change, owner, c, memory) for c in plan.changes if errors.due(c.uid, now)]
        results = await memory.pace.run(calls, failed=_failed, stops=_in_trouble)
        if not any(map(_in_trouble, results)):
            results += await self._create_all(owner, plan, models, memory)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return False in results[: len(calls)]

    async def _create_all(
        self, owner: Identity, plan: Plan, models: dict[str, Revision], memory: Memory
    ) -> list[bool | Exception]:
        """Create until one create is refused or fails. The refusal is taken to hold for the others as well, and the
        next try begins with one of these.
        """
        creations = {creation.instance: creation for creation in plan.creations}
        builds = {number: creation.build for number, creation in creations.items()}
        due = memory.due(builds, now=self.now())
        calls = [partial(self._create, owner, creations[n], models[creations[n].build.model], memory) for n in due]
        results = await memory.pace.run(calls, failed=_not_created, stops=_not_created)
        memory.failed = {n for n, result in zip(due, results, strict=False) if isinstance(result, Exception)}
        refused = next((n for n, result in zip(due, results, strict=False) if result is False), None)
        if refused is not None:
            memory.add_untried({number: builds[number] for number in due[len(results) :]}, like=refused)
        return results

    async def _change(self, owner: Identity, wanted: ImageChange, memory: Memory) -> bool:
        """Whether the change was made. A refusal is remembered: then the pod is recreated."""
        try:
            raw = await self.client.patch_merging(PODS, owner.namespace, wanted.name, in_place.patch(wanted))
        except (NotFound, Conflict) as error:
            return await self._read_again(owner, wanted, error)
        except (Forbidden, Invalid) as error:
            if wanted.only:
                return self._not_replaced(owner, wanted, error, memory)
            memory.patch_errors[wanted.uid] = plain(error.message)
            log.warning(
                'change_refused scaleset=%(namespace)s/%(scaleset)s instance=%(instance)d error="%(error)s"',
                {"namespace": owner.namespace, "scaleset": owner.name, "instance": wanted.instance, "error": error},
            )
            return False
        except Unavailable as error:
            return self._not_replaced(owner, wanted, error, memory)
        self.caches.pods.remember(raw)
        return True

    def _not_replaced(self, owner: Identity, wanted: Deletion | ImageChange, error: ApiError, memory: Memory) -> bool:
        """Remember that the API server refuses to replace a pod. The first refusal leads to a new decision at once."""
        if not refuses(error):
            raise error
        again = wanted.uid in memory.delete_errors
        memory.delete_errors.add(wanted.uid, plain(error.message), now=self.now())
        log.warning(
            'replacement_refused scaleset=%(namespace)s/%(scaleset)s instance=%(instance)d error="%(error)s"',
            {"namespace": owner.namespace, "scaleset": owner.name, "instance": wanted.instance, "error": error},
        )
        return again

    async def _read_again(self, owner: Identity, wanted: ImageChange, error: NotFound | Conflict) -> bool:
        """The pod has changed since it was observed, perhaps only in its status: the next decision uses its present
        state. Otherwise an admission webhook gave the answer, or etcd went back in time: a repetition at once would not
        help.
        """
        try:
            found = await self.client.get(PODS, owner.namespace, wanted.name)
        except NotFound:
            self.caches.pods.forget(owner.namespace, wanted.name, wanted.uid)
            return False
        metadata = found["metadata"]
        if metadata["uid"] == wanted.uid and int(metadata["resourceVersion"]) <= int(wanted.resource_version):
            raise error
        self.caches.pods.remember(found)
        return False

    async def _delete(self, owner: Identity, deletion: Deletion, memory: Memory) -> bool:
        """Whether the delete was made. A refusal is remembered, and the delete is repeated after a growing back-off."""
        try:
            self.caches.pods.remember(await self.client.delete(PODS, owner.namespace, deletion.name, uid=deletion.uid))
        except (NotFound, Conflict):
            # Mostly it is gone, or another pod has that name. But an admission webhook may answer so as well, or a
            # control plane that comes up again; and to take a pod that lives for gone would be believed until the next
            # list of all pods.
            if await self._exists(owner, deletion):
                raise
            self.caches.pods.forget(owner.namespace, deletion.name, deletion.uid)
        except ApiError as error:
            return self._not_replaced(owner, deletion, error, memory)
        return True

    async def _exists(self, owner: Identity, deletion: Deletion) -> bool:
        try:
            found = await self.client.get(PODS, owner.namespace, deletion.name)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == deletion.uid)

    async def _create(self, owner: Identity, creation: Creation, model: Revision, memory: Memory) -> bool:
        """Create a pod and its claims; False if the server refuses."""
        number = creation.instance
        try:
            for name in creation.claims:
                if not await self._create_claim(owner, model, name, number, memory):
                    return True
            await self._create_pod(owner, creation, model, memory)
        except ApiError as error:
            if not (refuses(error) or isinstance(error, NotFound)):
                raise
            memory.create_errors.add(number, plain(error.message), now=self.now(), build=creation.build)
            log.warning(
                'instance_refused scaleset=%(namespace)s/%(scaleset)s instance=%(instance)d error="%(error)s"',
                {"namespace": owner.namespace, "scaleset": owner.name, "instance": number, "error": error},
            )
            return False
        return True

    async def _create_pod(self, owner: Identity, creation: Creation, model: Revision, memory: Memory) -> None:
        number = creation.instance
        body = pod_builder.pod(
            owner, model, creation.build, number, previous=creation.previous, created_at=creation.created_at
        )
        raw, taken = await self._create_or_read(PODS, owner, body)
        if taken is not None:
            name, text = owner.instance(number), ""
            if projections.pod(raw).owner != owner.uid:
                text = not_ours(name)
            elif (raw["metadata"].get("labels") or {}).get(names.LABEL_NAME) != owner.name:
                text = f"Pod {name} has lost its label {names.LABEL_NAME}. Give it back, or delete the pod."
            if text:
                memory.foreign_pods.add(number, text, now=self.now())
                return
        memory.created(number)
        self.caches.pods.remember(raw)

    async def _create_claim(self, owner: Identity, model: Revision, name: str, number: int, memory: Memory) -> bool:
        """Whether the claim exists now and belongs to the set."""
        body = pod_builder.claim(owner, model, name, number)
        raw, _ = await self._create_or_read(CLAIMS, owner, body)
        found: Claim = projections.claim(raw)
        if found.set_name == owner.name and not found.goes_with_another(owner.uid):
            self.caches.claims.remember(raw)
            return True
        memory.foreign_claims[found.name] = (found, self.now() + delay(4))
        return False


def _not_created(result: bool | Exception) -> bool:  # noqa: FBT001 - a result, not a flag
    return result is not True


def _failed(result: bool | Exception) -> bool:  # noqa: FBT001 - the same
    return isinstance(result, Exception)


def _in_trouble(result: bool | Exception) -> bool:  # noqa: FBT001 - the same
    """Whether the server or the operator has a problem, and not one instance. A failing webhook is a 500."""
    if isinstance(result, Unavailable):
        return result.status != 500
    return isinstance(result, Overloaded) or (isinstance(result, Exception) and not isinstance(result, ApiError))
