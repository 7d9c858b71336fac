"""A status that names models which do not exist is decided again from the pods."""

from typing import Any

import pytest

from tests.simulation.outcomes import code, condition, deleted
from tests.simulation.scenes import apply_model, new_model, running, under_way
from tests.simulation.world import policy

EVIL = "registry.example/evil:6.6.6"


def forged(version: str, instances: str, model: str = "absent") -> list[dict[str, Any]]:
    return [{"model": model, "version": version, "image": EVIL, "instances": instances}]


@pytest.mark.parametrize("version", ["0.0.1", "1.0.0", "9.9.9"])
@pytest.mark.parametrize("instances", ["0-4", "2", "0-999"])
def test_instances_are_what_their_pods_say(version, instances):
    """And neither look current nor lie outside of what upgrades reach."""
    world = running(5)
    world.status["builds"] = forged(version, instances)
    world.run(5)
    assert deleted(world) == []
    assert [(row["model"], row["version"], row["instances"]) for row in world.status["builds"]] == [
        (world.model.name, "1.0.0", "0-4")
    ]
    assert condition(world, "UpToDate")["status"] == "True"
    world.publish("2.0.0")
    world.run(120)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}
    assert sorted(world.pods) == [0, 1, 2, 3, 4]


def test_a_model_change_reaches_them_too():
    world = running(5, by=policy(mode="Rolling"))
    world.status["builds"] = forged("1.0.0", "0-4")
    new_model(world)
    world.run(120)
    assert {pod.model for pod in world.pods.values()} == {world.model.name}


def test_nothing_is_ever_made_from_a_forged_image():
    world = running(5)
    world.status["builds"] = forged("9.9.9", "0-4")
    world.run(5)
    world.loses(3)
    world.run(30)
    assert all(pod.images[0][1] != EVIL for pod in world.pods.values())
    assert len(world.pods) == 5


def test_an_instance_without_a_pod_is_blocked_and_says_how_to_go_on():
    """There is nothing else to decide from."""
    world = running(5)
    world.loses(3)
    world.status["builds"] = forged("9.9.9", "0-4")
    world.run(30)
    assert sorted(world.pods) == [0, 1, 2, 4]
    assert condition(world, "Stalled")["reason"] == "InstanceBlocked"
    apply_model(world, "3")
    world.run(30)
    assert len(world.pods) == 5


def test_a_batch_under_way_is_not_taken_apart():
    """An instance in hand is on its way to what is recorded; its pod still says what it was."""
    world = under_way(5)
    world.models.pop(world.model.name)
    world.run(1000)
    assert set(world.versions.values()) <= {"1.0.0", "2.0.0"}
    assert len(world.pods) == 5


def test_a_pod_of_a_deleted_revision_keeps_what_is_recorded():
    """The pod's own model is gone as well, so its label says no more than the record."""
    world = running(3, by=policy(mode="Manual"))
    old = world.model.name
    new_model(world)
    world.run(10)
    world.models.pop(old)
    world.run(10)
    assert {row["model"] for row in world.status["builds"]} == {old}
    assert deleted(world) == []
