"""A policy that suspends its sets."""

import pytest

from scaleset.planner.decide import decide
from tests.simulation.outcomes import code, condition, deleted, refusals, rollout
from tests.simulation.scenes import cancel, new_model, running, start, under_way
from tests.simulation.world import World, policy, spec

MODES = ("Manual", "Rolling", "Automatic")


def test_a_policy_suspends_a_running_rollout_between_its_batches() -> None:
    """Read at each look: what the run started with does not matter."""
    world = under_way(10)
    world.policy = policy(suspend=True)
    world.run(1000)
    assert deleted(world) == [0, 1]
    text = "UpgradePolicy careful suspends its sets: no batch starts until its spec.suspend is lifted."
    assert rollout(world)["waitingFor"] == {"reason": "Suspended", "message": text}
    assert condition(world, "Ready")["reason"] == "Suspended"
    assert text in condition(world, "Ready")["message"]
    world.policy = policy(suspend=False)
    world.run(1000)
    assert (code(world), deleted(world)) == ("Completed", list(range(10)))


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_that_suspends_lets_nothing_begin(mode: str) -> None:
    world = running(5, by=policy(mode=mode, suspend=True))
    assert (
        condition(world, "Ready")["message"] == "5 of 5 instances are healthy. UpgradePolicy careful suspends its sets."
    )
    assert condition(world, "Ready")["reason"] == "Suspended"
    world.publish("2.0.0")
    new_model(world)
    start(world)
    world.run(1000)
    assert deleted(world) == []
    assert refusals(world) == ["UpgradePolicy careful suspends its sets. Set its spec.suspend to false and ask again."]
    assert "UpgradePolicy careful suspends its sets" in condition(world, "Ready")["message"]
    world.loses(3)
    world.change(replicas=6)
    world.run(100)
    assert len(world.pods) == 6, "self-healing and scaling go on"
    world.policy = policy(mode=mode)
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}


def test_cancelling_ends_a_rollout_that_a_policy_suspends() -> None:
    world = under_way(10)
    world.policy = policy(suspend=True)
    world.run(100)
    cancel(world)
    world.run(10)
    assert code(world) == "Cancelled"


def test_absent_means_false() -> None:
    world = running(3)
    assert world.policy is not None
    assert world.policy.suspend is None
    assert decide(world.snapshot()).status["conditions"][3]["reason"] == "Healthy"


def test_a_set_whose_own_policy_suspends_it() -> None:
    own = spec(upgradePolicyRef=None, upgradePolicy={"suspend": True})
    world = World(spec=own, policy=own.upgrade_policy)
    world.publish("1.0.0")
    world.run(60)
    start(world)
    world.run(10)
    assert refusals(world) == [
        "The set's own policy suspends it. Set spec.upgradePolicy.suspend to false and ask again."
    ]
    assert "The set's own policy suspends it." in condition(world, "Ready")["message"]
