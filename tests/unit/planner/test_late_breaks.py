"""Health that holds: what breaks after its batch is taken back before the run ends, and no further than that helps."""

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.outcomes import code, condition, counts, reasons, rollout
from tests.simulation.scenes import running, start
from tests.simulation.world import World, policy


def breaks_late(version: str, *, after: float):
    """Pods of that version are ready for so long, and never again."""

    def each(world: World) -> None:
        for pod in list(world.pods.values()):
            number = int(pod.name.rpartition("-")[2])
            late = pod.ready_since is not None and world.now >= pod.ready_since + after
            if pod.version == version and pod.ready and late and pod.uid not in world.sick:
                world.sickens(number)

    return each


@pytest.mark.parametrize("surge", [False, True])
def test_a_version_that_breaks_after_its_batch_is_taken_back_everywhere(surge):
    world = running(10, by=policy(rolling={"maxSurge": surge}))
    world.publish("2.0.0")
    world.lives(60, breaks_late("2.0.0", after=3))
    assert code(world) == "Faulted"
    assert rollout(world)["error"]["code"].startswith("MaxUnhealthyUpgraded")
    assert set(world.versions.values()) == {"1.0.0"}
    assert all(pod.ready for pod in world.pods.values())
    assert [failed["version"] for failed in world.status["failedTargets"]] == ["2.0.0"]
    assert "RollingBack" in reasons(world)
    assert not world.status.get("previousBuilds"), "the run has ended"


def test_a_start_by_hand_restores_nothing_late_either():
    world = running(10, by=policy(automatic=False))
    world.publish("2.0.0")
    start(world)
    world.lives(60, breaks_late("2.0.0", after=3))
    assert code(world) == "Faulted"
    assert "RollingBack" not in reasons(world)
    assert list(world.versions.values()).count("2.0.0") >= 2


def test_in_an_outage_nothing_is_taken_back_and_no_version_is_condemned():
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}))
    world.publish("2.0.0")
    world.run(10)
    assert counts(world) == (2, 0, 0, 8)
    for number in range(10):
        world.sickens(number)
    world.run(60)
    assert code(world) == "Faulted"
    assert world.versions[0] == world.versions[1] == "2.0.0"
    assert world.state.failed_targets == ()
    assert "outside the rollout are unhealthy as well" in rollout(world)["error"]["message"]


def test_where_nobody_of_a_restored_batch_becomes_healthy_the_rest_stays():
    world = running(10)
    world.publish("2.0.0")
    world.run(4.5)
    upgraded = sorted(world.state.rollout.successful)  # type: ignore[union-attr]
    assert len(upgraded) >= 4
    for number in upgraded:
        world.breaks(number)  # whatever it runs
    world.run(700)
    assert code(world) == "Faulted"
    assert "look for another cause" in rollout(world)["error"]["message"]
    back = [number for number in upgraded if world.versions[number] == "1.0.0"]
    assert len(back) == 2, "one batch, and no further"


def test_a_moment_without_readiness_in_a_pause_is_no_verdict():
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT30M"}))
    world.publish("2.0.0")
    world.run(10)
    world.sickens(0)
    world.run(299)
    assert code(world) == "RollingForward"
    world.run(2)
    assert "RollingBack" in reasons(world), "not for the whole pause"


def test_at_the_end_of_a_surging_batch_the_gate_is_asked_before_the_pause():
    world = running(10, by=policy(rolling={"maxSurge": True, "pauseTimeBetweenBatches": "P7D"}))
    world.start = 5.0
    world.publish("2.0.0")
    world.settle()
    world.now += 5
    world.happen()
    world.step()
    assert rollout(world)["successful"] == "10-11"
    for number in (10, 11):
        world.sickens(number)
    world.settle()
    assert rollout(world)["error"]["code"].startswith("MaxUnhealthyUpgraded")


def test_a_version_that_is_withdrawn_while_it_breaks_is_remembered_all_the_same():
    world = running(10, by=policy(rolling={"maxSurge": True}))
    world.publish("2.0.0")

    def each(world: World) -> None:
        for number in (10, 11):
            if number in world.pods and world.pods[number].ready:
                world.sickens(number)
                world.catalogue[-1] = replace(world.catalogue[-1], excluded=True)

    world.lives(400, each)
    assert code(world) == "Faulted"
    assert [failed["version"] for failed in world.status["failedTargets"]] == ["2.0.0"]


def test_the_sentence_says_what_the_gate_judged():
    """A run that comes back for one instance counts those that run the proven version beside it."""
    world = running(5, by=policy(rolling={"maxUnhealthyUpgradedInstancePercent": 20}))
    world.broken.add(4)
    world.publish("2.0.0")
    world.run(3000)
    message = (world.status["rollingUpgrade"].get("error") or {}).get("message", "")
    assert "100%" not in message


# --- by the state of the containers


def by_state(**changes) -> World:
    container = {"name": "app"}
    return running(10, by=policy(**changes), health={"source": "InstanceState"}, template=_template(container))


def _template(container: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": [container]}}


def test_a_container_has_to_run_for_ten_seconds_where_nothing_else_tells_of_health():
    world = by_state()
    world.publish("2.0.0")
    world.run(9)
    assert counts(world) == (0, 0, 2, 8)
    world.run(5)
    assert counts(world)[0] == 2
    assert rollout(world)["policy"]["minReadyTime"] == "PT10S"


def test_a_policy_that_says_so_believes_it_at_once():
    world = by_state(minReadyTime="PT0S")
    world.publish("2.0.0")
    world.run(3)
    assert counts(world)[0] >= 2


def test_a_container_that_ended_since_its_upgrade_is_not_healthy():
    """It exits 12 seconds after each start: running is what it mostly is."""
    world = by_state()
    world.publish("2.0.0")

    def each(world: World) -> None:
        for number, pod in list(world.pods.items()):
            if pod.version == "2.0.0" and pod.running and world.now >= (pod.running_since or 0) + 12:
                world.pods[number] = replace(pod, restarts=pod.restarts + 1, running_since=world.now)

    world.lives(400, each)
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}


def test_one_that_ended_long_after_is():
    world = by_state()
    world.pods[0] = replace(world.pods[0], restarts=3)
    world.run(10)
    assert condition(world, "Ready")["status"] == "True"


# --- the fix is never locked out


def test_the_fix_reaches_a_small_set_on_which_a_bad_image_was_started_by_hand():
    world = running(3)
    world.policy = policy(automatic=False)
    world.publish("2.0.0", suffix="-bad")
    start(world)
    world.run(400)
    assert code(world) == "Faulted"
    assert world.versions[0] == "2.0.0"
    world.policy = policy()
    world.publish("3.0.0")
    world.run(100)
    assert world.versions == dict.fromkeys(range(3), "3.0.0")


def test_elsewhere_the_gate_holds_and_stalled_says_what_opens_it():
    world = running(5)
    for number in (3, 4):
        world.breaks(number)
    world.publish("2.0.0")
    world.run(10)
    stalled = condition(world, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "HealthGateWaiting")
    assert "It opens when enough of instances 3-4 are healthy again." in stalled["message"]
    assert "prioritizeUnhealthyInstances" in stalled["message"]
    assert set(world.versions.values()) == {"1.0.0"}


def test_those_that_the_version_reached_last_are_watched_before_the_run_ends():
    """Batches are so quick that the last one breaks after the first ones were taken back."""
    world = running(10, by=policy(healthTimeout="PT20S"))
    world.publish("2.0.0")
    world.lives(120, breaks_late("2.0.0", after=4))
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}
