"""Relations between objects, as indexes that are updated with every change (kube.index)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scaleset.controllers.failures import Failures
from scaleset.controllers.lines import Lines, policy_of
from scaleset.kube.index import Index
from scaleset.planner.gallery import GalleryVersion
from scaleset.records.custom_objects import ScaleSetObject, VersionObject
from scaleset.records.projections import Key
from scaleset.records.versions import followed, full, gallery_version, group


class Catalogue:
    """Versions in the planner's form, parsed once and not at every reconcile of a set: 200 versions take 3 ms, and 16
    ms if they are replicated.
    """

    def __init__(self) -> None:
        self._understood: dict[Key, tuple[VersionObject, GalleryVersion | None]] = {}

    def follow(self, place: Key, _: VersionObject | None, __: VersionObject | None, /) -> None:
        self._understood.pop(place, None)

    def of(self, versions: Iterable[VersionObject]) -> tuple[GalleryVersion, ...]:
        """The versions of a group that can be parsed and are not being deleted, as in the store."""
        found = (self._one(seen) for seen in versions if not seen.deleting)
        return tuple(version for version in found if version is not None)

    def _one(self, seen: VersionObject) -> GalleryVersion | None:
        place = (seen.namespace, seen.name)
        known = self._understood.get(place)
        if known is None or known[0] is not seen:
            known = self._understood[place] = (seen, gallery_version(seen))
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


def relations(
    *,
    users_changed: Callable[[Key], None],
    line_changed: Callable[[Key], None],
    failures_changed: Callable[[Key], None],
) -> Relations:
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
