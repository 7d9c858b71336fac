"""What the surroundings and the operator's own death do to a running rollout (faults 1 to 5, 56 to 59, 72, 73)."""

from dataclasses import replace

import pytest

from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import code, condition, counts, deleted, rollout, waits_for
from tests.simulation.scenes import BAD, cancel, refused_by_a_quota, running, under_way
from tests.simulation.world import World

# --- pods and nodes


@pytest.mark.parametrize("number", [0, 5, 9])
def test_a_pod_deleted_by_hand_comes_back_as_its_place_in_the_run_says(number):
    """Row 58: in the batch with the target, elsewhere with what it had (S4)."""
    world = under_way()
    world.loses(number)
    world.settle()
    assert world.pods[number].version == ("2.0.0" if number < 2 else "1.0.0")
    world.run(1000)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}


def test_an_instance_lost_in_the_middle_of_its_restore_comes_back_restored():
    world = under_way(suffix=BAD)
    world.run(302)
    assert rollout(world)["restoring"] == "0-1"
    world.loses(0)
    world.settle()
    assert world.pods[0].version == "1.0.0"


def test_a_pod_on_a_lost_node_keeps_its_name_and_its_slot_for_the_health_timeout_after_its_grace_period():
    """Rows 56 and 57: Terminating for an hour. No second pod, no force delete (S5); the others go on (4.3)."""
    world = running(5)
    world.held.add(0)
    world.publish("2.0.0")
    world.settle()
    assert world.wake_at == world.now + 35, "to say so when it takes too long"
    world.run(34)
    assert waits_for(world) == "BatchInProgress", "who is killed takes a moment to go"
    assert condition(world, "Stalled")["status"] == "False"
    world.run(295)
    assert deleted(world) == [0]
    assert code(world) == "RollingForward"
    assert waits_for(world) == "PodsTerminating"
    assert "the pods of instances 0 to end" in rollout(world)["waitingFor"]["message"]
    assert condition(world, "Stalled")["status"] == "True"
    world.run(3600)
    assert world.pods[0].deleting
    assert world.versions == {0: "1.0.0", **dict.fromkeys(range(1, 5), "2.0.0")}
    assert world.state.failed_targets == ()
    world.held.clear()
    world.run(3600)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}


def test_cancel_ends_a_batch_whose_pod_does_not_end():
    world = running(5)
    world.held.add(0)
    world.publish("2.0.0")
    world.run(29)
    cancel(world)
    world.run(0.5)
    assert code(world) == "RollingForward", "it may end yet"
    world.run(1)
    assert code(world) == "Cancelled"
    assert world.state.builds[0].version == "1.0.0"


def test_a_restore_has_its_own_time_for_pods_to_end():
    """A pod that has just been deleted to be restored is not one of a lost node, however long the upgrade took."""
    world = under_way(suffix=BAD)
    world.held.update((0, 1))
    decided: list[float] = []

    def told(world: World) -> None:
        if rollout(world).get("restoring"):
            decided.append(world.now)
            late = world.now >= decided[0] + 35
            assert waits_for(world) == ("PodsTerminating" if late else "Restoring")

    world.run(1000, each=told)
    assert 30 <= decided[-1] - decided[0] < 330, "then it is given up"


def test_a_node_that_does_not_report_counts_as_unhealthy():
    """Unknown counts in the gate: two of five, and the automatic start waits."""
    world = running(5)
    for number in (3, 4):
        world.pods[number] = replace(world.pods[number], reporting=False)
    world.publish("2.0.0")
    world.run(60)
    assert world.state.rollout is None
    assert "40% of instances" in condition(world, "Progressing")["message"]


def test_an_evicted_pod_is_made_again():
    """Ended for good (evicted): deleted with its uid, and created again with the same build."""
    world = running(5)
    world.pods[2] = replace(world.pods[2], ended=True, ready=False)
    world.run(5)
    assert deleted(world) == [2]
    assert world.pods[2].ready
    assert world.pods[2].version == "1.0.0"


# --- the API server refuses


def test_a_batch_that_admission_refuses_deletes_nothing():
    """4.3: one pod is dry-run first. The server's message is in the error; it is tried again later."""
    world = running(5)
    world.admit = lambda _: Verdict(accepted=False, message="pods is forbidden: violates PodSecurity restricted.")
    world.publish("2.0.0")
    world.run(30)
    assert deleted(world) == []
    assert code(world) == "Faulted"
    assert "violates PodSecurity restricted" in rollout(world)["error"]["message"]
    world.admit = lambda _: Verdict(accepted=True)
    world.run(200)
    assert code(world) == "Completed"


def test_a_quota_that_refuses_the_new_pod_fails_the_instance_in_its_time():
    """Row 72: the deadline counts from the refusal, the way back is refused too, and nobody else is touched."""
    world = refused_by_a_quota("exceeded quota: pods=5")
    assert 0 not in world.pods
    assert counts(world) == (0, 1, 0, 4)
    assert "exceeded quota" in rollout(world)["error"]["message"]
    assert world.state.builds[0].version == "1.0.0"
    world.quota = lambda _: None
    assert world.state.failed_targets == (), "the image never ran"
    world.run(150)
    assert code(world) == "Completed"


# --- the operator dies


def test_killed_between_delete_and_create_the_same_identity_gets_the_recorded_target():
    """Row 1: from the status alone; the slot is still counted."""
    world = running(5)
    world.publish("2.0.0")
    world.step(writes=2)
    assert world.writes == ["status", "delete 0"]
    world.publish("3.0.0")
    world.happen()
    assert 0 not in world.pods
    world.settle()
    assert world.pods[0].version == "2.0.0"
    assert deleted(world) == [0]


def test_killed_at_every_write_of_a_whole_run_the_end_is_the_same():
    """Rows 1 to 5: an operator that dies after every single write."""
    world = running(5)
    world.publish("2.0.0")
    for _ in range(200):
        world.step(writes=1)
        world.now += 1
        world.happen()
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}
    assert deleted(world) == [0, 1, 2, 3, 4]


def test_killed_at_the_restore_it_goes_on_and_the_deadline_is_not_from_zero():
    """Row 3."""
    world = under_way(5, suffix=BAD)
    world.run(289)
    assert not rollout(world).get("restoring")
    world.now = world.pods[0].created + 300
    world.step(writes=1)
    assert rollout(world)["restoring"] == "0"
    assert not world.pods[0].deleting
    world.run(100)
    assert world.versions[0] == "1.0.0"
    assert code(world) == "Faulted"


def test_killed_at_the_halt_it_halts_all_the_same():
    """Row 4: the end is derived again, and nothing more is deleted."""
    world = under_way(5, suffix=BAD)
    world.run(1000)
    ended = world.status
    so_far = len(deleted(world))
    world.status = {**ended, "rollingUpgrade": {**rollout(world)}}
    world.run(5000)
    assert len(deleted(world)) == so_far
    assert code(world) == "Faulted"
