"""Versions with osType: the pods as the API server admits them, on nodes of that system, and what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import NODES, PODS, Api, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.regions import Regions
from tests.cluster.harness.scene import Scene

LABEL = "kubernetes.io/os"
AGENT = {"name": "agent", "image": "example.com/agent:1-fast"}
DATA: Json = {"customData": "Write-Output hi\n", "runCustomData": True, "extensions": [AGENT]}
DISK = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
PROFILE = {"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}


@pytest.fixture(scope="module", autouse=True)
def windows_nodes(cluster: Cluster) -> Iterator[list[str]]:
    with Regions(cluster.api, "win") as nodes:
        yield nodes.add("dows", 2, system="windows")


def pod(api: Api, scene: Scene, number: int) -> Json:
    return api.get(PODS, scene.namespace, f"web-{number}")


def systems(api: Api, scene: Scene, count: int) -> set[tuple[str | None, str | None, str]]:
    """What each pod says of its system, the nodes that it asks for, and the system of its node."""
    found = set()
    for number in range(count):
        spec = pod(api, scene, number)["spec"]
        node = api.get(NODES, None, spec["nodeName"])["metadata"]["labels"][LABEL]
        found.add((spec.get("os", {}).get("name"), spec.get("nodeSelector", {}).get(LABEL), node))
    return found


def template(**fields: object) -> Json:
    """The template of a set whose pod has further fields."""
    made: Json = scale_set()["spec"]["template"]
    return {**made, "spec": {**made["spec"], **fields}}


def create(scene: Scene, *, osType: str = "Windows", **spec: Any) -> None:  # noqa: N803 - as the field
    scene.policy()
    scene.publish("1.0.0", "fast", osType=osType)
    scene.apply(scale_set(replicas=2, **spec))


def test_pods_of_a_windows_version_are_admitted_and_run_on_windows_nodes(scene: Scene) -> None:
    """With what the operator adds to a pod: custom data, an extension, a disk."""
    create(scene, template=template(**PROFILE), volumeClaimTemplates=[DISK], **DATA)
    scene.healthy(2)
    assert systems(scene.api, scene, 2) == {("windows", "windows", "windows")}
    first = pod(scene.api, scene, 0)["spec"]["initContainers"][0]
    assert (first["name"], first["command"][0]) == ("custom-data", "powershell.exe")
    scene.publish("1.1.0", "fast", osType="Windows")
    scene.rollout("Completed", "1.1.0")
    assert systems(scene.api, scene, 2) == {("windows", "windows", "windows")}


def test_pods_of_a_linux_version_run_on_linux_nodes(scene: Scene) -> None:
    create(scene, osType="Linux", **DATA)
    scene.healthy(2)
    assert systems(scene.api, scene, 2) == {("linux", "linux", "linux")}


def test_a_template_that_chooses_windows_keeps_its_choice_without_os_type(scene: Scene) -> None:
    """As sets of Windows images without osType did before: os.name linux would refuse their windowsOptions."""
    create(scene, osType="Linux", template=template(nodeSelector={LABEL: "windows"}, **PROFILE))
    scene.healthy(2)
    assert systems(scene.api, scene, 2) == {(None, "windows", "windows")}


def test_from_linux_to_windows_and_back_to_it_by_a_restore(scene: Scene) -> None:
    """A new pod each, on a node of the other system, though the policy changes images in place."""
    scene.policy(replacementMethod="InPlaceIfPossible")
    scene.create(replicas=2)
    before = scene.uids()
    scene.publish("1.1.0", "fast", osType="Windows")
    scene.rollout("Completed", "1.1.0")
    assert not set(before.values()) & set(scene.uids().values())
    assert systems(scene.api, scene, 2) == {("windows", "windows", "windows")}
    scene.publish("1.2.0", "bad", osType="Linux")
    scene.rollout("Faulted", "1.2.0")
    scene.healthy(2, version="1.1.0")
    assert systems(scene.api, scene, 2) == {("windows", "windows", "windows")}, "a restore gives the system back"


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"template": template(os={"name": "linux"})}, "InvalidSpec", "os.name is linux: remove that"),
        ({"template": template(nodeSelector={LABEL: "linux"})}, "InvalidSpec", f"asks for {LABEL}=linux: remove that"),
        (
            {"extensions": [{**AGENT, "command": ["run"], "suppressFailures": True}]},
            "InvalidSpec",
            "suppressFailures needs /bin/sh",
        ),
        # what the API server refuses in Windows pods, in its words
        ({"template": template(securityContext={"runAsUser": 1000})}, "ModelRefused", "runAsUser"),
        ({"template": template(hostPID=True)}, "ModelRefused", "hostPID"),
    ],
)
def test_what_cannot_work_on_windows_is_refused(scene: Scene, spec, reason, words) -> None:
    create(scene, **spec)
    assert words in scene.condition("Accepted", reason)["message"]
    assert not scene.world.pods_of("web")
    scene.change(template=template(securityContext=None, os=None, nodeSelector=None, hostPID=None), extensions=None)
    scene.healthy(2)
    assert systems(scene.api, scene, 2) == {("windows", "windows", "windows")}
