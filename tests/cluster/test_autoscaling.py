"""A HorizontalPodAutoscaler sizes a set, by metrics of its pods."""

from typing import Any

from tests.cluster.harness.api import Kind, condition
from tests.cluster.harness.metrics import Metrics, served
from tests.cluster.harness.scene import Scene
from tests.cluster.test_order import ORDERED, out_of_order

AUTOSCALERS = Kind("horizontalpodautoscalers", "autoscaling", "v2")
PATIENCE = 120.0
"""Seconds: the autoscaler looks every two seconds, and takes half a minute to learn of new kinds."""


def autoscaler(name: str, least: int, most: int, *, each: str) -> dict[str, Any]:
    """It gives each pod that much to do, and does not wait for five minutes before it scales in."""
    metric = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": each}}
    return {
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def test_autoscalers_scale_out_and_in(scene: Scene) -> None:
    """One set in any order, and one whose instances come and go one after the other."""
    with served(scene.cluster, scene.namespace) as metrics:
        _scale_out_and_in(scene, metrics)


def _scale_out_and_in(scene: Scene, metrics: Metrics) -> None:
    metrics.cpu = "300m"
    scene.policy(healthTimeout="PT1M")
    scene.create(replicas=2, **ORDERED)
    scene.create(replicas=2, name="free", scaleInPolicy={"preferredInstances": [1]})
    for name in ("web", "free"):
        scene.api.create(AUTOSCALERS, scene.namespace, autoscaler(name, 2, 5, each="300m"))
    scene.publish("1.1.0")
    for name in ("web", "free"):
        scene.rollout("Completed", "1.1.0", name=name)
    metrics.cpu = "900m"
    for name in ("web", "free"):
        scene.healthy(5, name=name, timeout=PATIENCE)
    metrics.cpu = "60m"
    small = {"web": ["web-0", "web-1"], "free": ["free-0", "free-2"]}
    scene.wait(
        lambda _: {name: sorted(scene.uids(name)) for name in small} == small,
        "both sets are as small as they may be, and the preferred instance went first",
        timeout=PATIENCE,
    )
    for name in small:
        scene.healthy(2, name=name)
        found = scene.api.get(AUTOSCALERS, scene.namespace, name)
        assert condition(found, "AbleToScale") == "True"
    assert list(out_of_order(scene.recorder, but=range(2))) == []
