"""The reconcile of GalleryImageVersions: their status, and the pulls for replicationMode Full.

The choice of `latest` does not wait for the status (planner.gallery), except for the regions where a Full version is
Completed: waiting sets are woken as soon as a region is recorded.

All versions of one publisher and offer are reconciled together, since two objects may claim the same version.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from math import inf
from time import monotonic

from scaleset.api.base import Condition
from scaleset.api.gallery_image_version import GalleryImageVersionStatus
from scaleset.api.moments import timestamp
from scaleset.controllers.caches import Caches, by_uid
from scaleset.controllers.prepulls import Prepulls
from scaleset.controllers.status_writer import StatusWriter, condition, conditions
from scaleset.kube.resources import JSON, Key, Wake
from scaleset.observability.metrics import Images
from scaleset.planner.gallery import number, winners
from scaleset.planner.replication import Replication
from scaleset.records.custom_objects import VersionObject
from scaleset.records.versions import full, gallery_version, reported

log = logging.getLogger(__name__)

SWEEP: Key = ("", "prepulls")
"""The key for the search for pods that no version needs any more."""
SWEEP_SECONDS = 60.0
LISTING_SECONDS = 0.5
"""Seconds until the next reconcile while nodes are listed for the first time."""
END_OF_LIFE = "EndOfLife"
FLUSH_SECONDS = 5.0
"""Least seconds between two writes of percentages and sentences while images are pulled."""


@dataclass(eq=False)
class GalleryImageVersionController:
    """Writes the status of the versions of one group and carries out their replication.

    `on_replicated` gets a group in which an image has arrived in a region.
    """

    caches: Caches
    writer: StatusWriter
    prepulls: Prepulls
    _: KW_ONLY
    images: Images
    on_replicated: Wake
    now: Callable[[], float]
    _flushed: dict[str, float] = field(default_factory=dict, init=False)

    async def reconcile(self, key: Key) -> float | None:
        """Bring every version of the group up to date; returns the seconds until its next reconcile."""
        members: list[VersionObject] = [seen for seen in self.caches.versions.of(key) if not seen.deleting]
        candidates = [version for seen in members if (version := gallery_version(seen)) is not None]
        chosen = {version.name: version for version in winners(candidates).values()}
        self.images.reconciled(key, chosen.values())
        rivals = {(v.definition, number(v.version)): v.name for v in chosen.values()}
        waits: list[float] = []
        for seen in members:
            version = gallery_version(seen)
            if version is not None and version.end_of_life is not None and version.end_of_life > self.now():
                waits.append(version.end_of_life - self.now())
            if version is not None and seen.name in chosen and full(seen):
                wait = await self._replicate(key, seen)
                waits += [wait] if wait is not None else []
                continue
            older = (
                None if version is None or seen.name in chosen else rivals[version.definition, number(version.version)]
            )
            if not await self.writer.write(self.caches.versions, seen, self._status(seen, older)):
                waits.append(0.0)
            await self.prepulls.release(seen)
            # A version whose status is right waits for nothing, and fifty of them hold the loop for 50 ms.
            await asyncio.sleep(0)
        await self.prepulls.sweep(self._alive)
        if key != SWEEP:
            return min(waits, default=None)
        self._forget()
        return SWEEP_SECONDS

    def _alive(self, uid: str) -> bool:
        """Whether a version with that uid exists and is not being deleted."""
        return any(not seen.deleting for seen in self.caches.relations.versions.of(by_uid(uid)))

    def _forget(self) -> None:
        """Forget versions that are gone."""
        self.prepulls.forget(self._alive)
        self._flushed = {uid: at for uid, at in self._flushed.items() if self._alive(uid)}

    async def _replicate(self, key: Key, seen: VersionObject) -> float | None:
        """Replicate one Full version: its status first, then its pods. Returns the seconds until its next reconcile."""
        plan = self.prepulls.plan(seen)
        if plan is None:
            return LISTING_SECONDS
        before = {region.name: region.state for region in reported(seen).values()}
        states = {region.name: region.state for region in plan.summary}
        urgent = states != before or seen.status.get("observedGeneration") != seen.generation
        later = self._flushed.get(seen.uid, -inf) + FLUSH_SECONDS - monotonic()
        times = [plan.wake_at - self.now()] if plan.wake_at is not None else []
        if not urgent and later > 0:
            times.append(later)
        else:
            if not await self.writer.write(self.caches.versions, seen, self._status(seen, None, plan)):
                return 0.0
            stored = self.caches.versions.get(seen.namespace, seen.name)
            if stored is not None and stored.resource_version != seen.resource_version:
                self._flushed[seen.uid] = monotonic()
        if states != before:
            written = " ".join(f"{name}={state}" for name, state in states.items())
            log.info(
                "replication version=%(namespace)s/%(version)s %(regions)s",
                {"namespace": seen.namespace, "version": seen.name, "regions": written},
            )
            self.on_replicated(key)
        undone = await self.prepulls.carry_out(seen, plan)
        times += [undone] if undone is not None else []
        return max(0.0, min(times)) if times else None

    def _status(self, seen: VersionObject, older: str | None, plan: Replication | None = None) -> JSON:
        spec = seen.spec
        if spec is None:
            ready = condition(seen, "Ready", "InvalidSpec", seen.problem, holds=False)
            found = self._conditions(seen, ready)
            return {"observedGeneration": seen.generation, "failedScaleSets": None, "conditions": found}
        if "@" in spec.image:
            pinned = condition(seen, "Pinned", "Digest", "The image is named by its digest.", holds=True)
        else:
            text = "The image is named by a tag, which can be moved: publish it by digest to be sure what runs."
            pinned = condition(seen, "Pinned", "Tag", text, holds=False)
        told = [_ready(seen, spec.version, older, plan), pinned, *_end_of_life(seen, self.now())]
        return {
            "observedGeneration": seen.generation,
            "publishedDate": timestamp(seen.created),
            "failedScaleSets": self._failed(seen),
            "replicationStatus": _replicated_at_once(seen) if plan is None else _replication_status(plan),
            "conditions": self._conditions(seen, *told),
        }

    def _failed(self, seen: VersionObject) -> int | None:
        """Number of sets in which the version failed; None for the usual zero."""
        version = gallery_version(seen)
        return (self.caches.relations.failures.count(version) or None) if version is not None else None

    def _conditions(self, seen: VersionObject, *found: Condition) -> list[JSON]:
        existing = GalleryImageVersionStatus.parse({"status": seen.status}).conditions
        if seen.spec is not None and not any(each.type == END_OF_LIFE for each in found):
            existing = tuple(each for each in existing if each.type != END_OF_LIFE)
        return conditions(existing, *found, now=self.now())


def _ready(seen: VersionObject, version: str, older: str | None, plan: Replication | None) -> Condition:
    if older is not None:
        message = f"GalleryImageVersion {older} is older and publishes the same version. Give this one another version."
        return condition(seen, "Ready", "Duplicate", message, holds=False)
    if plan is None:
        return condition(seen, "Ready", "Published", f"Version {version} is published.", holds=True)
    if plan.problem and plan.aggregate != "Completed":
        message = (
            f"{plan.problem}. replicationMode Full needs the right to list and watch nodes, and to create, list, watch "
            "and delete pods in the operator's namespace. Grant it, or set replicationMode to Shallow."
        )
        return condition(seen, "Ready", "ReplicationUnavailable", message, holds=False)
    message = f"Version {version} is published. It counts in a region once the nodes there have the image."
    return condition(seen, "Ready", "Published", message, holds=True)


def _end_of_life(seen: VersionObject, now: float) -> list[Condition]:
    """Whether the end of life has come, if the version has one or if its deletion waits for one.

    An admission policy knows no time of its own. It reads this condition, and believes it for the generation only that
    it was computed from.
    """
    if seen.spec is None:
        return []
    date, profile = seen.spec.publishing_profile.end_of_life_date, seen.spec.safety_profile
    guarded = profile is not None and bool(profile.block_deletion_before_end_of_life)
    if date is None:
        text = "The version has no endOfLifeDate, and safetyProfile.blockDeletionBeforeEndOfLife keeps it until then."
        return [condition(seen, END_OF_LIFE, "NoEndOfLifeDate", text, holds=False)] if guarded else []
    day = timestamp(date.timestamp())
    if now >= date.timestamp():
        text = f"The end of life came at {day}. No upgrade to the version starts."
        return [condition(seen, END_OF_LIFE, "EndOfLifeReached", text, holds=True)]
    kept = " safetyProfile keeps the version until then." if guarded else ""
    text = f"The end of life comes at {day}.{kept}"
    return [condition(seen, END_OF_LIFE, "BeforeEndOfLife", text, holds=False)]


def _replicated_at_once(seen: VersionObject) -> JSON:
    """replicationMode Shallow, or a version that is never chosen."""
    profile = seen.spec.publishing_profile if seen.spec is not None else None
    regions = [region.name for region in profile.target_regions] if profile is not None else []
    return {
        "aggregatedState": "Completed",
        "mode": "Shallow",
        "summary": [{"region": name, "state": "Completed", "progress": 100} for name in regions],
    }


def _replication_status(plan: Replication) -> JSON:
    return {
        "aggregatedState": plan.aggregate,
        "mode": "Full",
        "summary": [
            {
                "region": region.name,
                "state": region.state,
                "progress": region.progress,
                **({"details": region.details} if region.details else {}),
            }
            for region in plan.summary
        ],
    }
