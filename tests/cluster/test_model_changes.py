"""Changes of the model: how they reach existing instances in each mode, and what a refused one does."""

from typing import Any

from tests.cluster.harness.api import REVISIONS, SCALE_SETS, Json
from tests.cluster.harness.manifests import REGISTRY, image_version, scale_set
from tests.cluster.harness.scene import Scene, has_model, progress


def models(scene: Scene) -> list[str]:
    """The model of each instance, by id."""
    pods = scene.world.pods
    return [has_model(pods[name]) for name in sorted(pods)]


def changed(scene: Scene, value: str) -> str:
    """Gives the template another annotation; returns the name of the new model once it is accepted."""
    before = {each["metadata"]["name"] for each in scene.api.list(REVISIONS, scene.namespace)}
    scene.change_template(change=value)
    scene.condition("Accepted", "Accepted")
    (new,) = {each["metadata"]["name"] for each in scene.api.list(REVISIONS, scene.namespace)} - before
    return str(new)


def with_mode(scene: Scene, mode: str, *, replicas: int = 4, **policy: Any) -> str:
    """A healthy set with that mode and no automatic image upgrades; returns the name of its model."""
    scene.policy(automatic=False, mode=mode, **policy)
    scene.create(replicas=replicas)
    return models(scene)[0]


def test_manual_waits_for_apply_model(scene: Scene) -> None:
    old = with_mode(scene, "Manual", replicas=5)
    new = changed(scene, "1")
    scene.never(lambda _: models(scene) != [old] * 5, "an instance is replaced")
    assert scene.says("UpToDate")["reason"] == "Outdated"
    scene.recorder.exempt("S1", "apply-model replaces the named instances at once")
    scene.ask("apply-model", "0,3")
    scene.healthy(5)
    scene.wait(lambda _: models(scene) == [new, old, old, new, old], "the two are replaced")
    scene.ask("apply-model", "*")
    scene.wait(lambda _: models(scene) == [new] * 5, "all are replaced")
    scene.healthy(5, version="1.0.0")
    assert not scene.world.status("web").get("rollingUpgrade")
    assert scene.says("UpToDate")["status"] == "True"


def test_a_request_that_makes_no_sense_is_answered(scene: Scene) -> None:
    old = with_mode(scene, "Manual", replicas=1)
    changed(scene, "1")
    scene.ask("apply-model", "first")
    scene.event("InvalidSpec", "scaleset.dev/apply-model")
    assert models(scene) == [old]


def test_rolling_rolls_a_new_model_out(scene: Scene) -> None:
    with_mode(scene, "Rolling", replicas=5)
    new = changed(scene, "1")
    rollout = scene.rollout("Completed")
    assert (rollout["kind"], rollout["startedBy"], rollout["targetModel"]) == ("Model", "Platform", new)
    assert rollout["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.0.0")
    assert models(scene) == [new] * 5
    assert not scene.world.status("web").get("osUpgradeHistory")


def test_automatic_replaces_all_at_once(scene: Scene) -> None:
    scene.recorder.exempt("S1", "mode Automatic replaces all outdated instances at once")
    with_mode(scene, "Automatic")
    new = changed(scene, "1")
    scene.wait(lambda _: models(scene) == [new] * 4, "all are replaced")
    scene.healthy(4, version="1.0.0")
    assert not scene.world.status("web").get("rollingUpgrade")


def test_going_back_finds_the_model_of_before(scene: Scene) -> None:
    old = with_mode(scene, "Rolling", replicas=2)
    new = changed(scene, "1")
    scene.rollout("Completed", run="1")
    scene.change(template={"metadata": {"annotations": None}})
    scene.rollout("Completed", run="2")
    assert models(scene) == [old, old]
    numbers = {each["metadata"]["name"]: each["revision"] for each in scene.api.list(REVISIONS, scene.namespace)}
    assert numbers == {new: 2, old: 3}


def test_a_model_changed_meanwhile_supersedes_the_rollout(scene: Scene) -> None:
    with_mode(scene, "Rolling", replicas=3)
    scene.change_template(start="2s")
    assert scene.batch(1) == [0]
    new = changed(scene, "2")
    scene.event("RolloutCancelled", "Superseded by model")
    scene.rollout("Completed", run="2")
    assert models(scene) == [new] * 3


def test_an_image_upgrade_brings_the_newest_model_too(scene: Scene) -> None:
    scene.create(replicas=2)
    new = changed(scene, "1")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert models(scene) == [new] * 2


def test_another_sku_is_a_change_of_the_model(scene: Scene) -> None:
    with_mode(scene, "Rolling", replicas=2)
    scene.apply(image_version("2.0.0", sku="core", behaviour="fast"))
    scene.change(imageReference={"sku": "core"})
    rollout = scene.rollout("Completed", "2.0.0")
    assert (rollout["kind"], rollout["targetImageReference"]["sku"]) == ("Model", "core")
    scene.healthy(2, version="2.0.0")


def test_a_model_that_the_server_refuses_changes_nothing(scene: Scene) -> None:
    old = with_mode(scene, "Rolling", replicas=2)
    before = scene.uids()
    second: Json = {"name": "side", "image": "side", "resources": {"requests": {"cpu": "much"}}}
    container: Json = scene.api.get(SCALE_SETS, scene.namespace, "web")["spec"]["template"]["spec"]["containers"][0]
    scene.change(template={"spec": {"containers": [container, second]}})
    said = scene.condition("Accepted", "ModelRefused")
    assert "quantities must match the regular expression" in said["message"]
    scene.event("ModelRefused", "quantities must match")
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    gone = scene.delete_pod("web-1")
    scene.wait(lambda _: scene.uids().get("web-1", gone) != gone, "a lost one comes back all the same")
    assert models(scene) == [old] * 2
    second["resources"]["requests"]["cpu"] = "1m"
    scene.change(template={"spec": {"containers": [container, second]}})
    scene.condition("Accepted", "Accepted")
    scene.rollout("Completed")
    scene.healthy(2, version="1.0.0")


def test_a_model_refused_by_the_namespace_is_tried_again(scene: Scene) -> None:
    enforce = "pod-security.kubernetes.io/enforce"
    scene.label_namespace({enforce: "restricted"})
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=1))
    said = scene.condition("Accepted", "ModelRefused")["message"]
    assert 'violates PodSecurity "restricted:latest"' in said
    scene.never(lambda world: world.pods, "a pod is created")
    scene.label_namespace({enforce: "privileged"})
    scene.healthy(1, version="1.0.0")


def sidecar(scene: Scene, tag: str) -> Json:
    """The template's containers with a second one, whose image behaves as its tag says."""
    container: Json = scene.api.get(SCALE_SETS, scene.namespace, "web")["spec"]["template"]["spec"]["containers"][0]
    return {"spec": {"containers": [container, {"name": "side", "image": f"{REGISTRY}:{tag}"}]}}


def test_one_apply_recovers_from_an_expired_credential(scene: Scene) -> None:
    with_mode(scene, "Rolling", replicas=5)
    before = scene.uids()
    scene.change(template=sidecar(scene, "1-pullfail"))
    rollout = scene.rollout("Faulted")
    assert rollout["progress"] == progress(0, 1, 0, 4)
    assert "ImagePullBackOff" in rollout["error"]["message"]
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0"}
    scene.change(template=sidecar(scene, "2"))
    assert scene.batch(1) == [0]  # the failed one goes first, through a gate that it closes
    assert scene.rollout("Completed")["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.0.0")


def test_an_image_whose_secret_expired_is_recovered_by_the_next_version(scene: Scene) -> None:
    scene.create(replicas=3)
    scene.publish("1.1.0", "pullfail")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert "ImagePullBackOff" in rollout["error"]["message"]
    scene.healthy(3, version="1.0.0")
    scene.policy(mode="Rolling")
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0")
    scene.healthy(3, version="1.2.0")


def test_a_model_beyond_the_quota_waits_until_the_quota_is_lifted(scene: Scene) -> None:
    scene.policy(automatic=False, mode="Rolling")
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=2, template=_asking(cpu="1")))
    scene.healthy(2)
    before = scene.uids()
    scene.quota(**{"requests.cpu": "2"})
    scene.change(template=_asking(cpu="1500m"))
    assert "exceeded quota: quota" in scene.condition("Accepted", "ModelRefused")["message"]
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    scene.lift_quota()
    assert scene.rollout("Completed")["progress"] == progress(2, 0, 0, 0)
    scene.healthy(2, version="1.0.0")


def _asking(**requests: str) -> Json:
    container: Json = scale_set()["spec"]["template"]["spec"]["containers"][0]
    return {"spec": {"containers": [{**container, "resources": {"requests": requests}}]}}
