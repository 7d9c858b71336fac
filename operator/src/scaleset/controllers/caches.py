"""All watched objects, and the relations between them: indexes that are updated with every change."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.failures import Failures
from scaleset.controllers.lines import Lines, policy_of
from scaleset.kube.informer import Informer
from scaleset.kube.resources import Key, Wake
from scaleset.kube.store import Index
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Claim, Pod
from scaleset.records.custom_objects import ScaleSetObject, VersionObject
from scaleset.records.projections import StoredRevision
from scaleset.records.versions import followed, full, gallery_version, group


class Catalogue:
    """Versions in the planner's form, parsed once and not at every reconcile of a set: 200 versions take 3 ms, and 16
    ms if they are replicated.
    """

    def __init__(self) -> None:
        self._understood: dict[Key, tuple[VersionObject, GalleryVersion | None]] = {}

    def follow(self, key: Key, _: VersionObject | None, __: VersionObject | None, /) -> None:
        self._understood.pop(key, None)

    def of(self, versions: Iterable[VersionObject]) -> tuple[GalleryVersion, ...]:
        """The versions of a group that can be parsed and are not being deleted, as in the store."""
        found = (self._one(seen) for seen in versions if not seen.deleting)
        return tuple(version for version in found if version is not None)

    def _one(self, seen: VersionObject) -> GalleryVersion | None:
        key = (seen.namespace, seen.name)
        known = self._understood.get(key)
        if known is None or known[0] is not seen:
            known = self._understood[key] = (seen, gallery_version(seen))
        return known[1]


@dataclass(frozen=True)
class Relations:
    """`users`: sets by their policy; `followers`: sets by the group of versions that their image is taken from;
    `failures`: in how many sets each version failed; `full`: versions that ask for their image on the nodes, by group;
    `versions`: versions by uid.
    """

    users: Index[ScaleSetObject]
    followers: Index[ScaleSetObject]
    lines: Lines
    failures: Failures
    full: Index[VersionObject]
    versions: Index[VersionObject]
    catalogue: Catalogue


def relations(*, users_changed: Wake, line_changed: Wake, failures_changed: Wake) -> Relations:
    """Empty relations. The first two callbacks get a policy: sets began or ceased to refer to it; its sets began or
    ended to roll or to wait. The last one gets a group of versions whose failure counts changed.
    """
    return Relations(
        users=Index(policy_of, on_change=users_changed),
        followers=Index(_followed),
        lines=Lines(on_change=line_changed),
        failures=Failures(on_change=failures_changed),
        full=Index(lambda seen: group(seen) if full(seen) else None),
        versions=Index(lambda seen: by_uid(seen.uid)),
        catalogue=Catalogue(),
    )


def by_uid(uid: str) -> Key:
    """The key of `Relations.versions`."""
    return "", uid


def _followed(seen: ScaleSetObject) -> Key | None:
    return followed(seen.namespace, seen.spec.image_reference) if seen.spec is not None else None


@dataclass(frozen=True)
class Caches:
    """Custom resources from kopf's events; pods, claims and revisions from informers; and their relations."""

    scale_sets: CustomObjects[ScaleSetSpec]
    policies: CustomObjects[UpgradePolicySpec]
    versions: CustomObjects[GalleryImageVersionSpec]
    pods: Informer[Pod]
    claims: Informer[Claim]
    revisions: Informer[StoredRevision]
    relations: Relations

    @property
    def synced(self) -> bool:
        """Whether everything was listed once; before that no decision is allowed."""
        return all(cache.synced for cache in self._each)

    def age(self) -> float:
        """Seconds since the API server last confirmed the oldest of these views."""
        return max(cache.age() for cache in self._each)

    async def run(self) -> None:
        """Follow all of them until cancelled, or until one fails."""
        async with asyncio.TaskGroup() as group:
            for cache in self._each:
                group.create_task(cache.run())

    @property
    def _each(self) -> tuple[CustomObjects[Any] | Informer[Any], ...]:
        return (self.scale_sets, self.policies, self.versions, self.pods, self.claims, self.revisions)
