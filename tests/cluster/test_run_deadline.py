"""`upgradeTimeout`: a rollout that takes too long ends after its batch, and what it did not cause does not count."""

from datetime import datetime

from tests.cluster.harness.api import Json
from tests.cluster.harness.fleet import rollout
from tests.cluster.harness.scene import Scene, progress, says, waiting_for

TIMEOUT = "PT6S"
"""Between the second and the fourth batch, of which each takes some two seconds."""


def deadline(run: Json) -> datetime:
    return datetime.fromisoformat(run["deadline"])


def test_a_rollout_that_takes_too_long_ends_after_its_batch(scene: Scene) -> None:
    scene.policy(upgradeTimeout=TIMEOUT, rolling={"pauseTimeBetweenBatches": "PT2S"})
    scene.create(replicas=5)
    scene.publish("1.1.0")
    run = scene.rollout("Faulted", "1.1.0")
    assert run["error"]["code"] == "RollingUpgradeTimeoutError"
    assert "after the upgradeTimeout of PT6S" in run["error"]["message"]
    done = run["progress"]["successfulInstanceCount"]
    assert 1 <= done < 5
    assert run["progress"] == progress(done, 0, 0, 5 - done)
    scene.event("RolloutFaulted", "upgradeTimeout of PT6S")
    scene.condition("Stalled", "RolloutFaulted")
    assert scene.versions() == ["1.1.0"] * done + ["1.0.0"] * (5 - done)
    (failed,) = scene.world.status("web")["failedTargets"]
    assert (failed["version"], failed["reason"]) == ("1.1.0", "RollingUpgradeTimeoutError")
    entry = scene.world.status("web")["osUpgradeHistory"][0]["properties"]
    assert entry["error"]["code"] == "RollingUpgradeTimeoutError"
    # A newer version is a new attempt, without the limit it gets there.
    scene.policy()
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0")


def test_a_suspension_does_not_count(scene: Scene) -> None:
    scene.policy(upgradeTimeout="PT20S", rolling={"pauseTimeBetweenBatches": "PT1S"})
    scene.first_batch(replicas=2)
    before = deadline(rollout(scene.world))
    scene.change(suspend=True)
    scene.wait(lambda world: waiting_for(world) == "Suspended", "the rollout is suspended")
    held = scene.wait(lambda world: rollout(world).get("heldSince"), "it says since when it is held")
    assert held
    assert datetime.fromisoformat(held) <= before
    scene.recorder.settle(4)
    scene.change(suspend=False)
    moved = scene.wait(
        lambda world: "heldSince" not in rollout(world) and deadline(rollout(world)), "the deadline counts again"
    )
    assert moved
    assert (moved - before).total_seconds() >= 3
    scene.rollout("Completed", "1.1.0")
    assert says(scene.world, "Ready")["status"] == "True"
