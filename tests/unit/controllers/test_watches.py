"""Who has to look again when something changed."""

from contextlib import suppress
from typing import Any

from scaleset.controllers.status_writer import StatusWriter
from scaleset.controllers.upgrade_policy import UpgradePolicyController
from scaleset.controllers.watches import REST_PER_INSTANCE_SECONDS, Wakes, watch
from scaleset.kube import errors
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.unit.controllers.woken import World


async def test_a_set_wakes_itself_and_the_policy_that_counts_it(client):
    world = World(client=client)
    assert world.tell(scale_set()) == {("set", ("a", "web")), ("policy", ("a", "policy"))}
    assert world.tell(scale_set("lone", policy=None)) == {("set", ("a", "lone"))}


async def test_a_set_that_is_gone_wakes_the_policies_of_its_namespace(client):
    world = World(client=client)
    world.tell(upgrade_policy())
    world.tell(upgrade_policy(), namespace="b")
    world.tell(scale_set())
    woken = world.tell(scale_set(), kind="DELETED")
    assert woken == {("set", ("a", "web")), ("policy", ("a", "policy"))}


async def test_a_policy_wakes_the_sets_that_refer_to_it(client):
    world = World(client=client)
    for name, policy, namespace in (("one", "policy", "a"), ("two", "other", "a"), ("three", "policy", "b")):
        world.tell(scale_set(name, policy=policy), namespace=namespace)
    woken = world.tell(upgrade_policy())
    assert woken == {("policy", ("a", "policy")), ("set", ("a", "one"))}


async def test_a_version_wakes_the_sets_that_take_their_image_from_there(client):
    world = World(client=client)
    here, foreign, other = scale_set("here"), scale_set("foreign"), scale_set("other")
    foreign["spec"]["imageReference"]["galleryNamespace"] = "a"
    other["spec"]["imageReference"]["offer"] = "another"
    world.tell(here)
    world.tell(foreign, namespace="b")
    world.tell(other)
    world.tell(scale_set("same-name-elsewhere"), namespace="c")
    woken = world.tell(image_version("1.0.0"))
    assert woken == {("version", ("a", "example/os")), ("set", ("a", "here")), ("set", ("b", "foreign"))}


async def test_an_event_of_a_large_set_waits_for_more_of_them(client):
    """A look at it costs more, so there are fewer of them."""
    waits: list[tuple[Any, float]] = []
    wakes = Wakes(
        scale_sets=lambda _: None,
        instances=lambda key, seconds: waits.append((key, seconds)),
        versions=lambda _: None,
        replications=lambda *_: None,
        policies=lambda _: None,
    )
    caches = watch(client, wakes)
    for number in range(1000):
        labels = {"scaleset.dev/name": "web"}
        metadata = {"namespace": "a", "name": f"web-{number}", "uid": str(number), "resourceVersion": str(number + 1)}
        caches.pods.remember({"metadata": {**metadata, "labels": labels}})
    assert waits[0] == (("a", "web"), REST_PER_INSTANCE_SECONDS)
    assert waits[-1] == (("a", "web"), 1000 * REST_PER_INSTANCE_SECONDS)
    assert waits[-1][1] <= 0.05


async def test_an_event_that_no_decision_could_go_by_wakes_nobody(client):
    """The record is as new as the pod nevertheless: a change in place names its version."""
    world = World(client=client)
    labels = {"scaleset.dev/name": "web"}

    def tell(version: int, **fields: Any) -> list[tuple[str, Any]]:
        metadata = {"namespace": "a", "name": "web-0", "uid": "u", "resourceVersion": str(version), "labels": labels}
        world.woken.clear()
        world.caches.pods.remember({"metadata": {**metadata, **fields.pop("metadata", {})}, **fields})
        return list(world.woken)

    woken = [("set", ("a", "web"))]
    assert tell(1) == woken
    assert tell(2, metadata={"annotations": {"example.com/seen": "now"}}) == []
    found = world.caches.pods.get("a", "web-0")
    assert found is not None
    assert found.resource_version == "2"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert tell(3, status={"conditions": [ready]}) == woken
    assert tell(4, status={"conditions": [{**ready, "lastProbeTime": "2026-01-01T00:00:05Z"}]}) == []
    assert tell(5, status={"conditions": [{**ready, "status": "False"}]}) == woken
    assert tell(6, metadata={"uid": "another"}, status={"conditions": [{**ready, "status": "False"}]}) == woken


async def test_the_transition_time_of_a_policy_is_the_api_servers(api, client):
    """This machine may be an hour off; kubectl would show an age below zero."""
    world, sent = World(client=client), []

    async def record(request):
        if request.method == "PATCH":
            sent.append(await request.json())

    api.put("a", "policy")
    world.tell(upgrade_policy())
    api.before = record
    policies = UpgradePolicyController(world.caches, StatusWriter(client), now=lambda: 1_000_000_000.7)
    with suppress(errors.ApiError):  # The fake server's policy is another one.
        await policies.reconcile(("a", "policy"))
    (condition,) = sent[0]["status"]["conditions"]
    assert condition["lastTransitionTime"] == "2001-09-09T01:46:40Z"
