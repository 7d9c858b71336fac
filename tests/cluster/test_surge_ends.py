"""Max surge where something happens to the pairs of old and new: no node for the new one, a new one that breaks before
the old one is gone, an old one that is protected meanwhile.
"""

from tests.cluster.harness.api import IMAGES, Json
from tests.cluster.harness.fleet import code, refusing, rollout
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.rollouts import batches, made_at
from tests.cluster.harness.scene import Scene, progress, ready, runs, says, waiting_for

KEEP_WEB_0 = "oldObject.metadata.name != 'web-0'"
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


def broken_beside_the_old_one(scene: Scene, *, withdraw: bool = False) -> None:
    """A first batch whose new instance breaks after it was healthy, while the old one is still there: the API server
    refuses to delete that for a while. The health timeout is long, so that nothing else ends the run.
    """
    scene.recorder.exempt("S1", "when it was decided to delete the old one, the new one was healthy")
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless=KEEP_WEB_0):
        scene.publish("1.1.0", "flaky")  # ready after one second, for three
        scene.wait(lambda world: any(_new(pod) and ready(pod) for pod in world.pods_of("web")), "the new one is ready")
        scene.wait(lambda world: not any(_new(pod) and ready(pod) for pod in world.pods_of("web")), "it has broken")
        if withdraw:
            scene.delete(IMAGES, "server-1.1.0")


def _new(pod: Json) -> bool:
    return runs(pod) == "1.1.0"


def test_new_instances_that_break_before_the_old_ones_are_gone_end_the_run_before_the_pause(scene: Scene) -> None:
    scene.policy(healthTimeout="PT1M", rolling={"maxSurge": True, "pauseTimeBetweenBatches": "PT10M"})
    scene.create(replicas=5)
    broken_beside_the_old_one(scene)
    found = scene.rollout("Faulted", "1.1.0", timeout=40)
    assert found["error"]["code"] == UPGRADED
    assert [sorted(batch.replaces) for batch in batches(scene.recorder) if batch.surge] == [[0]]
    assert scene.world.status("web")["failedTargets"][0]["version"] == "1.1.0"
    scene.healthy(5, version="1.0.0")  # what the instance ran that it replaced
    scene.never(lambda world: code(world) != "Faulted" or "1.1.0" in scene.versions(), "it is tried again")


def test_a_withdrawn_version_whose_new_instances_broke_is_remembered(scene: Scene) -> None:
    scene.policy(healthTimeout="PT1M", rolling={"maxSurge": True})
    scene.create(replicas=5)
    broken_beside_the_old_one(scene, withdraw=True)
    scene.wait(lambda world: code(world) in ("Cancelled", "Faulted"), "the run has ended", timeout=40)
    scene.healthy(5, version="1.0.0")
    before = scene.uids()
    scene.publish("1.1.0", "flaky")
    scene.never(lambda _: scene.uids() != before, "it is tried again", seconds=4)


def test_new_instances_that_break_in_the_pause_get_what_the_old_ones_ran(scene: Scene) -> None:
    scene.policy(minReadyTime="PT0S", rolling={"maxSurge": True, "pauseTimeBetweenBatches": "PT6S"})
    scene.create(replicas=5)
    scene.publish("1.1.0", "flaky")
    found = scene.rollout("Faulted", "1.1.0", timeout=40)
    assert found["error"]["code"] == UPGRADED
    scene.healthy(5, version="1.0.0")
    assert set(scene.uids()) == {"web-1", "web-2", "web-3", "web-4", "web-5"}


def test_new_instances_whose_pods_end_leave_every_old_one_untouched(scene: Scene) -> None:
    scene.policy(healthTimeout="PT8S", rolling={"maxSurge": True})
    scene.create(replicas=5)
    before = scene.uids()
    scene.publish("1.1.0", "evict-bad")
    found = scene.rollout("Faulted", "1.1.0", timeout=40)
    assert (found["progress"], found["restored"]) == (progress(0, 1, 0, 4), "0")
    scene.healthy(5, version="1.0.0")
    assert scene.uids() == before
    assert len(made_at(scene.recorder, "web-5", "1.1.0")) <= 2


def test_an_old_one_that_must_not_be_deleted_is_told_and_cancelling_ends_it(scene: Scene) -> None:
    scene.policy(healthTimeout="PT2M", rolling={"maxSurge": True})
    scene.create(replicas=5)
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless=KEEP_WEB_0):
        scene.publish("1.1.0", "fast")
        scene.wait(lambda world: waiting_for(world) == "DeleteRefused", "the rollout says that its delete is refused")
        scene.wait(lambda world: says(world, "Stalled")["status"] == "True", "the set is stalled")
        scene.ask("cancel-upgrade-at", "now")
        scene.rollout("Cancelled", "1.1.0", timeout=15)
        scene.wait(lambda world: sum(map(ready, world.pods_of("web"))) >= 5, "there are as many as before")
    scene.wait(lambda world: len(world.pods_of("web")) == 5, "there are five")
    scene.healthy(5)


def test_an_old_one_that_must_not_be_deleted_ends_the_wait_at_the_health_timeout(scene: Scene) -> None:
    scene.policy(rolling={"maxSurge": True})
    scene.create(replicas=5)
    uid = scene.uids()["web-0"]
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless=KEEP_WEB_0):
        scene.publish("1.1.0", "fast")
        scene.wait(lambda world: waiting_for(world) == "DeleteRefused", "the rollout says that its delete is refused")
        scene.wait(
            lambda world: code(world) != "RollingForward" or rollout(world).get("batch", {}).get("number", 1) > 1,
            "the run ends or goes on",
            timeout=25,
        )
        assert scene.uids()["web-0"] == uid
        assert not scene.world.status("web").get("failedTargets")
    scene.rollout("Completed", "1.1.0", timeout=150)
    scene.healthy(5, version="1.1.0", timeout=40)


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
