"""deploy/kustomize with the real kustomize: the one in kubectl."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.kustomize.__main__ import stored
from hack.kustomize.merge_keys import of_kubernetes
from tests.cluster.harness.api import SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.plugin import kubectl

CONTAINERS: list[Json] = [
    {"name": "app", "image": "example.com/app:1", "resources": {"limits": {"cpu": "1"}}},
    {"name": "log", "image": "example.com/log:1", "volumeMounts": [{"name": "logs", "mountPath": "/var/log"}]},
]
POD: Json = {
    "containers": CONTAINERS,
    "initContainers": [{"name": "copy", "image": "example.com/copy:1"}],
    "volumes": [{"name": "logs", "emptyDir": {}}],
}
IMAGE = {"publisher": "example", "offer": "web", "sku": "stable", "version": "latest"}
SET: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "ScaleSet",
    "metadata": {"name": "web"},
    "spec": {"replicas": 0, "imageReference": IMAGE, "template": {"spec": POD}},
}
DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "beside"},
    "spec": {
        "selector": {"matchLabels": {"app": "beside"}},
        "template": {"metadata": {"labels": {"app": "beside"}}, "spec": POD},
    },
}
LIMIT = {"template": {"spec": {"containers": [{"name": "app", "resources": {"limits": {"memory": "1Gi"}}}]}}}
WITH = {"components": ["../lib"]}


class Repository:
    """A folder `base`, a folder `overlay` that patches it, and deploy/kustomize as `lib`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        shutil.copytree(ROOT / "deploy" / "kustomize", root / "lib")

    def write(self, folder: str, objects: list[Json], **more: Any) -> Path:
        made = self._root / folder
        made.mkdir(exist_ok=True)
        (made / "objects.yaml").write_text(yaml.safe_dump_all(objects))
        kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (made / "kustomization.yaml").write_text(yaml.safe_dump({**kind, **more}))
        return made

    def built(self, objects: list[Json], **more: Any) -> dict[str, Json]:
        """What kustomize makes of the objects, by kind."""
        folder = self.write("base", objects, resources=["objects.yaml"], **more)
        return {each["kind"]: each for each in build(folder)}

    def patched(self, objects: list[Json], patches: list[Json], **more: Any) -> dict[str, Json]:
        """What an overlay with these patches makes of the objects, by kind."""
        self.write("base", objects, resources=["objects.yaml"])
        overlay = self.write("overlay", patches, resources=["../base"], patches=[{"path": "objects.yaml"}], **more)
        return {each["kind"]: each for each in build(overlay)}


def build(folder: Path) -> list[Json]:
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def spec_patch(of: Json, spec: Mapping[str, Any]) -> Json:
    return {"apiVersion": of["apiVersion"], "kind": of["kind"], "metadata": of["metadata"], "spec": dict(spec)}


def pod_of(found: Json) -> Json:
    return dict(found["spec"]["template"]["spec"])


def test_a_limit_in_an_overlay_keeps_the_other_container(repository: Repository):
    patches = [spec_patch(SET, LIMIT), spec_patch(DEPLOYMENT, LIMIT)]
    for kind, found in repository.patched([SET, DEPLOYMENT], patches, **WITH).items():
        app, log = pod_of(found)["containers"]
        assert app == {**CONTAINERS[0], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, kind
        assert log == CONTAINERS[1], kind
        assert {**pod_of(found), "containers": CONTAINERS} == POD, kind
    without = repository.patched([SET], patches[:1])["ScaleSet"]
    assert [each["name"] for each in pod_of(without)["containers"]] == ["app"], "which is why there is a file"


def test_a_container_is_removed_and_a_mount_is_added(repository: Repository):
    mount = {"name": "logs", "mountPath": "/logs"}
    containers = [{"name": "app", "$patch": "delete"}, {"name": "log", "volumeMounts": [mount]}]
    found = repository.patched([SET], [spec_patch(SET, {"template": {"spec": {"containers": containers}}})], **WITH)
    (log,) = pod_of(found["ScaleSet"])["containers"]
    assert sorted(log["volumeMounts"], key=str) == sorted([*CONTAINERS[1]["volumeMounts"], mount], key=str)


def test_lists_of_our_own_merge_as_in_server_side_apply(repository: Repository):
    extensions = [
        {"name": "agent", "image": "example.com/agent:1", "env": [{"name": "A", "value": "1"}]},
        {"name": "scan", "image": "example.com/scan:1"},
    ]
    patch = {
        "extensions": [{"name": "agent", "env": [{"name": "B", "value": "2"}]}],
        "protectedInstances": [{"id": 3, "protectFromScaleIn": True}],
    }
    protected = [{"id": 3, "protectFromScaleSetActions": True}, {"id": 5, "protectFromScaleIn": True}]
    set_ = spec_patch(SET, {**SET["spec"], "extensions": extensions, "protectedInstances": protected})
    found = repository.patched([set_], [spec_patch(SET, patch)], **WITH)["ScaleSet"]["spec"]
    agent, scan = found["extensions"]
    assert sorted(agent["env"], key=str) == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert scan == extensions[1]
    assert found["protectedInstances"] == [{**protected[0], "protectFromScaleIn": True}, protected[1]]


OTHERS: list[tuple[Json, Json]] = [
    (
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "tls", "port": 443}]},
        },
        {"spec": {"ports": [{"port": 80, "targetPort": 9090}]}},
    ),
    (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}, "imagePullSecrets": [{"name": "x"}]},
        {"imagePullSecrets": [{"name": "y"}]},
    ),
    (
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "c", "finalizers": ["example.com/a"]},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": POD}}}},
        },
        {
            "metadata": {"name": "c", "finalizers": ["example.com/b"]},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {"initContainers": [{"name": "two"}]}}}}},
        },
    ),
    (
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "i"},
            "spec": {"rules": [{"host": "a"}, {"host": "b"}]},
        },
        {"spec": {"rules": [{"host": "c"}]}},
    ),
    (
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "s"},
            "spec": {"template": {"spec": POD}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        },
        {
            "spec": {
                "template": {"spec": {"volumes": [{"name": "logs", "emptyDir": None, "configMap": {"name": "x"}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "other"}}],
            }
        },
    ),
]


@pytest.mark.parametrize(("object_", "patch"), OTHERS, ids=[each["kind"] for each, _ in OTHERS])
def test_other_kinds_are_patched_as_without_the_file(repository: Repository, object_: Json, patch: Json):
    whole = {**{key: object_[key] for key in ("apiVersion", "kind", "metadata")}, **patch}
    assert repository.patched([object_], [whole], **WITH) == repository.patched([object_], [whole])


def test_names_labels_images_and_replicas_reach_a_set(repository: Repository):
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]
    template: Json = {
        "spec": {
            **POD,
            "containers": [{**CONTAINERS[0], "env": env}, CONTAINERS[1]],
            "serviceAccountName": "web",
            "volumes": [{"name": "logs", "secret": {"secretName": "key"}}],
        }
    }
    agent = {"name": "agent", "image": "example.com/agent:1", "protectedSettingsSecretRef": {"name": "key"}}
    objects: list[Json] = [
        spec_patch(
            SET,
            {
                **SET["spec"],
                "template": template,
                "upgradePolicyRef": {"name": "careful"},
                "serviceName": "web",
                "extensions": [agent],
            },
        ),
        {"apiVersion": "scaleset.dev/v1beta1", "kind": "UpgradePolicy", "metadata": {"name": "careful"}, "spec": {}},
        {
            "apiVersion": "scaleset.dev/v1beta1",
            "kind": "GalleryImageVersion",
            "metadata": {"name": "one"},
            "spec": {**IMAGE, "version": "1.0.0", "image": "example.com/app:1"},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}},
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web"}},
        },
    ]
    found = repository.built(
        objects,
        **WITH,
        namePrefix="shop-",
        labels=[{"pairs": {"team": "a"}, "includeSelectors": True}],
        commonAnnotations={"example.com/owner": "b"},
        images=[{"name": f"example.com/{name}", "newTag": "2"} for name in ("app", "copy", "agent")],
        replicas=[{"name": "web", "count": 5}],
        configMapGenerator=[{"name": "settings", "literals": ["a=1"]}],
        secretGenerator=[{"name": "key", "literals": ["k=1"]}],
    )
    spec, secret, settings = found["ScaleSet"]["spec"], found["Secret"], found["ConfigMap"]
    assert secret["metadata"]["name"].startswith("shop-key-")
    assert (spec["replicas"], spec["serviceName"]) == (5, "shop-web")
    assert spec["upgradePolicyRef"] == {"name": "shop-careful"}
    assert spec["template"]["metadata"] == {"labels": {"team": "a"}, "annotations": {"example.com/owner": "b"}}
    assert found["Service"]["spec"]["selector"]["team"] == "a", "so the labels of the pods have to follow"
    pod = pod_of(found["ScaleSet"])
    assert pod["serviceAccountName"] == "shop-web"
    assert pod["volumes"][0]["secret"]["secretName"] == secret["metadata"]["name"]
    assert spec["extensions"][0]["protectedSettingsSecretRef"]["name"] == secret["metadata"]["name"]
    (variable,) = pod["containers"][0]["env"]
    assert variable["valueFrom"]["configMapKeyRef"]["name"] == settings["metadata"]["name"]
    images = [each["image"] for each in (*pod["containers"], *pod["initContainers"], *spec["extensions"])]
    assert images == ["example.com/app:2", "example.com/log:1", "example.com/copy:2", "example.com/agent:2"]
    assert found["GalleryImageVersion"]["spec"]["image"] == "example.com/app:2"
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "shop-web"


def test_an_overlay_is_applied(repository: Repository, cluster: Cluster, api: Api, namespace: str):
    """Both kinds of apply: what kustomize prints is what the API server stores."""
    repository.write("base", [SET], resources=["objects.yaml"])
    overlay = repository.write(
        "overlay", [spec_patch(SET, LIMIT)], resources=["../base"], patches=[{"path": "objects.yaml"}], **WITH
    )
    command: list[str | Path] = [kubectl(), "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "apply"]
    for more in ([], ["--server-side", "--force-conflicts"]):
        done = subprocess.run([*command, "-k", overlay, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        app, log = pod_of(api.get(SCALE_SETS, namespace, "web"))["containers"]
        assert app["resources"] == {"limits": {"cpu": "1", "memory": "1Gi"}}
        assert log == CONTAINERS[1]


def test_the_kinds_of_kubernetes_are_those_of_the_api_server(cluster: Cluster):
    """A newer Kubernetes: `kubectl get --raw /openapi/v2 >FILE`, `python -m hack.kustomize --kubernetes FILE`."""
    command: list[str | Path] = [kubectl(), "--kubeconfig", cluster.kubeconfig, "get", "--raw", "/openapi/v2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert of_kubernetes(json.loads(done.stdout)) == stored()
