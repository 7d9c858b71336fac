"""Published versions, as the planner sees them."""

from scaleset.api.gallery_image_version import GalleryImageVersionStatus
from scaleset.api.scale_set import ImageReference
from scaleset.kube.resources import Key
from scaleset.planner.gallery import Definition, GalleryVersion
from scaleset.planner.replication import Region
from scaleset.records.custom_objects import VersionObject


def definition_key(namespace: str, publisher: str, offer: str) -> Key:
    """The group key of versions: the gallery and the image definition without the sku."""
    return namespace, f"{publisher}/{offer}"


def group(seen: VersionObject) -> Key:
    """The group of a version; a version that cannot be parsed is a group of its own."""
    spec = seen.spec
    return (seen.namespace, seen.name) if spec is None else definition_key(seen.namespace, spec.publisher, spec.offer)


def followed(namespace: str, image: ImageReference) -> Key:
    """The group of versions that a set of that namespace gets its image from."""
    return definition_key(image.gallery_namespace or namespace, image.publisher, image.offer)


def gallery_version(seen: VersionObject) -> GalleryVersion | None:
    """The version for the planner; None if its spec cannot be parsed."""
    spec = seen.spec
    if spec is None:
        return None
    profile = spec.publishing_profile
    return GalleryVersion(
        name=seen.name,
        definition=Definition(seen.namespace, spec.publisher, spec.offer, spec.sku),
        version=spec.version,
        image=spec.image,
        created=seen.created,
        excluded=profile.exclude_from_latest,
        regions={r.name: r.exclude_from_latest for r in profile.target_regions} or None,
        replicated=_replicated(seen),
        end_of_life=profile.end_of_life_date.timestamp() if profile.end_of_life_date is not None else None,
        os_type=spec.os_type,
        scope=spec.sharing.scope,
        shared_with=frozenset(spec.sharing.namespaces),
    )


def _replicated(seen: VersionObject) -> frozenset[str] | None:
    """Regions whose nodes have the image, by the status; None if `latest` does not wait for that."""
    if not full(seen):
        return None
    return frozenset(region.name for region in reported(seen).values() if region.state == "Completed")


def full(seen: VersionObject) -> bool:
    """Whether the version asks for its image to be pulled beforehand."""
    return seen.spec is not None and seen.spec.publishing_profile.replication_mode == "Full"


def reported(seen: VersionObject) -> dict[str, Region]:
    """The regions in the status of a Full version; empty if the status is about another mode."""
    status = GalleryImageVersionStatus.parse({"status": seen.status}).replication_status
    if status is None or status.mode != "Full":
        return {}
    return {r.region: Region(r.region, r.state, r.progress, r.details or "") for r in status.summary}
