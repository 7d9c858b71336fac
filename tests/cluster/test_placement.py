"""Zones, update domains and regions: where instances run, in which order they are upgraded, who goes first."""

import pytest

from tests.cluster.harness.api import NODES, Json
from tests.cluster.harness.regions import node_in
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, progress
from tests.cluster.harness.trace import INSTANCE_LABEL

ZONES = ["z1", "z2", "z3"]
ZONE_LABEL = "topology.kubernetes.io/zone"


def label_nodes(scene: Scene) -> None:
    """Three nodes for each zone. Scenarios do the same at the same time."""
    nodes = sorted(node["metadata"]["name"] for node in scene.api.list(NODES))
    for index, name in enumerate(nodes[:9]):
        scene.api.patch(NODES, None, name, {"metadata": {"labels": {ZONE_LABEL: ZONES[index % 3]}}})


def zone_of(scene: Scene, pod: Json) -> str:
    """The zone of the node that the pod runs on."""
    node = scene.api.get(NODES, None, pod["spec"]["nodeName"])
    return str(node["metadata"]["labels"].get(ZONE_LABEL, ""))


def zones(scene: Scene) -> dict[int, str]:
    return {int(pod["metadata"]["labels"][INSTANCE_LABEL]): zone_of(scene, pod) for pod in scene.world.pods_of("web")}


def half() -> Json:
    return {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}


def present(scene: Scene) -> list[int]:
    return sorted(int(pod["metadata"]["labels"][INSTANCE_LABEL]) for pod in scene.world.pods_of("web"))


def test_instances_live_in_their_zone_and_batches_do_not_mix_them(scene: Scene) -> None:
    label_nodes(scene)
    scene.policy(rolling=half())
    scene.create(replicas=7, zones=ZONES, updateDomains=2)
    assert zones(scene) == {number: ZONES[number % 3] for number in range(7)}
    labels = scene.world.pods["web-4"]["metadata"]["labels"]
    assert (labels["scaleset.dev/zone"], labels["scaleset.dev/update-domain"]) == ("z2", "1")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    assert touched(scene.recorder) == [[0, 3, 6], [1, 4], [2, 5]]
    scene.healthy(7, version="1.1.0")
    assert zones(scene) == {number: ZONES[number % 3] for number in range(7)}


def test_batches_mix_zones_where_the_policy_lets_them(scene: Scene) -> None:
    label_nodes(scene)
    scene.policy(rolling={**half(), "enableCrossZoneUpgrade": True})
    scene.create(replicas=6, zones=ZONES)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    assert touched(scene.recorder) == [[0, 1, 3], [2, 4, 5]]


def test_scaling_in_balances_zones_and_a_lost_instance_comes_back_in_its_own(scene: Scene) -> None:
    label_nodes(scene)
    protected = [{"id": 6, "protectFromScaleIn": True}]
    scene.create(replicas=7, zones=ZONES, protectedInstances=protected)
    scene.scale(4)
    scene.wait(lambda _: present(scene) == [0, 1, 2, 6], "zone z1 keeps two, the protected one is among them")
    scene.healthy(4)
    gone = scene.delete_pod("web-2")
    scene.wait(lambda _: scene.uids().get("web-2", gone) != gone, "the lost one comes back")
    scene.healthy(4)
    assert zones(scene) == {0: "z1", 1: "z2", 2: "z3", 6: "z1"}
    scene.scale(6)
    scene.healthy(6)
    assert present(scene) == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize(("rule", "left"), [("OldestVM", [2, 3]), ("NewestVM", [0, 1]), ("Default", [0, 1])])
def test_scaling_in_goes_by_age(scene: Scene, rule, left) -> None:
    """Of the instance, not of its pod: 0 is lost and comes back as one of the older ones."""
    scene.create(replicas=2, scaleInPolicy={"rules": [rule]})
    scene.recorder.settle(1.2)  # a creation has whole seconds
    scene.scale(4)
    scene.healthy(4)
    gone = scene.delete_pod("web-0")
    scene.wait(lambda _: scene.uids().get("web-0", gone) != gone, "the lost one comes back")
    scene.healthy(4)
    scene.scale(2)
    scene.wait(lambda _: present(scene) == left, f"{left} are left")


def test_an_id_that_is_used_again_is_a_new_instance(scene: Scene) -> None:
    scene.create(replicas=2, scaleInPolicy={"rules": ["OldestVM"]})
    scene.recorder.settle(1.2)
    scene.scale(1)
    scene.wait(lambda _: present(scene) == [1], "the older one, or the lower id, goes")
    scene.scale(2)
    scene.healthy(2)
    scene.scale(1)
    scene.wait(lambda _: present(scene) == [0], "1 is the older one now")


def test_a_location_is_where_instances_run_and_which_versions_count(scene: Scene) -> None:
    with node_in(scene.api, "west") as node:
        scene.create(replicas=2, location="west")
        assert {pod["spec"]["nodeName"] for pod in scene.world.pods_of("web")} == {node}
        scene.publish("1.2.0", "fast", publishingProfile={"targetRegions": [{"name": "east"}]})
        scene.publish("1.1.0", "fast", publishingProfile={"targetRegions": [{"name": "west"}]})
        assert scene.rollout("Completed", "1.1.0")["progress"] == progress(2, 0, 0, 0)
        scene.healthy(2, version="1.1.0")
        assert scene.world.status("web")["latestVersion"] == "1.1.0"
        assert {pod["spec"]["nodeName"] for pod in scene.world.pods_of("web")} == {node}
        (attempt,) = scene.world.status("web")["osUpgradeHistory"]
        assert attempt["location"] == "west"


def test_two_places_at_once_are_refused(scene: Scene) -> None:
    scene.create(replicas=1, zones=ZONES)
    scene.change(template={"spec": {"nodeSelector": {ZONE_LABEL: "z9"}}})
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said == "The template's nodeSelector asks for zone 'z9'. Remove it, or remove spec.zones."
