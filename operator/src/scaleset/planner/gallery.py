"""Which image version does ``latest`` mean?

Numerically the highest of the versions that are not excluded, not past end of life, shared with the asking namespace
and replicated to the region. When it was published does not matter. Of two objects that claim the same version the
older one wins.

A version is one to four numbers. `1.2`, `1.2.0` and `01.2` are the same version. Comparisons use the numbers (`number`,
`same`); outputs use the published spelling.

Readiness is computed here from the objects themselves and not read back from their status: a version counts the moment
it is seen. The one exception is the set of regions where a version with replicationMode Full is Completed. Only pulling
the image onto every node shows that, and Completed stays even if nodes are added later. The cluster cannot show it
again, so the status keeps it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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
    """The fields of a GalleryImageVersion that the choice depends on."""

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
    """Regions whose nodes have the image; None if `latest` does not wait for that."""
    os_type: str = "Linux"
    scope: str = "Private"
    shared_with: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asker:
    """Namespace and region of the set that asks."""

    namespace: str
    region: str = DEFAULT_REGION


Number = tuple[int, int, int, int]

_NUMBER = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10}){0,3}", re.ASCII)
_PARTS = 4
_SPELLED = 3
"""Parts of a version in its usual spelling; the fourth is there if it is not 0."""


@lru_cache(maxsize=4096)
def is_number(version: str) -> bool:
    """Whether a text is a valid version: anybody can write any text into a pod's label."""
    return _NUMBER.fullmatch(version) is not None


@lru_cache(maxsize=4096)
def number(version: str) -> Number:
    """Order of versions: 1.10.0 is above 1.9.0, and a part that is missing is 0. Raises ValueError for anything but
    one to four numbers.
    """
    if not is_number(version):
        raise ValueError(f"{version!r} is no version")
    first, second, third, fourth = [*map(int, version.split(".")), 0, 0, 0][:_PARTS]
    return first, second, third, fourth


def same(one: str | None, other: str | None) -> bool:
    """Whether two texts are spellings of one version. A text that is no version equals only itself."""
    if one == other or one is None or other is None:
        return one == other
    return is_number(one) and is_number(other) and number(one) == number(other)


def usual(version: str) -> str:
    """The canonical spelling of a version: three parts, or four, without leading zeros."""
    if not is_number(version):
        return version
    parts = number(version)
    return ".".join(map(str, parts if parts[_SPELLED] else parts[:_SPELLED]))


def spellings(versions: Iterable[str]) -> dict[str, str]:
    """The spelling to show for each version: the first spelling given, so that one version is shown in one way."""
    first: dict[Number | str, str] = {}
    return {text: first.setdefault(number(text) if is_number(text) else text, text) for text in versions}


def winners(versions: Iterable[GalleryVersion]) -> dict[tuple[Definition, Number], GalleryVersion]:
    """One object for each definition and version: the older one, then the one that sorts first by name."""
    chosen: dict[tuple[Definition, Number], GalleryVersion] = {}
    for candidate in versions:
        key = (candidate.definition, number(candidate.version))
        rival = chosen.get(key)
        if rival is None or (candidate.created, candidate.name) < (rival.created, rival.name):
            chosen[key] = candidate
    return chosen


def why_not(version: GalleryVersion, asker: Asker, *, now: float) -> str | None:
    """Why ``latest`` skips this version, as the end of a sentence; None if it does not skip it."""
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
    """The object behind a pinned version. A pin ignores exclusion and end of life; sharing and regions apply."""
    found = winners(versions).get((definition, number(version))) if is_number(version) else None
    if found is None or not shared(found, asker.namespace):
        return None
    return found if _meant(found, asker.region) and _arrived(found, asker.region) else None


def next_expiry(versions: Iterable[GalleryVersion], *, now: float) -> float | None:
    """When the next version reaches its end of life."""
    return min((v.end_of_life for v in versions if v.end_of_life is not None and v.end_of_life > now), default=None)
