"""Versions on the fake API server, and their controller."""

from typing import Any

from scaleset.controllers.gallery_image_version import GalleryImageVersionController
from scaleset.controllers.prepulls import Prepulls
from scaleset.controllers.replication_views import ReplicationViews
from scaleset.controllers.status_writer import StatusWriter
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube.client import Client
from scaleset.kube.resources import Key
from scaleset.observability.metrics import Images
from scaleset.records.versions import group
from tests.cluster.harness.manifests import image_version
from tests.unit.fake_api_server import FakeApi

NOW = 1_800_000_000.0


class Gallery:
    """Versions on the fake API server, and the controller that looks after them."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api = api
        self.now = NOW
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
        prepulls = Prepulls(client, self.views, service_account="default", serves=lambda _: True, now=lambda: self.now)
        self.controller = GalleryImageVersionController(
            self.caches,
            StatusWriter(client),
            prepulls,
            images=self.exported,
            on_replicated=lambda _: None,
            now=lambda: self.now,
        )

    def publish(self, version: str, **spec: Any) -> str:
        body = image_version(version, **spec)
        name = str(body["metadata"]["name"])
        self.api.put("a", name, spec=body["spec"])
        self.api.objects[f"a/{name}"]["metadata"]["generation"] = self.api.version
        return name

    async def settle(self) -> dict[Key, float | None]:
        """All groups that there are, as after an event of each, with the seconds until each is due again."""
        await self.caches.versions.list()
        keys = {group(seen) for seen in self.caches.versions.all()}
        return {key: await self.controller.reconcile(key) for key in keys}

    @property
    def images(self) -> set[str]:
        """The tags of the images that nodes are looked through for."""
        return {name.partition("@")[0].rpartition("/os:")[2] for name in self.views.wanted if "/os:" in name}
