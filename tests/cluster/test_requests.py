"""What users ask for: start, cancel, suspend, and no upgrades of a version that they pinned."""

from typing import Any

from tests.cluster.harness.scene import Scene, progress, runs, waiting_for

REFUSED = (
    "The OS Rolling Upgrade API cannot be used on a ScaleSet unless it has some unprotected instances which have "
    "imageReference.version set to latest."
)


def by_hand(scene: Scene, *, replicas: int = 3, **spec: Any) -> None:
    """A healthy set whose upgrades start by hand only."""
    scene.policy(automatic=False)
    scene.create(replicas=replicas, **spec)


def test_a_start_by_hand_upgrades_whatever_the_policy_says(scene: Scene) -> None:
    by_hand(scene)
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: world.status("web")["latestVersion"] == "1.1.0", "the version is seen")
    scene.never(lambda world: world.status("web").get("rollingUpgrade"), "it starts by itself")
    scene.ask("start-upgrade-at", "2026-01-01T00:00:00Z")
    rollout = scene.rollout("Completed", "1.1.0")
    assert (rollout["startedBy"], rollout["progress"]) == ("User", progress(3, 0, 0, 0))
    assert scene.world.status("web")["lastHandledStart"] == "2026-01-01T00:00:00Z"
    (entry,) = scene.world.status("web")["osUpgradeHistory"]
    assert entry["properties"]["startedBy"] == "User"


def test_a_start_by_hand_restores_nothing(scene: Scene) -> None:
    by_hand(scene)
    scene.publish("1.1.0", "bad")
    scene.ask("start-upgrade-at", "now")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 2), "")
    scene.never(lambda world: runs(world.pods["web-0"]) != "1.1.0", "the failed instance is restored")
    assert scene.versions() == ["1.1.0", "1.0.0", "1.0.0"]


def test_a_start_with_nothing_newer_completes_with_zeros(scene: Scene) -> None:
    by_hand(scene, replicas=1)
    before = scene.uids()
    scene.ask("start-upgrade-at", "now")
    rollout = scene.rollout("Completed")
    assert rollout["progress"] == progress(0, 0, 0, 0)
    assert scene.uids() == before
    scene.ask("start-upgrade-at", "again")
    assert scene.rollout("Completed", run="2")["progress"] == progress(0, 0, 0, 0)


def refused(scene: Scene, message: str) -> None:
    """The start is refused with that sentence: no rollout, but a condition and an event."""
    scene.ask("start-upgrade-at", "now")
    assert message in scene.condition("Progressing", "StartRefused")["message"]
    scene.event("StartRefused", message)
    assert not scene.world.status("web").get("osUpgradeHistory")
    assert not scene.world.status("web").get("rollingUpgrade")


def test_a_start_of_a_pinned_set_is_refused(scene: Scene) -> None:
    by_hand(scene, replicas=1, version="1.0.0")
    scene.publish("1.1.0", "fast")
    refused(scene, REFUSED)


def test_a_start_is_refused_when_all_instances_are_protected(scene: Scene) -> None:
    by_hand(scene, replicas=1, protectedInstances=[{"id": 0, "protectFromScaleSetActions": True}])
    scene.publish("1.1.0", "fast")
    refused(scene, REFUSED)
    scene.change(protectedInstances=[])  # a refused start is not remembered: it has to be asked for again
    scene.ask("start-upgrade-at", "again")
    scene.rollout("Completed", "1.1.0")


def test_a_start_of_a_suspended_set_is_refused(scene: Scene) -> None:
    by_hand(scene, replicas=1, suspend=True)
    refused(scene, "The set is suspended.")


def test_a_start_during_a_rollout_is_refused_and_changes_nothing(scene: Scene) -> None:
    scene.first_batch(replicas=3)
    scene.ask("start-upgrade-at", "now")
    scene.event("StartRefused", "Rolling upgrade 1 is running.")
    rollout = scene.rollout("Completed", "1.1.0")
    assert (rollout["id"], rollout["startedBy"]) == ("1", "Platform")


def test_a_cancelled_rollout_finishes_its_batch_and_stays_cancelled(scene: Scene) -> None:
    scene.create(replicas=4)
    scene.publish("1.1.0")
    assert scene.batch(2) == [1]
    scene.ask("cancel-upgrade-at", "now")
    scene.ask("cancel-upgrade-at", "now, please")
    rollout = scene.rollout("Cancelled", "1.1.0")
    assert rollout["progress"] == progress(2, 0, 0, 2)
    assert rollout["runningStatus"]["lastAction"] == "Cancel"
    scene.healthy(4)
    assert scene.versions() == ["1.1.0", "1.1.0", "1.0.0", "1.0.0"]
    scene.never(lambda world: world.status("web")["rollingUpgrade"]["id"] != "1", "it starts again")
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0")
    scene.healthy(4, version="1.2.0")


def test_a_cancelled_version_can_be_started_by_hand(scene: Scene) -> None:
    scene.first_batch(replicas=3)
    scene.ask("cancel-upgrade-at", "now")
    scene.rollout("Cancelled", "1.1.0")
    scene.ask("start-upgrade-at", "now")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(2, 0, 0, 0)
    scene.healthy(3, version="1.1.0")


def test_cancelling_when_nothing_runs_does_nothing(scene: Scene) -> None:
    scene.create(replicas=1)
    scene.ask("cancel-upgrade-at", "now")
    scene.wait(lambda world: world.status("web").get("lastHandledCancel") == "now", "the request is taken note of")
    assert not scene.world.status("web").get("rollingUpgrade")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")


def test_a_suspended_set_starts_nothing_but_scales(scene: Scene) -> None:
    scene.create(replicas=2, suspend=True)
    scene.publish("1.1.0", "fast")
    scene.condition("Progressing", "Suspended")
    scene.scale(3)
    scene.wait(lambda world: len(world.pods) == 3, "the set scales")
    scene.never(lambda world: world.status("web").get("rollingUpgrade"), "an upgrade starts")
    assert scene.versions()[:2] == ["1.0.0", "1.0.0"]
    scene.change(suspend=False)
    scene.rollout("Completed", "1.1.0")
    scene.healthy(3, version="1.1.0")


def test_suspending_halts_a_rollout_after_its_batch(scene: Scene) -> None:
    assert scene.first_batch(replicas=3) == [0]
    scene.change(suspend=True)

    scene.wait(lambda world: waiting_for(world) == "Suspended", "the rollout says that it is suspended")
    assert scene.versions() == ["1.1.0", "1.0.0", "1.0.0"]
    scene.never(lambda world: waiting_for(world) != "Suspended", "it goes on")
    scene.change(suspend=False)
    assert scene.rollout("Completed", "1.1.0")["id"] == "1"
    scene.healthy(3, version="1.1.0")
