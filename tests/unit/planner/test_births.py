"""A set that was never healthy has nothing to protect yet."""

from dataclasses import replace

import pytest

from scaleset.planner.instances import Pod
from tests.simulation.outcomes import condition, deleted, models
from tests.simulation.scenes import BAD, born_broken, new_model, running
from tests.simulation.world import World, policy


def test_a_set_born_with_a_broken_image_is_repaired_by_a_good_one():
    """4.7: nothing to protect yet. Batch by batch until the gate opens, then by a rollout."""
    world = born_broken(5)
    world.publish("1.0.1")
    world.run(1.5)
    assert deleted(world) == [0, 1]
    assert (world.status["currentVersion"], world.status["currentImage"]) == ("1.0.1", "example.com/web:1.0.1")
    world.run(400)
    assert set(world.versions.values()) == {"1.0.1"}
    assert all(pod.ready for pod in world.pods.values())
    assert world.status["currentVersion"] == "1.0.1"
    assert world.status["provenTime"]


def test_born_broken_bad_then_good():
    world = born_broken(5)
    world.publish("1.0.1", suffix=BAD)
    world.run(1000)
    assert deleted(world) == [0], "a second bad one touches one batch"
    world.publish("1.0.2")
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.2"}


def test_a_set_that_was_never_healthy_says_why_nothing_rolls():
    """S14: born on a good version, but a bad one came before it was ready."""
    world = World(policy=policy(), spec=running(2).spec)
    world.start = 30.0
    world.publish("1.0.0")
    world.run(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert sorted(world.versions.values()) == ["1.0.0", "2.0.0"]
    progressing = condition(world, "Progressing")
    assert progressing["reason"] == "HealthGateWaiting"
    assert progressing["message"].startswith("The set was never healthy")


def test_healthy_instances_of_such_a_set_are_left_to_a_rollout():
    """Only those that are not healthy are made again without one."""
    world = born_broken(5)
    for number in (3, 4):
        world.pods[number] = replace(world.pods[number], ready=True, ready_since=world.now)
    world.publish("1.0.1")
    world.run(100)
    assert not {3, 4} & set(deleted(world))
    world.run(400)
    assert set(world.versions.values()) == {"1.0.1"}


@pytest.mark.parametrize(("mode", "mended"), [("Rolling", True), ("Manual", False)])
def test_a_model_repairs_such_a_set_where_the_policy_rolls_models_out(mode, mended):
    world = born_broken(5, by=policy(mode=mode))
    new_model(world)
    wanted = world.model.name

    def works(number: int, pod: Pod) -> bool:
        """What was wrong is in the template."""
        del number
        return pod.model == wanted

    world.works = works  # type: ignore[method-assign]
    world.run(1000)
    assert (models(world) == {wanted}) == mended
    assert bool(deleted(world)) == mended
