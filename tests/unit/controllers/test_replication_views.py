"""What is seen of nodes and of pods that pull; how a pull is recognised, whatever the image."""

from typing import Any

import pytest

from scaleset.controllers.replication_views import node, prepull
from scaleset.planner import prepull_pod as pod_builder
from scaleset.planner.replication import Node, Stage

BODY = pod_builder.pod(
    "ops",
    version=("shop", "web-1.2.0", "uid-v"),
    image="example.com/web:1.2.0",
    node=Node("n", "uid-n", "1", "west"),
    service_account="default",
)


def raw_pod(status: dict[str, Any], *, bound: bool = True) -> dict[str, Any]:
    metadata = BODY["metadata"] | {"uid": "uid-p", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": BODY["spec"] | ({"nodeName": "n"} if bound else {}), "status": status}


def container(state: dict[str, Any], image_id: str = "") -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"name": "image", "imageID": image_id, "state": state}]}


def waiting(reason: str) -> dict[str, Any]:
    return container({"waiting": {"reason": reason, "message": "words"}})


WAITING = {
    Stage.PULLING: ("ContainerCreating", "PodInitializing"),
    Stage.TROUBLED: (
        *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
        *("RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed"),
    ),
    # Without that command, as a distroless image: the container could not be created, so the image is there.
    Stage.PULLED: ("CreateContainerError", "CreateContainerConfigError", "RunContainerError", "CrashLoopBackOff"),
}


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        ({}, Stage.PULLING),
        ({"phase": "Pending"}, Stage.PULLING),
        (container({}), Stage.PULLING),
        *((waiting(reason), stage) for stage, reasons in WAITING.items() for reason in reasons),
        (container({"terminated": {"reason": "StartError", "exitCode": 128}}), Stage.PULLED),
        (container({"terminated": {"reason": "Completed", "exitCode": 0}}), Stage.PULLED),
        (container({"running": {}}), Stage.PULLED),
        (container({"waiting": {"reason": "ContainerCreating"}}, "sha256:ab"), Stage.PULLED),
        # Ended before the pull: too slow, evicted, refused by the kubelet, forgotten by it.
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, Stage.ENDED),
        ({"phase": "Failed", "reason": "Evicted"}, Stage.ENDED),
        (waiting("ContainerCreating") | {"phase": "Failed", "reason": "DeadlineExceeded"}, Stage.ENDED),
        (waiting("ImagePullBackOff") | {"phase": "Failed", "reason": "DeadlineExceeded"}, Stage.ENDED),
        (
            container({"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}) | {"phase": "Failed"},
            Stage.ENDED,
        ),
    ],
)
def test_what_counts_is_that_the_container_got_past_the_pull(status, stage):
    assert prepull(raw_pod(status)).stage is stage


def test_a_pod_that_the_scheduler_cannot_place_says_why():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    seen = prepull(raw_pod({"phase": "Pending", "conditions": [condition]}, bound=False))
    assert (seen.stage, seen.message) == (Stage.UNSCHEDULED, "Unschedulable: 0/3 nodes")


def test_the_message_is_kubernetes_own():
    assert prepull(raw_pod(waiting("ErrImagePull"))).message == "container image: ErrImagePull: words"


def test_a_pod_tells_its_version_and_its_node():
    seen = prepull(raw_pod({}))
    assert (seen.version, seen.node, seen.version_namespace) == ("uid-v", "uid-n", "shop")


def raw_node(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "metadata": {"name": "n", "uid": "uid-n", "resourceVersion": "3", "labels": changes.pop("labels", {})},
        "spec": changes.pop("spec", {}),
        "status": {"conditions": [{"type": "Ready", "status": "True"}], **changes},
    }
    return raw


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({}, "region", "default"),
        ({"labels": {"topology.kubernetes.io/region": "west"}}, "region", "west"),
        ({}, "os", "linux"),
        ({"labels": {"kubernetes.io/os": "windows"}}, "os", "windows"),
        ({}, "ready", True),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "ready", False),
        ({"conditions": []}, "ready", False),
        ({}, "schedulable", True),
        ({"spec": {"unschedulable": True}}, "schedulable", False),
        ({"spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}}, "schedulable", False),
        ({"spec": {"taints": [{"key": "dedicated", "effect": "NoExecute"}]}}, "schedulable", False),
        ({"spec": {"taints": [{"key": "dedicated", "effect": "PreferNoSchedule"}]}}, "schedulable", True),
        # What a DaemonSet's pods tolerate; whether the node is Ready is looked at anyway.
        (
            {"spec": {"taints": [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]}},
            "schedulable",
            True,
        ),
        ({"images": [{"names": ["a:1", "b:2"]}, {"names": None}]}, "images", {"b:2"}),
    ],
)
def test_what_is_kept_of_a_node(changes, field, value):
    assert getattr(node(raw_node(**changes), wanted={"b:2", "c:3"}), field) == value
