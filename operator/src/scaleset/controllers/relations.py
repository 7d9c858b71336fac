"""Who refers to whom, found without a walk over all objects: each of these is kept with every change (kube.index)."""

from collections.abc import Callable
from dataclasses import dataclass

from scaleset.controllers.lines import Lines, policy_of
from scaleset.kube.index import Index
from scaleset.records.custom_objects import ScaleSetObject, VersionObject
from scaleset.records.projections import Key
from scaleset.records.versions import followed, full, group


@dataclass(frozen=True)
class Relations:
    """`users`: sets by their policy; `followers`: sets by the group of versions that their image is taken from;
    `full`: versions that ask for their image on the nodes, by group; `versions`: versions by uid.
    """

    users: Index[ScaleSetObject]
    followers: Index[ScaleSetObject]
    lines: Lines
    full: Index[VersionObject]
    versions: Index[VersionObject]


def relations(*, users_changed: Callable[[Key], None], line_changed: Callable[[Key], None]) -> Relations:
    """Empty ones. Both callbacks get a policy: sets came to it or left it; some of its sets began or ended to roll or
    to wait.
    """
    return Relations(
        users=Index(policy_of, on_change=users_changed),
        followers=Index(_followed),
        lines=Lines(on_change=line_changed),
        full=Index(lambda seen: group(seen) if full(seen) else None),
        versions=Index(lambda seen: by_uid(seen.uid)),
    )


def by_uid(uid: str) -> Key:
    """The key of `Relations.versions`."""
    return "", uid


def _followed(seen: ScaleSetObject) -> Key | None:
    return followed(seen.namespace, seen.spec.image_reference) if seen.spec is not None else None
