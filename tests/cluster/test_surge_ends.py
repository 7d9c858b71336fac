"""Max surge where something happens to the pairs of old and new: no node for the new one, a new one that breaks before
the old one is gone, an old one that is protected meanwhile.
"""

from tests.cluster.harness.api import PODS, Json
from tests.cluster.harness.fleet import code, rollout
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.rollouts import batches, made_at
from tests.cluster.harness.scene import Scene, progress, ready, runs

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


def template(*, annotations: dict[str, str] | None = None, **container: object) -> Json:
    found: Json = scale_set()["spec"]["template"]
    found["metadata"]["annotations"] = annotations or {}
    found["spec"]["containers"][0].update(container)
    return found


def test_new_instances_that_no_node_takes_mean_in_place_and_no_failure(scene: Scene) -> None:
    """A port of the host, and an instance on every node: there is no room beside the old ones, whatever the version."""
    rolling = {"maxSurge": True, "maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}
    scene.policy(rolling=rolling)
    nodes = scene.cluster.nodes
    scene.create(replicas=nodes, template=template(ports=[{"containerPort": 80, "hostPort": 8080}]))
    scene.publish("1.1.0", "fast")
    scene.event("SurgeRefused", "without surge")
    found = scene.rollout("Completed", "1.1.0", timeout=60)
    assert found["progress"] == progress(nodes, 0, 0, 0)
    scene.healthy(nodes, version="1.1.0")
    assert set(scene.uids()) == {f"web-{number}" for number in range(nodes)}
    assert not scene.world.status("web").get("failedTargets")


def test_new_instances_that_break_before_the_old_ones_are_gone_end_the_run_before_the_pause(scene: Scene) -> None:
    scene.policy(rolling={"maxSurge": True, "pauseTimeBetweenBatches": "PT10M"})
    scene.create(replicas=5)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    scene.publish("1.1.0", "flaky")  # ready after one second, for three
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the new one was ready")
    scene.wait(
        lambda world: [ready(pod) for pod in world.pods_of("web") if runs(pod) == "1.1.0"] == [False],
        "the new one has broken while the old one goes",
    )
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
    found = scene.rollout("Faulted", "1.1.0", timeout=30)
    assert found["error"]["code"] == UPGRADED
    assert [sorted(batch.replaces) for batch in batches(scene.recorder) if batch.surge] == [[0]]
    assert scene.world.status("web")["failedTargets"][0]["version"] == "1.1.0"
    scene.healthy(5, version="1.0.0")  # what the instance ran that it replaced
    scene.never(lambda world: code(world) != "Faulted" or "1.1.0" in scene.versions(), "it is tried again")


def test_an_instance_that_is_protected_while_its_successor_starts_stays(scene: Scene) -> None:
    scene.policy(healthTimeout="PT20S", rolling={"maxSurge": True})
    scene.create(replicas=3, template=template(annotations={"sim.scaleset.dev/start": "4s"}))
    uid = scene.uids()["web-0"]
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "web-3" in world.pods, "the successor of web-0 starts")
    scene.change(protectedInstances=[{"id": 0, "protectFromScaleSetActions": True}])
    found = scene.rollout("Completed", "1.1.0", timeout=60)
    assert found["progress"] == progress(2, 0, 0, 0)
    scene.wait(lambda world: len(world.pods_of("web")) == 3, "there are three again")
    scene.healthy(3)
    assert scene.world.pods["web-0"]["metadata"]["uid"] == uid
    assert sorted(scene.versions()) == ["1.0.0", "1.1.0", "1.1.0"]
    assert rollout(scene.world)["failed"] == ""
    assert made_at(scene.recorder, "web-0", "1.1.0") == []
