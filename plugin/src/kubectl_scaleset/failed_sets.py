"""The sets in which a published version failed, if you may read them. The version's status only has their number, since
not everybody who may read a gallery may see the names of other people's sets.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scaleset.kube.errors import Forbidden
from scaleset.kube.resources import JSON
from scaleset.planner.gallery import Definition, same
from scaleset.records.kinds import SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session

SHOWN = 10
BY_USER = {"Cancelled": "was cancelled", "RolledBack": "was rolled back"}
"""Reasons that say nothing about the version itself."""


def sentences(session: "Session", versions: Iterable[JSON]) -> list[str]:
    """A sentence for each failed GalleryImageVersion, with time and place."""
    failed = [raw for raw in versions if (raw.get("status") or {}).get("failedScaleSets")]
    if not failed:
        return []
    sets = _readable(session)
    return [_sentence(raw, list(_places(raw, sets))) for raw in failed]


def _sentence(raw: JSON, places: list[str]) -> str:
    number = int(raw["status"]["failedScaleSets"])
    text = f"Version {raw['spec']['version']} failed in {number} ScaleSet{'s' if number != 1 else ''}"
    if not places:
        return f"{text}, which you may not list."
    hidden = max(0, number - min(len(places), SHOWN))
    return f"{text}: {', '.join(places[:SHOWN])}{f', and {hidden} more' if hidden else ''}."


def _readable(session: "Session") -> list[JSON]:
    """Sets of all namespaces, or of the selected one if you may not list all."""
    for where in (None, session.namespace):
        try:
            return session.client.list(SCALE_SETS, where)[0]
        except Forbidden:
            continue
    return []


def _places(raw: JSON, sets: Iterable[JSON]) -> Iterator[str]:
    spec = raw["spec"]
    definition = Definition(raw["metadata"]["namespace"], spec["publisher"], spec["offer"], spec["sku"])
    for each in sets:
        metadata, image = each["metadata"], each["spec"]["imageReference"]
        gallery = image.get("galleryNamespace") or metadata["namespace"]
        if definition != Definition(gallery, image["publisher"], image["offer"], image["sku"]):
            continue
        for row in (each.get("status") or {}).get("failedTargets") or ():
            if row.get("reason") not in BY_USER and is_about(row, version=spec["version"], image=spec["image"]):
                yield f"{metadata['namespace']}/{metadata['name']} at {row.get('time') or 'an unknown time'}"
                break


def is_about(row: Mapping[str, Any], *, version: str, image: str) -> bool:
    """Whether an entry of a set's `failedTargets` is about that version and its image."""
    return same(row.get("version"), version) and row.get("image") in (None, image)


def what_happened(row: Mapping[str, Any]) -> str:
    """The verb for an entry of a set's `failedTargets`."""
    return BY_USER.get(str(row.get("reason")), "failed")
