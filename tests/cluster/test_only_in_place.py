"""`replacementMethod: InPlaceOnly`: no pod is made again for an upgrade; what cannot be done is refused and told."""

from tests.cluster.harness.fleet import refusing, rollout
from tests.cluster.harness.scene import Scene, progress, runs, says, waiting_for

FIXED_IMAGES = (
    "object.spec.containers[0].image == oldObject.spec.containers[0].image"
    " && !('example.com/probe' in object.metadata.annotations)"
)
"""The second half is what the harness tries by: whether the rule is in force."""
NEVER_AGAIN = "are made again"


def create(scene: Scene, *, mode: str = "Rolling") -> dict[str, str]:
    """A healthy set whose policy asks for changes in place only; returns the uids of its pods."""
    scene.policy(mode=mode, replacementMethod="InPlaceOnly")
    scene.create(replicas=3)
    return scene.uids()


def test_images_are_changed_and_a_new_model_is_refused_until_it_is_taken_back(scene: Scene) -> None:
    before = create(scene)
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(3, 0, 0, 0)
    scene.change_template(change="1")
    text = scene.condition("Progressing", "NotInPlace")["message"]
    assert text.startswith("Instances 0-2 cannot be changed in place: model web-")
    assert "differs in more than the image" in text
    scene.condition("Stalled", "NotInPlace")
    assert says(scene.world, "UpToDate")["reason"] == "NotInPlace"
    assert says(scene.world, "Accepted")["status"] == "True"
    # A newer version would bring the new model along.
    scene.publish("1.2.0", "fast")
    scene.never(lambda world: any(runs(pod) == "1.2.0" for pod in world.pods_of("web")), NEVER_AGAIN)
    scene.change(template={"metadata": {"annotations": {"change": None}}})
    scene.rollout("Completed", "1.2.0")
    assert scene.uids() == before


def test_requests_that_need_new_pods_are_refused(scene: Scene) -> None:
    before = create(scene, mode="Manual")
    scene.ask("restart-at", "now")
    scene.event("StartRefused", "a restart makes new pods")
    scene.change_template(change="1")
    scene.ask("apply-model", "*")
    scene.event("StartRefused", "scaleset.dev/apply-model: Instances 0-2 cannot be changed in place")
    scene.ask("start-model-rollout-at", "now")
    scene.event("StartRefused", "scaleset.dev/start-model-rollout-at: Instances 0-2 cannot be changed in place")
    scene.never(lambda _: scene.uids() != before, NEVER_AGAIN)
    scene.lose_pod("web-1")
    scene.healthy(3)


def test_a_refused_change_is_told_and_the_pod_stays(scene: Scene) -> None:
    before = create(scene)
    with refusing(scene.api, scene.namespace, "pods", "UPDATE", unless=FIXED_IMAGES):
        scene.publish("1.1.0", "fast")
        scene.wait(lambda world: waiting_for(world) == "DeleteRefused", "the rollout says that its change is refused")
        assert "be changed in place: " in rollout(scene.world)["waitingFor"]["message"]
        scene.wait(lambda world: rollout(world).get("failed") == "0", "the instance has failed", timeout=20)
        assert scene.uids() == before
        assert not scene.world.status("web").get("failedTargets")
    scene.rollout("Completed", "1.1.0", timeout=120)
    assert scene.uids() == before


def test_a_restore_is_a_second_change(scene: Scene) -> None:
    before = create(scene)
    scene.publish("1.1.0", "bad")
    assert scene.rollout("Faulted", "1.1.0")["restored"] == "0"
    scene.healthy(3, version="1.0.0")
    assert scene.uids() == before
