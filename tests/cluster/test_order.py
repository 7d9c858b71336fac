"""One instance after the other: creation and scaling in with OrderedReady, and the direction of upgrades."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, ready, runs, says

ORDERED: dict[str, Any] = {"podManagementPolicy": "OrderedReady"}
AT_ONCE = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}
SLOW = {"metadata": {"annotations": {"sim.scaleset.dev/start": "2s"}}}


def out_of_order(recorder: Recorder, *, but: Collection[int] = ()) -> Iterator[str]:
    """Pods of the set `web` that were created while one with a lower id was not ready, and pods that went while another
    one was going. Upgrades replace pods in another order: they concern the instances `but`.
    """
    pods: dict[str, Json] = {}
    for seen in recorder.trace().of("pods"):
        if seen.scale_set != "web":
            continue
        if seen.type == "DELETED":
            pods.pop(seen.name, None)
            continue
        number = int(seen.name.removeprefix("web-"))
        if seen.name not in pods and number not in but:
            lower = [f"web-{each}" for each in range(number)]
            if late := [name for name in lower if name not in pods or not ready(pods[name])]:
                yield f"{seen.name} was created before {late} were ready"
        pods[seen.name] = seen.object
        if len(going := [name for name, pod in pods.items() if "deletionTimestamp" in pod["metadata"]]) > 1:
            yield f"{going} go together"


def test_seven_instances_come_and_go_one_after_the_other(scene: Scene) -> None:
    scene.policy(rolling=AT_ONCE, healthTimeout="PT1M")
    scene.publish("1.0.0")
    body = scale_set(replicas=5, **ORDERED)
    body["spec"]["template"] |= {"metadata": {**body["spec"]["template"]["metadata"], **SLOW["metadata"]}}
    scene.apply(body)
    queued = "Created once instance 1 is healthy: podManagementPolicy is OrderedReady."
    scene.wait(
        lambda world: (
            [r.get("message") for r in world.status("web").get("instances") or () if r["id"] == 4] == [queued]
        ),
        "it is said who waits for whom",
    )
    scene.healthy(5, timeout=60)
    scene.scale(7)
    scene.healthy(7, timeout=60)
    scene.scale(3)
    scene.healthy(3, timeout=60)
    assert list(out_of_order(scene.recorder)) == []


def test_a_stuck_instance_holds_the_next_ones_and_never_its_own_fix(scene: Scene) -> None:
    """A quarter of the set is broken, so that the gate is closed, and the next instance does not exist yet."""
    scene.policy(automatic=False)
    scene.create(replicas=2, **ORDERED)
    before = scene.uids()
    scene.change(template={"metadata": {"labels": {"sim.scaleset.dev/ready": "false"}}})
    scene.scale(4)
    stalled = scene.condition("Stalled", "InstancesUnhealthy")
    assert "Instances 2 are not healthy." in stalled["message"]
    assert "Instances 3 are created once they are healthy (OrderedReady)" in stalled["message"]
    assert says(scene.world, "Reconciling")["status"] == "False"
    scene.never(lambda world: "web-3" in world.pods, "the next instance is created")
    scene.change(template={"metadata": {"labels": {"sim.scaleset.dev/ready": None, "fixed": "yes"}}})
    scene.ask("start-model-rollout-at", "now")
    scene.healthy(4)
    scene.rollout("Completed")
    assert touched(scene.recorder)[0] == [2]
    assert not set(before.values()) & set(scene.uids().values()), "the rollout went on to the others"


def test_a_new_version_reaches_a_set_that_is_stuck_at_its_first_instance(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "bad")
    scene.apply(scale_set(replicas=3, **ORDERED))
    scene.condition("Stalled", "InstancesUnhealthy")
    assert sorted(scene.world.pods) == ["web-0"]
    scene.publish("1.0.1", "fast")
    scene.healthy(3, version="1.0.1")


def test_lost_instances_come_back_together(scene: Scene) -> None:
    scene.create(replicas=3, **ORDERED)
    scene.break_pod("web-0")
    scene.wait(lambda world: not ready(world.pods["web-0"]), "the first one is broken")
    gone = scene.delete_pod("web-2")
    scene.wait(
        lambda world: "web-2" in world.pods and world.pods["web-2"]["metadata"]["uid"] != gone,
        "it does not wait for the broken one",
    )
    scene.mend_pod("web-0")
    scene.healthy(3)


@pytest.mark.parametrize(("direction", "order"), [("Descending", [4, 3, 2, 1, 0]), ("Ascending", [0, 1, 2, 3, 4])])
def test_upgrades_go_up_or_down(scene: Scene, direction: str, order: list[int]) -> None:
    assert scene.first_batch(replicas=5, rollingUpgradeOrder={"direction": direction}) == [order[0]]
    scene.rollout("Completed", "1.1.0")
    assert touched(scene.recorder) == [[number] for number in order]
    assert [runs(pod) for pod in scene.world.pods_of("web")] == ["1.1.0"] * 5
