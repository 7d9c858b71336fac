"""What the controller of sets reads afresh, and what it remembers of which set."""

import asyncio
from typing import Any

import pytest

from scaleset.api import names
from scaleset.controllers.scale_set import ScaleSetController
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube.client import Client
from scaleset.observability.metrics import Metrics
from scaleset.planner.plan import Event
from scaleset.records.custom_objects import ScaleSetObject
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.unit.fake_api_server import FakeApi

NOW = 1_800_000_000.0


class Nobody:
    """Listens to no event."""

    def record(self, _: ScaleSetObject, __: Event) -> None:
        pass


def nobody(*_: object) -> None:
    pass


class Operator:
    """The controller on a fake API server, one look at a time."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api, self.generation = api, 0
        wakes = Wakes(scale_sets=nobody, instances=nobody, versions=nobody, replications=nobody, policies=nobody)
        self.caches = watch(client, wakes)
        self.controller = ScaleSetController(
            client, self.caches, recorder=Nobody(), fleet=Metrics().fleet, now=lambda: NOW, wake=nobody
        )

    def publish(self, version: str, *, gallery: str = "a") -> None:
        raw = self._put(image_version(version, sharing={"scope": "Community"}), gallery)
        self.caches.versions.seen("ADDED", raw)

    def prescribe(self, *, told: bool = True, **policy: Any) -> None:
        raw = self._put(upgrade_policy(**policy), "a")
        if told:
            self.caches.policies.seen("ADDED", raw)

    def create(self, *, gallery: str = "", **spec: Any) -> None:
        body = scale_set(policy="policy" if gallery else None, **spec)
        if gallery:
            body["spec"]["imageReference"]["galleryNamespace"] = gallery
        self.caches.scale_sets.seen("ADDED", self._put(body, "a"))

    async def runs_one_of(self, gallery: str) -> None:
        """One instance of 1.0.0 is healthy."""
        self.publish("1.0.0", gallery=gallery)
        self.prescribe()
        self.create(replicas=1, gallery=gallery)
        while "POST /api/v1/namespaces/a/pods" not in await self.look():
            pass
        self.ready("web-0")
        await self.look()

    def ready(self, pod: str) -> None:
        """By the kubelet. The fake does not tell kinds apart, so a list of pods would show the model, too."""
        for raw in [each for each in self.api.objects.values() if "revision" in each]:
            self.api.drop("a", raw["metadata"]["name"])
        stored = self.api.objects[f"a/{pod}"]
        since = {"lastTransitionTime": stored["metadata"]["annotations"][names.ANNOTATION_CREATED_AT]}
        stored["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", **since}]}
        self.caches.pods.remember(self.api.commit("MODIFIED", stored))

    def _put(self, body: Any, namespace: str) -> Any:
        name = body["metadata"]["name"]
        raw = self.api.put(namespace, name, spec=body["spec"])
        stored = self.api.objects[f"{namespace}/{name}"]["metadata"]
        self.generation += body["kind"] != "ScaleSet"
        stored["generation"] = raw["metadata"]["generation"] = self.generation if body["kind"] != "ScaleSet" else 1
        return raw

    async def look(self) -> list[str]:
        """What it sends, without queries."""
        self.api.requests.clear()
        await self.controller.reconcile(("a", "web"))
        return [request.partition("?")[0] for request in self.api.requests]


async def test_what_was_refused_to_a_set_is_not_held_against_another_of_its_name(api, client):
    """Deleted and made again between two looks: its instances are asked for at once."""
    operator = Operator(api, client)
    operator.publish("1.0.0")
    operator.create(replicas=1)
    pods = "POST /api/v1/namespaces/a/pods"

    async def refuse(request: Any) -> None:
        if request.method == "POST" and request.path.endswith("/pods") and "dryRun" not in request.query:
            api.refuse("POST", 403, reason="Forbidden")

    api.before = refuse
    for _ in range(4):
        await operator.look()
    assert pods not in await operator.look(), "its back-off has not passed"
    api.before = None
    operator.caches.scale_sets.seen("DELETED", api.drop("a", "web"))
    for raw in [each for each in api.objects.values() if each["metadata"].get("ownerReferences")]:
        api.drop("a", raw["metadata"]["name"])  # as the garbage collector does
    operator.create(replicas=1)
    assert pods in [request for _ in range(3) for request in await operator.look()]


async def test_a_batch_is_admitted_on_what_it_needs_and_not_on_a_list_of_the_whole_cluster(api, client):
    operator = Operator(api, client)
    await operator.runs_one_of("images")
    operator.publish("2.0.0", gallery="images")
    sent = await operator.look()
    ours = "/apis/scaleset.dev/v1beta1"
    reads = [
        "GET /api/v1/namespaces/a/pods",
        f"GET {ours}/namespaces/a/upgradepolicies/policy",
        f"GET {ours}/namespaces/images/galleryimageversions",
    ]
    assert sorted(each for each in sent if each.startswith("GET")) == reads
    deleted = sent.index("DELETE /api/v1/namespaces/a/pods/web-0")
    assert all(sent.index(each) < deleted for each in reads)


@pytest.mark.parametrize("found", ["withdrawn", "policy", "nothing"])
async def test_a_batch_is_admitted_by_what_these_reads_show(api, client, found):
    """No event has told of it."""
    operator = Operator(api, client)
    await operator.runs_one_of("images")
    operator.publish("2.0.0", gallery="images")
    if found == "withdrawn":
        api.drop("images", "server-2.0.0")
    elif found == "policy":
        operator.prescribe(told=False, automatic=False)
    sent = [each for _ in range(3) for each in await operator.look()]
    assert ("DELETE /api/v1/namespaces/a/pods/web-0" in sent) == (found == "nothing")


async def test_a_batch_is_tried_while_its_pods_are_listed(api, client):
    """The two wait for nothing of each other, so they take one round trip; the pods are deleted after both."""
    operator = Operator(api, client)
    await operator.runs_one_of("images")
    operator.publish("2.0.0", gallery="images")
    tried = asyncio.Event()

    async def before(request: Any) -> None:
        if "dryRun" in request.query:
            tried.set()
        elif request.method == "GET" and request.path.endswith("/pods"):
            await asyncio.wait_for(tried.wait(), 5)

    api.before = before
    sent = await operator.look()
    deleted = sent.index("DELETE /api/v1/namespaces/a/pods/web-0")
    assert sent.index("GET /api/v1/namespaces/a/pods") < deleted
    assert tried.is_set()
