"""Forgetting what failed in a set, at the user's request."""

import pytest

from tests.simulation.outcomes import code, refusals, remembered, rollout
from tests.simulation.scenes import faulted, new_model, retry, running, start, stopped_by_the_gate
from tests.simulation.world import policy


@pytest.mark.parametrize("mode", ["Manual", "Rolling"])
def test_what_failed_is_tried_again_by_the_platforms_rules(mode: str) -> None:
    world = faulted(policy(mode=mode))
    assert len(remembered(world)) == 1
    retry(world)
    world.run(10)
    assert (code(world), rollout(world)["startedBy"], rollout(world)["id"]) == ("RollingForward", "Platform", "2")
    told = [event.message for event in world.events if event.reason == "FailuresForgotten"]
    assert told == ["The platform may try again what failed here: version 2.0.0."]
    world.run(86400)
    assert (code(world), rollout(world)["id"], len(remembered(world))) == ("Faulted", "2", 1)
    assert world.status["lastHandledRetry"] == "now"


def test_a_retry_ends_the_back_off() -> None:
    world = stopped_by_the_gate()
    assert code(world) == "Faulted"
    assert world.state.retry is not None
    world.sick.clear()
    world.happen()
    retry(world)
    world.run(2)
    assert code(world) == "RollingForward"


def test_a_retry_of_a_suspended_set_is_kept_for_later() -> None:
    world = faulted()
    world.change(suspend=True)
    retry(world)
    world.run(100)
    assert (remembered(world), rollout(world)["id"]) == ([], "1")
    world.change(suspend=False)
    world.run(10)
    assert rollout(world)["id"] == "2"


def test_a_retry_without_anything_to_forget_says_nothing() -> None:
    world = running(5)
    retry(world)
    world.run(100)
    assert (world.events, world.status["lastHandledRetry"]) == ([], "now")


def test_a_model_that_failed_is_tried_again_after_a_retry() -> None:
    world = running(5, by=policy(mode="Rolling"))
    world.broken.add(0)
    new_model(world)
    world.run(1000)
    assert code(world) == "Faulted"
    world.heals(0)
    retry(world)
    world.run(1000)
    assert code(world) == "Completed"


def test_a_start_and_a_retry_at_once() -> None:
    world = faulted()
    retry(world)
    start(world)
    world.run(5)
    assert (rollout(world)["startedBy"], remembered(world), refusals(world)) == ("User", [], [])
