"""Containers, init containers, volumes and volume mounts of a set for server-side apply: several managers own items."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness.api import SCALE_SETS, Api, ApiError, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.plugin import kubectl
from tests.cluster.harness.storage import Storage

MOUNT = {"name": "data", "mountPath": "/data"}
APP = {"name": "os", "image": "example.com/os:1", "volumeMounts": [MOUNT]}
POD: Json = {"containers": [APP], "volumes": [{"name": "data", "emptyDir": {}}]}
SIDECAR: Json = {
    "containers": [
        {"name": "os", "volumeMounts": [{"name": "logs", "mountPath": "/logs", "readOnly": True}]},
        {"name": "log", "image": "example.com/log:1", "volumeMounts": [{"name": "logs", "mountPath": "/logs"}]},
    ],
    "initContainers": [{"name": "copy", "image": "example.com/copy:1"}],
    "volumes": [{"name": "logs", "emptyDir": {}}],
}


@pytest.fixture
def apply(cluster: Cluster, namespace: str, tmp_path: Path) -> Callable[..., str]:
    """`kubectl apply --server-side` by a field manager; returns what it says, in case of a refusal too."""

    def run(manager: str, body: Json, *, refused: bool = False) -> str:
        path = tmp_path / f"{manager}.json"
        path.write_text(json.dumps(body))
        command: list[str | Path] = [kubectl(), "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "apply"]
        command += ["--server-side", f"--field-manager={manager}", "-f", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == refused, done.stderr
        return done.stdout + done.stderr

    return run


def whole(pod: Json = POD, **more: Any) -> Json:
    return scale_set(replicas=0, template={"spec": pod}, **more)


def part(pod: Json) -> Json:
    """What somebody adds who knows nothing else of the set."""
    found = whole()
    return {**found, "spec": {"template": {"spec": pod}}}


def pod_of(api: Api, namespace: str) -> Json:
    return dict(api.get(SCALE_SETS, namespace, "web")["spec"]["template"]["spec"])


def names(items: list[Json], key: str = "name") -> list[str]:
    return [each[key] for each in items]


def test_two_managers_own_items_of_one_list(apply, api: Api, namespace: str) -> None:
    apply("owner", whole())
    apply("injector", part(SIDECAR))
    changed = copy.deepcopy(POD)
    changed["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    apply("owner", whole(changed))
    pod = pod_of(api, namespace)
    assert names(pod["containers"]) == ["os", "log"]
    assert pod["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    assert names(pod["containers"][0]["volumeMounts"], "mountPath") == ["/data", "/logs"]
    assert names(pod["volumes"]) == ["data", "logs"]
    assert names(pod["initContainers"]) == ["copy"]

    apply("injector", part({"containers": SIDECAR["containers"][1:], "volumes": SIDECAR["volumes"]}))
    pod = pod_of(api, namespace)
    assert names(pod["containers"][0]["volumeMounts"], "mountPath") == ["/data"], "what it leaves out goes"
    assert not pod.get("initContainers")
    other = {"containers": [{"name": "os", "image": "example.com/other:1"}]}
    assert 'conflict with "owner"' in apply("injector", part(other), refused=True)


def test_mounts_of_an_extension_are_a_map_too(apply, api: Api, namespace: str) -> None:
    agent = {"name": "agent", "image": "example.com/agent:1"}
    apply("owner", whole(extensions=[{**agent, "volumeMounts": [MOUNT]}]))
    mount = {"name": "data", "mountPath": "/more"}
    apply("injector", {**whole(), "spec": {"extensions": [{"name": "agent", "volumeMounts": [mount]}]}})
    (found,) = api.get(SCALE_SETS, namespace, "web")["spec"]["extensions"]
    assert names(found["volumeMounts"], "mountPath") == ["/data", "/more"]


def containers(**fields: object) -> Json:
    return {**POD, "containers": [{**APP, **fields}]}


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (containers(volumeMounts=[MOUNT, MOUNT]), "volumeMounts[1]: Duplicate value"),
        ({**POD, "initContainers": [{"name": "a", "volumeMounts": [MOUNT, MOUNT]}]}, "[1]: Duplicate value"),
        ({**POD, "containers": [APP, APP]}, "containers[1]: Duplicate value"),
        ({**POD, "volumes": [*POD["volumes"]] * 2}, "volumes[1]: Duplicate value"),
        (containers(volumeMounts=[{"name": "data"}]), "mountPath: Required value"),
    ],
)
def test_what_breaks_a_key_is_refused(api: Api, namespace: str, pod: Json, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        api.create(SCALE_SETS, namespace, whole(pod))
    assert words in refused.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"volumeMounts": None},
        {"volumeMounts": []},
        {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        {"ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80}]},
        {"volumeMounts": [{**MOUNT, "subPath": "a", "invented": {"by": ["a later Kubernetes"]}}]},
    ],
)
def test_what_a_pod_may_have_is_stored_as_it_is(api: Api, namespace: str, fields: Json) -> None:
    api.create(SCALE_SETS, namespace, whole(containers(**fields)))
    (found,) = pod_of(api, namespace)["containers"]
    assert {key: found.get(key) for key in fields} == fields


def store(cluster: Cluster, namespace: str, mounts: list[Json]) -> None:
    """A set as it was stored when these lists had no keys."""
    made = cluster.api.create(SCALE_SETS, namespace, whole())
    made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    Storage(cluster.name).put(made)
    (found,) = pod_of(cluster.api, namespace)["containers"]
    assert found["volumeMounts"] == mounts


def write_status(api: Api, namespace: str) -> None:
    conditions = [{"type": "Ready", "status": "True", "reason": "Healthy"}]
    status = {"status": {"replicas": 3, "conditions": conditions}}
    assert api.patch(SCALE_SETS, namespace, "web", status, subresource="status")["status"]["replicas"] == 3


def test_a_stored_set_that_breaks_a_key_goes_on(cluster: Cluster, api: Api, namespace: str) -> None:
    """The API server asks for keys of lists only where the stored object keeps them."""
    store(cluster, namespace, [MOUNT, MOUNT])
    write_status(api, namespace)
    api.patch(SCALE_SETS, namespace, "web", {"spec": {"suspend": True}})
    api.patch(SCALE_SETS, namespace, "web", {"spec": {"replicas": 4}}, subresource="scale")
    mended = {"containers": [APP]}
    api.patch(SCALE_SETS, namespace, "web", {"spec": {"template": {"spec": mended}}})
    with pytest.raises(ApiError) as refused:
        api.patch(SCALE_SETS, namespace, "web", {"spec": {"template": {"spec": containers(volumeMounts=[MOUNT] * 2)}}})
    assert "Duplicate value" in refused.value.message


def test_a_stored_mount_without_a_path_lets_statuses_be_written(cluster: Cluster, api: Api, namespace: str) -> None:
    """No pod can be made of it, so the set has been refused all along. Its next change has to mend it."""
    store(cluster, namespace, [{"name": "data"}])
    write_status(api, namespace)
    with pytest.raises(ApiError) as refused:
        api.patch(SCALE_SETS, namespace, "web", {"spec": {"suspend": True}})
    assert "volumeMounts[0].mountPath: Required value" in refused.value.message
    mended = {"suspend": True, "template": {"spec": {"containers": [APP]}}}
    api.patch(SCALE_SETS, namespace, "web", {"spec": mended})
