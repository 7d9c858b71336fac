"""Objects for tests: the smallest ones that the API server accepts, to be changed by keyword."""

from typing import Any

from .api import Json

REGISTRY = "registry.example/os"
DIGEST = "sha256:" + "0" * 64


def pod(name: str, tag: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """A pod that no controller owns. The tag decides how it behaves: see hack/cluster/stages.yaml."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "os", "image": f"{REGISTRY}:{tag}"}], **spec},
    }


def claim(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def image_version(version: str, *, behaviour: str = "", sku: str = "server", **spec: Any) -> Json:
    """A published version; `behaviour` is what its containers do (fast, bad, flaky, crash, pullfail)."""
    tag = f"{version}-{behaviour}" if behaviour else version
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "GalleryImageVersion",
        "metadata": {"name": f"{sku}-{version}"},
        "spec": {
            "publisher": "example",
            "offer": "os",
            "sku": sku,
            "version": version,
            "image": f"{REGISTRY}:{tag}@{DIGEST}",
            **spec,
        },
    }


def upgrade_policy(name: str = "policy", *, automatic: bool = True, rolling: Json | None = None, **spec: Any) -> Json:
    """Image upgrades start by themselves unless `automatic` is false; instances get 10 s to become healthy."""
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "UpgradePolicy",
        "metadata": {"name": name},
        "spec": {
            "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": automatic},
            "rollingUpgradePolicy": rolling or {},
            "healthTimeout": "PT10S",
            **spec,
        },
    }


def scale_set(
    name: str = "web", *, replicas: int = 5, version: str = "latest", policy: str | None = "policy", **spec: Any
) -> Json:
    """A set with a readiness probe, as automatic upgrades need one. Its image is that of the version."""
    container = {
        "name": "os",
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    }
    body = {
        "replicas": replicas,
        "imageReference": {"publisher": "example", "offer": "os", "sku": "server", "version": version},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        "updateDomains": 1,  # then batches go by id
        **spec,
    }
    if policy is not None:
        body["upgradePolicyRef"] = {"name": policy}
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "ScaleSet",
        "metadata": {"name": name},
        "spec": body,
    }
