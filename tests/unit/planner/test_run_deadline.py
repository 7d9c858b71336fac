"""`upgradeTimeout`: by when a whole rollout has to be over, and which time does not count."""

import pytest

from scaleset.api import names
from scaleset.planner.snapshot import QueuePosition
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout
from tests.simulation.scenes import ask, cancel, new_model, running, start
from tests.simulation.world import World, policy

SLOW = 60.0
"""Seconds that a pod of these tests takes to become ready."""


def slow(replicas: int = 5, *, timeout: str = "PT2M30S", **changes) -> World:
    """A set whose rollouts replace one instance a minute."""
    world = running(replicas, by=policy(rolling={"maxBatchInstancePercent": 20}, upgradeTimeout=timeout, **changes))
    world.start = SLOW
    return world


def edit(world: World, **fields: object) -> None:
    """The policy is edited (Python names)."""
    assert world.policy is not None
    world.policy = world.policy.model_copy(update=fields)


def error(world: World) -> str:
    return str(world.status["rollingUpgrade"]["error"]["code"])


def test_a_run_that_takes_too_long_ends_after_its_batch_and_is_remembered():
    world = slow()
    world.publish("2.0.0")
    world.run(600)
    assert (code(world), error(world)) == ("Faulted", "RollingUpgradeTimeoutError")
    assert deleted(world) == [0, 1, 2], "the third batch had begun, and was finished"
    assert counts(world) == (3, 0, 0, 2)
    assert world.status["rollingUpgrade"]["error"]["message"] == (
        "Rolling Upgrade failed: it was not complete after the upgradeTimeout of PT2M30S of its policy. "
        "3 of 5 instances are upgraded, 0 failed, 2 were not begun."
    )
    assert reasons(world)[-1] == "RolloutFaulted"
    assert [failed["reason"] for failed in world.status["failedTargets"]] == ["RollingUpgradeTimeoutError"]
    world.run(2000)
    assert len(deleted(world)) == 3, "the platform does not try it again"
    assert condition(world, "Stalled")["reason"] == "RolloutFaulted"


def test_a_run_that_has_nothing_left_completes_however_late():
    world = slow(2, timeout="PT1M30S")
    world.publish("2.0.0")
    world.run(600)
    assert code(world) == "Completed"


def test_without_a_timeout_nothing_is_recorded():
    world = running(2)
    world.start = 1000.0
    world.publish("2.0.0")
    world.run(10)
    assert {"deadline", "heldSince"}.isdisjoint(rollout(world))
    assert "upgradeTimeout" not in rollout(world)["policy"]


@pytest.mark.parametrize("who", ["set", "policy"])
def test_a_suspension_does_not_count(who: str):
    world = slow()
    world.publish("2.0.0")
    world.run(118)

    def suspend(*, on: bool) -> None:
        if who == "set":
            world.change(suspend=on)
        else:
            edit(world, suspend=on)

    suspend(on=True)
    world.run(600)
    assert code(world) == "RollingForward"
    assert rollout(world)["heldSince"]
    suspend(on=False)
    world.run(600)
    assert error(world) == "RollingUpgradeTimeoutError"
    assert len(deleted(world)) == 3, "as many as without the suspension"
    assert "heldSince" not in rollout(world)


def test_its_turn_does_not_count():
    world = slow(maxConcurrentScaleSets=1)
    world.turn = lambda: QueuePosition(1, 0)
    world.publish("2.0.0")
    start(world)
    world.run(1500)
    assert rollout(world)["waitingFor"]["reason"] == "ConcurrencyLimit"
    world.turn = lambda: QueuePosition(0, 0)
    world.run(600)
    assert len(deleted(world)) == 3


def test_a_wait_for_its_own_instances_counts():
    """Instances that start, and the pause between batches, are a part of the run."""
    world = slow(rollingUpgradePolicy={"pauseTimeBetweenBatches": "PT10M"})
    world.publish("2.0.0")
    world.run(600)
    assert error(world) == "RollingUpgradeTimeoutError"
    assert deleted(world) == [0]


def test_a_killed_operator_keeps_the_deadline():
    world = slow()
    world.publish("2.0.0")
    world.run(100)
    before = rollout(world)["deadline"]
    world.dies()
    world.policy = policy(upgradeTimeout="P1D")
    world.run(10)
    assert rollout(world)["deadline"] == before, "as is every rule of a running rollout"
    world.run(600)
    assert error(world) == "RollingUpgradeTimeoutError"


def test_a_suspension_that_began_in_a_late_batch_ends_the_run_when_it_is_lifted():
    world = slow(timeout="PT65S")
    world.publish("2.0.0")
    world.run(63)
    world.start = 200.0
    world.run(20)
    world.change(suspend=True)
    world.run(600)
    assert code(world) == "RollingForward"
    world.change(suspend=False)
    world.run(1)
    assert error(world) == "RollingUpgradeTimeoutError"


def test_what_lifts_the_memory():
    world = slow()
    world.publish("2.0.0")
    world.run(600)
    edit(world, upgrade_timeout=None)
    world.run(600)
    assert code(world) == "Completed", "it was judged by that limit"


@pytest.mark.parametrize("kind", ["by hand", "model", "restart"])
def test_every_kind_of_rollout_has_it(kind: str):
    world = slow(mode="Rolling", automatic=False)
    match kind:
        case "by hand":
            world.publish("2.0.0")
            start(world)
        case "model":
            new_model(world)
        case _:
            ask(world, names.ANNOTATION_RESTART)
    world.run(600)
    assert error(world) == "RollingUpgradeTimeoutError"
    remembered = [failed["reason"] for failed in world.status.get("failedTargets", ())]
    assert remembered == ([] if kind == "restart" else ["RollingUpgradeTimeoutError"])


def test_failed_instances_are_counted_and_restored_first():
    world = slow(rollingUpgradePolicy={"maxUnhealthyUpgradedInstancePercent": 100}, timeout="PT5M")
    world.publish("2.0.0", suffix="-bad")
    world.run(1500)
    assert error(world) == "RollingUpgradeTimeoutError"
    assert set(world.versions.values()) == {"1.0.0"}
    assert rollout(world)["restored"]
    assert rollout(world)["error"]["details"][0]["code"] == "RollingUpgradeInstanceUnhealthyError"


def test_cancel_comes_before_it():
    world = slow()
    world.publish("2.0.0")
    world.run(140)
    cancel(world)
    world.run(600)
    assert code(world) == "Cancelled"


def test_a_forged_deadline_ends_nothing_but_the_run():
    world = slow()
    world.publish("2.0.0")
    world.run(70)
    world.status["rollingUpgrade"]["deadline"] = "1970-01-01T00:00:00Z"
    world.run(600)
    assert error(world) == "RollingUpgradeTimeoutError"
    assert len(world.pods) == 5
