"""What users ask for by annotation beside a start: a restart, a rollout of the model, the way back, another try.

And what a policy asks of all its sets: to wait. `tests/faults/test_requests_killed.py` plays the same with operators
that are killed at every write.
"""

from typing import Any

import pytest

from tests.cluster.harness.api import PODS, SCALE_SETS, Json
from tests.cluster.harness.scene import Scene, has_model, progress, runs

WIDE = {"maxBatchInstancePercent": 40}
LATER = "2026-02-01T00:00:00Z"


def write(scene: Scene, annotation: str, **spec: Any) -> None:
    """An edit of the spec and the request in one write."""
    body: Json = {"metadata": {"annotations": {f"scaleset.dev/{annotation}": LATER}}, "spec": spec}
    scene.api.patch(SCALE_SETS, scene.namespace, "web", body)


def remembered(scene: Scene) -> list[tuple[str, str]]:
    return [(row.get("version", ""), row["reason"]) for row in scene.world.status("web").get("failedTargets") or ()]


@pytest.mark.parametrize("version", ["latest", "1.0.0"])
def test_a_restart_makes_every_pod_again_with_what_it_ran(scene: Scene, version: str) -> None:
    scene.policy(automatic=False)
    scene.create(replicas=4, version=version)
    scene.publish("1.1.0", "fast")
    before, models = scene.uids(), {name: has_model(pod) for name, pod in scene.world.pods.items()}
    scene.ask("restart-at", LATER)
    rollout = scene.rollout("Completed")
    assert (rollout["kind"], rollout["startedBy"], rollout["progress"]) == ("Restart", "User", progress(4, 0, 0, 0))
    scene.healthy(4, version="1.0.0")
    assert not set(before.values()) & set(scene.uids().values())
    assert {name: has_model(pod) for name, pod in scene.world.pods.items()} == models
    pods = scene.api.list(PODS, scene.namespace)
    assert len({pod["metadata"]["annotations"]["scaleset.dev/restarted-at"] for pod in pods}) == 1
    assert scene.world.status("web")["lastHandledRestart"] == LATER
    assert scene.says("Progressing")["message"] == "Restart 1: Completed."
    scene.delete_pod("web-2")
    scene.healthy(4)
    scene.quiet(seconds=2)


def test_a_restart_begins_with_what_is_broken_through_a_closed_gate(scene: Scene) -> None:
    scene.policy(automatic=False)
    scene.create(replicas=3)
    before = scene.uids()
    scene.break_pod("web-2")
    scene.condition("Available", "TooManyUnhealthy")
    scene.ask("restart-at", LATER)
    scene.event("BatchStarted", "Batch 1 of 3: replacing instances 2.")
    scene.rollout("Completed")
    scene.healthy(3)
    assert not set(before.values()) & set(scene.uids().values())
    assert remembered(scene) == []


def test_a_model_goes_by_batches_in_mode_automatic_where_it_is_asked_for(scene: Scene) -> None:
    scene.policy(mode="Automatic", automatic=False)
    scene.create(replicas=3)
    write(scene, "start-model-rollout-at", template={"metadata": {"annotations": {"example.com/second": "yes"}}})
    rollout = scene.rollout("Completed")
    assert (rollout["kind"], rollout["startedBy"], rollout["batchesDone"]) == ("Model", "User", 3)
    assert not scene.world.events("ApplyingModel")
    scene.healthy(3)


@pytest.mark.parametrize("mode", ["Manual", "Rolling", "Automatic"])
def test_the_way_back_from_what_broke_eight_of_ten(scene: Scene, mode: str) -> None:
    """The gate is closed. The end of the pin does not bring the version back; a newer one comes."""
    scene.policy(mode=mode, rolling=WIDE)
    scene.create(replicas=10)
    scene.publish("1.1.0", "fast")
    scene.healthy(10, version="1.1.0")
    for number in range(2, 10):
        scene.break_pod(f"web-{number}")
    scene.condition("Available", "TooManyUnhealthy")
    write(scene, "rollback-at", imageReference={"version": "1.0.0"})
    rollout = scene.rollout("Completed", "1.0.0")
    assert (rollout["kind"], rollout["startedBy"], rollout["versionOnly"]) == ("Model", "User", True)
    scene.healthy(10, version="1.0.0")
    assert remembered(scene) == [("1.1.0", "RolledBack")]
    scene.change(imageReference={"version": "latest"})
    scene.never(lambda world: "1.1.0" in map(runs, world.pods_of("web")), "it comes back with the end of the pin")
    if mode != "Automatic":  # which takes all instances there at once, since the model has changed
        scene.publish("1.1.1", "fast")
        scene.healthy(10, version="1.1.1")


def test_the_way_back_ends_the_upgrade_that_runs(scene: Scene) -> None:
    """No cancel is needed, and the version that only one instance has is left all the same."""
    scene.policy(rolling={"maxUnhealthyUpgradedInstancePercent": 100})
    scene.create(replicas=3)
    scene.publish("1.1.0", "bad")
    scene.batch(1, version="1.1.0")
    write(scene, "rollback-at", imageReference={"version": "1.0.0"})
    scene.event("RolloutCancelled", "Superseded")
    scene.rollout("Completed", "1.0.0")
    scene.healthy(3, version="1.0.0")
    assert remembered(scene) == [("1.1.0", "RolledBack")]


def test_another_try_forgets_what_failed(scene: Scene) -> None:
    scene.create(replicas=3)
    scene.publish("1.1.0", "bad")
    scene.rollout("Faulted", "1.1.0")
    scene.healthy(3, version="1.0.0")
    scene.ask("retry-at", LATER)
    scene.event("FailuresForgotten", "version 1.1.0")
    scene.rollout("Faulted", "1.1.0", run="2")
    assert len(remembered(scene)) == 1


def test_a_request_that_is_refused_says_why(scene: Scene) -> None:
    scene.policy(suspend=True)
    scene.create(replicas=1)
    scene.ask("restart-at", LATER)
    text = (
        "scaleset.dev/restart-at: UpgradePolicy policy suspends its sets. Set its spec.suspend to false and ask again."
    )
    assert scene.condition("Progressing", "StartRefused")["message"] == text
    scene.event("StartRefused", text)
    assert scene.world.status("web")["lastHandledRestart"] == LATER


def test_a_policy_suspends_its_sets_between_batches_and_lets_them_go_on(scene: Scene) -> None:
    scene.policy()
    scene.create(replicas=3)
    scene.publish("1.1.0")
    scene.batch(1, version="1.1.0")
    scene.policy(suspend=True)
    text = "UpgradePolicy policy suspends its sets: no batch starts until its spec.suspend is lifted."
    scene.wait(
        lambda world: (world.status("web")["rollingUpgrade"].get("waitingFor") or {}).get("message") == text,
        "the rollout waits, and says for whom",
    )
    assert scene.condition("Ready", "Suspended")["message"].endswith(text)
    scene.never(lambda world: runs(world.pods["web-2"]) == "1.1.0", "another batch begins")
    scene.policy()
    scene.rollout("Completed", "1.1.0")
    scene.healthy(3, version="1.1.0")
