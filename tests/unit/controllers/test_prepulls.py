"""What pre-pulls remember of versions goes with them."""

from typing import Any

import pytest

from scaleset.controllers.gallery_image_version import SWEEP, GalleryImageVersionController
from scaleset.controllers.prepulls import Prepulls
from scaleset.controllers.replication_views import ReplicationViews
from scaleset.controllers.status_writer import StatusWriter
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube.client import Client
from scaleset.observability.metrics import Images
from scaleset.records.versions import group
from tests.cluster.harness.manifests import image_version
from tests.unit.fake_api_server import FakeApi

FULL = {"publishingProfile": {"replicationMode": "Full"}}


class Gallery:
    """Versions on the fake API server, and the controller that looks after them."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api = api
        self.exported = Images()
        self.exported.leads = lambda: True
        self.woken: list[Any] = []
        wakes = Wakes(
            scale_sets=lambda _: None,
            instances=lambda *_: None,
            versions=self.woken.append,
            replications=lambda *_: None,
            policies=lambda _: None,
        )
        self.caches = watch(client, wakes, namespaces=["a"])
        self.views = ReplicationViews(client, "ops", on_nodes=wakes.nodes, on_pod=wakes.prepull)
        prepulls = Prepulls(
            client, self.views, service_account="default", serves=lambda _: True, now=lambda: 1_800_000_000.0
        )
        self.controller = GalleryImageVersionController(
            self.caches,
            StatusWriter(client),
            prepulls,
            images=self.exported,
            on_replicated=lambda _: None,
            now=lambda: 1_800_000_000.0,
        )

    def publish(self, version: str, **spec: Any) -> str:
        body = image_version(version, **spec)
        name = str(body["metadata"]["name"])
        self.api.put("a", name, spec=body["spec"])
        self.api.objects[f"a/{name}"]["metadata"]["generation"] = self.api.version
        return name

    async def settle(self) -> None:
        """All groups that there are, as after an event of each."""
        await self.caches.versions.list()
        for key in {group(seen) for seen in self.caches.versions.all()}:
            await self.controller.reconcile(key)

    @property
    def images(self) -> set[str]:
        """The tags of the images that nodes are looked through for."""
        return {name.partition("@")[0].rpartition("/os:")[2] for name in self.views.wanted if "/os:" in name}


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
