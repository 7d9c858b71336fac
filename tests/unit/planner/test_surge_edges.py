"""Where max surge meets other features."""

from typing import Any

import pytest

from scaleset.planner import surge
from scaleset.planner.pod_builder import Identity
from scaleset.planner.ranges import parse
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import ask, new_model, running
from tests.simulation.world import World, policy

FABRIC = {"durabilityLevel": "Gold", "nodeTypeDurabilityLevel": "Gold", "typeHandlerVersion": "1.1"}


def surging(replicas: int = 5, *, mode: str = "Manual", rolling: dict[str, Any] | None = None, **spec: Any) -> World:
    return running(replicas, by=policy(mode=mode, rolling={"maxSurge": True, **(rolling or {})}), **spec)


@pytest.mark.parametrize(("length", "surges"), [(61, True), (62, False)])
def test_a_name_too_long_for_the_next_id_means_in_place(length, surges, monkeypatch):
    """`<name>-10` has three characters more than the name; a host name has at most 63."""
    world = surging(10)
    world.publish("2.0.0")
    name = "n" * (length - 1)
    monkeypatch.setattr(Identity, "instance", lambda _self, number: f"{name}-{number}")
    assert (len(f"{name}-10") <= 63) is surges
    world.settle()
    batch = rollout(world)["batch"]
    assert bool(batch.get("surge")) is surges


def test_the_batch_is_said_to_go_on_while_old_instances_leave():
    """S14: in every status of a running rollout there is a reason."""
    world = surging(5)
    world.publish("2.0.0")
    told: list[dict[str, Any]] = []

    def note(world: World) -> None:
        told.extend(p.status["rollingUpgrade"] for p in world.plans if p.status.get("rollingUpgrade"))
        world.plans.clear()

    world.run(60, each=note)
    assert code(world) == "Completed"
    assert [run for run in told if run["runningStatus"]["code"] == "RollingForward" and not run["waitingFor"]] == []
    assert any("to be deleted" in run["waitingFor"]["message"] for run in told if run["waitingFor"])


def test_scaling_out_as_the_old_one_goes_keeps_as_many_healthy_as_there_were():
    world = surging(1)
    world.publish("2.0.0")
    world.settle()
    world.now += 2
    world.happen()
    world.change(replicas=3)
    world.run(60, each=lambda w: _healthy(w, 1))
    assert set(world.versions.values()) == {"2.0.0"}
    assert len(world.pods) == 3


def _healthy(world: World, least: int) -> None:
    assert sum(pod.ready and not pod.deleting for pod in world.pods.values()) >= least


def test_protection_from_scale_in_does_not_keep_an_instance_from_being_upgraded():
    """Azure: upgrades are not blocked. Beside it a new one is made, with an id of its own."""
    world = surging(3, protectedInstances=[{"id": 1, "protectFromScaleIn": True}])
    world.publish("2.0.0")
    world.run(60)
    assert (code(world), counts(world)) == ("Completed", (3, 0, 0, 0))
    assert set(world.versions.values()) == {"2.0.0"}


def test_an_instance_protected_while_its_successor_starts_stays_and_the_successor_goes():
    world = surging(5)
    world.start = 10.0
    uid = world.pods[0].uid
    world.publish("2.0.0")
    world.run(2)
    protected = running(1, protectedInstances=[{"id": n, "protectFromScaleSetActions": True} for n in (0, 1)])
    world.change(protected_instances=protected.spec.protected_instances)
    world.run(200)
    assert code(world) == "Completed"
    assert world.pods[0].uid == uid
    assert (world.versions[0], world.versions[1]) == ("1.0.0", "1.0.0")
    assert counts(world) == (3, 0, 0, 0)
    assert len(world.pods) == 5


def test_there_is_nothing_to_roll_back_after_a_breach():
    """The old ones of failed new instances were never taken down."""
    rolling = {"rollbackFailedInstancesOnPolicyBreach": True, "maxBatchInstancePercent": 40}
    world = surging(5, mode="Rolling", rolling=rolling)
    before = {number: pod.uid for number, pod in world.pods.items()}
    new_model(world)
    world.settle()
    new = parse(rollout(world)["batch"]["surge"])
    world.sick.update(world.pods[number].uid for number in new)
    world.run(1000)
    assert code(world) == "Faulted"
    assert {number: pod.uid for number, pod in world.pods.items()} == before
    assert "RollingBack" not in reasons(world)


def test_a_service_fabric_set_walks_the_update_domains_of_the_old_ones():
    rolling = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}
    world = surging(6, mode="Automatic", rolling=rolling, serviceFabric=FABRIC, updateDomains=3)
    world.publish("2.0.0")
    walked: list[frozenset[int]] = []

    def note(world: World) -> None:
        batch = rollout(world).get("batch")
        if batch and (olds := parse(batch["replaces"])) not in walked:
            walked.append(olds)

    world.settle()
    note(world)
    world.run(60, each=note)
    assert code(world) == "Completed"
    assert walked == [{0, 3}, {1, 4}, {2, 5}]


def test_no_room_for_one_batch_is_no_verdict_about_the_next():
    """Azure asks before each batch."""
    world = surging(5)
    world.quota = lambda creation: f"{surge.QUOTA}: pods" if creation.instance >= 5 and len(world.pods) >= 5 else None
    world.start = 10.0
    world.publish("2.0.0")
    world.run(2)
    assert not rollout(world)["batch"].get("surge"), "in place"
    world.quota = lambda _: None
    world.run(200)
    assert code(world) == "Completed"
    assert deleted(world)[0] == 0
    assert reasons(world).count("SurgeRefused") == 1
    assert len(world.pods) == 5
    assert any("creating instances" in event.message for event in world.events)


def keeping_0() -> World:
    world = surging(5)
    world.keeps_alive = lambda deletion: "ask the security team" if deletion.instance == 0 else None
    world.publish("2.0.0")
    world.run(5)
    assert waits_for(world) == "DeleteRefused"
    assert "ask the security team" in condition(world, "Stalled")["message"]
    return world


def test_an_old_one_that_must_not_be_deleted_stays_and_its_successor_goes_in_time():
    world = keeping_0()
    uid = world.pods[0].uid
    world.run(600)
    assert world.pods[0].uid == uid
    assert len(world.pods) == 5
    assert world.state.failed_targets == ()
    world.run(200)
    assert world.pods[0].uid == uid
    assert list(world.versions.values()).count("2.0.0") >= 4, "the others are upgraded"


def test_cancelling_ends_that_wait_at_once():
    world = keeping_0()
    ask(world, "scaleset.dev/cancel-upgrade-at")
    world.run(2)
    assert code(world) == "Cancelled"
    assert set(world.versions.values()) == {"1.0.0"}
    assert len(world.pods) == 5


def test_a_refused_delete_of_one_that_is_scaled_in_is_told():
    world = running(3)
    world.keeps_alive = lambda deletion: "ask the security team" if deletion.instance == 2 else None
    world.change(replicas=2)
    world.run(5)
    assert condition(world, "Stalled")["reason"] == "DeleteRefused"
    world.keeps_alive = lambda _: None
    world.run(5)
    assert condition(world, "Stalled")["status"] == "False"
    assert sorted(world.pods) == [0, 1]


def test_an_old_one_is_kept_whose_successor_broke_before_it_could_go():
    world = surging(5)
    world.start = 5.0
    world.keeps_alive = lambda _: "not now"
    world.publish("2.0.0")
    world.run(8)
    uid = world.pods[0].uid
    world.sickens(5)
    world.keeps_alive = lambda _: None
    world.memory.delete_errors.clear()
    world.settle()
    assert world.pods[0].uid == uid
    assert not world.pods[0].deleting
    world.run(5)
    assert code(world) == "Faulted"
    assert len(world.pods) == 5
    assert set(world.versions.values()) == {"1.0.0"}
