"""A version counts the sets in which it failed: what a walk over all sets finds, at the cost of those that failed."""

import random
from typing import Any

from scaleset.planner.gallery import same
from scaleset.records.versions import gallery_version, group
from tests.cluster.harness.manifests import image_version, scale_set
from tests.unit.controllers.woken import World

Json = dict[str, Any]
FORGED: list[Any] = ["x", {}, [7], [{"version": 7}], [{"version": "x", "reason": "Breach"}], [{"version": None}]]


def row(version: str, image: str | None, reason: str = "Breach") -> Json:
    found = {"model": "m", "version": version, "reason": reason}
    return found if image is None else {**found, "image": image}


def walked(world: World, version: Any) -> int:
    """By looking at every set: the rule itself."""
    found = 0
    for each in world.caches.scale_sets.all():
        rows = each.status.get("failedTargets")
        if each.spec is None or each.deleting or not isinstance(rows, list):
            continue
        image = each.spec.image_reference
        mine = (image.gallery_namespace or each.namespace, image.publisher, image.offer, image.sku)
        found += mine == tuple(version.definition) and any(
            isinstance(row, dict)
            and isinstance(row.get("version"), str)
            and same(row["version"], version.version)
            and row.get("image") in (None, version.image)
            and row["reason"] not in ("Cancelled", "RolledBack")
            for row in rows
        )
    return found


def test_it_counts_what_a_walk_would_find():
    world, chance = World(), random.Random(11)
    for number in range(3):
        world.tell(image_version(f"1.{number}"), namespace="b")
    versions = [found for seen in world.caches.versions.all() if (found := gallery_version(seen)) is not None]
    seen: set[int] = set()
    for _ in range(400):
        version = chance.choice(versions)
        rows = [
            row(
                chance.choice([version.version, f"0{version.version}.0"]),
                chance.choice([version.image, version.image, "other", None]),
                chance.choice(["Breach", "Breach", "Cancelled", "RolledBack"]),
            )
            for _ in range(chance.randrange(3))
        ]
        status = {"failedTargets": chance.choice([rows, rows, rows, chance.choice(FORGED)])}
        body = scale_set(f"web-{chance.randrange(6)}")
        body["spec"]["imageReference"] = {**body["spec"]["imageReference"], "galleryNamespace": "b"}
        kind = chance.choice(["MODIFIED", "MODIFIED", "DELETED"])
        before = {each.version: world.caches.relations.failures.count(each) for each in versions}
        woken = world.tell(body, deleting=chance.random() < 0.1, kind=kind, **status)
        after = {each.version: world.caches.relations.failures.count(each) for each in versions}
        assert after == {each.version: walked(world, each) for each in versions}
        if before != after:
            assert ("version", ("b", "example/os")) in woken
        seen.update(after.values())
    assert {0, 1, 2} <= seen


def test_an_event_that_changes_no_failure_wakes_no_version():
    world = World()
    world.tell(image_version("1.0.0"))
    (version,) = world.caches.versions.all()
    failed: Json = {"failedTargets": [row("1.0", None)]}
    assert ("version", group(version)) in world.tell(scale_set("web"), **failed)
    assert ("version", group(version)) not in world.tell(scale_set("web", replicas=7), **failed)
    assert ("version", group(version)) not in world.tell(scale_set("other"))
    assert ("version", group(version)) in world.tell(scale_set("web"))
