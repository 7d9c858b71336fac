"""`podManagementPolicy: OrderedReady`: one after the other, and a stuck instance never keeps its own fix out."""

from typing import Any

import pytest

from tests.simulation.outcomes import code, condition
from tests.simulation.scenes import BAD, apply_model, new_model, running
from tests.simulation.watched import Watched
from tests.simulation.world import World, policy, spec

ORDERED: dict[str, Any] = {"podManagementPolicy": "OrderedReady"}


def slow(replicas: int = 7, **changes: Any) -> World:
    """A new set whose pods take 20 s to become ready."""
    world = World(spec=spec(replicas=replicas, **{**ORDERED, **changes}), policy=policy(), start=20.0)
    world.publish("1.0.0")
    return world


def starting(world: World) -> list[int]:
    return sorted(number for number, pod in world.pods.items() if not pod.ready)


def row(world: World, number: int) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in world.status["instances"] if row["id"] == number)
    return found


def test_a_new_set_of_seven_is_created_one_after_the_other():
    world = slow(7)
    for number in range(7):
        world.run(0.5)
        assert sorted(world.pods) == list(range(number + 1))
        assert starting(world) == [number]
        world.run(20)
    assert starting(world) == []
    assert condition(world, "Ready")["status"] == "True"


def test_parallel_is_the_default_and_can_be_written_down():
    for changes in ({}, {"podManagementPolicy": "Parallel"}):
        world = World(spec=spec(replicas=7, **changes), start=20.0)
        world.publish("1.0.0")
        world.run(0.5)
        assert starting(world) == list(range(7))


def test_a_set_that_is_being_created_in_order_is_starting_and_says_who_waits_for_whom():
    world = slow(4)
    world.run(30)
    assert condition(world, "Ready")["reason"] == "Starting"
    assert condition(world, "Reconciling")["status"] == "True"
    assert row(world, 3)["state"] == "Missing"
    assert row(world, 3)["message"] == "Created once instance 1 is healthy: podManagementPolicy is OrderedReady."


def test_scaling_out_goes_one_after_the_other():
    world = running(3, **ORDERED)
    world.start = 20.0
    world.change(replicas=6)
    for number in (3, 4, 5):
        world.run(0.5)
        assert starting(world) == [number]
        world.run(20)
    assert sorted(world.pods) == list(range(6))


def test_a_free_id_waits_for_lower_ids_only():
    world = running(5, **ORDERED, protectedInstances=[{"id": 4, "protectFromScaleIn": True}])
    world.change(replicas=2)
    world.run(60)
    assert sorted(world.pods) == [0, 4]
    world.breaks(4)
    world.start = 20.0
    world.change(replicas=4)
    world.run(0.5)
    assert sorted(world.pods) == [0, 1, 4]
    world.run(20)
    assert sorted(world.pods) == [0, 1, 2, 4]


def test_scaling_in_goes_one_after_the_other_whatever_the_batch_is():
    world = running(10, **ORDERED, scaleInPolicy={"maxConcurrent": "100%"})
    world.held = set(range(10))
    world.change(replicas=7)
    for number in (9, 8, 7):
        world.run(1)
        assert [n for n, pod in world.pods.items() if pod.deleting] == [number]
        del world.pods[number]
    world.run(1)
    assert sorted(world.pods) == list(range(7))


def test_lost_instances_come_back_together():
    """They are members already, and their disks exist: an order among them would only take longer."""
    world = running(5, **ORDERED)
    world.start = 20.0
    for number in (1, 2, 3):
        world.loses(number)
    world.run(0.5)
    assert starting(world) == [1, 2, 3]


def only_its_pod_is_broken(world: World, number: int) -> None:
    """The next pod of the instance will be healthy."""
    world.sick, world.broken = {world.pods[number].uid}, set()


def stuck(number: int = 2, *, by: Any = None) -> World:
    """A new set whose instance `number` does not become healthy on 1.0.0, long after its time."""
    world = slow(5)
    world.policy = by or policy()
    world.broken = {number}
    world.run(1000)
    assert sorted(world.pods) == list(range(number + 1))
    return world


def test_a_stuck_instance_holds_the_next_ones_and_is_stalled():
    world = stuck(2)
    assert condition(world, "Reconciling")["status"] == "False"
    stalled = condition(world, "Stalled")
    assert stalled["reason"] == "InstancesUnhealthy"
    assert stalled["message"] == (
        "Instances 2 are not healthy. Most frequent: containers not ready. Instances 3-4 are created once they are "
        "healthy (OrderedReady)"
    )
    assert condition(world, "Ready")["reason"] == "Unhealthy"
    world.heals(2)
    world.run(60)
    assert sorted(world.pods) == list(range(5))


def test_a_new_version_reaches_the_stuck_instance_of_a_set_that_was_never_healthy():
    world = stuck(2)
    only_its_pod_is_broken(world, 2)
    world.publish("1.0.1")
    world.run(400)
    assert set(world.versions.values()) == {"1.0.1"}
    assert sorted(world.pods) == list(range(5))


@pytest.mark.parametrize("mode", ["Rolling", "Manual"])
def test_a_new_model_reaches_the_stuck_instance_that_scaling_out_left(mode):
    """A quarter of the set is unhealthy, so the gate is closed, and the next instance does not exist yet."""
    world = running(3, by=policy(mode=mode), **ORDERED)
    world.broken = {3}
    world.change(replicas=5)
    world.run(1000)
    assert sorted(world.pods) == [0, 1, 2, 3]
    only_its_pod_is_broken(world, 3)
    new_model(world)
    world.run(1)
    if mode == "Manual":
        apply_model(world, "3")
    world.run(400)
    assert sorted(world.pods) == list(range(5))
    assert all(pod.ready for pod in world.pods.values())


def test_a_rollout_of_a_fix_goes_on_though_instances_are_still_to_be_created():
    """Ten wanted, seven there: the rollout waits for those that start, and not for those that are queued."""
    world = running(7, **ORDERED)
    world.broken = {7}
    world.change(replicas=10)
    world.run(400)
    assert sorted(world.pods) == list(range(8))
    only_its_pod_is_broken(world, 7)
    world.publish("2.0.0")
    world.run(1)
    assert code(world) == "RollingForward"
    world.run(400)
    assert code(world) == "Completed"
    assert sorted(world.pods) == list(range(10))
    assert set(world.versions.values()) == {"2.0.0"}


def test_an_instance_that_the_api_server_refuses_holds_the_next_ones():
    world = slow(3)
    world.quota = lambda creation: "exceeded quota: pods" if creation.instance == 1 else None
    world.run(60)
    assert sorted(world.pods) == [0]
    assert condition(world, "Stalled")["reason"] == "FailedCreate"
    world.quota = lambda _: None
    world.run(120)
    assert sorted(world.pods) == [0, 1, 2]


def test_an_ordered_rollout_to_a_bad_version_is_stopped_and_restored():
    world = running(5, **ORDERED)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}


def test_every_look_of_a_creation_in_order_keeps_the_invariants():
    world = Watched(spec=spec(replicas=5, **ORDERED), policy=policy(), start=20.0)
    world.publish("1.0.0")
    world.run(50)
    world.publish("2.0.0")
    world.run(600)
    assert set(world.versions.values()) == {"2.0.0"}
    assert sorted(world.pods) == list(range(5))
