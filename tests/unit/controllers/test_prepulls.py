"""What pre-pulls remember of versions goes with them."""

import pytest

from scaleset.controllers.gallery_image_version import SWEEP
from tests.unit.controllers.gallery import Gallery

FULL = {"publishingProfile": {"replicationMode": "Full"}}


async def test_nodes_are_looked_through_for_the_images_of_full_versions_and_for_no_others(api, client):
    gallery = Gallery(api, client)
    for version in ("1.0.0", "1.1.0"):
        gallery.publish(version, **FULL)
    gallery.publish("1.2.0")
    await gallery.settle()
    assert gallery.images >= {"1.0.0", "1.1.0"}
    assert "1.2.0" not in gallery.images


@pytest.mark.parametrize("how", ["deleted", "shallow", "another image"])
async def test_a_version_that_asks_no_more_leaves_no_name_behind(api, client, how):
    gallery = Gallery(api, client)
    gallery.publish("1.0.0", **FULL)
    name = gallery.publish("1.1.0", **FULL)
    await gallery.settle()
    kept = gallery.views.wanted.copy()
    for number in range(3):
        if how == "deleted":
            gallery.api.drop("a", name)
        elif how == "shallow":
            gallery.publish("1.1.0")
        else:
            gallery.publish("1.1.0", **FULL, behaviour=f"build-{number}")
        await gallery.settle()
        await gallery.controller.reconcile(SWEEP)
        if how != "another image":
            assert gallery.images == {"1.0.0"}
        gallery.publish("1.1.0", **FULL)
        await gallery.settle()
        assert gallery.views.wanted == kept


async def test_two_versions_of_one_image_are_one_name_until_both_are_gone(api, client):
    views = Gallery(api, client).views
    views.want("one", frozenset({"image"}))
    views.want("two", frozenset({"image", "digest"}))
    views.unwant("two")
    views.unwant("unknown")
    assert views.wanted == {"image"}
    views.unwant("one")
    assert views.wanted == set()
    assert views.wanting() == []


async def test_a_version_whose_deletion_nobody_told_is_exported_no_more(api, client):
    gallery = Gallery(api, client)
    for version in ("1.0.0", "1.1.0"):
        gallery.publish(version)
    other = gallery.publish("1.0.0", offer="db", sku="db")
    await gallery.settle()
    gallery.api.drop("a", other)
    gallery.woken.clear()
    await gallery.caches.versions.list()
    assert gallery.woken == [("a", "example/db")]
    await gallery.settle()
    await gallery.controller.reconcile(("a", "example/db"))
    (family,) = gallery.exported.collect()
    assert {sample.labels["version"] for sample in family.samples} == {"1.0.0", "1.1.0"}
    assert {sample.labels["image"] for sample in family.samples} == {"example/os/server"}
