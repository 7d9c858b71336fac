"""What users do to a running rollout: images, policy, requests, scaling."""

from dataclasses import replace

import pytest

from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import BAD, cancel, new_model, running, start, under_way
from tests.simulation.world import World, policy

# --- images


def test_a_version_published_meanwhile_waits_for_the_end():
    """4.1: the target is frozen; never three images at once (S4)."""
    world = under_way()
    world.publish("3.0.0")
    world.run(100, each=lambda w: two_versions(w, {"1.0.0", "2.0.0"}))
    assert rollout(world)["targetImageReference"]["exactVersion"] == "2.0.0"
    world.run(1000)
    assert set(world.versions.values()) == {"3.0.0"}
    targets = [e["properties"]["targetImageReference"]["version"] for e in world.status["osUpgradeHistory"]]
    assert targets == ["3.0.0", "2.0.0"]


def two_versions(world: World, versions: set[str]) -> None:
    if code(world) == "RollingForward":
        assert set(world.versions.values()) <= versions


@pytest.mark.parametrize("withdrawn", ["excluded", "deleted", "expired"])
def test_a_withdrawn_target_ends_the_run_after_its_batch(withdrawn):
    """Cancelled (withdrawn); the upgraded instances stay, nobody else is touched, and it is not held against it."""
    world = under_way()
    entry = world.catalogue.pop()
    if withdrawn == "excluded":
        world.catalogue.append(replace(entry, excluded=True))
    elif withdrawn == "expired":
        world.catalogue.append(replace(entry, end_of_life=world.now))
    world.run(200)
    assert code(world) == "Cancelled"
    assert rollout(world)["error"]["code"] == "Withdrawn"
    assert world.versions == dict.fromkeys((0, 1), "2.0.0") | dict.fromkeys(range(2, 10), "1.0.0")
    assert not world.status.get("failedTargets")
    assert counts(world) == (2, 0, 0, 8)


def test_a_withdrawn_bad_target_is_still_restored_from_what_is_written_down():
    """Rows 35 and 36: neither the target's nor the previous version's object is needed for the way back."""
    world = under_way(suffix=BAD)
    world.catalogue.clear()
    world.publish("0.9.0")
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    assert world.pods[0].images == (("app", "example.com/web:1.0.0"),)


def test_an_excluded_version_that_comes_back_is_rolled_out():
    """Row 38: exclusion toggled; never to an excluded one, and no memory of it."""
    world = under_way()
    entry = world.catalogue.pop()
    world.catalogue.append(replace(entry, excluded=True))
    world.run(100)
    assert code(world) == "Cancelled"
    world.catalogue[-1] = entry
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}


# --- policy


def test_a_running_rollout_keeps_the_policy_that_it_started_with():
    world = under_way()
    world.policy = policy(rolling={"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100})
    world.run(35)
    assert rollout(world)["batch"]["instances"] == "2-3"
    assert rollout(world)["policy"]["maxBatchInstancePercent"] == 20


def test_a_deleted_policy_does_not_stop_the_run():
    """It is a snapshot; the set says that the policy is gone, and starts nothing new without it."""
    world = under_way()
    world.policy = None
    world.run(500)
    assert code(world) == "Completed"
    assert condition(world, "Accepted")["reason"] == "PolicyNotFound"
    world.publish("3.0.0")
    world.run(500)
    assert set(world.versions.values()) == {"2.0.0"}


def test_automatic_upgrades_switched_off_meanwhile_do_not_stop_the_run():
    """Row 47, by the rule of the snapshot: who wants to stop it cancels it."""
    world = under_way()
    world.policy = policy(automatic=False)
    world.run(500)
    assert code(world) == "Completed"


# --- the user


def test_cancelling_lets_the_batch_finish_and_is_remembered():
    """Otherwise the platform would start it again at once."""
    world = under_way()
    cancel(world)
    world.settle()
    assert code(world) == "RollingForward"
    assert rollout(world)["runningStatus"]["lastAction"] == "Cancel"
    world.run(3000)
    assert code(world) == "Cancelled"
    assert world.versions == dict.fromkeys((0, 1), "2.0.0") | dict.fromkeys(range(2, 10), "1.0.0")
    assert condition(world, "Progressing")["reason"] == "TargetFailed"
    assert "was cancelled by the user" in condition(world, "Progressing")["message"]


def test_cancelling_a_bad_batch_still_restores_it():
    world = under_way(suffix=BAD)
    cancel(world)
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    assert code(world) == "Faulted"


def test_cancelling_twice_is_cancelling_once():
    world = under_way()
    cancel(world, "1")
    world.settle()
    cancel(world, "2")
    world.run(1000)
    assert code(world) == "Cancelled"
    assert reasons(world).count("RolloutCancelled") == 1
    assert len(world.status["failedTargets"]) == 1


def test_cancelling_when_nothing_runs_does_nothing():
    """Not now, and not to the next rollout either: the request is handled."""
    world = running(5)
    before = {k: v for k, v in world.status.items() if k != "lastHandledCancel"}
    cancel(world)
    world.run(5)
    assert {k: v for k, v in world.status.items() if k != "lastHandledCancel"} == before
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"


def test_a_cancelled_version_can_be_started_by_hand():
    world = under_way()
    cancel(world)
    world.run(100)
    start(world)
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}
    assert not world.status.get("failedTargets")


def test_a_model_change_supersedes_the_run_after_its_batch():
    """4.1: Cancelled (superseded), then the next starts with the newest model."""
    world = under_way()
    new_model(world)
    world.run(2000)
    assert {pod.version for pod in world.pods.values()} == {"2.0.0"}
    codes = [e["properties"]["runningStatus"]["code"] for e in world.status["osUpgradeHistory"]]
    assert codes == ["Completed", "Cancelled"]
    assert world.status["osUpgradeHistory"][1]["properties"]["error"]["code"] == "Superseded"
    assert {pod.model for n, pod in world.pods.items() if n > 1} == {world.model.name}


def test_suspend_lets_the_batch_finish_and_lifting_it_goes_on():
    world = under_way()
    world.change(suspend=True)
    world.run(500)
    assert deleted(world) == [0, 1]
    assert waits_for(world) == "Suspended"
    assert condition(world, "Ready")["message"].endswith("no batch starts until spec.suspend is lifted.")
    assert reasons(world).count("Suspended") == 1
    world.loses(7)
    world.run(60)
    assert world.pods[7].ready, "self-healing goes on"
    world.change(suspend=False)
    world.run(500)
    assert code(world) == "Completed"


def test_protecting_an_instance_meanwhile_takes_it_out_of_what_is_left():
    world = under_way()
    world.spec = type(world.spec).model_validate(
        {
            **world.spec.model_dump(by_alias=True, exclude_defaults=True),
            "protectedInstances": [{"id": 9, "protectFromScaleSetActions": True}],
        }
    )
    world.run(500)
    assert code(world) == "Completed"
    assert world.versions[9] == "1.0.0"
    assert counts(world) == (9, 0, 0, 0)


# --- scaling


def test_instances_added_meanwhile_begin_on_what_is_proven_and_join():
    """Scaling out during a rollout: currentVersion first, then a batch like everybody else."""
    world = under_way()
    world.change(replicas=13)
    world.step()
    world.step()
    assert {world.pods[n].version for n in (10, 11, 12)} == {"1.0.0"}
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}
    assert counts(world) == (13, 0, 0, 0)


@pytest.mark.parametrize(("replicas", "upgraded"), [(3, 3), (1, 2), (0, 2)])
def test_scaling_in_during_a_batch(replicas, upgraded):
    """Row 49: who is removed leaves the counts; the rest goes on. Scaling in takes the instances of the batch last: by
    then the rollout has ended.
    """
    world = under_way()
    world.change(replicas=replicas)
    world.run(500)
    assert sorted(world.pods) == list(range(replicas))
    assert set(world.versions.values()) <= {"2.0.0"}
    assert code(world) == "Completed"
    assert counts(world) == (upgraded, 0, 0, 0)


def test_the_last_instance_of_the_batch_scaled_in_ends_the_batch():
    world = running(2)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(35)
    assert rollout(world)["inProgress"] == "1"
    world.change(replicas=1)
    world.run(100)
    assert code(world) == "Completed"
    assert world.versions == {0: "2.0.0"}


def test_a_set_that_shrinks_takes_down_no_more_than_its_new_size_allows():
    """Killed between the status and the deletes, and scaled in: the batch of two goes one by one now (S1)."""
    world = running(10)
    world.publish("2.0.0")
    world.step(writes=1)
    assert rollout(world)["inProgress"] == "0-1"
    world.change(replicas=5)
    world.settle()
    assert [n for n, pod in world.pods.items() if pod.deleting and n < 5] == [0]
    world.run(100)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}


def test_to_zero_and_back_during_a_rollout():
    """Row 50: nothing of the old run is left over, and the new instances get what latest means."""
    world = under_way()
    world.change(replicas=0)
    world.run(100)
    assert world.pods == {}
    world.change(replicas=4)
    world.run(200)
    assert set(world.versions.values()) == {"2.0.0"}
