"""A set that names no policy goes by the defaults of one."""

from tests.cluster.harness import manifests
from tests.cluster.harness.scene import Scene, progress


def test_nothing_starts_by_itself_and_a_start_by_hand_goes_by_the_defaults(scene: Scene) -> None:
    scene.publish("1.0.0", "fast")
    scene.apply(manifests.scale_set(replicas=5, policy=None))
    scene.healthy(5)
    scene.publish("1.1.0", "fast")
    scene.never(lambda world: world.status("web").get("rollingUpgrade"), "it rolls")
    scene.ask("start-upgrade-at", "now")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["progress"] == progress(5, 0, 0, 0)
    assert rollout["startedBy"] == "User"
    limits = ("maxBatchInstancePercent", "maxUnhealthyInstancePercent", "maxUnhealthyUpgradedInstancePercent")
    assert [rollout["policy"][limit] for limit in limits] == [20, 20, 20]
    assert (rollout["policy"]["pauseTimeBetweenBatches"], rollout["policy"]["healthTimeout"]) == ("PT0S", "PT5M")
    scene.change_template(note="new")
    scene.condition("UpToDate", "Outdated")
    scene.never(lambda world: world.status("web")["rollingUpgrade"]["kind"] == "Model", "mode Manual waits")
    scene.ask("apply-model", "0")
    scene.wait(lambda world: world.status("web").get("updatedReplicas") == 1, "instance 0 has the new model")
