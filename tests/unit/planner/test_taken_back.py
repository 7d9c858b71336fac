"""What is given back, and by when, where something keeps it from being given back."""

from dataclasses import replace

from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from tests.simulation.outcomes import code, condition, deleted, rollout
from tests.simulation.scenes import BAD, apply_model, new_model, running
from tests.simulation.world import World, policy, spec

KEPT = "pods of this namespace are not deleted"
EVERYONE = {"maxUnhealthyInstancePercent": 100}
PROTECTED = [{"id": 0, "protectFromScaleSetActions": True}]


def test_who_could_not_be_restored_since_its_pod_may_not_be_deleted_is_restored_once_it_may():
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(100)
    world.keeps_alive = lambda deletion: KEPT if deletion.instance == 0 else None
    world.run(700)
    assert code(world) == "Faulted"
    assert world.versions[0] == "2.0.0"
    assert world.state.applying == {0}
    world.keeps_alive = lambda _: None
    world.run(100)
    assert set(world.versions.values()) == {"1.0.0"}
    assert world.state.applying == frozenset()


def test_an_outage_in_the_middle_of_going_back_ends_it():
    """Two of six broke after their batch and go back one by one; then three fall ill that the run has not touched."""
    world = running(6, by=policy(rolling={"pauseTimeBetweenBatches": "PT10M"}))
    world.publish("2.0.0")
    world.run(605)
    assert world.state.rollout.successful == {0, 1}  # type: ignore[union-attr]
    for number in (0, 1):
        world.sickens(number)

    def outage(world: World) -> None:
        if rollout(world).get("restoring") == "0":
            for number in (3, 4, 5):
                world.sick.add(world.pods[number].uid)
                world.pods[number] = replace(world.pods[number], ready=False, ready_since=world.now)

    world.run(1000, each=outage)
    assert code(world) == "Faulted"
    assert "outside the rollout are unhealthy as well by now" in rollout(world)["error"]["message"]
    assert (world.versions[0], world.versions[1]) == ("1.0.0", "2.0.0")


def test_an_instance_that_was_born_on_the_bad_version_is_no_outage():
    """It has what the run brings: the version is remembered, not tried again for ever."""
    world = running(4)
    world.change(replicas=5)
    world.publish("2.0.0", suffix=BAD)
    world.run(2000)
    assert code(world) == "Faulted"
    assert [failed.version for failed in world.state.failed_targets] == ["2.0.0"]
    assert world.state.retry is None


def test_another_image_of_the_proven_version_is_not_proven():
    """What runs the image before says nothing for it: the gate after a batch counts the upgraded alone."""
    world = running(5, by=policy(rolling=EVERYONE))
    world.catalogue[-1] = replace(world.catalogue[-1], image="example.com/web:rebuilt-bad")
    world.run(2000)
    assert code(world) == "Faulted"
    assert deleted(world) == [0, 0], "replaced once, and restored"
    assert [failed.image for failed in world.state.failed_targets] == ["example.com/web:rebuilt-bad"]


def test_whose_old_one_is_gone_already_stays_though_its_id_is_protected_now():
    """It is let go in a status, and the operator dies before anything more of the batch is written."""
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.publish("2.0.0")
    world.settle()
    world.now += 1.5
    world.happen()
    world.step(writes=1)
    assert 0 not in world.state.builds
    uid = world.pods[5].uid
    world.change(protected_instances=spec(protectedInstances=PROTECTED).protected_instances)
    world.run(0.5)
    assert 5 in world.state.builds
    assert world.pods[5].uid == uid


def test_an_old_one_that_may_not_be_deleted_after_its_successor_came_is_told():
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.keeps_alive = lambda _: KEPT
    world.publish("2.0.0")
    world.run(100)
    stalled = condition(world, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "DeleteRefused")
    assert KEPT in stalled["message"]
    world.keeps_alive = lambda _: None
    world.run(500)
    assert code(world) == "Completed"


def test_a_blocked_instance_is_made_at_once_from_the_model_that_unblocks_it():
    """With nothing else happening."""
    world = running(3)
    old = world.pods[1].model
    new_model(world)
    world.run(1)
    del world.models[old]
    world.loses(1)
    world.run(10)
    apply_model(world, "1")
    world.run(1.5)
    assert world.pods[1].ready


def test_no_clock_of_an_instance_outlives_its_batch():
    """Not even for one status: nobody would look again to throw it away."""
    world = running(2)

    def look(_: Snapshot, plan: Plan) -> None:
        rollout = plan.state.rollout
        assert rollout is None or plan.state.clocks.keys() <= rollout.in_progress

    world.acted = look
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"


def test_the_end_of_a_row_of_ended_pods_is_written_down_with_nothing_else_happening():
    world = running(3)
    world.pods[0] = replace(world.pods[0], ended=True, ready=False)
    world.run(20)
    assert world.state.ended.keys() == {0}
    world.run(600)
    assert world.state.ended == {}


def test_that_a_container_once_ended_says_nothing_of_the_upgrade_that_comes():
    """Health is the state of the containers here, and the old pod waits for its turn."""
    world = running(5, health={"source": "InstanceState"})
    world.pods[0] = replace(world.pods[0], restarts=3)
    world.keeps_alive = lambda _: KEPT
    world.publish("2.0.0")
    world.run(5)
    assert code(world) == "RollingForward"
    assert world.status["healthyReplicas"] == 5
