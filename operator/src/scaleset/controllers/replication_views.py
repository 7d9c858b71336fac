"""The views for pre-pulls: nodes, and the pods that pull, in the operator's own namespace.

Not every operator may list nodes: an operator of a few namespaces often has no rights beyond them. So each view first
checks its permission, and reports a missing right in a sentence. Nodes are followed once a version needs them. Each of
5,000 nodes reports every few minutes that nothing changed, which wakes no reconcile.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from scaleset.api import names
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Forbidden
from scaleset.kube.informer import Informer
from scaleset.kube.resources import JSON, NODES, PODS, Resource
from scaleset.planner.gallery import DEFAULT_REGION
from scaleset.planner.pod_builder import REGION_LABEL
from scaleset.planner.prepull_pod import CONTAINER
from scaleset.planner.replication import Node, Prepull, Stage
from scaleset.records.projections import explain, plain

log = logging.getLogger(__name__)

FORBIDDEN_SECONDS = 30.0
RETRY_SECONDS = 2.0
STALE_SECONDS = 180.0

OS_LABEL = "kubernetes.io/os"
_CONDITION_TAINT = "node.kubernetes.io/"
"""Taints that repeat a node's conditions."""
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
_PULL_ERRORS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)


def node(raw: JSON, *, wanted: Iterable[str] = ()) -> Node:
    """Record of a node, with only the wanted ones of its images."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    labels = metadata.get("labels") or {}
    ready = next((c.get("status") for c in status.get("conditions") or [] if c.get("type") == "Ready"), "")
    listed = {name for image in status.get("images") or [] for name in image.get("names") or []} if wanted else set()
    return Node(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        region=labels.get(REGION_LABEL) or DEFAULT_REGION,
        os=labels.get(OS_LABEL) or "linux",
        ready=ready == "True" and not metadata.get("deletionTimestamp"),
        schedulable=not spec.get("unschedulable") and not any(map(_repels, spec.get("taints") or [])),
        images=frozenset(listed.intersection(wanted)),
    )


def _repels(taint: Mapping[str, Any]) -> bool:
    """Whether the taint keeps the pods of a DaemonSet away."""
    return taint.get("effect") != "PreferNoSchedule" and not str(taint.get("key", "")).startswith(_CONDITION_TAINT)


def prepull(raw: JSON) -> Prepull:
    """Record of a pod that pulls."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or []}
    return Prepull(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        version=(metadata.get("labels") or {}).get(names.LABEL_PREPULL, ""),
        node=annotations.get(names.ANNOTATION_PREPULL_NODE, ""),
        version_namespace=str(annotations.get(names.ANNOTATION_PREPULL_OF, "")).partition("/")[0],
        deleting=bool(metadata.get("deletionTimestamp")),
        stage=_stage(raw.get("spec") or {}, status),
        message=plain(explain(status, conditions)),
    )


def _stage(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Stage:
    """Stage of the pull. It only matters that the container got past the pull, not how it ended."""
    statuses: list[JSON] = status.get("containerStatuses") or []
    container: JSON = next((each for each in statuses if each.get("name") == CONTAINER), {})
    state = container.get("state") or {}
    ended, reason = state.get("terminated"), str((state.get("waiting") or {}).get("reason") or "")
    # A kubelet that lost track of a container reports it as terminated, without knowing whether it ever started.
    lost = ended is not None and ended.get("reason") == "ContainerStatusUnknown"
    past = "running" in state or (ended is not None and not lost)
    if container.get("imageID") or past or reason not in (_STARTING | _PULL_ERRORS):
        return Stage.PULLED
    if status.get("phase") in ("Failed", "Succeeded"):
        return Stage.ENDED
    if reason in _PULL_ERRORS:
        return Stage.TROUBLED
    return Stage.PULLING if spec.get("nodeName") else Stage.UNSCHEDULED


class ReplicationViews:
    """The nodes, and the pre-pull pods of `namespace`. After a change `on_nodes` gets the number of nodes, or `on_pod`
    the version of the pod.
    """

    def __init__(
        self, client: Client, namespace: str, *, on_nodes: Callable[[int], None], on_pod: Callable[[str], None]
    ) -> None:
        self.namespace = namespace
        self.wanted: frozenset[str] = frozenset()
        """Image names to look for in the lists of nodes."""
        self._client = client
        self._on_nodes = on_nodes
        self._wanted: dict[str, frozenset[str]] = {}
        self._nodes_wanted = asyncio.Event()
        self._problems: dict[Resource, str] = {}
        self.nodes: Informer[Node] = Informer(
            client,
            NODES,
            project=lambda raw: node(raw, wanted=self.wanted),
            group=lambda record: ("", record.region),
            on_change=lambda _: self._changed(),
            same=lambda a, b: replace(a, resource_version=b.resource_version) == b,
        )
        self.pods: Informer[Prepull] = Informer(
            client,
            PODS,
            project=prepull,
            group=lambda record: (record.namespace, record.version),
            on_change=lambda group: on_pod(group[1]),
            namespaces=(namespace,),
            label=names.LABEL_PREPULL,
        )

    def _changed(self) -> None:
        self._on_nodes(len(self.nodes))

    @property
    def synced(self) -> bool:
        return self.nodes.synced and self.pods.synced

    @property
    def problem(self) -> str:
        """Why a view has no data, if this will last for a while."""
        return self._problem(self.nodes) or self._problem(self.pods)

    def _problem(self, view: Informer[Any]) -> str:
        problem = self._problems.get(view.resource, "")
        if problem or not view.synced or (age := view.age()) <= STALE_SECONDS:
            return problem
        return f"nothing was heard of {view.resource} for {age:.0f} s"

    def want(self, version_uid: str, image: frozenset[str]) -> None:
        """Look on nodes for the image of that version, by these names."""
        self._nodes_wanted.set()
        if image != self._wanted.get(version_uid):
            self._wanted[version_uid] = image
            self.wanted = frozenset().union(*self._wanted.values())

    def unwant(self, version_uid: str) -> None:
        """Stop looking for the image of that version."""
        if self._wanted.pop(version_uid, None):
            self.wanted = frozenset().union(*self._wanted.values())

    def wanting(self) -> list[str]:
        """The uids of the versions whose images are looked for."""
        return list(self._wanted)

    def of(self, version_uid: str) -> list[Prepull]:
        """The pods of one version."""
        return self.pods.of((self.namespace, version_uid))

    async def run(self) -> None:
        """Follow until cancelled; the pods at once, since an earlier operator may have left some."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_nodes())
            tasks.create_task(self._follow(self.pods, self.namespace))

    async def _follow_nodes(self) -> None:
        await self._nodes_wanted.wait()
        await self._follow(self.nodes, None)

    async def _follow(self, view: Informer[Any], namespace: str | None) -> None:
        """Follow as soon as the API server permits it."""
        while True:
            try:
                await self._client.peek(view.resource, namespace)
            except ApiError as error:
                self._say(view.resource, error.message)
                await asyncio.sleep(FORBIDDEN_SECONDS if isinstance(error, Forbidden) else RETRY_SECONDS)
            else:
                break
        self._problems.pop(view.resource, None)
        await view.run()

    def _say(self, resource: Resource, problem: str) -> None:
        if problem != self._problems.get(resource):
            self._problems[resource] = problem
            log.warning(
                'view_unavailable resource=%(resource)s error="%(error)s"', {"resource": resource, "error": problem}
            )
            self._changed()
