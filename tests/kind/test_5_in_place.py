"""Images changed in running pods, by a real kubelet and a real container runtime."""

from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.kind.harness.stage import REPOSITORY, Stage

pytestmark = pytest.mark.timeout(1800)


def create(scene: Stage, *, replicas: int) -> dict[str, Any]:
    """A healthy set whose images are changed in place; what of its pods has to stay."""
    scene.policy(replacementMethod="InPlaceIfPossible")
    scene.create(replicas=replicas)
    return what_stays(scene)


def what_stays(scene: Stage) -> dict[str, Any]:
    pods = scene.world.pods_of("web")
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["podIP"], pod["spec"]["nodeName"])
        for pod in pods
    }


def container(pod: Json) -> Json:
    found: Json = pod["status"]["containerStatuses"][0]
    return found


def patches(scene: Stage) -> list[str]:
    writes = [each for each in scene.recorder.writes() if (each.resource, each.code) == ("pods", 200)]
    return [each.name for each in writes if each.verb == "patch" and each.name.startswith("web-")]


def test_the_pod_stays_and_so_does_its_disk(scene: Stage) -> None:
    """Each instance counts as upgraded only once its new container is Ready."""
    before = create(scene, replicas=3)
    texts = scene.write_data()
    old = {pod["metadata"]["name"]: container(pod)["containerID"] for pod in scene.world.pods_of("web")}
    scene.publish("1.1.0")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(3, version="1.1.0")
    assert what_stays(scene) == before
    assert patches(scene) == ["web-0", "web-1", "web-2"]
    assert scene.read_data() == texts
    for pod in scene.world.pods_of("web"):
        assert container(pod)["containerID"] != old[pod["metadata"]["name"]]
        assert container(pod)["restartCount"] == 1
    counted: set[str] = set()
    status: dict[str, Json] = {}
    for seen in scene.recorder.trace().of("pods", "scalesets"):
        if seen.kind == "pods" and seen.object.get("status", {}).get("containerStatuses"):
            status[seen.name] = container(seen.object)
        elif seen.kind == "scalesets":
            done = ((seen.object.get("status") or {}).get("rollingUpgrade") or {}).get("successful") or ""
            upgraded = {"": 0, "0": 1, "0-1": 2, "0-2": 3}[done]
            for name in {f"web-{number}" for number in range(upgraded)} - counted:
                counted.add(name)
                assert status[name]["ready"], f"{name} counts as upgraded and is not ready"
                assert status[name]["containerID"] != old[name], f"{name} counts by the container before"
    assert counted == set(before)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("bad", "containers with unready status: [web]"),
        ("absent", "ImagePull"),
        ("crash", "its configuration names a disk that is not there"),
    ],
)
def test_a_version_that_fails_is_taken_back_in_the_same_pod(scene: Stage, behaviour: str, words: str) -> None:
    before = create(scene, replicas=2)
    scene.publish("1.1.0", behaviour)
    rollout = scene.rollout("Faulted", "1.1.0")
    assert rollout["restored"] == "0"
    assert words in " ".join(each["message"] for each in rollout["error"]["details"])
    scene.healthy(2, version="1.0.0")
    assert what_stays(scene) == before
    assert patches(scene) == ["web-0", "web-0"]


def test_one_digest_under_two_tags(scene: Stage) -> None:
    """The runtime tells both by one name and one id; the kubelet starts the container again all the same."""
    before = create(scene, replicas=1)
    scene.cluster.on_node(f"ctr --namespace k8s.io images tag --force {REPOSITORY}:1.0.0 {REPOSITORY}:1.0.0-again")
    (old,) = map(container, scene.world.pods_of("web"))
    scene.publish("1.1.0", image=f"{REPOSITORY}:1.0.0-again")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(1, version="1.1.0")
    assert what_stays(scene) == before
    (new,) = map(container, scene.world.pods_of("web"))
    assert new["imageID"] == old["imageID"]
    assert new["containerID"] != old["containerID"]
