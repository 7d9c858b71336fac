"""Which image version does ``latest`` mean? (semantics 1.1)

Numerically the highest of the versions that are not excluded, not past end of life, shared with the asking namespace
and replicated to the region. When it was published does not matter. Of two objects that claim the same version the
older one wins.

Readiness is computed here from the objects themselves and not read back from their status: a version counts the
moment it is seen. The one exception is where a version with replicationMode Full has arrived. That is known only by
pulling the image onto every node, and once Completed it stays so, whatever nodes come later: no look at the cluster
can tell it again, so the status is where it is kept.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

DEFAULT_REGION = "default"
LATEST = "latest"


class Definition(NamedTuple):
    """An image definition of a gallery."""

    gallery: str
    publisher: str
    offer: str
    sku: str


@dataclass(frozen=True, slots=True)
class GalleryVersion:
    """A GalleryImageVersion reduced to what the choice depends on."""

    name: str
    definition: Definition
    version: str
    image: str
    created: float = 0.0
    excluded: bool = False
    regions: Mapping[str, bool] | None = None
    """Target regions with their own exclusion; None means every region."""
    end_of_life: float | None = None
    replicated: frozenset[str] | None = None
    """Regions whose nodes have the image; None when that is not waited for."""
    os_type: str = "Linux"
    scope: str = "Private"
    shared_with: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a set's namespace and region."""

    namespace: str
    region: str = DEFAULT_REGION


_PART = r"(0|[1-9][0-9]{0,9})"
_NUMBER = re.compile(rf"{_PART}\.{_PART}\.{_PART}")


def is_number(version: str) -> bool:
    """Whether it is what a version may be: a label of a pod is whatever somebody made of it."""
    return _NUMBER.fullmatch(version) is not None


def number(version: str) -> tuple[int, int, int]:
    """Order of versions: 1.10.0 is above 1.9.0. Raises ValueError for anything but three numbers."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def winners(versions: Iterable[GalleryVersion]) -> dict[tuple[Definition, str], GalleryVersion]:
    """One object for each definition and version: the older one, then the one that sorts first by name."""
    chosen: dict[tuple[Definition, str], GalleryVersion] = {}
    for candidate in versions:
        key = (candidate.definition, candidate.version)
        rival = chosen.get(key)
        if rival is None or (candidate.created, candidate.name) < (rival.created, rival.name):
            chosen[key] = candidate
    return chosen


def why_not(version: GalleryVersion, asker: Asker, *, now: float) -> str | None:
    """Why ``latest`` passes this version over, as a sentence's end; None when it does not."""
    if not shared(version, asker.namespace):
        return f"it is not shared with namespace {asker.namespace}"
    if version.excluded:
        return "it is excluded from latest"
    if version.end_of_life is not None and now >= version.end_of_life:
        return "its end of life has passed"
    if not _meant(version, asker.region):
        return f"it is not replicated to region {asker.region}"
    if not _arrived(version, asker.region):
        return f"its image is not on the nodes of region {asker.region} yet"
    if version.regions is not None and version.regions[asker.region]:
        return f"it is excluded from latest in region {asker.region}"
    return None


def _meant(version: GalleryVersion, region: str) -> bool:
    return version.regions is None or region in version.regions


def _arrived(version: GalleryVersion, region: str) -> bool:
    return version.replicated is None or region in version.replicated


def shared(version: GalleryVersion, namespace: str) -> bool:
    """Whether that namespace may use the version."""
    if version.definition.gallery == namespace or version.scope == "Community":
        return True
    return version.scope == "Namespaces" and namespace in version.shared_with


def eligible(
    versions: Iterable[GalleryVersion], definition: Definition, asker: Asker, *, now: float
) -> list[GalleryVersion]:
    """The versions that ``latest`` chooses from, highest first."""
    mine = [v for v in winners(versions).values() if v.definition == definition and why_not(v, asker, now=now) is None]
    return sorted(mine, key=lambda v: number(v.version), reverse=True)


def exact(
    versions: Iterable[GalleryVersion], definition: Definition, version: str, asker: Asker
) -> GalleryVersion | None:
    """The object behind a pinned version. Exclusion and end of life do not matter to somebody who names it; sharing
    and regions do.
    """
    found = winners(versions).get((definition, version))
    if found is None or not shared(found, asker.namespace):
        return None
    return found if _meant(found, asker.region) and _arrived(found, asker.region) else None


def next_expiry(versions: Iterable[GalleryVersion], *, now: float) -> float | None:
    """When the next version reaches its end of life."""
    return min((v.end_of_life for v in versions if v.end_of_life is not None and v.end_of_life > now), default=None)
