"""How changes of the model reach the instances: modes, apply-model, pins, another sku."""

import pytest

from tests.simulation.outcomes import code, counts, deleted, models, waits_for
from tests.simulation.scenes import apply_model, new_model, pin, running, start
from tests.simulation.world import World, policy


@pytest.mark.parametrize(
    ("mode", "batches"), [("Manual", None), ("Rolling", [[0], [1], [2], [3], [4]]), ("Automatic", [[0, 1, 2, 3, 4]])]
)
def test_how_a_model_change_reaches_the_instances(mode, batches):
    """Manual: when asked. Rolling: batch by batch. Automatic: all at once. The version stays what it was."""
    world = running(5, by=policy(mode=mode))
    groups: list[list[int]] = []

    def note(w: World) -> None:
        away = [n for n in range(5) if n not in w.pods or not w.pods[n].ready]
        if away and (not groups or groups[-1] != away):
            groups.append(away)

    new_model(world)
    world.settle()
    note(world)
    world.run(60, each=note)
    assert groups == (batches or [])
    assert (models(world) == {world.model.name}) is (batches is not None)
    assert set(world.versions.values()) == {"1.0.0"}
    assert world.status["osUpgradeHistory"] == [], "a model rollout is not in the history of images"


def test_a_model_rollout_starts_with_the_instances_that_are_broken():
    """Section 7: recovery is one kubectl apply; it reaches the failed instances first, through a closed gate."""
    world = running(5, by=policy(mode="Rolling"))
    for number in (2, 4):
        world.sickens(number)
    world.settle()
    new_model(world)
    world.run(60)
    assert deleted(world)[:2] == [2, 4]
    assert code(world) == "Completed"


def test_a_model_that_does_not_start_stops_after_one_batch_and_is_not_restored():
    world = running(5, by=policy(mode="Rolling"))
    new_model(world)
    world.broken.add(0)
    world.run(1000)
    assert code(world) == "Faulted"
    assert deleted(world) == [0]
    assert world.pods[0].model == world.model.name
    world.run(86400)
    assert deleted(world) == [0]


@pytest.mark.parametrize(
    ("value", "changed"), [("0,3", {0, 3}), ("1-2", {1, 2}), ("*", {0, 1, 2, 3, 4}), ("77", set())]
)
def test_apply_model_replaces_the_named_instances_at_once(value, changed):
    """As `az vmss update-instances`: without batches and gates, whatever the mode."""
    world = running(5)
    new_model(world)
    world.settle()
    world.sickens(4)
    apply_model(world, value)
    world.settle()
    assert {n for n, pod in world.pods.items() if pod.deleting} == changed
    world.run(60)
    assert {n for n, pod in world.pods.items() if pod.model == world.model.name} == changed
    assert not world.status.get("applying")


def test_a_long_list_in_apply_model_is_read_to_its_end():
    """An annotation may be long: no instance is left out, and no other one is hit where it would be cut."""
    world = running(100, by=policy(automatic=False))
    new_model(world)
    world.settle()
    asked = set(range(0, 100, 2)) | {99}
    apply_model(world, ", ".join(f"{n:>4}" for n in sorted(asked)))
    world.run(10)
    assert {n for n, pod in world.pods.items() if pod.model == world.model.name} == asked


@pytest.mark.parametrize("value", ["all", "0-", "1.5", "0-999999999999"])
def test_apply_model_with_something_else_is_refused_with_a_sentence(value):
    world = running(5)
    new_model(world)
    world.settle()
    apply_model(world, value)
    world.run(10)
    assert deleted(world) == []
    assert "Write ids as 0,3 or 0-3, or * for all." in world.events[-1].message


def test_apply_model_spares_protected_instances():
    world = running(3, protectedInstances=[{"id": 1, "protectFromScaleSetActions": True}])
    new_model(world)
    apply_model(world, "*")
    world.run(20)
    assert sorted(deleted(world)) == [0, 2]


def test_instances_being_replaced_at_once_are_not_forgotten_by_a_rollout():
    """A start by hand in the same moment waits for them, and Completed means them too (S14)."""
    world = running(3, by=policy(mode="Automatic", automatic=False))
    new_model(world)
    world.publish("2.0.0")
    start(world)
    world.settle()
    assert code(world) == "RollingForward"
    assert waits_for(world) == "ApplyingModel"
    world.run(100)
    assert code(world) == "Completed"
    assert counts(world) == (3, 0, 0, 0)
    assert set(world.versions.values()) == {"2.0.0"}


def test_apply_model_during_a_rollout_holds_the_next_batch_and_ends_nothing():
    """All instances away at once is what the user asked for, not a closed gate."""
    world = running(5)
    new_model(world)
    world.settle()
    world.start = 10.0
    world.publish("2.0.0")
    world.run(2)
    apply_model(world, "*")
    world.run(600)
    assert code(world) == "Completed"
    assert set(world.versions.values()) == {"2.0.0"}


def test_a_model_that_cannot_be_created_is_replaced_by_the_next_one():
    """Mode Automatic: all pods are away, the API server refuses the new ones; the fix has to get through."""
    world = running(5, by=policy(mode="Automatic"))
    new_model(world, "greedy")
    greedy = world.model.name
    world.quota = lambda creation: "exceeded quota: cpu" if creation.build.model == greedy else None
    world.run(60)
    assert world.pods == {}
    new_model(world, "modest")
    world.run(60)
    assert models(world) == {world.model.name}
    assert len(world.pods) == 5
    assert not world.status.get("applying")


@pytest.mark.parametrize("mode", ["Rolling", "Automatic"])
def test_a_pinned_version_is_a_model_change_and_may_go_down(mode):
    """S8: unless a user pinned one."""
    world = running(5, by=policy(mode=mode))
    world.publish("2.0.0")
    world.run(60)
    pin(world, "1.0.0")
    world.run(100)
    assert set(world.versions.values()) == {"1.0.0"}
    assert world.status["currentVersion"] == world.status["versions"] == "1.0.0"


@pytest.mark.parametrize("mode", ["Rolling", "Automatic"])
def test_from_a_pinned_version_back_to_latest_is_never_a_downgrade(mode):
    """`latest` means 1.5.0 where the instances run a pinned 2.0.0: they take the new model and keep their version."""
    world = running(5, by=policy(mode=mode))
    world.publish("1.5.0", created=world.now)
    world.publish("2.0.0", excluded=True)
    pin(world, "2.0.0")
    world.run(100)
    assert set(world.versions.values()) == {"2.0.0"}
    pin(world, "latest")
    world.run(100)
    assert set(world.versions.values()) == {"2.0.0"}
    assert models(world) == {world.model.name}


def test_a_model_rollout_leaves_the_version_alone_where_the_reference_is_the_same():
    """One protected instance on another reference does not drag the others to what latest means now."""
    world = running(5, by=policy(mode="Rolling", automatic=False))
    pin(world, "1.0.0")
    world.run(60)
    protected = [{"id": 4, "protectFromScaleSetActions": True}]
    world.spec = type(world.spec).model_validate(
        {**world.spec.model_dump(by_alias=True, exclude_defaults=True), "protectedInstances": protected}
    )
    pin(world, "latest")
    world.run(60)
    assert set(world.versions.values()) == {"1.0.0"}
    world.publish("2.0.0")
    world.run(60)
    new_model(world)
    world.run(60)
    assert set(world.versions.values()) == {"1.0.0"}
    assert {pod.model for n, pod in world.pods.items() if n != 4} == {world.model.name}


def test_another_sku_is_a_model_change_that_brings_its_own_versions():
    """The numbers of two definitions do not compare: 0.5.0 of the other sku is no downgrade."""
    world = running(5, by=policy(mode="Rolling"))
    other = world.catalogue[0].definition._replace(sku="preview")
    world.publish("0.5.0", definition=other)
    world.change(image_reference=world.spec.image_reference.model_copy(update={"sku": "preview"}))
    world.run(100)
    assert set(world.versions.values()) == {"0.5.0"}
    assert world.status["currentVersion"] == "0.5.0"


def test_in_mode_manual_another_sku_waits_for_the_user():
    """An image upgrade never changes the sku: neither the platform's nor one by hand."""
    world = running(5)
    world.publish("9.0.0", definition=world.catalogue[0].definition._replace(sku="preview"))
    world.change(image_reference=world.spec.image_reference.model_copy(update={"sku": "preview"}))
    world.run(60)
    start(world)
    world.run(60)
    assert deleted(world) == []
    apply_model(world, "*")
    world.run(60)
    assert set(world.versions.values()) == {"9.0.0"}
