"""Every wait has a deadline of its own, from the batch or the request, never from the pod that happens to be there."""

from dataclasses import replace
from itertools import pairwise

import pytest

from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import Clock
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import apply_model, cancel, new_model, running, start, under_way
from tests.simulation.world import World, policy

EVICTED = "Evicted: The node was low on resource: ephemeral-storage."


def evicts(version: str):
    """Pods of that version end as soon as anybody looks."""

    def each(world: World) -> None:
        for number, pod in list(world.pods.items()):
            if pod.version == version and not pod.ended and not pod.deleting:
                world.pods[number] = replace(pod, ended=True, ready=False, message=EVICTED)

    return each


def created(world: World, number: int) -> int:
    return world.writes.count(f"create {number}")


# --- pods that end


def test_a_version_whose_pods_are_evicted_is_judged_in_its_time_and_taken_back():
    world = running(5)
    world.start = 1000.0
    world.publish("2.0.0")
    world.lives(299, evicts("2.0.0"))
    assert code(world) == "RollingForward"
    world.start = 1.0
    world.run(10)
    assert code(world) == "Faulted"
    assert world.versions == dict.fromkeys(range(5), "1.0.0")
    assert [failed["version"] for failed in world.status["failedTargets"]] == ["2.0.0"], "its image ran"
    assert created(world, 0) <= 7, "the back-off: at once, then after 10, 20, 40, 80 seconds; and the restore"


def test_a_pod_that_ends_is_told_once_and_made_again_later_and_later():
    world = running(3)
    times: list[float] = []

    def each(world: World) -> None:
        pod = world.pods.get(0)
        if pod is not None and not pod.ended and not pod.deleting:
            times.append(world.now)
            world.pods[0] = replace(pod, ended=True, ready=False, message=EVICTED)

    world.lives(700, each)
    waits = [round(later - earlier) for earlier, later in pairwise(times)]
    assert waits[0] <= 2
    assert waits[1:6] == [10, 20, 40, 80, 160]
    assert reasons(world).count("PodEnded") == 1
    told = next(event for event in world.events if event.reason == "PodEnded")
    assert told.message == (
        f"The pods of instances 0 ended: {EVICTED.rstrip('.')}. They are created again; if new pods end as well, after "
        "10 s, 20 s and so on up to 5 minutes."
    )
    assert world.pods[1].ready
    assert world.pods[2].ready


def test_the_back_off_survives_a_restart_and_is_forgotten_once_a_pod_has_run_for_ten_minutes():
    world = running(3)
    for _ in range(3):
        world.pods[0] = replace(world.pods[0], ended=True, ready=False, message=EVICTED)
        world.run(30)
    assert world.status["endedPods"] == [{"instances": "0", "count": 3, "time": world.status["endedPods"][0]["time"]}]
    world.run(600)
    world.loses(1)
    world.run(10)
    assert not world.status.get("endedPods")


def test_nobody_waits_for_a_pod_whose_predecessors_ended():
    """It would begin anew with each of them: a running rollout asks the gate instead."""
    world = under_way(10)
    for _ in range(2):
        world.pods[9] = replace(world.pods[9], ended=True, ready=False)
        world.settle()
        world.happen()
        world.settle()
        world.now += 11
        world.settle()
        world.happen()
        world.settle()
    assert not world.pods[9].ready
    assert next(row for row in world.status["instances"] if row["id"] == 9)["state"] == "Unhealthy"


# --- pods that others take away


def test_a_pod_that_others_delete_begins_anew_twice_and_no_more():
    world = running(5)
    world.start = 10_000.0
    world.publish("2.0.0")
    world.run(1)
    began, judged = world.now, 0.0

    def each(world: World) -> None:
        nonlocal judged
        pod = world.pods.get(0)
        if rollout(world).get("restoring"):
            judged = judged or world.now
        elif pod is not None and pod.version == "2.0.0" and world.now >= pod.created + 100 and not pod.deleting:
            world.pods[0] = replace(pod, deleting=True, deletion_due=world.now + 30)

    world.lives(1000, each)
    assert 500 <= judged - began <= 510, "100 and 100 seconds that do not count, then the health timeout"


def test_a_drain_condemns_no_version():
    world = running(5)
    world.start = 200.0
    world.publish("2.0.0")
    world.run(150)
    world.held.add(0)
    world.pods[0] = replace(world.pods[0], deleting=True, deletion_due=world.now + 30)
    world.step()
    assert world.state.clocks[0] == Clock(None, 1)
    world.held.clear()
    world.run(210)
    assert 0 in world.state.rollout.successful  # type: ignore[union-attr]


def test_the_deadline_does_not_begin_while_the_old_pod_takes_its_grace_period():
    world = running(5)
    world.grace = 3600.0
    world.held.add(0)
    world.publish("2.0.0")
    world.run(3000)
    assert code(world) == "RollingForward"
    assert waits_for(world) == "BatchInProgress"
    world.held.clear()
    world.run(100)
    assert code(world) == "Completed"


# --- refused deletes


def keeps_0(world: World) -> None:
    world.keeps_alive = lambda deletion: "web-0 is under investigation" if deletion.instance == 0 else None


def test_a_refused_delete_is_told_and_fails_the_instance_in_its_time():
    world = running(5)
    keeps_0(world)
    world.publish("2.0.0")
    world.run(10)
    assert waits_for(world) == "DeleteRefused"
    assert "web-0 is under investigation" in rollout(world)["waitingFor"]["message"]
    assert condition(world, "Stalled")["reason"] == "DeleteRefused"
    world.run(301)
    assert counts(world)[:2] == (0, 1) or rollout(world)["id"] != "1"
    assert world.pods[0].version == "1.0.0"
    assert world.pods[0].ready
    assert world.state.failed_targets == ()
    world.run(100)
    assert world.versions == {0: "1.0.0", **dict.fromkeys(range(1, 5), "2.0.0")}, "the others first"


@pytest.mark.parametrize("end", ["cancel", "withdraw"])
def test_cancel_and_withdrawal_end_a_batch_whose_delete_is_refused(end):
    world = running(5)
    keeps_0(world)
    world.publish("2.0.0")
    world.run(10)
    if end == "cancel":
        cancel(world)
    else:
        del world.catalogue[-1]
    world.run(1)
    assert code(world) == "Cancelled"
    assert world.state.builds[0].version == "1.0.0"
    assert counts(world)[1] == 0


# --- instances that are replaced at once


@pytest.mark.parametrize("fix", [False, True])
def test_a_refused_instance_of_apply_model_holds_rollouts_back_for_the_health_timeout_only(fix):
    world = running(10, by=policy(mode="Rolling" if fix else "Manual"))
    if fix:
        world.policy = policy(mode="Manual")
    new_model(world, "2")
    bad = world.model.name
    world.quota = lambda creation: "exceeds the maximum of the LimitRange" if creation.build.model == bad else None
    apply_model(world, "0")
    world.run(10)
    world.publish("2.0.0")
    if fix:
        world.policy = policy(mode="Rolling")
        new_model(world, "3")
    world.run(200)
    assert condition(world, "Progressing")["reason"] in ("ApplyingModel", "HealthGateWaiting")
    assert "rollingUpgrade" not in world.status
    world.run(150)
    assert "rollingUpgrade" in world.status
    world.run(400)
    if fix:
        assert code(world) == "Completed"
        assert world.pods[0].model == world.model.name, "the newer model mends it"


# --- back-offs wake their set


def test_a_run_that_is_refused_at_once_wakes_the_set_when_it_is_tried_again():
    world = running(5)
    world.admit = lambda _: Verdict(accepted=False, message="exceeded quota", quota=True)
    world.publish("2.0.0")
    assert world.step().wake_at == world.now, "what comes next is written down after the end"
    assert world.step().wake_at == world.now + 60


# --- who goes first


def test_an_instance_that_does_not_end_goes_last():
    world = running(5)
    world.held.add(0)
    world.pods[0] = replace(world.pods[0], deleting=True, ready=False, deletion_due=world.now + 30)
    world.publish("2.0.0")
    world.run(60)
    assert world.versions == {0: "1.0.0", **dict.fromkeys(range(1, 5), "2.0.0")}
    assert 0 not in deleted(world)


# --- protection in the middle of a batch


PROTECTED = [{"id": 0, "protectFromScaleSetActions": True}]


def keeps_its_pod_once_protected(world: World) -> None:
    """Instance 0 of a batch that waits to delete its pod."""
    world.run(5)
    uid = world.pods[0].uid
    world.change(protected_instances=running(1, protectedInstances=PROTECTED).spec.protected_instances)
    world.keeps_alive = lambda _: None
    world.run(60)
    assert world.pods[0].uid == uid


def test_an_instance_that_is_protected_before_its_pod_is_touched_keeps_it():
    world = running(5)
    keeps_0(world)
    world.publish("2.0.0")
    keeps_its_pod_once_protected(world)
    assert code(world) == "Completed"
    assert counts(world) == (4, 0, 0, 0)


def test_so_does_one_of_apply_model():
    world = running(5)
    keeps_0(world)
    new_model(world)
    apply_model(world, "*")
    keeps_its_pod_once_protected(world)
    assert not world.status.get("applying")


def test_a_start_by_hand_and_one_by_the_platform_are_two_writes():
    """What became of the first is written down before the second begins."""
    world = running(5, by=policy(automatic=False))
    for number in (3, 4):
        world.sickens(number)
    world.publish("2.0.0")
    world.run(1)
    world.policy = policy(rolling={"prioritizeUnhealthyInstances": True, "maxUnhealthyInstancePercent": 5})
    world.admit = lambda _: Verdict(accepted=False, message="no")
    start(world)
    plan = world.step()
    assert plan.state.rollout is not None
    assert (plan.state.rollout.id, plan.state.rollout.started_by) == ("1", "User")
    assert plan.wake_at == world.now


def test_a_batch_of_what_does_not_end_is_over_without_anybody_else_looking():
    """It has had its time before the batch began: no event will come."""
    world = running(5)
    world.held.add(4)
    world.publish("2.0.0")
    world.run(400)
    assert (code(world), counts(world)) == ("Completed", (0, 1, 0, 0)), "the second run, of that one alone"


def test_an_operator_that_was_away_takes_no_time_from_the_pod_that_it_still_has_to_create():
    """It is killed between the delete and the create, and the next one comes after the health timeout."""
    world = running(5)
    world.publish("2.0.0")
    while "delete 0" not in world.writes:
        world.step(writes=1)
    world.happen()
    world.step(writes=1)
    assert 0 not in world.pods
    world.dies()
    world.now += 400
    world.happen()
    world.run(100)
    assert code(world) == "Completed"
    assert "RolloutStarted" not in reasons(world), "that of the first one died with it; none was tried again"
