"""Differences between two written states: how a rollout, its batches and its instances ended, and how long it took."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from scaleset.planner import changes as rules
from scaleset.planner.changes import NOTHING, Changes, Ended, Settled
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from tests.simulation.scenes import BAD, cancel, new_model, pin, running, start, under_way
from tests.simulation.world import World, policy


def followed(world: World) -> list[Changes]:
    """What changes in that world from now on."""
    found: list[Changes] = []

    def acted(snapshot: Snapshot, plan: Plan) -> None:
        found.append(rules.changes(snapshot.state.rollout, plan.state.rollout, snapshot))

    world.acted = acted
    return found


def instances(found: list[Changes]) -> Iterator[Settled]:
    return (settled for each in found for settled in each.instances)


def only_end(found: list[Changes]) -> Ended:
    (ended,) = (each.ended for each in found if each.ended is not None)
    return ended


@pytest.mark.parametrize(("health", "seconds"), [({}, 30.0), ({"source": "InstanceState"}, 0.0)])
def test_an_instance_took_until_it_was_healthy_by_its_own_health_source(health: dict[str, str], seconds):
    """By readiness until it is Ready, by instance state until its containers run: here from the first second on."""
    world = running(2, by=policy(minReadyTime="PT0S"), health=health)
    world.start = 30.0
    found = followed(world)
    world.publish("2.0.0")
    world.run(200)
    settled = list(instances(found))
    assert [each.result for each in settled] == ["succeeded"] * 2
    assert [each.seconds for each in settled] == pytest.approx([seconds] * 2, abs=1.5)


def test_a_failed_instance_took_until_it_was_given_up():
    world = running(5, by=policy(automatic=False, healthTimeout="PT2M"))
    found = followed(world)
    world.publish("2.0.0", suffix=BAD)
    start(world)
    world.run(200)
    (settled,) = instances(found)
    assert settled.result == "failed"
    assert settled.seconds == pytest.approx(120, abs=1.5)


def test_so_did_one_whose_container_runs_again_and_again():
    """That it runs at the end does not count: a container has ended since the upgrade."""
    by = policy(automatic=False, healthTimeout="PT2M")
    world = running(5, by=by, health={"source": "InstanceState"})
    found = followed(world)
    world.publish("2.0.0")
    start(world)
    world.run(8)
    pod = world.pods[0]
    world.pods[0] = replace(pod, restarts=1, running_since=world.now)
    world.run(200)
    settled = next(each for each in instances(found) if each.result == "failed")
    assert settled.seconds == pytest.approx(120, abs=1.5)


def by_the_version(world: World) -> None:
    world.publish("2.0.0", suffix=BAD)


def by_the_model(world: World) -> None:
    new_model(world)
    wanted = world.model.name
    world.works = lambda _number, pod: pod.model != wanted  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize("fails", [by_the_version, by_the_model])
def test_a_restored_instance_took_from_the_start_of_the_restore(fails: Callable[[World], None]):
    """Not from the start of the batch: the health timeout that the version took is not part of it."""
    world = running(5, by=policy(mode="Rolling", rolling={"rollbackFailedInstancesOnPolicyBreach": True}))
    world.start = 20.0
    found = followed(world)
    fails(world)
    world.run(600)
    (settled,) = instances(found)
    assert settled.result == "restored"
    assert settled.seconds == pytest.approx(20, abs=1.5)
    assert [each.restores for each in found if each.restores] == [("succeeded",)]


def test_an_instance_that_is_not_healthy_on_its_previous_build_either_is_a_failed_restore():
    world = running(5)
    found = followed(world)
    world.broken.add(0)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert [each.restores for each in found if each.restores] == [("failed",)]
    assert [each.result for each in instances(found)] == ["failed"]


@pytest.mark.parametrize(("suffix", "result"), [("", "succeeded"), (BAD, "failed")])
def test_a_batch_is_counted_at_its_end_by_whether_an_instance_failed(suffix, result):
    world = running(5)
    world.start = 20.0
    found = followed(world)
    world.publish("2.0.0", suffix=suffix)
    world.run(1000)
    ended = [each.batch for each in found if each.batch is not None]
    assert {each.result for each in ended} == {result}
    assert len(ended) == (1 if suffix else 5)
    seconds = 300 + 20 if suffix else 20
    assert [each.seconds for each in ended] == pytest.approx([seconds] * len(ended), abs=3)


def completes(world: World) -> None:
    world.run(1000)


def cancels(world: World) -> None:
    cancel(world)
    world.run(100)


def supersedes(world: World) -> None:
    pin(world, "1.0.0")
    world.run(100)


def withdraws(world: World) -> None:
    world.catalogue.pop()
    world.run(100)


@pytest.mark.parametrize(
    ("happens", "result", "seconds"),
    [
        (completes, "completed", 150),
        (cancels, "cancelled", 30),
        (supersedes, "superseded", 30),
        (withdraws, "cancelled", 30),
    ],
)
def test_a_rollout_ends_once_with_its_result_and_its_length(happens: Callable[[World], None], result, seconds):
    """Five batches of thirty seconds; what ends it in its first batch ends with that."""
    world = running(5)
    world.start = 30.0
    found = followed(world)
    world.publish("2.0.0")
    world.run(10)
    happens(world)
    ended = only_end(found)
    assert ended[:2] == (result, "platform")
    assert ended.seconds == pytest.approx(seconds, abs=6)


def test_who_started_it_is_told_apart():
    world = running(2, by=policy(automatic=False))
    found = followed(world)
    world.publish("2.0.0", suffix=BAD)
    start(world)
    world.run(1000)
    assert only_end(found)[:2] == ("faulted", "user")


def test_nothing_changes_between_equal_states_and_without_a_rollout():
    world = under_way(5)
    rollout = world.state.rollout
    snapshot = world.snapshot()
    assert rules.changes(rollout, rollout, snapshot) is NOTHING
    assert rules.changes(None, None, snapshot) is NOTHING
    assert rules.changes(rollout, None, snapshot) is NOTHING


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_new_rollout_is_progress_wherever_it_stands(done: int):
    """Also in the place of one that stood at the same point."""
    world = under_way(5)
    rollout = world.state.rollout
    assert rollout is not None
    seen = replace(rollout, batch=None, batches_done=done)
    for before in (None, replace(seen, id="0")):
        assert rules.changes(before, seen, world.snapshot()).progress
