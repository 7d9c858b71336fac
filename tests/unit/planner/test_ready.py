"""One word for what a set does or waits for: the reason of Ready, which `kubectl get` shows as STATUS."""

from collections.abc import Callable

import pytest

from scaleset.planner.conditions import together
from tests.simulation.outcomes import condition
from tests.simulation.scenes import cancel, running
from tests.simulation.world import World, policy, spec


def test_instances_that_are_about_to_be_created_are_not_called_unhealthy():
    """The status is written before the pods are, so it is the first thing that anybody sees of a new set."""
    world = World(spec=spec(replicas=3), policy=policy())
    world.publish("1.0.0", suffix="-bad")
    world.step()
    assert [row["state"] for row in world.status["instances"]] == ["Missing"] * 3
    assert condition(world, "Ready")["reason"] == "Starting"
    world.run(310)
    assert condition(world, "Ready")["reason"] == "Unhealthy"


def test_an_instance_that_cannot_be_created_is_called_unhealthy():
    world = running(3)
    world.quota = lambda _: 'pods "web-0" is forbidden: exceeded quota'
    world.loses(0)
    world.run(10)
    assert condition(world, "Ready")["reason"] == "Unhealthy"


def rolling(world: World) -> None:
    del world


def paused(world: World) -> None:
    world.run(10)


def suspended_in_the_pause(world: World) -> None:
    world.run(10)
    world.change(suspend=True)
    world.run(100)


def starting_again(world: World) -> None:
    """The pause is over before an instance that was lost is back."""
    world.run(10)
    world.start = 100.0
    world.loses(9)
    world.run(80)


def cancelled(world: World) -> None:
    cancel(world)
    world.run(10)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (rolling, "RollingForward"),
        (paused, "Paused"),
        (suspended_in_the_pause, "Suspended"),
        (starting_again, "WaitingForHealth"),
        (cancelled, "Cancelled"),
    ],
)
def test_the_reasons_of_a_set_that_rolls(happens: Callable[[World], None], reason):
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}))
    world.publish("2.0.0")
    world.settle()
    happens(world)
    assert condition(world, "Ready")["reason"] == reason


def test_a_run_that_cannot_begin_because_of_unhealthy_instances_waits_for_health():
    world = running(10)
    for number in range(5):
        world.breaks(number)
    world.publish("2.0.0")
    world.settle()
    assert world.state.rollout is None
    assert condition(world, "Ready")["reason"] == "WaitingForHealth"


@pytest.mark.parametrize(
    ("numbers", "what", "sentence"),
    [
        ([3], "blocked", "Instance 3 is blocked. Why 3."),
        ([3, 4], "blocked", "Instances 3-4 are blocked. 3: Why 3."),
        ([5, 3, 4], "blocked", "Instances 3-5 are blocked. 3: Why 3."),
        ([3, 4], "cannot be created", "Instances 3-4 cannot be created. 3: Why 3."),
    ],
)
def test_instances_with_the_same_obstacle_have_one_sentence(numbers, what, sentence):
    assert together(numbers, what, {number: f"Why {number}." for number in numbers}) == sentence
