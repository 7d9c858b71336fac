"""Carries out the replication of versions: creates and deletes the pods that pull (planner.replication decides).

A pod is deleted, by its uid, as soon as its node has the image or its pull is given up for now. Pods of a version that
is gone, or that needs none any more, are found by their label: at the start, every minute, and when one appears.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass, replace

from scaleset.controllers.replication_views import ReplicationViews
from scaleset.kube.client import Client
from scaleset.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NamespaceTerminating, NotFound
from scaleset.kube.resources import PODS
from scaleset.planner import prepull_pod
from scaleset.planner.replication import (
    OVERALL,
    ROOM_SECONDS,
    Ledger,
    Node,
    Prepull,
    Replication,
    View,
    after,
    decide_replication,
    image_names,
    without_nodes,
)
from scaleset.records.custom_objects import VersionObject
from scaleset.records.projections import plain
from scaleset.records.versions import reported

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Prepulls:
    """The pods that pull, of all versions, with the pull secrets of `service_account`. `serves` decides whether a
    namespace is served; `now` is the API server's clock.
    """

    client: Client
    views: ReplicationViews
    _: KW_ONLY
    service_account: str
    serves: Callable[[str], bool]
    now: Callable[[], float]

    def __post_init__(self) -> None:
        self._ledgers: dict[str, Ledger] = {}
        self._creating = 0
        self._leaving: set[str] = set()
        """Uids of deleted pods: without a grace period the answer does not show the deletion, and two workers may find
        the same pod.
        """

    def plan(self, seen: VersionObject) -> Replication | None:
        """The plan for a Full version; None while nodes and pods are listed for the first time."""
        if seen.spec is None:
            raise ValueError(f"GalleryImageVersion {seen.namespace}/{seen.name} has no valid spec: {seen.problem}")
        views, spec = self.views, seen.spec
        views.want(seen.uid, image_names(spec.image))
        view = View(
            image=spec.image,
            os=spec.os_type.lower(),
            regions=tuple(region.name for region in spec.publishing_profile.target_regions),
            reported=reported(seen),
            nodes=views.nodes.all(),
            pods=self._of(seen.uid),
            now=self.now(),
            room=self._room(),
            ledger=self._ledgers.get(seen.uid, Ledger()),
        )
        if views.problem:
            return without_nodes(view, f"The nodes are not known: {plain(views.problem)}", delete=True)
        if not views.synced:
            return None
        return decide_replication(view)

    async def carry_out(self, seen: VersionObject, plan: Replication) -> float | None:
        """Carry out a plan. Returns the seconds until the next decision if a part was not done."""
        self._ledgers[seen.uid] = plan.ledger
        await self._delete(plan.delete)
        waits = await asyncio.gather(*(self._create(seen, node) for node in plan.create))
        return min((wait for wait in waits if wait is not None), default=None)

    async def release(self, seen: VersionObject) -> None:
        """Delete the pods of a version that needs none."""
        self.views.unwant(seen.uid)
        if self._ledgers.pop(seen.uid, None) is not None:
            log.info(
                "replication_ended version=%(namespace)s/%(version)s",
                {"namespace": seen.namespace, "version": seen.name},
            )
        await self._delete(self._of(seen.uid))

    def forget(self, alive: Callable[[str], bool]) -> None:
        """Forget versions, by uid, that were deleted without an event."""
        self._ledgers = {uid: ledger for uid, ledger in self._ledgers.items() if alive(uid)}
        for uid in self.views.wanting():
            if not alive(uid):
                self.views.unwant(uid)

    async def sweep(self, alive: Callable[[str], bool]) -> None:
        """Delete pods whose version, by its uid, is gone. Versions of other operators are ignored."""
        pods = self.views.pods.all()
        self._leaving &= {pod.uid for pod in pods}
        await self._delete(
            [pod for pod in pods if not alive(pod.version) and self.serves(pod.version_namespace)], orphaned=True
        )

    def _of(self, version_uid: str) -> list[Prepull]:
        """The pods of one version."""
        pods = self.views.of(version_uid)
        return [replace(pod, deleting=True) if pod.uid in self._leaving else pod for pod in pods]

    def _room(self) -> int:
        return max(0, OVERALL - len(self.views.pods) - self._creating)

    async def _delete(self, pods: Collection[Prepull], *, orphaned: bool = False) -> None:
        staying = [pod for pod in pods if not pod.deleting and pod.uid not in self._leaving]
        if orphaned and staying:
            log.info("prepulls_orphaned pods=%(pods)d", {"pods": len(staying)})
        self._leaving.update(pod.uid for pod in staying)
        await asyncio.gather(*map(self._delete_one, staying))

    async def _delete_one(self, pod: Prepull) -> None:
        informer = self.views.pods
        try:
            informer.remember(await self.client.delete(PODS, pod.namespace, pod.name, uid=pod.uid))
        except (NotFound, Conflict):
            informer.forget(pod.namespace, pod.name, pod.uid)
        except BaseException:
            self._leaving.discard(pod.uid)
            raise

    async def _create(self, seen: VersionObject, node: Node) -> float | None:
        # Other versions may have taken the room since the plan was made.
        if seen.spec is None or self._room() == 0:
            return ROOM_SECONDS
        self._creating += 1
        name, namespace = prepull_pod.pod_name(seen.name, seen.uid, node), self.views.namespace
        body = prepull_pod.pod(
            namespace,
            version=(seen.namespace, seen.name, seen.uid),
            image=seen.spec.image,
            node=node,
            service_account=self.service_account,
        )
        try:
            raw = await self.client.create(PODS, namespace, body)
        except AlreadyExists:
            # Unknown pod: the answer to its create was lost, or somebody removed its label.
            try:
                raw = await self.client.get(PODS, namespace, name)
            except NotFound:
                return ROOM_SECONDS  # The pod vanished between the two calls.
        except NamespaceTerminating:
            return ROOM_SECONDS  # The operator's own namespace: the operator goes with it.
        except (Forbidden, Invalid, NotFound) as error:
            log.warning(
                'prepull_refused pod=%(namespace)s/%(pod)s node=%(node)s error="%(error)s"',
                {"namespace": namespace, "pod": name, "node": node.name, "error": error},
            )
            self._refused(seen, plain(error.message))
            return 0.0
        finally:
            self._creating -= 1
        self.views.pods.remember(raw)
        ledger = self._ledgers.get(seen.uid)
        if ledger is not None and ledger.refused is not None:
            self._ledgers[seen.uid] = replace(ledger, refused=None)
        return None

    def _refused(self, seen: VersionObject, message: str) -> None:
        """Pods that are refused together count once."""
        ledger = self._ledgers.get(seen.uid)
        if ledger is not None and (ledger.refused is None or ledger.refused.retry_at <= self.now()):
            self._ledgers[seen.uid] = replace(ledger, refused=after(ledger.refused, message, now=self.now()))
