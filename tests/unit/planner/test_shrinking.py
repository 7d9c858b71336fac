"""How fast scaling in takes instances."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleset.planner.decide import decide
from scaleset.planner.plan import Deletion
from tests.simulation.outcomes import code, condition, rollout, waits_for
from tests.simulation.scenes import new_model, running
from tests.simulation.watched import Watched
from tests.simulation.world import World, policy, spec


def held(replicas: int = 6, **changes: Any) -> World:
    """A healthy set whose pods stay Terminating until they are let go."""
    world = running(replicas, **changes)
    world.held = set(range(replicas + 10))
    return world


def terminating(world: World) -> list[int]:
    return sorted(number for number, pod in world.pods.items() if pod.deleting)


def let_go(world: World, *numbers: int) -> None:
    """Those pods have ended."""
    for number in numbers:
        del world.pods[number]
    world.run(0.5)


def shrink(world: World, replicas: int) -> None:
    world.change(replicas=replicas)
    world.run(0.5)


def test_one_goes_after_the_other():
    world = held(6)
    shrink(world, 3)
    for number in (5, 4, 3):
        world.run(5)
        assert terminating(world) == [number]
        let_go(world, number)
    assert sorted(world.pods) == [0, 1, 2]
    assert "scaleIn" not in world.status
    assert condition(world, "Ready")["status"] == "True"


def test_batches_are_a_part_of_the_size_that_it_comes_from():
    """Down to nothing, whatever the operator forgets: the state goes through the status at every step."""
    world = held(10)
    shrink(world, 0)
    for batch in ([8, 9], [6, 7], [4, 5], [2, 3], [0, 1]):
        assert terminating(world) == batch
        assert world.status["scaleIn"]["from"] == 10
        let_go(world, *batch)
    assert world.pods == {}
    assert condition(world, "Ready")["reason"] == "Healthy"


@pytest.mark.parametrize(
    ("most", "batch"),
    [(None, [5]), (2, [4, 5]), (100, [3, 4, 5]), ("100%", [3, 4, 5]), ("50%", [3, 4, 5]), ("1%", [5])],
)
def test_somebody_may_want_more(most, batch):
    world = held(6, scaleInPolicy={} if most is None else {"maxConcurrent": most})
    shrink(world, 3)
    assert terminating(world) == batch


@pytest.mark.parametrize("wrong", [0, 1001, "0%", "101%", "5", "many", True, 1.5])
def test_what_is_no_share(wrong):
    with pytest.raises(ValueError, match="maxConcurrent"):
        spec(scaleInPolicy={"maxConcurrent": wrong})


def test_a_broken_instance_is_waited_for_until_the_health_timeout():
    world = held(6)
    world.breaks(1)
    shrink(world, 3)
    world.run(290)
    assert terminating(world) == []
    assert condition(world, "Reconciling")["message"] == (
        "Scaling in: 3 of 6 instances are to go. Waiting for instances 1 to become healthy."
    )
    assert condition(world, "Ready")["reason"] == "ScalingIn"
    world.run(15)
    assert terminating(world) == [5]
    for number in (5, 4, 3):  # It has had its time: the others follow at once.
        assert terminating(world) == [number]
        let_go(world, number)
    assert sorted(world.pods) == [0, 1, 2]


@pytest.mark.parametrize(("after", "going"), [(590, []), (610, [5])])
def test_an_instance_that_is_ready_and_still_not_healthy_is_waited_for_twice_the_health_timeout(after, going):
    """Its node does not report: nobody knows since when."""
    world = held(6)
    world.run(1000)
    world.pods[1] = replace(world.pods[1], reporting=False)
    shrink(world, 3)
    world.run(after)
    assert terminating(world) == going


def test_it_goes_on_when_the_broken_one_is_well_again():
    world = held(6)
    world.breaks(1)
    shrink(world, 3)
    world.run(20)
    world.heals(1)
    world.run(1)
    assert terminating(world) == [5]


def test_one_that_is_to_go_is_not_waited_for():
    world = held(6)
    world.breaks(5)
    shrink(world, 3)
    assert terminating(world) == [5]


def test_what_comes_and_goes_does_not_keep_it_for_ever():
    """Two instances that are never well together: each is unhealthy for a moment only."""
    world = held(6)
    world.breaks(0)
    shrink(world, 5)
    begun = world.now

    def swap(world: World) -> None:
        if not terminating(world):
            broken, well = (0, 1) if world.pods[0].ready else (1, 0)
            world.heals(well)
            pod = world.pods[well]
            world.pods[well] = replace(pod, ready=True, ready_since=world.now)
            world.breaks(broken)

    world.lives(650, swap, step=10)
    assert terminating(world) == [5]
    assert world.now - begun >= 600


def test_instances_without_a_pod_leave_at_once_and_count_nothing():
    world = held(6)
    world.quota = lambda _: "exceeded quota"
    for number in (3, 5):
        world.loses(number)
    world.run(5)
    shrink(world, 3)
    assert terminating(world) == [4]
    let_go(world, 4)
    assert sorted(world.pods) == [0, 1, 2]


def test_a_missing_instance_that_stays_is_waited_for_once():
    """Fewer instances may be what makes room for it."""
    world = held(6)
    world.quota = lambda _: "exceeded quota"
    world.loses(0)
    shrink(world, 3)
    world.run(295)
    assert terminating(world) == []
    world.run(10)
    for number in (5, 4, 3):
        assert terminating(world) == [number]
        let_go(world, number)
    assert sorted(world.pods) == [1, 2]


def test_scaled_out_again_in_the_middle():
    world = held(6)
    shrink(world, 3)
    shrink(world, 6)
    assert terminating(world) == [5]
    let_go(world, 5)
    world.run(10)
    assert sorted(world.pods) == list(range(6))
    assert terminating(world) == []
    assert "scaleIn" not in world.status


def test_a_smaller_size_in_the_middle_is_part_of_the_same():
    world = held(10)
    shrink(world, 7)
    let_go(world, 8, 9)
    shrink(world, 3)
    assert terminating(world) == [7]
    let_go(world, 7)
    assert terminating(world) == [5, 6]
    assert world.status["scaleIn"]["from"] == 10


def test_only_protected_ones_are_said_to_be_kept():
    guarded = [{"id": n, "protectFromScaleIn": True} for n in (1, 2)]
    world = held(5, protectedInstances=guarded)
    shrink(world, 1)
    assert condition(world, "Stalled")["message"] == "1 instances more than wanted are protected from scale-in."
    for number in (4, 3, 0):
        assert terminating(world) == [number]
        let_go(world, number)
    assert sorted(world.pods) == [1, 2]
    assert condition(world, "Ready")["reason"] == condition(world, "Stalled")["reason"] == "ScaleInProtected"
    world = held(5)
    shrink(world, 1)
    assert condition(world, "Stalled")["status"] == "False"


def test_none_goes_by_a_spec_that_is_refused():
    world = held(6)
    shrink(world, 3)
    world.change(instance_container="nobody")
    let_go(world, 5)
    world.run(60)
    assert terminating(world) == []
    world.change(instance_container=None)
    world.run(1)
    assert terminating(world) == [4]


def test_a_suspended_set_shrinks():
    world = held(6, suspend=True)
    shrink(world, 4)
    assert terminating(world) == [5]


def test_a_rollout_and_scaling_in_take_turns():
    world = running(6)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    assert rollout(world)["batch"]["instances"] == "0"
    world.held = set(range(6))
    shrink(world, 4)
    assert terminating(world) == []
    world.run(40)
    assert terminating(world) == [5]
    assert waits_for(world) == "ScalingIn"
    assert "batch" not in rollout(world)
    let_go(world, 5)
    let_go(world, 4)
    world.held = set()
    world.run(300)
    assert code(world) == "Completed"
    assert world.versions == dict.fromkeys(range(4), "2.0.0")


def test_a_rollout_that_waits_for_its_gate_does_not_keep_the_set_from_shrinking():
    world = running(6, by=policy(rolling={"maxUnhealthyInstancePercent": 5}))
    world.publish("2.0.0")
    world.breaks(0)
    shrink(world, 3)
    world.run(2000)
    assert sorted(world.pods) == [0, 1, 2]


def test_in_a_long_pause_it_goes_on():
    world = running(6, by=policy(rolling={"pauseTimeBetweenBatches": "P1D"}))
    world.publish("2.0.0")
    world.run(60)
    assert waits_for(world) == "Pause"
    world.change(replicas=3)
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2]


def test_a_pair_of_a_surging_batch_counts_as_one():
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.start = 1000.0
    world.publish("2.0.0")
    world.run(5)
    assert sorted(world.pods) == [0, 1, 2, 3, 4, 5]
    world.change(replicas=3)
    world.run(3000)
    assert len(world.pods) == 3
    assert code(world) != "RollingForward" or rollout(world)["waitingFor"]


def test_a_pod_that_does_not_end_is_told_and_given_up():
    world = held(6)
    shrink(world, 4)
    world.run(40)
    stalled = condition(world, "Stalled")
    assert stalled["reason"] == "PodsTerminating"
    assert "instances 5 do not end" in stalled["message"]
    assert terminating(world) == [5]
    world.run(300)
    assert terminating(world) == [4, 5]


def test_one_that_the_api_server_does_not_let_go_holds_up_nobody():
    world = running(6)

    def refuse(deletion: Deletion) -> str | None:
        return "a webhook says no" if deletion.instance == 5 else None

    world.keeps_alive = refuse
    world.change(replicas=3)
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2, 5]
    stalled = condition(world, "Stalled")
    assert (stalled["reason"], "a webhook says no" in stalled["message"]) == ("DeleteRefused", True)
    world.keeps_alive = lambda _: None
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2]


def test_nobody_goes_on_an_old_view_of_the_pods():
    world = running(6)
    world.change(replicas=3)
    plan = decide(world.snapshot())
    assert plan.needs.fresh
    assert plan.deletions == ()


def test_a_set_that_shrank_under_the_version_before_goes_on():
    """Its status does not say where it comes from, and its instances have left it already."""
    world = held(6)
    shrink(world, 3)
    del world.status["scaleIn"]
    world.run(5)
    assert terminating(world) == [5]
    let_go(world, 5)
    assert terminating(world) == [4]


def test_the_models_of_two_sizes_are_the_same():
    world = held(6, scaleInPolicy={"maxConcurrent": 2})
    model = world.model.name
    world.change(scale_in_policy=spec().scale_in_policy)
    assert world.model.name == model


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    percent=st.sampled_from([5, 20, 50, 100]),
    hurt=st.lists(st.tuples(st.sampled_from(["breaks", "heals", "loses"]), st.integers(0, 11)), max_size=6),
    models=st.booleans(),
)
def test_never_more_than_a_batch_goes(sizes, percent, hurt, models):
    """Watched asks it at every write."""
    world = Watched(spec=spec(replicas=10), policy=policy(mode="Rolling", rolling={"maxBatchInstancePercent": percent}))
    world.publish("1.0.0")
    world.run(20)
    for index, size in enumerate(sizes):
        world.change(replicas=size)
        if models and index == 1:
            new_model(world)
        world.run(3)
        for what, number in hurt[index : index + 2]:
            if number in world.pods and not world.pods[number].deleting:
                getattr(world, what)(number)
        world.run(2)
    for number in sorted(world.broken):
        world.heals(number)
    world.run(2500)
    assert len(world.pods) == sizes[-1]
