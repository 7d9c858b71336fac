"""Which version an instance gets: latest and its exceptions, pinned versions, other galleries and regions."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.harness.api import IMAGES, condition
from tests.cluster.harness.manifests import image_version, scale_set
from tests.cluster.harness.regions import node_in
from tests.cluster.harness.scene import Scene, progress, runs


def profile(**values: object) -> dict[str, object]:
    return {"publishingProfile": values}


@pytest.mark.parametrize(
    "spec",
    [
        profile(excludeFromLatest=True),
        profile(endOfLifeDate="2020-01-01T00:00:00Z"),
        profile(targetRegions=[{"name": "elsewhere"}]),
        profile(targetRegions=[{"name": "default", "excludeFromLatest": True}]),
        {"sku": "core"},
    ],
    ids=["excluded", "end of life", "another region", "excluded in the region", "another sku"],
)
def test_a_version_that_latest_passes_over(scene: Scene, spec) -> None:
    scene.create(replicas=1)
    scene.publish("9.0.0", "fast", **spec)
    scene.never(lambda world: world.status("web")["latestVersion"] != "1.0.0", "it is taken for latest")
    scene.publish("1.9.0", "fast")
    scene.rollout("Completed", "1.9.0")
    scene.publish("1.10.0", "fast")  # numbers, not text
    scene.rollout("Completed", "1.10.0")


def test_latest_never_leads_down(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.publish("1.1.0", "fast", publishingProfile={"excludeFromLatest": True})
    scene.wait(lambda world: world.status("web")["latestVersion"] == "1.0.0", "latest is a lower one again")
    scene.publish("1.0.5", "fast")
    scene.wait(lambda world: world.status("web")["latestVersion"] == "1.0.5", "and another lower one")
    scene.never(lambda _: scene.versions() != ["1.1.0", "1.1.0"], "an instance is taken down")


def test_a_version_whose_life_ends_is_withdrawn(scene: Scene) -> None:
    scene.create(replicas=8)
    end = datetime.now(UTC) + timedelta(seconds=4)
    scene.publish("1.1.0", publishingProfile={"endOfLifeDate": end.strftime("%Y-%m-%dT%H:%M:%SZ")})
    rollout = scene.rollout("Cancelled", "1.1.0")
    assert "its end of life has passed" in rollout["error"]["message"]
    upgraded = rollout["progress"]["successfulInstanceCount"]
    assert rollout["progress"] == progress(upgraded, 0, 0, 8 - upgraded)
    assert 1 <= upgraded <= 6
    scene.healthy(8)
    scene.never(lambda _: scene.versions().count("1.1.0") != upgraded, "it goes on, or back")


def test_of_two_that_claim_a_version_the_older_one_counts(scene: Scene) -> None:
    scene.create(replicas=1)
    rival = image_version("1.0.0", behaviour="bad")
    rival["metadata"]["name"] = "the-rival"  # sorts behind server-1.0.0, which decides within one second
    scene.apply(rival)
    found = scene.api.wait(
        IMAGES,
        scene.namespace,
        "the-rival",
        lambda seen: seen is not None and condition(seen, "Ready") == "False",
        timeout=15,
        message="the younger one is refused",
    )
    assert found is not None
    (said,) = [each for each in found["status"]["conditions"] if each["type"] == "Ready"]
    assert (said["reason"], "server-1.0.0" in said["message"]) == ("Duplicate", True)
    assert condition(scene.api.get(IMAGES, scene.namespace, "server-1.0.0"), "Ready") == "True"


def test_users_may_pin_a_version_and_go_back(scene: Scene) -> None:
    scene.recorder.exempt("S8", "the user pins a lower version")
    scene.policy(mode="Rolling")
    scene.create(replicas=3, version="1.0.0")
    scene.publish("1.1.0", "fast")
    scene.publish("1.2.0", "fast")
    scene.never(lambda _: set(scene.versions()) != {"1.0.0"}, "a pinned set is upgraded")
    scene.change(imageReference={"version": "1.1.0"})
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.1.0")
    scene.change(imageReference={"version": "1.0.0"})
    assert scene.rollout("Completed", "1.0.0")["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.0.0")
    scene.change(imageReference={"version": "latest"})
    scene.rollout("Completed", "1.2.0")
    scene.healthy(3, version="1.2.0")


def test_a_version_that_is_not_there_is_told(scene: Scene) -> None:
    scene.policy()
    scene.apply(scale_set(replicas=1))
    said = scene.condition("Accepted", "ImageNotFound")["message"]
    assert f"No GalleryImageVersion in namespace {scene.namespace} offers a version of example/os/server." in said
    assert not scene.world.pods
    scene.publish("1.0.0", "fast")
    scene.healthy(1, version="1.0.0")
    scene.change(imageReference={"version": "7.0.0"})
    assert "version 7.0.0 of" in scene.condition("Accepted", "ImageNotFound")["message"]
    assert [runs(pod) for pod in scene.world.pods_of("web")] == ["1.0.0"]


def test_a_gallery_in_another_namespace_has_to_share(scene: Scene) -> None:
    gallery = scene.another_namespace()
    scene.policy()
    version = image_version("1.0.0", behaviour="fast")
    scene.api.apply(IMAGES, gallery, version)
    scene.apply(scale_set(replicas=1))
    scene.change(imageReference={"galleryNamespace": gallery})
    scene.wait(
        lambda _: f"it is not shared with namespace {scene.namespace}" in scene.says("Accepted")["message"],
        "the set says why it may not have it",
    )
    version["spec"]["sharing"] = {"scope": "Namespaces", "namespaces": [scene.namespace]}
    scene.api.apply(IMAGES, gallery, version)
    scene.healthy(1, version="1.0.0")
    newer = image_version("1.1.0", behaviour="fast", sharing={"scope": "Community"})
    scene.api.apply(IMAGES, gallery, newer)
    scene.rollout("Completed", "1.1.0")


def test_a_set_takes_what_its_region_has(scene: Scene) -> None:
    with node_in(scene.api, "west") as node:
        scene.create(replicas=2, location="west")
        assert {pod["spec"]["nodeName"] for pod in scene.world.pods_of("web")} == {node}
        scene.publish("1.1.0", "fast", **profile(targetRegions=[{"name": "east"}]))
        scene.never(lambda world: world.status("web")["latestVersion"] != "1.0.0", "a version of elsewhere is taken")
        scene.publish("1.1.0", "fast", **profile(targetRegions=[{"name": "east"}, {"name": "west"}]))
        scene.rollout("Completed", "1.1.0")
        (entry,) = scene.world.status("web")["osUpgradeHistory"]
        assert entry["location"] == "west"
