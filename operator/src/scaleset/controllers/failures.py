"""Counts in how many sets each published version failed. The counts are updated with every change of a set
(kube.store), so their cost does not depend on the number of all sets.
"""

from collections.abc import Mapping
from typing import Any

from scaleset.kube.resources import Key, Wake
from scaleset.planner.gallery import Definition, GalleryVersion, Number, is_number, number
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.records.versions import followed

BY_USER = ("Cancelled", "RolledBack")
"""Reasons of the user, which are no verdict on the version."""

_Failure = tuple[Definition, Number, str | None]
"""A version and its image. The image is None in entries of operators before 1.1, which hold for any image."""


class Failures:
    """Follows the sets. `on_change` gets the group of versions (records.versions.group) whose counts have changed."""

    def __init__(self, *, on_change: Wake) -> None:
        self._on_change = on_change
        self._sets: dict[_Failure, set[Key]] = {}
        self._of: dict[Key, tuple[Key, frozenset[_Failure]]] = {}

    def count(self, version: GalleryVersion) -> int:
        """Number of sets in which that version failed with its image."""
        parts = number(version.version)
        mine = self._sets.get((version.definition, parts, version.image), set())
        any_image = self._sets.get((version.definition, parts, None), set())
        return len(mine | any_image) if any_image else len(mine)

    def follow(self, key: Key, _: ScaleSetObject | None, after: ScaleSetObject | None, /) -> None:
        left, joined = self._of.get(key), _failures(after)
        if left == joined:
            return
        if left is not None:
            self._leave(key, left[1])
        if joined is not None:
            self._of[key] = joined
            for failure in joined[1]:
                self._sets.setdefault(failure, set()).add(key)
        for group in {found[0] for found in (left, joined) if found is not None}:
            self._on_change(group)

    def _leave(self, key: Key, failures: frozenset[_Failure]) -> None:
        del self._of[key]
        for failure in failures:
            keys = self._sets[failure]
            keys.discard(key)
            if not keys:
                del self._sets[failure]


def _failures(seen: ScaleSetObject | None) -> tuple[Key, frozenset[_Failure]] | None:
    """The group of versions that a set follows, and its failed versions; None without any. A status may be written by
    anybody.
    """
    rows = seen.status.get("failedTargets") if seen is not None else None
    if seen is None or seen.spec is None or seen.deleting or not isinstance(rows, list) or not rows:
        return None
    image = seen.spec.image_reference
    definition = Definition(image.gallery_namespace or seen.namespace, image.publisher, image.offer, image.sku)
    found = (_failure(definition, row) for row in rows if isinstance(row, Mapping))
    failures = frozenset(failure for failure in found if failure is not None)
    return (followed(seen.namespace, image), failures) if failures else None


def _failure(definition: Definition, row: Mapping[str, Any]) -> _Failure | None:
    version, image = row.get("version"), row.get("image")
    if row.get("reason") in BY_USER or not isinstance(version, str) or not is_number(version):
        return None
    return definition, number(version), image if isinstance(image, str) else None
