"""Service Fabric node types: update domain by update domain, and Azure's conditions; and the one for Windows."""

from tests.cluster.harness import manifests
from tests.cluster.harness.api import Json
from tests.cluster.harness.recorder import World
from tests.cluster.harness.regions import Regions
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, progress, runs

ALL = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}


def fabric(level: str = "Silver", node_type: str = "Silver", handler: str = "1.1") -> Json:
    return {"durabilityLevel": level, "nodeTypeDurabilityLevel": node_type, "typeHandlerVersion": handler}


def test_an_upgrade_walks_update_domain_by_update_domain(scene: Scene) -> None:
    scene.policy(mode="Automatic", rolling=ALL)
    scene.create(replicas=6, serviceFabric=fabric(), updateDomains=3)
    assert [pod["metadata"]["labels"]["scaleset.dev/update-domain"] for _, pod in sorted(scene.world.pods.items())] == [
        "0",
        "1",
        "2",
        "0",
        "1",
        "2",
    ]
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(6, 0, 0, 0)
    assert touched(scene.recorder) == [[0, 3], [1, 4], [2, 5]]
    scene.healthy(6, version="1.1.0")


def test_a_bad_version_stops_in_its_update_domain(scene: Scene) -> None:
    scene.policy(mode="Automatic", rolling=ALL)
    scene.create(replicas=6, serviceFabric=fabric("Gold", "Gold"), updateDomains=3)
    before = scene.uids()
    scene.publish("1.1.0", "bad")
    assert scene.rollout("Faulted", "1.1.0")["restored"] == "0,3"
    scene.healthy(6, version="1.0.0")
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0", "web-3"}


def test_what_azure_asks_for_is_asked_for(scene: Scene) -> None:
    """The set stays as it is until its node type, its handler and its size are right; then it is upgraded."""
    scene.policy(mode="Automatic", automatic=False)
    scene.create(replicas=5, serviceFabric=fabric(node_type="Bronze", handler="1.0"))
    scene.policy(mode="Automatic")
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said == (
        "Durability Mismatch Detected. ScaleSet durability Silver does not match the current node type durability "
        "level Bronze. Make the two the same."
    )
    scene.publish("1.1.0", "fast")
    scene.never(lambda world: world.status("web").get("rollingUpgrade"), "it rolls", seconds=1)
    scene.change(serviceFabric=fabric(handler="1.0"))
    scene.event("InvalidSpec", "typeHandlerVersion is 1.0. Automatic OS Upgrade needs 1.1 or higher.")
    scene.change(serviceFabric=fabric())
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")
    scene.policy(mode="Manual")
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said == "Service Fabric sets support upgrade mode Automatic only; the policy's mode is Manual."


def test_shrinking_below_five_is_refused_and_not_done(scene: Scene) -> None:
    """The size that was accepted last stays, and upgrades wait, until the size is right."""
    scene.policy(mode="Automatic")
    scene.create(replicas=6, serviceFabric=fabric())
    before = scene.uids()
    scene.scale(4)
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said == (
        "Durability Silver needs at least 5 instances; spec.replicas is 4. Until then the set keeps its size of 6."
    )
    scene.publish("1.1.0", "fast")
    scene.never(lambda world: world.status("web").get("rollingUpgrade") or len(world.pods_of("web")) < 6, "it acts")
    assert scene.uids() == before
    scene.delete_pod("web-5")
    scene.wait(lambda world: len({*before.values(), *uids(world)}) == 7 and len(uids(world)) == 6, "web-5 comes back")
    scene.scale(5)
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")


def test_windows_that_updates_itself_is_not_upgraded_automatically(scene: Scene) -> None:
    windows = {"windowsConfiguration": {"enableAutomaticUpdates": True}}
    with Regions(scene.api, scene.namespace) as nodes:
        nodes.add("windows", system="windows")
        scene.create(replicas=2)
        scene.publish("1.1.0", "fast", osType="Windows")
        scene.rollout("Completed", "1.1.0")
        scene.change(osProfile=windows)
        said = scene.condition("Accepted", "InvalidSpec")["message"]
        assert said == (
            "Automatic OS Upgrade of a Windows image needs spec.osProfile.windowsConfiguration.enableAutomaticUpdates "
            "to be false."
        )
        scene.publish("1.2.0", "fast", osType="Windows")
        scene.never(lambda world: [pod for pod in world.pods_of("web") if runs(pod) == "1.2.0"], "it is upgraded")
        scene.change(osProfile={"windowsConfiguration": {"enableAutomaticUpdates": False}})
        scene.rollout("Completed", "1.2.0")


def test_a_stateless_node_type_may_be_bronze_and_needs_a_health_source(scene: Scene) -> None:
    """With a probe it is upgraded by itself, with fewer than five instances; without one it is refused."""
    stateless = {**fabric("Bronze", "Bronze"), "isStateless": True}
    bare = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "os"}]}}
    scene.policy(mode="Automatic")
    scene.create(replicas=2, serviceFabric=stateless)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.apply(manifests.scale_set(name="blind", replicas=2, serviceFabric=stateless, template=bare))
    said = scene.condition("Accepted", "InvalidSpec", name="blind")["message"]
    assert "because a health probe or health extension was not specified" in said
    assert not scene.world.pods_of("blind")


def uids(world: World) -> list[str]:
    return [pod["metadata"]["uid"] for pod in world.pods_of("web")]
