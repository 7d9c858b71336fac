"""All watched objects."""

import asyncio
from dataclasses import dataclass
from typing import Any

from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.controllers.relations import Relations
from scaleset.kube.informer import Informer
from scaleset.planner.instances import Claim, Pod
from scaleset.records.projections import StoredRevision


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
