"""A quota that is full, or nearly: nothing is deleted that could not come back, and nothing waits that fits."""

from typing import Any

import pytest

from tests.cluster.harness.api import CLAIMS, PODS, QUOTAS, Json, Kind
from tests.cluster.harness.fleet import limit, until
from tests.cluster.harness.manifests import claim, scale_set
from tests.cluster.harness.scene import Scene

LIMIT_RANGES = Kind("limitranges")
RUNTIME_CLASSES = Kind("runtimeclasses", "node.k8s.io", namespaced=False)
PROBE = {"tcpSocket": {"port": 80}, "periodSeconds": 1}


def container(**resources: Any) -> Json:
    return {"name": "os", "image": "placeholder", "readinessProbe": PROBE, "resources": resources}


def template(requests: Json | None = None, limits: Json | None = None, **spec: Any) -> Json:
    resources = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container(**resources)], **spec}}


def begin(scene: Scene, body: Json, *, replicas: int = 4, rolling: Json | None = None, **spec: Any) -> dict[str, str]:
    """A set that is healthy on 1.0.0, with that template; the uids of its pods."""
    scene.policy(mode="Rolling", rolling=rolling)
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=replicas, template=body, **spec))
    scene.healthy(replicas, version="1.0.0")
    return scene.uids()


def default_cpu(scene: Scene, amount: str) -> None:
    """What containers ask for that do not say, once the API server goes by it."""
    spec = {"limits": [{"type": "Container", "defaultRequest": {"cpu": amount}}]}
    if scene.api.find(LIMIT_RANGES, scene.namespace, "defaults"):
        scene.api.patch(LIMIT_RANGES, scene.namespace, "defaults", {"spec": spec})
    else:
        scene.api.create(LIMIT_RANGES, scene.namespace, {"metadata": {"name": "defaults"}, "spec": spec})
    probe = {"metadata": {"name": "probe"}, "spec": template()["spec"]}

    def known() -> bool:
        made = scene.api.create(PODS, scene.namespace, probe, dryRun="All")
        requests = made["spec"]["containers"][0]["resources"].get("requests") or {}
        return bool(requests.get("cpu") == amount)

    until(known, timeout=25, message=f"containers ask for {amount}")


def refused(scene: Scene, before: dict[str, str], *said: str) -> None:
    """The rollout ends as Faulted in those words, the pods are those of before, and no version is held to be bad."""
    error = scene.rollout("Faulted")["error"]
    assert error["code"] == "ModelRefused"
    assert [words for words in said if words not in error["message"]] == [], error["message"]
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    assert not scene.world.status("web").get("failedTargets")
    assert len(scene.healthy_uids()) == len(before)


def test_a_default_that_was_raised_is_counted(scene: Scene) -> None:
    default_cpu(scene, "500m")
    before = begin(scene, template())
    scene.quota(**{"requests.cpu": "2"})
    scene.lift_quota()
    default_cpu(scene, "900m")
    scene.quota(**{"requests.cpu": "2"})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "exceeded quota: quota, requested: requests.cpu=900m", "2 of 2, of which 500m will be free")
    scene.lift_quota()
    scene.rollout("Completed", "1.1.0", timeout=90)
    scene.healthy(4, version="1.1.0")
