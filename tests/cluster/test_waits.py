"""Nothing that is waited for keeps a rollout for longer than the health timeout: refused deletes, refused or blocked
instances, pods that do not go.
"""

from tests.cluster.harness.api import CLAIMS, PODS
from tests.cluster.harness.fleet import refusing, rollout
from tests.cluster.harness.manifests import pod
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, has_model, progress, ready, runs, says, waiting_for, with_claims

KEEP_WEB_0 = "oldObject.metadata.name != 'web-0'"
NOT_CHANGE_1 = "object.metadata.?annotations.?change.orValue('') != '1'"


def refused_delete(scene: Scene) -> str:
    """A run whose first delete is refused; returns the uid of the pod that stays."""
    uid = scene.uids()["web-0"]
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: waiting_for(world) == "DeleteRefused", "the rollout says that its delete is refused")
    return uid


def test_a_refused_delete_is_told_and_fails_the_instance_only(scene: Scene) -> None:
    scene.create(replicas=5)
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless=KEEP_WEB_0):
        uid = refused_delete(scene)
        assert "refused by the test" in rollout(scene.world)["waitingFor"]["message"]
        stalled = scene.wait(
            lambda world: (found := says(world, "Stalled"))["status"] == "True" and found, "the set is stalled"
        )
        assert stalled
        assert "refused by the test" in stalled["message"]
        scene.wait(lambda world: rollout(world).get("failed") == "0", "the instance has failed", timeout=20)
        scene.never(lambda _: scene.uids()["web-0"] != uid, "its pod goes")
        assert (runs(scene.world.pods["web-0"]), ready(scene.world.pods["web-0"])) == ("1.0.0", True)
        assert not scene.world.status("web").get("failedTargets")
    # It is tried again by itself: a minute after the gate was found open.
    scene.rollout("Completed", "1.1.0", timeout=120)
    scene.healthy(5, version="1.1.0", timeout=90)


def test_cancelling_a_run_whose_delete_is_refused_ends_it_at_once(scene: Scene) -> None:
    scene.policy(healthTimeout="PT2M")
    scene.create(replicas=5)
    before = scene.uids()
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless=KEEP_WEB_0):
        refused_delete(scene)
        scene.ask("cancel-upgrade-at", "now")
        scene.rollout("Cancelled", "1.1.0", timeout=10)
        assert scene.uids() == before
    scene.never(lambda _: scene.uids() != before, "a cancelled run goes on")


def test_a_refused_delete_of_an_instance_that_is_scaled_in_is_told(scene: Scene) -> None:
    scene.create(replicas=3)
    with refusing(scene.api, scene.namespace, "pods", "DELETE", unless="oldObject.metadata.name != 'web-2'"):
        scene.scale(2)
        stalled = scene.wait(
            lambda world: (found := says(world, "Stalled"))["status"] == "True" and found, "the set is stalled"
        )
        assert stalled
        assert "refused by the test" in stalled["message"]
    scene.wait(lambda world: set(world.pods) == {"web-0", "web-1"}, "it is scaled in", timeout=60)
    scene.healthy(2)
    scene.wait(lambda world: says(world, "Stalled")["status"] == "False", "nothing is in the way any more")


def test_an_instance_whose_pod_does_not_go_is_left_for_the_end(scene: Scene) -> None:
    scene.create(replicas=5)
    _finalizers(scene, ["example.com/hold"])
    uid = scene.delete_pod("web-0")
    scene.publish("1.1.0", "fast")
    others = {"web-1", "web-2", "web-3", "web-4"}
    scene.wait(
        lambda world: {name for name, each in world.pods.items() if runs(each) == "1.1.0" and ready(each)} == others,
        "the others are upgraded",
        timeout=40,
    )
    assert touched(scene.recorder)[:4] == [[1], [2], [3], [4]]
    assert scene.world.pods["web-0"]["metadata"]["uid"] == uid
    _finalizers(scene, [])
    assert scene.rollout("Completed", "1.1.0", timeout=90)
    scene.healthy(5, version="1.1.0", timeout=90)


def _finalizers(scene: Scene, finalizers: list[str]) -> None:
    scene.api.patch(PODS, scene.namespace, "web-0", {"metadata": {"finalizers": finalizers}})


def test_a_refused_instance_holds_its_own_fix_back_no_longer_than_the_health_timeout(scene: Scene) -> None:
    """Replaced at once by a model that the server does not take any more, and mended by the next one."""
    scene.recorder.exempt("S1", "apply-model replaces the named instances at once")
    scene.policy(automatic=False, mode="Manual")
    scene.create(replicas=5)
    scene.change_template(change="1")
    scene.condition("UpToDate", "Outdated")
    sample = pod("probe", "1", annotations={"change": "1"})
    with refusing(scene.api, scene.namespace, "pods", "CREATE", unless=NOT_CHANGE_1, sample=sample):
        scene.ask("apply-model", "0")
        refused = "it is refused, before or after its pod is deleted"
        scene.wait(lambda world: "web-0" not in world.pods or says(world, "Stalled")["status"] == "True", refused)
        scene.policy(automatic=False, mode="Rolling")
        scene.change_template(change="2")
        assert scene.rollout("Completed", timeout=60)["progress"] == progress(5, 0, 0, 0)
        scene.healthy(5, version="1.0.0")
        assert {each["metadata"]["annotations"]["change"] for each in scene.world.pods_of("web")} == {"2"}
        assert len({has_model(each) for each in scene.world.pods_of("web")}) == 1


def test_a_blocked_instance_holds_no_rollout_back(scene: Scene) -> None:
    scene.recorder.exempt("S1", "apply-model replaces the named instances at once")
    scene.policy(mode="Manual")
    scene.create(replicas=5, volumeClaimTemplates=with_claims())
    scene.recorder.disturb("data-web-1")
    scene.delete(CLAIMS, "data-web-1")  # stays as long as the pod is there: the instance must not be replaced
    scene.wait(
        lambda world: any(
            row["id"] == 1 and row["state"] == "Blocked" for row in world.status("web").get("instances") or []
        ),
        "instance 1 is blocked",
    )
    uid = scene.uids()["web-1"]
    scene.change_template(change="1")
    scene.ask("apply-model", "1")
    scene.publish("1.1.0", "fast")
    scene.wait(
        lambda world: (
            {name for name, each in world.pods.items() if runs(each) == "1.1.0" and ready(each)}
            == {"web-0", "web-2", "web-3", "web-4"}
        ),
        "the others are upgraded",
        timeout=45,
    )
    assert scene.uids()["web-1"] == uid
