"""Image upgrades that the platform starts: batch by batch, restored when they fail, one at a time."""

import pytest

from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS
from tests.cluster.harness.scene import Scene, progress, runs, waiting_for, with_claims

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


def test_a_new_set_becomes_healthy_and_shows_it(scene: Scene) -> None:
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    assert set(scene.claims()) == {"data-web-0", "data-web-1", "data-web-2"}
    for kind, status in {"Accepted": "True", "Available": "True", "UpToDate": "True", "Stalled": "False"}.items():
        assert scene.says(kind)["status"] == status, kind
    shown = scene.api.columns(SCALE_SETS, scene.namespace, "web")
    assert shown | {"AGE": ""} == {
        "Name": "web",
        "DESIRED": "3",
        "HEALTHY": "3",
        "UPDATED": "3",
        "VERSION": "1.0.0",
        "TARGET": "1.0.0",
        "LATEST": "1.0.0",
        "STATUS": "Healthy",
        "AGE": "",
        "BATCH": "None",
        "POLICY": "policy",
        "SELECTOR": "scaleset.dev/name=web",
    }


def test_a_published_version_rolls_batch_by_batch(scene: Scene) -> None:
    scene.create(replicas=10, volumeClaimTemplates=with_claims())
    claims = scene.claims()
    scene.publish("1.1.0")
    assert scene.batch(1) == [0, 1]
    assert scene.batch(2) == [2, 3]
    rollout = scene.rollout("Completed", "1.1.0")
    scene.healthy(10, version="1.1.0")
    assert rollout["progress"] == progress(10, 0, 0, 0)
    assert scene.world.status("web")["currentVersion"] == "1.1.0"
    assert scene.claims() == claims
    scene.event("RolloutCompleted", "10 instances upgraded")
    assert len(scene.world.events("BatchStarted")) == 5
    scene.quiet(seconds=6)


def test_the_history_speaks_azures_words(scene: Scene) -> None:
    scene.create(replicas=1)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    (entry,) = scene.world.status("web")["osUpgradeHistory"]
    status = entry["properties"]["runningStatus"]
    assert status.keys() == {"code", "startTime", "completedTime"}
    assert entry == {
        "properties": {
            "runningStatus": {**status, "code": "Completed"},
            "progress": progress(1, 0, 0, 0),
            "startedBy": "Platform",
            "targetImageReference": {"publisher": "example", "offer": "os", "sku": "server", "version": "1.1.0"},
            "rollbackInfo": {"successfullyRolledbackInstanceCount": 0, "failedRolledbackInstanceCount": 0},
        },
        "type": "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades",
        "location": "default",
    }


def test_a_bad_version_touches_one_batch_and_is_taken_back(scene: Scene) -> None:
    scene.create(replicas=10, volumeClaimTemplates=with_claims())
    before, claims = scene.uids(), scene.claims()
    scene.publish("1.1.0", "bad")
    rollout = scene.rollout("Faulted", "1.1.0")
    scene.healthy(10, version="1.0.0")
    assert rollout["progress"] == progress(0, 2, 0, 8)
    assert rollout["restored"] == "0-1"
    assert rollout["error"]["code"] == UPGRADED
    assert "100% of instances are in an unhealthy state after being upgraded" in rollout["error"]["message"]
    assert "more than the threshold of 20%" in rollout["error"]["message"]
    assert "First failed instance ID is: 0." in rollout["error"]["message"]
    assert [detail["target"] for detail in rollout["error"]["details"]] == ["web/instances/0", "web/instances/1"]
    (entry,) = scene.world.status("web")["osUpgradeHistory"]
    assert entry["properties"]["rollbackInfo"]["successfullyRolledbackInstanceCount"] == 2
    assert scene.claims() == claims
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0", "web-1"}
    scene.event("InstanceRestored", "0-1")
    scene.event("RolloutFaulted")
    scene.quiet(seconds=6)  # and it is not tried again


def test_the_next_good_version_rolls_by_itself(scene: Scene) -> None:
    scene.create(replicas=2)
    for version in ("1.1.0", "1.2.0"):
        scene.publish(version, "bad")
        scene.rollout("Faulted", version)
        scene.healthy(2, version="1.0.0")
    scene.publish("1.3.0", "fast")
    scene.rollout("Completed", "1.3.0")
    scene.healthy(2, version="1.3.0")
    codes = [each["properties"]["runningStatus"]["code"] for each in scene.world.status("web")["osUpgradeHistory"]]
    assert codes == ["Completed", "Faulted", "Faulted"]


@pytest.mark.parametrize(
    ("behaviour", "words"), [("pullfail", "ImagePullBackOff: Back-off pulling image"), ("crash", "CrashLoopBackOff")]
)
def test_the_error_has_kubernetes_own_words(scene: Scene, behaviour, words) -> None:
    scene.create(replicas=2)
    scene.publish("1.1.0", behaviour)
    rollout = scene.rollout("Faulted", "1.1.0")
    (detail,) = rollout["error"]["details"]
    assert detail["code"] == "RollingUpgradeInstanceUnhealthyError"
    assert words in detail["message"]
    assert words in rollout["error"]["message"]
    scene.healthy(2, version="1.0.0")


def test_a_version_that_fails_after_it_was_ready_is_stopped(scene: Scene) -> None:
    scene.create(replicas=8)
    scene.publish("1.1.0", "flaky")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert rollout["error"]["code"] == UPGRADED
    scene.healthy(8, version="1.0.0")
    scene.never(lambda world: any(runs(pod) == "1.1.0" for pod in world.pods_of("web")), "it goes on")


def test_a_version_published_meanwhile_waits_for_the_end(scene: Scene) -> None:
    scene.create(replicas=4)
    scene.publish("1.1.0")
    scene.batch(2, version="1.1.0")
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0")
    scene.healthy(4, version="1.2.0")
    later, earlier = (each["properties"] for each in scene.world.status("web")["osUpgradeHistory"])
    assert (earlier["targetImageReference"]["version"], earlier["progress"]) == ("1.1.0", progress(4, 0, 0, 0))
    assert (later["targetImageReference"]["version"], later["progress"]) == ("1.2.0", progress(4, 0, 0, 0))


def test_an_excluded_target_is_withdrawn_after_the_batch(scene: Scene) -> None:
    scene.create(replicas=4)
    scene.publish("1.1.0")
    assert scene.batch(2) == [1]
    scene.publish("1.1.0", publishingProfile={"excludeFromLatest": True})
    rollout = scene.rollout("Cancelled", "1.1.0")
    assert rollout["error"]["code"] == "Withdrawn"
    assert "excluded from latest" in rollout["error"]["message"]
    assert rollout["progress"] == progress(2, 0, 0, 2)
    scene.healthy(4)
    assert scene.versions() == ["1.1.0", "1.1.0", "1.0.0", "1.0.0"]
    scene.publish("1.1.0", publishingProfile={"excludeFromLatest": False})
    scene.rollout("Completed", "1.1.0")
    scene.healthy(4, version="1.1.0")


def test_a_deleted_target_is_withdrawn_and_its_instances_live_on(scene: Scene) -> None:
    scene.first_batch(replicas=3)
    scene.delete(IMAGES, "server-1.1.0")
    rollout = scene.rollout("Cancelled", "1.1.0")
    assert (rollout["error"]["code"], rollout["progress"]) == ("Withdrawn", progress(1, 0, 0, 2))
    scene.healthy(3)
    gone = scene.delete_pod("web-0")
    scene.wait(lambda _: scene.uids().get("web-0", gone) != gone, "the instance comes back")
    scene.healthy(3)
    assert scene.versions() == ["1.1.0", "1.0.0", "1.0.0"]


def test_a_restore_does_not_need_the_previous_version_object(scene: Scene) -> None:
    scene.first_batch(replicas=2, behaviour="bad")
    scene.delete(IMAGES, "server-1.0.0")
    assert scene.rollout("Faulted", "1.1.0")["restored"] == "0"
    scene.healthy(2, version="1.0.0")


def test_a_pause_between_batches_is_kept_and_told(scene: Scene) -> None:
    scene.policy(rolling={"pauseTimeBetweenBatches": "PT4S"})
    scene.create(replicas=2)
    scene.publish("1.1.0", "fast")

    scene.wait(lambda world: waiting_for(world) == "Pause", "the rollout says that it pauses")
    scene.never(lambda world: runs(world.pods["web-1"]) != "1.0.0", "it goes on in the pause", seconds=2)
    scene.rollout("Completed", "1.1.0")


def test_a_running_rollout_keeps_the_policy_it_started_with(scene: Scene) -> None:
    assert scene.first_batch(replicas=3) == [0]
    scene.policy(rolling={"maxBatchInstancePercent": 100})
    assert scene.batch(2) == [1]
    scene.delete(POLICIES, "policy")
    scene.condition("Accepted", "PolicyNotFound")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["policy"]["maxBatchInstancePercent"] == 20
    assert scene.versions() == ["1.1.0"] * 3


def test_without_automatic_rollback_a_failed_instance_stays(scene: Scene) -> None:
    scene.policy(automaticOSUpgradePolicy={"enableAutomaticOSUpgrade": True, "disableAutomaticRollback": True})
    scene.create(replicas=2)
    scene.publish("1.1.0", "bad")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 1), "")
    scene.never(lambda world: runs(world.pods["web-0"]) != "1.1.0", "the failed instance is touched")


def test_a_changed_policy_gives_a_failed_version_another_chance(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.publish("1.1.0", "bad")
    scene.rollout("Faulted", "1.1.0", run="1")
    assert "failed and is not tried again" in scene.condition("Progressing", "TargetFailed")["message"]
    scene.never(lambda world: world.status("web")["rollingUpgrade"]["id"] != "1", "it is tried again")
    scene.policy(minReadyTime="PT1S")
    scene.rollout("Faulted", "1.1.0", run="2")
    scene.healthy(2, version="1.0.0")
