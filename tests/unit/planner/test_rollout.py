"""A rolling upgrade from its start to its end."""

import pytest

from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import BAD, new_model, running, start, two_upgraded
from tests.simulation.world import World, policy


def publish_good(world: World) -> None:
    world.publish("2.0.0")


def publish_bad(world: World, number: str = "2.0.0") -> None:
    world.publish(number, suffix=BAD)


@pytest.mark.parametrize("replicas", [0, 1, 2, 4, 5, 9, 10, 99, 100])
def test_a_good_image_reaches_everybody_batch_by_batch(replicas):
    """S1 all the way, S14 at the end, and no more batches than the size allows."""
    world = running(replicas)
    publish_good(world)
    limit = max(1, replicas // 5)
    world.run(3 * (replicas // limit + 2), each=lambda w: at_most_in_progress(w, limit))
    assert set(world.versions.values()) <= {"2.0.0"}
    assert len(world.pods) == replicas
    if replicas:
        assert code(world) == "Completed"
        assert counts(world) == (replicas, 0, 0, 0)
        assert reasons(world).count("BatchStarted") == -(-replicas // limit)
        assert world.status["currentVersion"] == "2.0.0"
    assert deleted(world) == list(range(replicas))


def at_most_in_progress(world: World, limit: int) -> None:
    away = [n for n in range(world.spec.replicas) if n not in world.pods or not world.pods[n].ready]
    assert len(away) <= limit


@pytest.mark.parametrize("replicas", [1, 2, 4, 5, 9, 10, 99, 100])
def test_a_bad_image_touches_one_batch_and_is_taken_back(replicas):
    """4.5: the run ends after the first batch; its instances have their previous image again."""
    world = running(replicas)
    publish_bad(world)
    world.run(1500)
    touched = max(1, replicas // 5)
    assert code(world) == "Faulted"
    assert rollout(world)["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    assert counts(world) == (0, touched, 0, replicas - touched)
    assert set(world.versions.values()) == {"1.0.0"}
    assert all(pod.ready for pod in world.pods.values())
    assert world.status["currentVersion"] == "1.0.0"
    assert sorted(deleted(world)) == sorted([*range(touched), *range(touched)])


def test_where_nothing_failed_nothing_is_restored():
    """One of a batch is healthy while the pod of the other does not end."""
    world = running(10)
    world.held.add(1)
    publish_good(world)
    world.run(320)
    assert counts(world) == (1, 0, 1, 8)
    assert condition(world, "Progressing")["message"].startswith("Waiting for the pods of instances 1 to end")
    assert world.state.rollout is not None
    assert world.state.rollout.batch is not None
    assert world.state.rollout.batch.restore_started is None


@pytest.mark.parametrize(
    ("seconds", "upgraded"), [(299, True), (300, True), (301, False)], ids=["at 4:59", "at 5:00", "at 5:01"]
)
def test_healthy_at_the_deadline_is_healthy_and_a_second_later_is_not(seconds, upgraded):
    """The health timeout of five minutes counts from the creation of the pod, by the server's clock."""
    world = running(5)
    world.start = float(seconds)
    publish_good(world)
    world.run(302)
    assert world.pods[0].version == ("2.0.0" if upgraded else "1.0.0")
    assert (0 in world.state.rollout.successful) is upgraded  # type: ignore[union-attr]


def test_an_instance_that_became_healthy_while_nobody_looked_is_not_restored():
    """Row 14: the operator sleeps across the deadline. A fresh look counts, not the clock alone (S10)."""
    world = running(5)
    world.start = 400.0
    publish_good(world)
    world.settle()
    world.happen()
    world.settle()
    world.now += 700
    world.happen()
    world.settle()
    assert world.state.rollout is not None
    assert 0 in world.state.rollout.successful
    assert "InstanceRestored" not in reasons(world)


@pytest.mark.parametrize(
    ("ready_after", "stays", "upgraded"),
    [(1, 60, True), (290, 60, True), (290, 30, False)],
    ids=["at once and for a minute", "ready in time, stable after the timeout", "ready in time, but not for a minute"],
)
def test_min_ready_time_asks_that_ready_in_time_also_stays(ready_after, stays, upgraded):
    world = running(5, by=policy(minReadyTime="PT1M"))
    world.start = float(ready_after)
    publish_good(world)
    world.run(ready_after + 1.5)
    assert world.pods[0].ready
    world.run(stays - 3)
    if not upgraded:
        world.breaks(0)
    world.run(60)
    state = world.state.rollout
    assert state is not None
    assert (0 in state.successful) is upgraded
    assert (0 in state.failed) is not upgraded


def test_with_min_ready_time_the_next_batch_waits_for_it():
    world = running(5, by=policy(minReadyTime="PT1M"))
    publish_good(world)
    world.run(58)
    assert deleted(world) == [0]
    assert rollout(world)["waitingFor"]["message"].endswith("at most 300 s each, and to stay so for 60 s.")
    world.run(10)
    assert deleted(world) == [0, 1]


def test_a_flapping_instance_is_not_restored_before_its_deadline():
    """Row 65: readiness goes and comes; what counts is how it is at the deadline."""
    world = running(5)
    world.start = 10.0
    publish_good(world)
    world.run(5)
    for _ in range(6):
        world.run(20)
        if 0 in world.pods and world.pods[0].ready:
            world.breaks(0)
        world.settle()
        world.heals(0)
    world.run(400)
    assert "InstanceRestored" not in reasons(world)
    assert code(world) == "Completed"


@pytest.mark.parametrize("unhealthy", [2, 3])
def test_20_percent_unhealthy_start_and_one_more_waits(unhealthy):
    """4.2 on the whole set: exactly 20 % passes. An automatic start that waits adds nothing to the history."""
    world = running(10)
    for number in range(10 - unhealthy, 10):
        world.sickens(number)
    world.settle()
    publish_good(world)
    world.run(5)
    if unhealthy == 2:
        assert code(world) == "RollingForward"
        return
    assert world.state.rollout is None
    assert world.status["osUpgradeHistory"] == []
    assert condition(world, "Progressing")["reason"] == "HealthGateWaiting"
    assert "30% of instances" in condition(world, "Progressing")["message"]
    assert reasons(world).count("HealthGateWaiting") == 1
    world.sick.discard(world.pods[9].uid)
    world.run(60)
    assert code(world) == "Completed"


def test_the_batch_shrinks_beside_unhealthy_instances():
    """One of ten is unhealthy: 20 % leave room for one more, so batches have one instance instead of two."""
    world = running(10)
    world.breaks(9)
    world.settle()
    publish_good(world)
    world.settle()
    assert rollout(world)["batch"]["instances"] == "0"


def test_a_broken_old_instance_does_not_block_its_fix():
    """It is in the last batch, costs nothing of the room there, and comes out healthy."""
    world = running(5)
    world.sickens(4)
    world.settle()
    publish_good(world)
    world.run(60)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}


def test_many_broken_instances_go_first_when_they_have_priority():
    """prioritizeUnhealthyInstances: batches of only such instances pass the closed gate."""
    world = running(10, by=policy(rolling={"prioritizeUnhealthyInstances": True}))
    for number in (5, 6, 7, 8):
        world.sickens(number)
    world.settle()
    publish_good(world)
    world.run(60)
    assert code(world) == "Completed"
    assert deleted(world)[:4] == [5, 6, 7, 8]


def test_without_priority_the_closed_gate_holds_the_fix():
    world = running(10)
    for number in (5, 6, 7, 8):
        world.sickens(number)
    world.settle()
    publish_good(world)
    world.run(2000)
    assert deleted(world) == []


def test_bad_then_bad_then_good():
    """Each bad version touches one batch, is remembered, and does not keep the good one from coming (L4)."""
    world = running(10)
    publish_bad(world, "2.0.0")
    world.run(1000)
    publish_bad(world, "3.0.0")
    world.run(1000)
    world.publish("4.0.0")
    world.run(1000)
    assert set(world.versions.values()) == {"4.0.0"}
    codes = [(e["properties"]["runningStatus"]["code"]) for e in world.status["osUpgradeHistory"]]
    assert codes == ["Completed", "Faulted", "Faulted"]
    assert [f["version"] for f in world.status["failedTargets"]] == ["3.0.0", "2.0.0"]


def test_a_breach_late_in_the_run_ends_it_too():
    """Upgraded instances that break after their batch count (4.5), and get their previous build back."""
    world = running(10)
    publish_good(world)
    two_upgraded(world)
    for number in (0, 1):
        world.sickens(number)
    world.run(400)
    assert code(world) == "Faulted"
    assert world.versions[0] == world.versions[1] == "1.0.0"
    assert "InstanceRestored" in reasons(world)


def test_an_unrelated_outage_stops_the_run_and_it_goes_on_when_it_is_over():
    """Row 69: upgraded instances keep the new image; a Faulted 4.2 is tried again once the gate has been open."""
    world = running(10)
    publish_good(world)
    world.run(1.5)
    upgraded = {n for n, v in world.versions.items() if v == "2.0.0"}
    for number in (7, 8, 9):
        world.sickens(number)
    world.run(30)
    assert code(world) == "Faulted"
    assert rollout(world)["error"]["code"] == "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
    assert upgraded <= {n for n, v in world.versions.items() if v == "2.0.0"}
    world.sick.clear()
    world.happen()
    world.run(50)
    assert code(world) == "Faulted", "open for less than a minute"
    world.run(120)
    assert code(world) == "Completed"


def test_the_pause_between_batches_is_kept():
    world = running(5, by=policy(rolling={"pauseTimeBetweenBatches": "PT10M"}))
    publish_good(world)
    world.run(599)
    assert deleted(world) == [0]
    assert waits_for(world) == "Pause"
    world.run(10)
    assert deleted(world) == [0, 1]


@pytest.mark.parametrize(("own", "batch"), [(True, "0-4"), (False, "0-1")])
def test_image_upgrades_can_go_by_azures_own_numbers(own, batch):
    """useRollingUpgradePolicy: false means 20/20/20/PT0S whatever rollingUpgradePolicy says."""
    rolling = {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50, "pauseTimeBetweenBatches": "PT1H"}
    world = running(10, by=policy(rolling=rolling, os={"useRollingUpgradePolicy": own}))
    publish_good(world)
    world.settle()
    assert rollout(world)["batch"]["instances"] == batch
    assert rollout(world)["policy"]["pauseTimeBetweenBatches"] == ("PT1H" if own else "PT0S")


def test_with_rollback_disabled_a_failed_instance_keeps_the_new_image():
    world = running(5, by=policy(os={"disableAutomaticRollback": True}))
    publish_bad(world)
    world.run(400)
    assert code(world) == "Faulted"
    assert world.versions == {0: "2.0.0", 1: "1.0.0", 2: "1.0.0", 3: "1.0.0", 4: "1.0.0"}
    assert rollout(world)["rollbackInfo"]["successfullyRolledbackInstanceCount"] == 0


def test_a_start_by_hand_restores_nothing():
    """As in Azure: the user looks at it and decides."""
    world = running(5, by=policy(automatic=False))
    publish_bad(world)
    start(world)
    world.run(400)
    assert code(world) == "Faulted"
    assert world.versions[0] == "2.0.0"
    assert deleted(world) == [0]


def test_a_restored_instance_stays_failed_and_the_history_tells_of_it():
    world = running(10)
    publish_bad(world)
    world.run(1000)
    properties = world.status["osUpgradeHistory"][0]["properties"]
    assert properties["progress"]["failedInstanceCount"] == 2
    assert properties["rollbackInfo"] == {
        "successfullyRolledbackInstanceCount": 2,
        "failedRolledbackInstanceCount": 0,
    }


def test_a_restore_that_a_quota_holds_up_has_a_deadline_of_its_own():
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(200)
    world.quota = lambda creation: "exceeded quota" if creation.build.version == "1.0.0" else None
    world.run(200)
    assert (rollout(world)["failed"], rollout(world)["restoring"]) == ("0", "0")
    assert waits_for(world) == "Restoring"
    world.quota = lambda _: None
    world.run(150)
    assert (rollout(world)["restored"], rollout(world)["restoreFailed"]) == ("0", "")


def test_a_restore_that_does_not_become_healthy_is_told():
    """It has another health timeout; then the instance counts as not restored, with an error of its own."""
    world = running(5)
    publish_bad(world)
    world.settle()
    world.broken.add(0)
    world.run(299)
    assert world.state.rollout.restoring == frozenset()  # type: ignore[union-attr]
    world.run(5)
    assert rollout(world)["restoring"] == "0"
    assert counts(world) == (0, 1, 0, 4)
    world.run(290)
    assert code(world) == "RollingForward"
    world.run(20)
    assert code(world) == "Faulted"
    info = rollout(world)["rollbackInfo"]
    assert (info["successfullyRolledbackInstanceCount"], info["failedRolledbackInstanceCount"]) == (0, 1)
    assert "Instance 0 is not healthy on its previous build either." in info["rollbackError"]["message"]
    assert [event.warning for event in world.events if event.reason == "InstanceRestoreFailed"] == [True]


def test_a_run_with_few_failures_completes_and_tries_those_again_later():
    """One of ten fails, which is within the limit: Completed, that one is on its previous build, a retry follows."""
    world = running(10)
    publish_good(world)
    world.run(4.5)
    world.start = 600.0
    world.run(310)
    world.start = 1.0
    assert rollout(world)["restoring"] == "8-9"
    world.run(5)
    assert code(world) == "Completed"
    assert counts(world) == (8, 2, 0, 0)
    assert world.versions == dict.fromkeys(range(8), "2.0.0") | {8: "1.0.0", 9: "1.0.0"}
    assert world.status["currentVersion"] == "2.0.0"
    assert condition(world, "Progressing")["reason"] == "BackOff"
    world.run(100)
    assert counts(world) == (2, 0, 0, 0)
    assert set(world.versions.values()) == {"2.0.0"}
    assert world.status.get("retry") is None


def test_protected_instances_are_skipped_and_in_no_count():
    protected = [{"id": 3, "protectFromScaleSetActions": True}]
    world = running(5, protectedInstances=protected)
    publish_good(world)
    world.run(60)
    assert code(world) == "Completed"
    assert counts(world) == (4, 0, 0, 0)
    assert world.versions == {0: "2.0.0", 1: "2.0.0", 2: "2.0.0", 3: "1.0.0", 4: "2.0.0"}


def test_the_target_is_written_down_before_anything_is_deleted():
    """Write-ahead: the status names the batch, the way back and the target in one write, before the first delete."""
    world = running(5)
    publish_good(world)
    world.step(writes=1)
    assert world.writes == ["status"]
    assert rollout(world)["inProgress"] == "0"
    assert [b["version"] for b in world.status["previousBuilds"]] == ["1.0.0"]
    assert {b["instances"]: b["version"] for b in world.status["builds"]} == {"0": "2.0.0", "1-4": "1.0.0"}
    assert world.versions[0] == "1.0.0"


def test_an_image_upgrade_gives_the_newest_model_too():
    """4.1: "all extensions and configuration in the model are applied"."""
    world = running(5)
    new_model(world)
    world.run(5)
    assert deleted(world) == []
    publish_good(world)
    world.run(60)
    assert {pod.model for pod in world.pods.values()} == {world.model.name}


def test_waiting_is_explained_with_numbers():
    """S14: who waits is told why."""
    world = running(10)
    world.start = 60.0
    publish_good(world)
    world.settle()
    assert rollout(world)["waitingFor"] == {
        "reason": "BatchInProgress",
        "message": "Waiting for instances 0-1 of batch 1 to become healthy, at most 300 s each.",
    }


def test_others_that_already_run_an_unproven_version_do_not_speak_for_it():
    """Scaled out onto it in the moment between its publication and its first rollout, whose one upgrade fails."""
    world = running(
        2, by=policy(rolling={"maxUnhealthyInstancePercent": 50, "maxUnhealthyUpgradedInstancePercent": 50})
    )
    world.publish("2.0.0")
    world.change(replicas=3)
    world.broken.add(0)
    world.run(2000)
    assert code(world) == "Faulted"
    assert world.versions == {0: "1.0.0", 1: "1.0.0", 2: "2.0.0"}
