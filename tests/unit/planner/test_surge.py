"""Max surge: new instances beside the old ones, never fewer healthy than before."""

from copy import deepcopy
from typing import Any

import pytest

from scaleset.planner.placement import place
from scaleset.planner.plan import Creation
from scaleset.planner.ranges import parse
from scaleset.planner.scaling import without
from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout
from tests.simulation.scenes import BAD, cancel, new_model, running, start
from tests.simulation.world import OWNER, World, policy

CLAIMS = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]


def surging(replicas: int = 10, *, rolling: dict[str, Any] | None = None, **changes: Any) -> World:
    return running(replicas, by=policy(rolling={"maxSurge": True, **(rolling or {})}), **changes)


def healthy(world: World) -> int:
    return sum(pod.ready and not pod.deleting for pod in world.pods.values())


def at_least(number: int) -> Any:
    def check(world: World) -> None:
        assert healthy(world) >= number, (world.now, sorted(world.pods), world.writes[-10:])

    return check


def full_at(limit: int) -> Any:
    """A quota of so many pods."""

    def quota(world: World) -> Any:
        def refuse(creation: Creation) -> str | None:
            if len(world.pods) < limit:
                return None
            return f'pods "{OWNER.instance(creation.instance)}" is forbidden: exceeded quota: pods, limited: {limit}'

        return refuse

    return quota


@pytest.mark.parametrize("replicas", [1, 2, 4, 5, 9, 10, 99, 100])
def test_there_are_never_fewer_healthy_ones_than_wanted(replicas):
    world = surging(replicas)
    world.publish("2.0.0")
    limit = max(1, replicas // 5)

    def check(w: World) -> None:
        at_least(replicas)(w)
        assert len([pod for pod in w.pods.values() if not pod.deleting]) <= replicas + limit

    world.run(4 * (replicas // limit + 4), each=check)
    assert code(world) == "Completed"
    assert counts(world) == (replicas, 0, 0, 0)
    assert set(world.versions.values()) == {"2.0.0"}
    assert len(world.pods) == replicas
    assert reasons(world).count("BatchStarted") == -(-replicas // limit)


def test_new_instances_take_free_ids_and_are_named_in_the_status():
    world = surging(5)
    world.publish("2.0.0")
    world.settle()
    batch = rollout(world)["batch"]
    assert (batch["instances"], batch["surge"], batch["replaces"]) == ("5", "5", "0")
    assert counts(world) == (0, 0, 1, 4)
    assert world.versions == {**dict.fromkeys(range(5), "1.0.0"), 5: "2.0.0"}
    assert "creating instances 5 in place of 0" in world.events[-1].message
    assert condition(world, "Stalled")["status"] == "False"
    assert condition(world, "Available")["status"] == "True"
    world.run(60)
    assert parse(rollout(world)["successful"]) == world.pods.keys()
    assert len(world.pods) == 5


def test_scaling_out_afterwards_fills_the_gap():
    world = surging(5)
    world.publish("2.0.0")
    world.run(60)
    before = world.pods.keys()
    gap = next(number for number in range(6) if number not in before)
    world.change(replicas=6)
    world.run(30)
    assert sorted(world.pods) == sorted({*before, gap})


def test_scaling_out_meanwhile_does_not_wait_for_the_batch():
    """The new instances of the batch are on top of the wanted number."""
    world = surging(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    assert sorted(world.pods) == list(range(6))
    world.change(replicas=7)
    world.run(5)
    assert sorted(world.pods) == list(range(8))
    assert {world.versions[number] for number in (6, 7)} == {"1.0.0"}


def test_an_instance_that_still_terminates_keeps_its_id():
    world = surging(5)
    world.publish("2.0.0")
    world.settle()
    world.held.update({0, 1})
    world.run(60, each=at_least(5))
    assert (world.pods[0].deleting, world.pods[1].deleting) == (True, True)
    assert code(world) == "Completed"
    assert len(world.pods) == 7


@pytest.mark.parametrize("zones", [["a", "b"], ["a", "b", "c"]])
@pytest.mark.parametrize("cross", [True, False])
def test_each_new_instance_is_in_the_zone_of_the_one_that_it_replaces(zones, cross):
    world = surging(9, zones=zones, rolling={"enableCrossZoneUpgrade": cross, "maxBatchInstancePercent": 50})
    world.loses(4)
    world.run(30)
    world.publish("2.0.0")
    before = sorted(n % len(zones) for n in world.pods)

    def check(w: World) -> None:
        batch = w.status.get("rollingUpgrade", {}).get("batch")
        if not batch:
            return
        pairs = zip(sorted(parse(batch.get("surge"))), sorted(parse(batch.get("replaces"))), strict=True)
        for new, old in pairs:
            assert place(new, zones=len(zones), update_domains=1) == place(old, zones=len(zones), update_domains=1)

    world.run(120, each=check)
    assert code(world) == "Completed"
    assert sorted(n % len(zones) for n in world.pods) == before


# Failure


@pytest.mark.parametrize("replicas", [1, 5, 10])
def test_a_bad_image_leaves_every_old_instance_untouched(replicas):
    world = surging(replicas)
    before = {number: pod.uid for number, pod in world.pods.items()}
    world.publish("2.0.0", suffix=BAD)
    world.run(1500, each=at_least(replicas))
    touched = max(1, replicas // 5)
    assert code(world) == "Faulted"
    assert counts(world) == (0, touched, 0, replicas - touched)
    assert {number: pod.uid for number, pod in world.pods.items()} == before
    assert len(parse(rollout(world)["failed"])) == touched
    assert rollout(world)["restored"] == rollout(world)["failed"]
    info = world.status["osUpgradeHistory"][0]["properties"]["rollbackInfo"]
    assert (info["successfullyRolledbackInstanceCount"], info["failedRolledbackInstanceCount"]) == (touched, 0)
    assert rollout(world)["error"]["details"][0]["target"] == "web/instances/0"
    assert world.status["currentVersion"] == "1.0.0"


def test_a_start_by_hand_removes_a_failed_new_instance_and_restores_nothing():
    world = running(5, by=policy(automatic=False, rolling={"maxSurge": True}))
    world.publish("2.0.0", suffix=BAD)
    start(world)
    world.run(1500, each=at_least(5))
    assert (code(world), counts(world)) == ("Faulted", (0, 1, 0, 4))
    assert rollout(world)["restored"] == ""
    assert world.versions == dict.fromkeys(range(5), "1.0.0")


def test_an_old_instance_that_is_broken_itself_is_not_restored_to_health():
    world = surging(10, rolling={"prioritizeUnhealthyInstances": True})
    world.breaks(3)
    world.run(30)
    world.publish("2.0.0", suffix=BAD)
    world.run(1500)
    assert sorted(parse(rollout(world)["failed"])) == [0, 3] or 3 in parse(rollout(world)["failed"])
    assert 3 in parse(rollout(world)["restoreFailed"])
    assert 3 not in parse(rollout(world)["restored"])


def test_one_bad_node_does_not_stop_the_others():
    """One of ten new instances fails, which is within the limits: its old one stays, the rest is upgraded."""
    world = surging(10, rolling={"maxUnhealthyUpgradedInstancePercent": 50})
    world.publish("2.0.0")
    world.settle()
    world.sick.add(world.pods[10].uid)
    world.run(330, each=at_least(10))
    assert code(world) == "Completed"
    assert counts(world) == (9, 1, 0, 0)
    assert sorted(world.versions.values()) == ["1.0.0", *["2.0.0"] * 9]


# No room


def with_quota(world: World, limit: int) -> World:
    world.quota = full_at(limit)(world)
    return world


def no_room(number: int) -> Verdict:
    return Verdict(accepted=number < 5, message="exceeded quota: pods", quota=number >= 5)


def test_a_dry_run_that_finds_no_room_means_in_place_and_is_said():
    world = surging(5)
    world.admit = no_room
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert counts(world) == (5, 0, 0, 0)
    assert sorted(world.versions) == [0, 1, 2, 3, 4]
    said = [event.message for event in world.events if event.reason == "SurgeRefused"]
    assert len(said) == 5
    assert said[0] == "No room for more instances, upgrading without surge: exceeded quota: pods"


def test_a_dry_run_that_is_refused_for_another_reason_deletes_nothing():
    world = surging(5)
    world.admit = lambda _: Verdict(accepted=False, message="the image is not allowed")
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Faulted"
    assert "the image is not allowed" in rollout(world)["error"]["message"]
    assert deleted(world) == []


@pytest.mark.parametrize("room", [0, 1])
def test_a_quota_that_the_dry_run_did_not_see_means_in_place_for_the_rest_of_the_batch(room):
    """Of a batch of two `room` new instances fit in."""
    world = with_quota(surging(10), 10 + room)
    world.publish("2.0.0")
    world.run(0 if room else 2)  # where nothing else happens, until it asks again for what was refused
    batch = rollout(world)["batch"]
    assert len(parse(batch.get("surge"))) == room
    assert counts(world) == (0, 0, 2, 8)
    world.run(120, each=at_least(8))  # a pod that terminates counts in a quota
    assert code(world) == "Completed"
    assert counts(world) == (10, 0, 0, 0)
    assert set(world.versions.values()) == {"2.0.0"}
    assert len(world.pods) == 10
    assert "SurgeRefused" in reasons(world)


def test_in_place_after_a_refusal_restores_as_in_place():
    world = with_quota(surging(5), 5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1500)
    assert code(world) == "Faulted"
    assert (rollout(world)["failed"], rollout(world)["restored"]) == ("0", "0")
    assert world.versions == dict.fromkeys(range(5), "1.0.0")
    assert healthy(world) == 5


def test_another_refusal_of_a_new_instance_takes_no_old_one_down():
    """What is not a quota would be refused in place as well: then an instance would be missing."""
    world = surging(5)
    world.quota = lambda creation: "admission webhook denied the request: closed" if creation.instance >= 5 else None
    world.publish("2.0.0")
    world.run(303, each=at_least(5))
    assert code(world) == "Faulted"
    assert counts(world) == (0, 1, 0, 4)
    assert "closed" in rollout(world)["error"]["message"]
    world.run(1200, each=at_least(5))
    assert deleted(world) == []
    assert world.state.failed_targets == (), "its image never ran"
    assert rollout(world)["id"] > "1", "it is tried again"


def test_a_set_with_claims_is_upgraded_in_place():
    world = surging(5, volumeClaimTemplates=CLAIMS)
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert sorted(world.versions) == [0, 1, 2, 3, 4]
    assert deleted(world) == [0, 1, 2, 3, 4]
    assert "SurgeRefused" not in reasons(world)


# Crashes and interference


def test_killed_after_any_single_write_it_goes_on(monkeypatch):
    """The operator dies after the n-th write of the rollout, for every n, and starts again from the status."""
    base = surging(5)
    base.publish("2.0.0")
    begun = deepcopy_of(base)
    begun.run(60)
    total = len(begun.writes)
    assert total > 10
    for dies_after in range(total):
        world = deepcopy_of(base)
        left = dies_after
        for _ in range(40):
            plan = world.plan()
            steps = world.actions(plan)
            if len(steps) > left:
                world.step(writes=left)
                break
            left -= len(steps)
            world.step()
            world.now += 1
            world.happen()
        world.run(80, each=at_least(5))
        assert code(world) == "Completed", dies_after
        assert sorted(world.versions.values()) == ["2.0.0"] * 5, dies_after
        assert counts(world) == (5, 0, 0, 0)


def deepcopy_of(world: World) -> World:
    copy = deepcopy(world)
    copy.verdict, copy.admit, copy.quota, copy.turn = world.verdict, world.admit, world.quota, world.turn
    return copy


@pytest.mark.parametrize(("replicas", "most"), [(8, 10), (5, 10), (1, 10), (12, 14)])
@pytest.mark.parametrize("rule", ["Default", "OldestVM", "NewestVM"])
def test_scaling_in_the_middle_of_a_batch(replicas, most, rule):
    world = surging(10, scaleInPolicy={"rules": [rule]})
    world.publish("2.0.0")
    world.settle()
    assert parse(rollout(world)["batch"]["surge"])
    world.change(replicas=replicas)

    def check(w: World) -> None:
        assert healthy(w) >= min(10, replicas)
        assert len(w.pods) <= max(most, replicas) + 2

    world.run(200, each=check)
    assert code(world) == "Completed"
    assert len(world.pods) == replicas
    assert set(world.versions.values()) == {"2.0.0"}
    successful, failed, in_progress, pending = counts(world)
    assert (failed, in_progress, pending) == (0, 0, 0)
    assert successful <= replicas


def test_cancelling_lets_the_batch_end_and_leaves_no_extra_instance():
    world = surging(10)
    world.publish("2.0.0")
    world.settle()
    cancel(world)
    world.run(60, each=at_least(10))
    assert code(world) == "Cancelled"
    assert counts(world) == (2, 0, 0, 8)
    assert len(world.pods) == 10
    assert sorted(world.versions.values()) == [*["1.0.0"] * 8, *["2.0.0"] * 2]


def test_an_old_or_new_instance_that_is_lost_meanwhile_comes_back():
    world = surging(5)
    world.start = 10
    world.publish("2.0.0")
    world.settle()
    world.loses(5)
    world.loses(0)
    world.run(200)
    assert code(world) == "Completed"
    assert sorted(world.versions.values()) == ["2.0.0"] * 5


def test_a_model_rollout_surges_too():
    world = running(5, by=policy(mode="Rolling", automatic=False, rolling={"maxSurge": True}))
    new_model(world)
    world.run(60, each=at_least(5))
    assert code(world) == "Completed"
    assert {pod.model for pod in world.pods.values()} == {world.model.name}
    assert {pod.version for pod in world.pods.values()} == {"1.0.0"}


def test_protected_instances_are_passed_over():
    world = surging(5, protectedInstances=[{"id": 1, "protectFromScaleSetActions": True}])
    uid = world.pods[1].uid
    world.publish("2.0.0")
    world.run(60, each=at_least(5))
    assert code(world) == "Completed"
    assert world.pods[1].uid == uid
    assert sorted(world.versions.values()) == ["1.0.0", *["2.0.0"] * 4]


def test_the_free_ids_are_taken_without_gaps_and_may_go_back_to_what_the_old_ones_ran():
    world = surging(10)
    world.publish("2.0.0")
    world.step()
    assert rollout(world)["batch"]["surge"] == "10-11"
    assert {number: build.version for number, build in world.state.previous.items()} == {10: "1.0.0", 11: "1.0.0"}


@pytest.mark.parametrize("gone", [{10}, {0}, {0, 10}])
def test_whoever_takes_the_id_of_one_that_went_belongs_to_nobody(gone):
    world = surging(10)
    world.publish("2.0.0")
    world.settle()
    left = without(world.state, frozenset(gone)).rollout
    assert left is not None
    assert left.batch is not None
    assert left.batch.pairs == {11: 1}
