"""The watched objects, the records kept of each kind, and the mapping of a changed object to the keys to reconcile."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TypeVar

from scaleset.api import names
from scaleset.api.gallery_image_version import GalleryImageVersionSpec, GalleryImageVersionStatus
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec, UpgradePolicyStatus
from scaleset.controllers.caches import Caches, by_uid, relations
from scaleset.controllers.concurrency_limit import front
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.gallery_image_version import SWEEP
from scaleset.kube.client import Client
from scaleset.kube.informer import Informer
from scaleset.kube.resources import CLAIMS, JSON, PODS, REVISIONS, Key, Resource, Wake
from scaleset.planner.instances import Claim, Pod
from scaleset.planner.revisions import describe
from scaleset.records import projections
from scaleset.records.custom_objects import Projection
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS, UPGRADE_POLICIES
from scaleset.records.projections import StoredRevision
from scaleset.records.versions import group

Later = Callable[[Key, float], None]


REST_PER_INSTANCE_SECONDS = 50e-6
"""Delay after an event, to collect further ones. A reconcile of a set takes 5 µs an instance, and the delay is ten
times as long. So the events of a large set, several a pod, take a tenth of the event loop. No longer for a small set:
a pod that others delete has to be seen while it terminates (`planner.deadlines`).
"""
REST_PER_NODE_SECONDS = 20e-6
"""The same delay for nodes: each replicated version walks all of them, 2 µs a node, and nodes come and go."""
REST_FAILURES_SECONDS = 1.0
"""Delay for failure counts: a version fails in many sets at once, and its count is written once for all of them."""


@dataclass(eq=False)
class Wakes:
    """Maps a changed object to the keys to reconcile, in three queues. `instances` and `replications` also take the
    seconds that a reconcile may wait for more events. `caches` is set later, since the caches need this object first.
    """

    _: KW_ONLY
    scale_sets: Wake
    instances: Later
    versions: Wake
    replications: Later
    policies: Wake
    caches: Caches = field(init=False)

    def instance(self, key: Key) -> None:
        """A pod, claim or revision of that set."""
        size = self.caches.pods.number(key)
        self.instances(key, size * REST_PER_INSTANCE_SECONDS)

    def scale_set(self, key: Key) -> None:
        """A ScaleSet: itself. `users` and `line` handle the effects on other objects."""
        self.scale_sets(key)

    def users(self, policy: Key) -> None:
        """A set began or ceased to refer to that UpgradePolicy, which counts its sets."""
        self.policies(policy)

    def line(self, policy: Key) -> None:
        """A set of that policy began or ended to roll or to wait: a waiting set may be able to start."""
        for waiting in front(self.caches, policy):
            self.scale_sets(waiting)

    def policy(self, key: Key) -> None:
        """An UpgradePolicy: itself, and the sets that refer to it."""
        self.policies(key)
        for seen in self.caches.relations.users.of(key):
            self.scale_sets((seen.namespace, seen.name))

    def version(self, key: Key) -> None:
        """Versions of an image: themselves, and the sets that follow them."""
        self.versions(key)
        self.replicated(key)

    def replicated(self, key: Key) -> None:
        """The sets that follow that group of versions."""
        for seen in self.caches.relations.followers.of(key):
            self.scale_sets((seen.namespace, seen.name))

    def failures(self, versions: Key) -> None:
        """Failure counts of that group of versions changed: the versions themselves."""
        self.replications(versions, REST_FAILURES_SECONDS)

    def nodes(self, number: int) -> None:
        """A node was added, removed or changed: the versions that need their image on all nodes."""
        full = self.caches.relations.full
        groups = full.groups()
        rest = REST_PER_NODE_SECONDS * number * sum(map(full.number, groups))
        for key in groups:
            self.replications(key, rest)

    def prepull(self, version_uid: str) -> None:
        """A pod that pulls an image: its version, or the search for pods without one."""
        found = self.caches.relations.versions.of(by_uid(version_uid))
        self.versions(group(found[0]) if found else SWEEP)


Namespaces = Sequence[str | None]
T = TypeVar("T", Pod, Claim, StoredRevision)


def watch(client: Client, wakes: Wakes, *, namespaces: Namespaces = (None,)) -> Caches:
    """Caches of those namespaces, or of all with (None,), which wake the affected keys after a change. They are empty
    until `Caches.run`.
    """
    of_kind = partial(CustomObjects, client, namespaces=namespaces)
    of_instances = partial(_of_instances, client, wake=wakes.instance, namespaces=namespaces)
    caches = Caches(
        relations=relations(users_changed=wakes.users, line_changed=wakes.line, failures_changed=wakes.failures),
        scale_sets=of_kind(
            SCALE_SETS,
            status=ScaleSetStatus,
            projection=Projection(ScaleSetSpec.parse, describe),
            on_change=wakes.scale_set,
        ),
        policies=of_kind(
            UPGRADE_POLICIES,
            status=UpgradePolicyStatus,
            projection=Projection(UpgradePolicySpec.parse),
            on_change=wakes.policy,
        ),
        versions=of_kind(
            GALLERY_IMAGE_VERSIONS,
            status=GalleryImageVersionStatus,
            projection=Projection(GalleryImageVersionSpec.parse),
            on_change=wakes.version,
            group=group,
        ),
        pods=of_instances(PODS, projections.pod),
        claims=of_instances(CLAIMS, projections.claim),
        revisions=of_instances(REVISIONS, projections.revision),
    )
    wakes.caches = caches
    known = caches.relations
    for of_sets in (known.users, known.followers, known.lines, known.failures):
        caches.scale_sets.follow(of_sets)
    for of_versions in (known.full, known.versions, known.catalogue):
        caches.versions.follow(of_versions)
    return caches


def _of_instances(
    client: Client, resource: Resource, project: Callable[[JSON], T], *, wake: Wake, namespaces: Namespaces
) -> Informer[T]:
    """The owner of an object with the label of a set."""
    return Informer(
        client,
        resource,
        project=project,
        group=projections.belongs_to,
        on_change=wake,
        namespaces=namespaces,
        label=names.LABEL_NAME,
        same=projections.unchanged,
    )
