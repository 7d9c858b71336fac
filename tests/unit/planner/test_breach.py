"""Model rollouts that breach the policy, and what the status says of instances out of the ordinary."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner.ranges import parse
from tests.simulation.outcomes import code, counts, deleted, reasons, rollout
from tests.simulation.scenes import apply_model, new_model, running, start
from tests.simulation.world import World, policy, spec


def breached(
    *, back: bool, replicas: int = 10, bad: int = 10, mode: str = "Rolling", zones: tuple[str, ...] = (), **rolling: Any
) -> World:
    """A model whose pods are not healthy on the first `bad` instances; on the model before they are."""
    by = policy(
        mode=mode,
        automatic=False,
        rolling={"rollbackFailedInstancesOnPolicyBreach": back, **rolling},
        healthTimeout="PT60S",
    )
    world = running(replicas, by=by, zones=list(zones))
    new_model(world)
    wanted = world.model.name

    def works(number: int, pod: Any) -> bool:
        return pod.model != wanted or number >= bad

    world.works = works  # type: ignore[method-assign]
    return world


def models(world: World) -> list[str]:
    return [pod.model for _, pod in sorted(world.pods.items())]


def test_failed_instances_go_back_to_the_model_before():
    world = breached(back=True)
    before = models(world)
    world.run(300)
    assert (code(world), counts(world)) == ("Faulted", (0, 2, 0, 8))
    assert models(world) == before
    assert all(pod.ready for pod in world.pods.values())
    assert rollout(world)["restored"] == rollout(world)["failed"] == "0-1"
    assert rollout(world)["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    assert [event.warning for event in world.events if event.reason == "RollingBack"] == [True]
    assert deleted(world) == [0, 1, 0, 1]
    world.run(4000)
    assert models(world) == before


def test_without_it_failed_instances_stay():
    world = breached(back=False)
    world.run(300)
    assert (code(world), counts(world)) == ("Faulted", (0, 2, 0, 8))
    assert models(world).count(world.model.name) == 2
    assert rollout(world)["restored"] == ""
    assert deleted(world) == [0, 1]


def test_while_it_rolls_back_the_status_says_why():
    """It is also how an operator that starts in the middle knows that this run goes no further."""
    world = breached(back=True)
    errors: list[tuple[str, Any]] = []
    world.run(300, each=lambda world: errors.append((code(world), rollout(world).get("error"))))
    ended = rollout(world)["error"]
    told = [error for code, error in errors if code == "RollingForward" and error]
    assert told
    assert all(error == ended for error in told)


def test_one_that_is_protected_meanwhile_stays_as_it_is():
    """Perhaps somebody wants to look at what failed."""
    world = breached(back=True)
    wanted = world.model.name
    world.run(10)
    protected = spec(protectedInstances=[{"id": 1, "protectFromScaleSetActions": True}]).protected_instances
    world.change(protected_instances=protected)
    world.run(300)
    assert code(world) == "Faulted"
    assert deleted(world) == [0, 1, 0]
    assert [n for n, model in enumerate(models(world)) if model == wanted] == [1]
    assert (rollout(world)["restored"], rollout(world)["failed"]) == ("0", "0-1")


def test_going_back_mixes_no_zones_either():
    """2 of zone a fails within the limit, then 1 of zone b is too many; each goes back in a batch of its zone."""
    rolling: dict[str, Any] = dict.fromkeys(
        ("maxBatchInstancePercent", "maxUnhealthyInstancePercent", "maxUnhealthyUpgradedInstancePercent"), 50
    )
    world = breached(back=True, bad=0, replicas=4, zones=("a", "b"), **rolling)
    wanted = world.model.name
    world.works = lambda number, pod: pod.model != wanted or number not in {1, 2}  # type: ignore[method-assign]
    seen: list[frozenset[int]] = []

    def check(w: World) -> None:
        going = parse(rollout(w).get("restoring")) if "rollingUpgrade" in w.status else frozenset()
        if going and going not in seen:
            seen.append(going)

    world.run(600, each=check)
    assert code(world) == "Faulted"
    assert rollout(world)["restored"] == "1-2"
    assert seen == [{2}, {1}]


def test_failures_of_earlier_batches_go_back_too_and_a_batch_at_a_time():
    """1 fails in the first batch and 3 in the second, as many as may; with 4 and 5 in the third it is too many."""
    world = breached(back=True, bad=0, maxUnhealthyUpgradedInstancePercent=50, maxUnhealthyInstancePercent=60)
    wanted, before = world.model.name, models(world)[0]
    world.works = lambda number, pod: pod.model != wanted or number not in {1, 3, 4, 5}  # type: ignore[method-assign]
    most = 0

    def check(w: World) -> None:
        nonlocal most
        most = max(most, len(parse(rollout(w).get("restoring"))) if "rollingUpgrade" in w.status else 0)

    world.run(1200, each=check)
    assert code(world) == "Faulted"
    failed = parse(rollout(world)["failed"])
    assert failed == {1, 3, 4, 5}
    assert rollout(world)["restored"] == rollout(world)["failed"]
    assert [models(world)[number] for number in sorted(failed)] == [before] * 4
    assert {models(world)[number] for number in (0, 2)} == {wanted}
    assert most == 2


def test_an_instance_that_is_not_healthy_on_the_old_model_either_is_told():
    world = breached(back=True)
    world.broken.add(0)
    world.works = lambda number, pod: number > 1 or (number == 1 and pod.model != world.model.name)  # type: ignore[method-assign]
    world.run(400)
    assert code(world) == "Faulted"
    assert (rollout(world)["restored"], rollout(world)["restoreFailed"]) == ("1", "0")


def test_a_completed_rollout_with_a_failure_within_the_limit_takes_nothing_back():
    world = breached(back=True, bad=1, maxUnhealthyUpgradedInstancePercent=100)
    world.run(400)
    assert (code(world), counts(world)) == ("Completed", (9, 1, 0, 0))
    assert set(models(world)) == {world.model.name}


def test_image_rollouts_do_not_care():
    world = running(
        10, by=policy(rolling={"rollbackFailedInstancesOnPolicyBreach": True}, os={"disableAutomaticRollback": True})
    )
    world.publish("2.0.0", suffix="-bad")
    world.run(800)
    assert (code(world), counts(world)) == ("Faulted", (0, 2, 0, 8))
    assert set(world.versions.values()) == {"1.0.0", "2.0.0"}


def test_killed_while_it_rolls_back_it_goes_on():
    world = breached(back=True)
    before = models(world)
    for _ in range(2000):
        world.step(writes=1)
        if "RollingBack" in reasons(world) or code(world) == "Faulted":
            break
        if world.wake_at is None or world.wake_at > world.now:
            world.now += 1
            world.happen()
    world.run(400)
    assert code(world) == "Faulted"
    assert models(world) == before


def test_what_a_run_did_not_touch_does_not_end_it():
    """Started by hand with nothing newer it completes with all counts 0, whoever is unhealthy within the limits."""
    world = running(5, by=policy(automatic=False))
    world.breaks(0)
    world.run(5)
    start(world)
    world.run(60)
    assert (code(world), counts(world)) == ("Completed", (0, 0, 0, 0))


# latestModelApplied


def rows(world: World) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in world.status["instances"]}


def test_latest_model_applied_is_azures_word_for_being_behind():
    world = running(3, by=policy(automatic=False))
    assert rows(world) == {}
    new_model(world)
    world.run(5)
    assert {number: row["latestModelApplied"] for number, row in rows(world).items()} == {0: False, 1: False, 2: False}
    apply_model(world, "1")
    world.run(20)
    assert {number: row["latestModelApplied"] for number, row in rows(world).items()} == {0: False, 2: False}


def test_while_an_instance_is_replaced_its_row_is_about_the_pod_that_there_is():
    world = running(3, by=policy(automatic=False))
    world.held.add(1)
    new_model(world)
    apply_model(world, "1")
    world.run(5)
    assert not rows(world)[1]["latestModelApplied"]
    world.held.clear()
    world.run(20)
    assert 1 not in rows(world)


def test_an_instance_on_the_newest_model_and_an_older_version_has_it():
    world = running(2, by=policy(automatic=False))
    world.publish("2.0.0")
    world.run(5)
    assert [(row["version"], row["latestModelApplied"]) for row in rows(world).values()] == [("1.0.0", True)] * 2


# What a failure that fails nothing leaves behind


@pytest.mark.parametrize("bad", [False, True])
def test_a_note_is_told_once_and_listed_as_long_as_it_is_true(bad):
    world = running(3)
    note = "custom-data failed: exit code 3"
    world.pods[1] = replace(world.pods[1], note=note)
    if bad:
        world.breaks(1)
    for _ in range(5):
        world.run(10)
    (row,) = world.status["instances"]
    assert (row["id"], row["state"]) == (1, "Unhealthy" if bad else "Healthy")
    assert row["message"] == ("readiness probe failed: 503; " if bad else "") + note
    told = [event.message for event in world.events if event.reason == "ProvisioningFailed"]
    assert told == [f"On instances 1: {note}"]
    world.loses(1)
    world.broken.clear()
    world.run(30)
    assert world.status["instances"] == []


def test_a_long_message_leaves_room_for_the_note():
    world = running(3)
    world.breaks(1)
    world.pods[1] = replace(world.pods[1], note="n" * 300, message="m" * 600)
    world.run(10)
    world.run(10)
    (row,) = world.status["instances"]
    assert row["message"] == "m" * 154 + "; " + "n" * 100
    assert reasons(world).count("ProvisioningFailed") == 1


def test_of_many_notes_one_event_names_the_instances():
    world = running(60)
    for number, pod in world.pods.items():
        world.pods[number] = replace(pod, note="custom-data failed: exit code 1")
    for _ in range(3):
        world.run(10)
    told = [event.message for event in world.events if event.reason == "ProvisioningFailed"]
    assert told == ["On instances 0-49: custom-data failed: exit code 1"]
    assert len(world.status["instances"]) == 50
