"""Upgrades that change the image of running pods: what stays, what is written, and what happens when it goes wrong."""

import json
from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import DIGEST, REGISTRY
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, progress, ready, runs, says, with_claims

NOTE = "scaleset.dev/changed-in-place"
PREVIOUS = "scaleset.dev/previous"


def create(scene: Scene, *, replicas: int = 5, rolling: Json | None = None, **spec: Any) -> None:
    """A healthy set whose policy asks for changes in place."""
    scene.policy(rolling=rolling, replacementMethod="InPlaceIfPossible")
    scene.create(replicas=replicas, **spec)


def what_stays(scene: Scene) -> dict[str, Json]:
    """Identity, address, place and volumes of each pod, and its other container."""
    return {
        name: {
            "uid": pod["metadata"]["uid"],
            "ip": pod["status"]["podIP"],
            "node": pod["spec"]["nodeName"],
            "volumes": pod["spec"].get("volumes"),
            "others": pod["spec"]["containers"][1:],
        }
        for name, pod in scene.world.pods.items()
    }


def pod_writes(scene: Scene) -> list[str]:
    """What the operator wrote of pods, dry runs apart."""
    return [
        f"{write.verb} {write.name}"
        for write in scene.recorder.writes()
        if write.resource == "pods" and not write.dry_run and write.verb in ("patch", "create", "delete")
    ]


def annotation(pod: Json, key: str) -> Any:
    text = pod["metadata"]["annotations"].get(key)
    return None if text is None else json.loads(text)


def with_sidecar() -> Json:
    """A second container, which has nothing to do with the image."""
    containers = [
        {"name": "os", "image": "placeholder", "readinessProbe": {"tcpSocket": {"port": 80}}},
        {"name": "log", "image": f"{REGISTRY}:sidecar-fast"},
    ]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}


def test_the_pod_stays_and_one_write_an_instance_is_enough(scene: Scene) -> None:
    create(scene, replicas=10, template=with_sidecar(), volumeClaimTemplates=with_claims())
    before, claims, written = what_stays(scene), scene.claims(), len(pod_writes(scene))
    scene.publish("1.1.0")
    rollout = scene.rollout("Completed", "1.1.0", timeout=60)
    scene.healthy(10, version="1.1.0")
    assert rollout["progress"] == progress(10, 0, 0, 0)
    assert rollout["policy"]["replacementMethod"] == "InPlaceIfPossible"
    assert what_stays(scene) == before
    assert scene.claims() == claims
    assert sorted(pod_writes(scene)[written:]) == [f"patch web-{number}" for number in range(10)]
    for pod in scene.world.pods_of("web"):
        assert pod["spec"]["containers"][0]["image"] == f"{REGISTRY}:1.1.0@{DIGEST}"
        assert annotation(pod, PREVIOUS)["version"] == "1.0.0"
        assert annotation(pod, NOTE)["image"] == f"{REGISTRY}:1.0.0-fast@{DIGEST}"
        (restarts, _) = (each["restartCount"] for each in pod["status"]["containerStatuses"])
        assert restarts == 1
    scene.quiet(seconds=6)


def of_one_image(*, init: bool = False) -> Json:
    """A worker beside the server, both of the version's image, and a migration before them."""
    template = with_sidecar()
    template["spec"]["containers"].append({"name": "worker"})
    if init:
        template["spec"]["initContainers"] = [{"name": "migrate"}]
    return template


def test_all_containers_of_the_image_are_changed_by_one_patch(scene: Scene) -> None:
    create(scene, replicas=2, template=of_one_image())
    before, written = scene.uids(), len(pod_writes(scene))
    scene.publish("1.1.0")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert scene.uids() == before
    assert sorted(pod_writes(scene)[written:]) == ["patch web-0", "patch web-1"]
    image = f"{REGISTRY}:1.1.0@{DIGEST}"
    for pod in scene.world.pods_of("web"):
        images = [each["image"] for each in pod["spec"]["containers"]]
        assert images == [image, f"{REGISTRY}:sidecar-fast", image]
        assert [each["container"] for each in annotation(pod, NOTE)["others"]] == ["worker"]


def test_with_an_init_container_of_the_image_the_pod_is_made_again(scene: Scene) -> None:
    create(scene, replicas=2, template=of_one_image(init=True))
    before = scene.uids()
    scene.publish("1.1.0")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert not set(scene.uids().values()) & set(before.values())
    image = f"{REGISTRY}:1.1.0@{DIGEST}"
    for pod in scene.world.pods_of("web"):
        assert [each["image"] for each in pod["spec"]["initContainers"]] == [image]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("bad", "containers with unready status"), ("pullfail", "ImagePullBackOff"), ("crash", "CrashLoopBackOff")],
)
def test_a_bad_image_is_taken_back_by_a_second_patch(scene: Scene, behaviour, words) -> None:
    create(scene, replicas=5)
    before, written = what_stays(scene), len(pod_writes(scene))
    scene.publish("1.1.0", behaviour)
    rollout = scene.rollout("Faulted", "1.1.0")
    scene.healthy(5, version="1.0.0")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 4), "0")
    assert words in rollout["error"]["details"][0]["message"]
    assert pod_writes(scene)[written:] == ["patch web-0", "patch web-0"]
    assert what_stays(scene) == before
    assert annotation(scene.world.pods["web-0"], PREVIOUS) is None
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0")
    assert what_stays(scene) == before


@pytest.mark.parametrize("behaviour", ["late", "renamed"])
def test_what_a_kubelet_says_before_it_has_begun_is_not_believed(scene: Scene, behaviour) -> None:
    """`late`: Ready under the new generation while the old container still runs, for three seconds. `renamed`: the
    image has another name in the status. All versions have one digest under several tags.
    """
    scene.policy(replacementMethod="InPlaceIfPossible", healthTimeout="PT1M")
    scene.create(replicas=2)
    scene.publish("1.1.0", behaviour)
    scene.rollout("Completed", "1.1.0", timeout=60)
    scene.healthy(2, version="1.1.0")
    begun: dict[str, bool] = {}
    for seen in scene.recorder.trace().of("pods", "scalesets"):
        if seen.kind == "pods":
            containers = (seen.object.get("status") or {}).get("containerStatuses") or [{}]
            begun[seen.name] = seen.ready and containers[0].get("restartCount") == 1
        elif seen.kind == "scalesets":
            run = (seen.object.get("status") or {}).get("rollingUpgrade") or {}
            if run.get("successful") == "0":
                assert begun["web-0"], "it counts as upgraded before its container was started again"


def test_a_model_that_changes_more_than_the_image_gets_new_pods(scene: Scene) -> None:
    scene.policy(replacementMethod="InPlaceIfPossible", mode="Rolling")
    scene.create(replicas=2)
    before = scene.uids()
    scene.change_template(start="0s")
    scene.wait(lambda world: says(world, "UpToDate")["status"] == "True", "the model is everywhere")
    scene.healthy(2)
    assert not set(scene.uids().values()) & set(before.values())


def test_a_pinned_version_goes_in_place(scene: Scene) -> None:
    scene.policy(replacementMethod="InPlaceIfPossible", mode="Rolling", automatic=False)
    scene.create(replicas=2)
    before = scene.uids()
    scene.publish("1.1.0", "fast")
    scene.change(imageReference={"version": "1.1.0"})
    scene.healthy(2, version="1.1.0")
    assert scene.uids() == before


def test_surge_comes_first(scene: Scene) -> None:
    create(scene, replicas=2, rolling={"maxSurge": True})
    written = len(pod_writes(scene))
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert not [write for write in pod_writes(scene)[written:] if write.startswith("patch")]


def test_an_instance_killed_in_the_middle_comes_back_with_the_target(scene: Scene) -> None:
    create(scene, replicas=2)
    scene.publish("1.1.0")
    scene.wait(lambda world: runs(world.pods["web-0"]) == "1.1.0", "the first one is changed")
    gone = scene.delete_pod("web-0")
    scene.wait(lambda _: scene.uids().get("web-0", gone) != gone, "it comes back")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")


def test_replaced_at_once_by_hand(scene: Scene) -> None:
    scene.policy(replacementMethod="InPlaceIfPossible", automatic=False)
    scene.create(replicas=2)
    before = scene.uids()
    scene.publish("1.1.0", "fast")
    scene.change(imageReference={"version": "1.1.0"})
    scene.ask("apply-model", "1")

    def applied(world: World) -> bool:
        return runs(world.pods["web-1"]) == "1.1.0" and ready(world.pods["web-1"])

    scene.wait(applied, "it is changed")
    assert scene.versions() == ["1.0.0", "1.1.0"]
    assert scene.uids() == before
