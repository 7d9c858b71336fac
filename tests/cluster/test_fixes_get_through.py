"""The gate protects what is healthy, and never locks out the fix of what a bad version broke. A sidecar's readiness
counts for both.
"""

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import REGISTRY, scale_set
from tests.cluster.harness.scene import Scene, progress, ready, runs, says

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


def broken_by_hand(scene: Scene) -> None:
    """One of three, a third, is broken by a version that was started by hand and is not taken back."""
    scene.policy(automatic=False)
    scene.create(replicas=3)
    scene.publish("1.1.0", "bad")
    scene.ask("start-upgrade-at", "first")
    assert scene.rollout("Faulted", "1.1.0")["error"]["code"] == UPGRADED
    assert scene.versions() == ["1.1.0", "1.0.0", "1.0.0"]


@pytest.mark.parametrize("by", ["platform", "user"])
def test_a_fix_reaches_what_a_bad_version_broke_though_the_gate_is_closed(scene: Scene, by: str) -> None:
    broken_by_hand(scene)
    scene.publish("1.2.0", "fast")
    if by == "user":
        scene.ask("start-upgrade-at", "second")
    else:
        scene.policy()
    assert scene.rollout("Completed", "1.2.0", timeout=40)["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.2.0")


def test_a_fix_reaches_what_a_run_without_restores_left_behind(scene: Scene) -> None:
    by_itself = {"enableAutomaticOSUpgrade": True, "disableAutomaticRollback": True}
    scene.policy(automaticOSUpgradePolicy=by_itself)
    scene.create(replicas=3)
    scene.publish("1.1.0", "bad")
    assert scene.rollout("Faulted", "1.1.0")["restored"] == ""
    scene.publish("1.2.0", "fast")
    assert scene.rollout("Completed", "1.2.0", timeout=40)["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.2.0")


def test_the_broken_version_does_not_get_through_again(scene: Scene) -> None:
    """Only another build passes a closed gate."""
    broken_by_hand(scene)
    before = scene.uids()
    scene.ask("start-upgrade-at", "second")
    scene.rollout("Faulted", "1.1.0", run="2")
    scene.never(lambda _: scene.uids() != before, "the version that failed is tried again")


def test_a_closed_gate_says_what_opens_it(scene: Scene) -> None:
    scene.create(replicas=3)
    scene.break_pod("web-2")
    scene.wait(lambda world: says(world, "Available")["status"] == "False", "the gate is closed")
    scene.publish("1.1.0", "fast")
    scene.condition("Progressing", "HealthGateWaiting")
    stalled = scene.wait(
        lambda world: (found := says(world, "Stalled"))["status"] == "True" and found, "the set is stalled"
    )
    assert stalled
    assert "3% of" in stalled["message"] or "34% of" in stalled["message"]
    assert "instance 2" in stalled["message"] or "instances 2" in stalled["message"]
    assert "prioritizeUnhealthyInstances" in stalled["message"]
    scene.mend_pod("web-2")
    scene.rollout("Completed", "1.1.0", timeout=40)
    scene.wait(lambda world: says(world, "Stalled")["status"] == "False", "nothing is in the way any more")


def with_sidecar(tag: str) -> Json:
    """A template whose only readiness probe is that of a sidecar."""
    found: Json = scale_set()["spec"]["template"]
    del found["spec"]["containers"][0]["readinessProbe"]
    probe = {"httpGet": {"path": "/ready", "port": 15021}}
    proxy = {"name": "proxy", "image": f"{REGISTRY}:{tag}", "restartPolicy": "Always", "readinessProbe": probe}
    found["spec"]["initContainers"] = [proxy]
    return found


def test_the_readiness_of_a_sidecar_is_a_health_signal(scene: Scene) -> None:
    scene.create(replicas=2, template=with_sidecar("1"))
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")


def test_instances_whose_sidecar_is_not_ready_are_not_healthy(scene: Scene) -> None:
    scene.policy(automatic=False)
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=2, template=with_sidecar("1-bad")))
    scene.wait(lambda world: len([pod for pod in world.pods_of("web") if _runs(pod)]) == 2, "their containers run")
    scene.never(
        lambda world: world.status("web").get("healthyReplicas") or says(world, "Ready")["status"] == "True",
        "they are taken for healthy",
        seconds=3,
    )
    scene.wait(
        lambda world: [row["state"] for row in world.status("web").get("instances") or []] == ["Unhealthy"] * 2,
        "they are unhealthy after their time",
    )
    assert any("proxy" in row.get("message", "") for row in scene.world.status("web")["instances"])
    assert not any(ready(pod) for pod in scene.world.pods_of("web"))
    assert {runs(pod) for pod in scene.world.pods_of("web")} == {"1.0.0"}


def _runs(pod: Json) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return bool(statuses) and all("running" in each["state"] for each in statuses)
