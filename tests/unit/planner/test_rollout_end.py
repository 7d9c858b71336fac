"""How a rollout ends, in Azure's codes and sentences with the numbers."""

from dataclasses import replace

import pytest

from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import code, condition, reasons, rollout
from tests.simulation.scenes import (
    BAD,
    cancel,
    new_model,
    running,
    start,
    started_with_the_gate_closed,
    stopped_by_the_gate,
)
from tests.simulation.world import World, policy


def says(world: World, number: int, message: str) -> None:
    """What Kubernetes says about an instance."""
    world.pods[number] = replace(world.pods[number], message=message)


def test_after_a_batch_too_many_upgraded_ones_are_unhealthy():
    """Whole sentence, as Azure writes it: share, threshold, most impactful error, first failed instance."""
    world = running(10)
    world.publish("2.0.0", suffix=BAD)
    world.run(10)
    for number in (0, 1):
        says(world, number, "ImagePullBackOff: Back-off pulling image.")
    world.run(1000)
    error = rollout(world)["error"]
    assert error["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    assert error["message"] == (
        "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the "
        "RollingUpgradePolicy. 100% of instances are in an unhealthy state after being upgraded - more than the "
        "threshold of 20%. The most impactful error is: ImagePullBackOff: Back-off pulling image. "
        "First failed instance ID is: 0."
    )
    assert error["target"] == "web"
    assert error["details"] == [
        {
            "code": "RollingUpgradeInstanceUnhealthyError",
            "target": f"web/instances/{number}",
            "message": "ImagePullBackOff: Back-off pulling image.",
        }
        for number in (0, 1)
    ]


def test_the_numbers_are_those_of_the_run():
    """21 % of what was upgraded, not of the set, and never rounded to the threshold itself."""
    world = running(10, by=policy(rolling={"maxUnhealthyUpgradedInstancePercent": 24}))
    world.publish("2.0.0")
    world.run(3.5)
    for number in (1, 3):
        world.sickens(number)
    world.run(400)
    assert (
        "25% of instances are in an unhealthy state after being upgraded - more than the threshold of 24%"
        in (rollout(world)["error"]["message"])
    )
    assert "First failed instance ID is: 1." in rollout(world)["error"]["message"]


def test_the_gate_closed_before_any_batch():
    error = rollout(started_with_the_gate_closed(dict.fromkeys((4, 5, 6), "out of memory.")))["error"]
    assert error["code"] == "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
    assert error["message"] == (
        "Rolling Upgrade failed due to exceeding the MaxUnhealthyInstancePercent value (defined in the "
        "RollingUpgradePolicy) before any batch was attempted. 30% of instances are in an unhealthy state, more than "
        "the threshold of 20% configured in the RollingUpgradePolicy. The most impactful error is: out of memory."
    )
    assert [detail["target"] for detail in error["details"]] == [f"web/instances/{n}" for n in (4, 5, 6)]


def test_the_gate_closed_during_the_run():
    error = rollout(stopped_by_the_gate())["error"]
    assert error["code"] == "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
    assert error["message"] == (
        "Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the "
        "RollingUpgradePolicy. 30% of instances are in an unhealthy state - more than the threshold of 20%. "
        "To apply upgrades, consider increasing the MaxUnhealthyInstancePercent value."
    )


def test_the_most_impactful_error_is_the_one_that_most_share():
    world = started_with_the_gate_closed({0: "rare.", 5: "common.", 6: "common."})
    assert "The most impactful error is: common." in rollout(world)["error"]["message"]


def test_an_instance_about_which_nothing_is_known_has_azures_sentence():
    world = running(2, by=policy(automatic=False))
    world.sickens(0)
    says(world, 0, "")
    world.publish("2.0.0")
    start(world)
    world.run(10)
    assert rollout(world)["error"]["details"][0]["message"] == "Instance found to be unhealthy or unreachable."


def test_a_failed_instance_whose_message_was_not_kept_has_azures_sentence():
    """It was restored, so its present pod has no message either. The status keeps only so many of them."""
    world = running(10, by=policy(rolling={"maxUnhealthyUpgradedInstancePercent": 50}))
    world.works = lambda number, pod: pod.version == "1.0.0" or number not in {0, 2, 3}  # type: ignore[method-assign]
    world.publish("2.0.0")
    world.run(400)
    assert (rollout(world)["batch"]["number"], rollout(world)["restored"]) == (2, "0")
    rollout(world)["messages"].clear()
    world.run(400)
    assert code(world) == "Faulted"
    assert [(detail["target"], detail["message"]) for detail in rollout(world)["error"]["details"]] == [
        ("web/instances/0", "Instance found to be unhealthy or unreachable."),
        ("web/instances/2", "containers not ready"),
        ("web/instances/3", "containers not ready"),
    ]


def superseded(world: World) -> None:
    new_model(world)


def withdrawn(world: World) -> None:
    world.catalogue.pop()


@pytest.mark.parametrize(
    ("ends", "reason", "message"),
    [
        (cancel, "Cancelled", "Cancelled by the user."),
        (superseded, "Superseded", "Superseded by model web-"),
        (withdrawn, "Withdrawn", "Version 2.0.0 was withdrawn: its GalleryImageVersion was deleted."),
    ],
)
def test_a_cancelled_run_says_what_cancelled_it(ends, reason, message):
    world = running(5, by=policy(automatic=False))
    world.start = 10.0
    world.publish("2.0.0")
    start(world)
    world.run(2)
    ends(world)
    world.run(60)
    assert code(world) == "Cancelled"
    assert rollout(world)["error"]["code"] == reason
    assert rollout(world)["error"]["message"].startswith(message)
    assert rollout(world)["error"]["target"] == "web"
    assert "RolloutCancelled" in reasons(world)


def test_a_completed_run_has_no_error():
    world = running(5)
    world.publish("2.0.0")
    world.run(60)
    assert "error" not in rollout(world)
    assert world.events[-1].message == "Rolling upgrade to version 2.0.0 completed: 5 instances upgraded."


def test_what_completes_is_the_current_version_in_the_same_write():
    """Whoever reads that it completed, and an operator that starts there, finds the version beside it."""
    world = running(5)
    world.publish("2.0.0")
    world.run(60)
    statuses = [plan.status for plan in world.plans]
    completed = [s for s in statuses if (s["rollingUpgrade"] or {}).get("runningStatus", {}).get("code") == "Completed"]
    assert completed
    assert {s["currentVersion"] for s in completed} == {"2.0.0"}


def test_a_refusal_carries_the_servers_words():
    world = running(5)
    world.admit = lambda _: Verdict(accepted=False, message='pods "web-0" is forbidden: no.')
    world.publish("2.0.0")
    world.run(5)
    assert rollout(world)["error"]["code"] == "ModelRefused"
    assert rollout(world)["error"]["message"].endswith('pods "web-0" is forbidden: no.')


def test_the_events_tell_the_story_once_and_in_order():
    """One event a decision, not one an instance."""
    world = running(4)
    world.publish("2.0.0")
    world.run(60)
    assert reasons(world) == [
        "NewVersionAvailable",
        "RolloutStarted",
        *["BatchStarted", "BatchCompleted"] * 4,
        "RolloutCompleted",
    ]
    world.events.clear()
    world.publish("3.0.0", suffix=BAD)
    world.run(2000)
    assert reasons(world) == [
        "NewVersionAvailable",
        "RolloutStarted",
        "BatchStarted",
        "BatchCompleted",
        "InstanceRestored",
        "RolloutFaulted",
    ]
    assert [e.warning for e in world.events] == [False, False, False, True, True, True]
    assert "Batch 1 of 4: 0 of 1 instances upgraded, 1 failed (0)." in [e.message for e in world.events]


def test_the_same_sentence_is_in_status_condition_and_event():
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    sentence = rollout(world)["error"]["message"]
    assert sentence in [e.message for e in world.events]
    assert condition(world, "Stalled")["message"] == sentence
    assert world.status["osUpgradeHistory"][0]["properties"]["error"]["message"] == sentence


def test_an_event_names_the_rollout_and_the_batch_that_it_is_about():
    """News comes before what was done about it, so it is about the rollout that ran before."""
    world = running(2)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    world.publish("3.0.0")
    world.run(200)
    told = [(e.reason, e.rollout, e.batch) for e in world.events]
    assert told[:4] == [
        ("NewVersionAvailable", None, None),
        ("RolloutStarted", "1", None),
        ("BatchStarted", "1", 1),
        ("NewVersionAvailable", "1", 1),
    ]
    assert told[-1] == ("RolloutCompleted", "2", None)
