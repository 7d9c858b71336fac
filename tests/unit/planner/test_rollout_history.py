"""`status.rolloutHistory`: every ended rollout with its kind, where it came from and where it led."""

from typing import Any

from scaleset.api import names
from scaleset.api.scale_set_status import MAX_ROLLOUTS
from tests.simulation.outcomes import rollout
from tests.simulation.scenes import BAD, ask, new_model, running
from tests.simulation.world import World

DAY = 86400.0


def past(world: World) -> list[dict[str, Any]]:
    return list(world.status.get("rolloutHistory") or ())


def ways(world: World) -> list[tuple[Any, ...]]:
    return [(each["kind"], each.get("fromVersion"), each.get("toVersion"), each["code"]) for each in past(world)]


def test_every_kind_is_recorded_newest_first():
    world = running(5)
    first = world.model.name
    world.publish("2.0.0")
    world.run(500)
    new_model(world)
    ask(world, names.ANNOTATION_MODEL_ROLLOUT)
    world.run(500)
    ask(world, names.ANNOTATION_RESTART, "now")
    world.run(500)
    assert ways(world) == [
        ("Restart", "2.0.0", None, "Completed"),
        ("Model", "2.0.0", None, "Completed"),
        ("Image", "1.0.0", "2.0.0", "Completed"),
    ]
    _, model, image = past(world)
    assert (model["fromModel"], model["toModel"]) == (first, world.model.name)
    assert image["progress"]["successfulInstanceCount"] == 5
    assert image["startedBy"] == "Platform"
    assert image["startTime"] < image["completedTime"]


def test_a_failed_one_says_why_and_how_many_went_back():
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    (entry,) = past(world)
    assert (entry["code"], entry["fromVersion"], entry["restored"]) == ("Faulted", "1.0.0", 1)
    assert entry["errorCode"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


def test_the_running_one_says_where_it_comes_from_and_is_recorded_at_its_end():
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    assert past(world) == []
    assert world.status["rollingUpgrade"]["fromVersion"] == "1.0.0"
    world.run(500)
    assert len(past(world)) == 1
    assert rollout(world)["fromVersion"] == "1.0.0"


def test_ten_of_two_months_are_kept():
    world = running(2)
    for number in range(2, 4 + MAX_ROLLOUTS):
        world.publish(f"{number}.0.0")
        world.run(100)
    assert len(past(world)) == MAX_ROLLOUTS
    assert past(world)[0]["toVersion"] == f"{3 + MAX_ROLLOUTS}.0.0"
    world.now += 62 * DAY
    world.publish("100.0.0")
    world.run(100)
    assert len(past(world)) == 1
