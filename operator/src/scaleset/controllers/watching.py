"""Which objects are watched, what is kept of each kind, and whom its changes wake."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from scaleset.api import names
from scaleset.api.gallery_image_version import GalleryImageVersionSpec, GalleryImageVersionStatus
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec, UpgradePolicyStatus
from scaleset.controllers.caches import Caches
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.relations import relations
from scaleset.controllers.wakes import Wakes
from scaleset.kube.client import Client
from scaleset.kube.informer import Informer
from scaleset.kube.resources import CLAIMS, PODS, REVISIONS, Resource
from scaleset.planner.instances import Claim, Pod
from scaleset.planner.revisions import describe
from scaleset.records import projections
from scaleset.records.custom_objects import Projection
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS, UPGRADE_POLICIES
from scaleset.records.projections import JSON, Key, StoredRevision
from scaleset.records.versions import group

Namespaces = Sequence[str | None]
T = TypeVar("T", Pod, Claim, StoredRevision)


def watch(client: Client, wakes: Wakes, *, namespaces: Namespaces = (None,)) -> Caches:
    """Caches of those namespaces, (None,) being all of them, that wake whom their changes concern. They are empty until
    `Caches.run`.
    """
    caches = Caches(
        relations=relations(users_changed=wakes.users, line_changed=wakes.line, failures_changed=wakes.failures),
        scale_sets=CustomObjects(
            client,
            SCALE_SETS,
            status=ScaleSetStatus,
            projection=Projection(ScaleSetSpec.parse, describe),
            on_change=wakes.scale_set,
            namespaces=namespaces,
        ),
        policies=CustomObjects(
            client,
            UPGRADE_POLICIES,
            status=UpgradePolicyStatus,
            projection=Projection(UpgradePolicySpec.parse),
            on_change=wakes.policy,
            namespaces=namespaces,
        ),
        versions=CustomObjects(
            client,
            GALLERY_IMAGE_VERSIONS,
            status=GalleryImageVersionStatus,
            projection=Projection(GalleryImageVersionSpec.parse),
            on_change=wakes.version,
            namespaces=namespaces,
            key=group,
        ),
        pods=_of_instances(client, PODS, projections.pod, wake=wakes.instance, namespaces=namespaces),
        claims=_of_instances(client, CLAIMS, projections.claim, wake=wakes.instance, namespaces=namespaces),
        revisions=_of_instances(client, REVISIONS, projections.revision, wake=wakes.instance, namespaces=namespaces),
    )
    wakes.caches = caches
    known = caches.relations
    for of_sets in (known.users, known.followers, known.lines, known.failures):
        caches.scale_sets.follow(of_sets)
    for of_versions in (known.full, known.versions, known.catalogue):
        caches.versions.follow(of_versions)
    return caches


def _of_instances(
    client: Client,
    resource: Resource,
    project: Callable[[JSON], T],
    *,
    wake: Callable[[Key], None],
    namespaces: Namespaces,
) -> Informer[T]:
    """What bears the label of a set, by the set."""
    return Informer(
        client,
        resource,
        project=project,
        key=projections.belongs_to,
        on_change=wake,
        namespaces=namespaces,
        label=names.LABEL_NAME,
        same=projections.unchanged,
    )
