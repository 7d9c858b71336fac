"""What pods and claims count for in a quota, as Kubernetes counts."""

from decimal import Decimal
from typing import Any

import pytest

from scaleset.preflight.usage import of_claim, of_pod

NOW = 1_000_000_000.0  # 2001-09-09T01:46:40Z
POD = {"pods": "1", "count/pods": "1"}


def container(name: str = "c", *, requests: Any = None, limits: Any = None, **more: Any) -> Any:
    resources = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    return {"name": name, "resources": resources, **more}


def sidecar(name: str, cpu: str) -> Any:
    return container(name, requests={"cpu": cpu}, restartPolicy="Always")


def starting(name: str, cpu: str) -> Any:
    return container(name, requests={"cpu": cpu})


def pod(spec: Any, *, status: Any = None, **metadata: Any) -> Any:
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def cpu(amount: str) -> dict[str, str]:
    return {"cpu": amount, "requests.cpu": amount}


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        ({"containers": [{"name": "c"}]}, {}),
        ({"containers": [{"name": "c"}], "initContainers": None}, {}),
        ({"containers": [container("a", requests={"cpu": "250m"}), container("b", requests={"cpu": 1})]}, cpu("1.25")),
        (
            {"containers": [container(requests={"memory": "1Mi"}, limits={"memory": "2Mi", "cpu": "1"})]},
            {"memory": str(2**20), "requests.memory": str(2**20), "limits.memory": str(2**21), "limits.cpu": "1"},
        ),
        # the largest init container, where it is more
        ({"containers": [starting("a", "2")], "initContainers": [starting("i", "3")]}, cpu("3")),
        ({"containers": [starting("a", "4")], "initContainers": [starting("i", "3")]}, cpu("4")),
        # sidecars beside the containers, and beside the init containers after them
        ({"containers": [starting("a", "1")], "initContainers": [sidecar("s", "2")]}, cpu("3")),
        ({"containers": [starting("a", "1")], "initContainers": [sidecar("s", "2"), starting("i", "2")]}, cpu("4")),
        ({"containers": [starting("a", "1")], "initContainers": [starting("i", "2"), sidecar("s", "2")]}, cpu("3")),
        # of the pod itself
        ({"containers": [starting("a", "1")], "resources": {"requests": {"cpu": "3"}}}, cpu("3")),
        ({"containers": [starting("a", "1")], "resources": {"requests": {"ephemeral-storage": "3"}}}, cpu("1")),
        # overhead: on limits only where there are any
        (
            {
                "containers": [container(limits={"memory": "1"}, requests={"cpu": "1"})],
                "overhead": {"cpu": "1", "memory": 2},
            },
            {**cpu("2"), "memory": "2", "requests.memory": "2", "limits.memory": "3"},
        ),
        # what is counted by requests only
        ({"containers": [container(requests={"example.com/gpu": 2})]}, {"requests.example.com/gpu": "2"}),
        (
            {"containers": [container(requests={"hugepages-2Mi": "4Mi"}, limits={"hugepages-2Mi": "4Mi"})]},
            {"hugepages-2Mi": str(2**22), "requests.hugepages-2Mi": str(2**22)},
        ),
        ({"containers": [container(requests={"kubernetes.io/batch": "1"})]}, {}),
    ],
)
def test_a_pod_counts_for(spec, counts):
    assert of_pod(pod(spec), now=NOW) == {name: Decimal(amount) for name, amount in (POD | counts).items()}


def resized(reason: str, *, has: str, allocated: str = "1") -> Any:
    state = {"name": "c", "resources": {"requests": {"cpu": has}}, "allocatedResources": {"cpu": allocated}}
    return {"containerStatuses": [state], "conditions": [{"type": "PodResizePending", "reason": reason}]}


@pytest.mark.parametrize(
    ("status", "amount"),
    [
        ({"containerStatuses": [{"name": "c"}]}, "2"),
        (resized("Deferred", has="1"), "2"),
        (resized("Deferred", has="3"), "3"),
        (resized("Deferred", has="1", allocated="4"), "4"),
        (resized("Infeasible", has="1"), "1"),
    ],
)
def test_a_pod_that_is_resized_counts_for_the_larger_size(status, amount):
    counted = of_pod(pod({"containers": [container(requests={"cpu": "2"})]}, status=status), now=NOW)
    assert counted["requests.cpu"] == Decimal(amount)


@pytest.mark.parametrize(
    ("status", "metadata", "counts"),
    [
        ({"phase": "Running"}, {}, True),
        ({"phase": "Failed"}, {}, False),
        ({"phase": "Succeeded"}, {}, False),
        ({}, {"deletionTimestamp": "2001-09-09T01:46:40Z", "deletionGracePeriodSeconds": 30}, True),
        ({}, {"deletionTimestamp": "2001-09-09T01:46:09Z", "deletionGracePeriodSeconds": 30}, False),
    ],
)
def test_a_pod_that_ended_counts_as_an_object_only(status, metadata, counts):
    counted = of_pod(pod({"containers": [container(requests={"cpu": "2"})]}, status=status, **metadata), now=NOW)
    assert set(counted) == ({"pods", "count/pods", "cpu", "requests.cpu"} if counts else {"count/pods"})


def test_a_claim_counts_for_its_size_and_its_class():
    claim = {"metadata": {}, "spec": {"resources": {"requests": {"storage": "1500m"}}, "storageClassName": "gold"}}
    of_class = "gold.storageclass.storage.k8s.io/"
    assert of_claim(claim) == {
        "persistentvolumeclaims": 1,
        "count/persistentvolumeclaims": 1,
        "requests.storage": 2,
        f"{of_class}persistentvolumeclaims": 1,
        f"{of_class}requests.storage": 2,
    }
    assert set(of_claim({"metadata": {}, "spec": {}})) == {"persistentvolumeclaims", "count/persistentvolumeclaims"}
