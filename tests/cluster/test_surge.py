"""Max surge: new instances beside the old ones, so that there are never fewer ready ones than wanted."""

from typing import Any

from tests.cluster.harness.api import Json
from tests.cluster.harness.fleet import limit
from tests.cluster.harness.rollouts import batches, fewest_ready
from tests.cluster.harness.scene import Scene, progress, runs, with_claims


def surge(scene: Scene, *, replicas: int, rolling: Json | None = None, **spec: Any) -> None:
    scene.policy(rolling={"maxSurge": True, **(rolling or {})})
    scene.create(replicas=replicas, **spec)


def test_there_are_never_fewer_ready_ones_than_wanted(scene: Scene) -> None:
    rolling = {"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40}
    surge(scene, replicas=5, rolling=rolling, updateDomains=1)
    scene.publish("1.1.0")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.1.0")
    assert fewest_ready(scene.recorder) == 5
    found = batches(scene.recorder)
    assert [len(batch.surge) for batch in found] == [2, 2, 1]
    assert (found[0].surge, found[0].replaces) == (frozenset({5, 6}), frozenset({0, 1}))
    scene.event("BatchStarted", "Batch 1 of 3: creating instances 5-6 in place of 0-1.")
    assert scene.says("Stalled")["status"] == "False"


def test_a_bad_version_leaves_every_instance_untouched(scene: Scene) -> None:
    surge(scene, replicas=5)
    before = scene.uids()
    scene.publish("1.1.0", "bad")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 4), "0")
    assert "First failed instance ID is: 0." in rollout["error"]["message"]
    scene.healthy(5, version="1.0.0")
    assert scene.uids() == before
    assert fewest_ready(scene.recorder) == 5


def test_a_quota_without_room_means_in_place_and_is_said(scene: Scene) -> None:
    surge(scene, replicas=3)
    limit(scene.api, scene.namespace, "pods", {"pods": "3"}, used={"pods": "3"})
    scene.publish("1.1.0", "fast")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.1.0")
    scene.event("SurgeRefused", "No room for more instances")
    assert set(scene.uids()) == {"web-0", "web-1", "web-2"}
    assert not any(batch.surge for batch in batches(scene.recorder))


def test_a_quota_with_room_for_some_of_them(scene: Scene) -> None:
    """The dry run of one new pod fits; of two only one does, and the other instance is replaced in place."""
    surge(scene, replicas=4, rolling={"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50})
    limit(scene.api, scene.namespace, "pods", {"pods": "5"}, used={"pods": "4"})
    scene.publish("1.1.0")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["progress"] == progress(4, 0, 0, 0)
    scene.healthy(4, version="1.1.0")
    scene.event("SurgeRefused", "without surge")


def test_a_set_with_data_disks_is_upgraded_in_place(scene: Scene) -> None:
    surge(scene, replicas=3, volumeClaimTemplates=with_claims())
    claims = scene.claims()
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(3, version="1.1.0")
    assert set(scene.uids()) == {"web-0", "web-1", "web-2"}
    assert scene.claims() == claims


def test_scaling_in_and_cancelling_in_the_middle_leave_what_was_asked_for(scene: Scene) -> None:
    rolling = {"maxBatchInstancePercent": 34, "maxUnhealthyInstancePercent": 34}
    surge(scene, replicas=6, rolling=rolling, updateDomains=1)
    scene.publish("1.1.0")
    scene.wait(lambda world: len(world.pods_of("web")) == 8, "two new ones are beside the others")
    scene.scale(4)
    scene.ask("cancel-upgrade-at", "now")
    rollout = scene.rollout("Cancelled", "1.1.0")
    scene.healthy(4)
    assert sorted(runs(pod) for pod in scene.world.pods_of("web")) == ["1.0.0"] * 2 + ["1.1.0"] * 2
    assert rollout["progress"] == progress(2, 0, 0, 2)
    assert fewest_ready(scene.recorder) == 4
