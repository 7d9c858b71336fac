"""How many instances there are and which."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleset.planner.decide import decide
from tests.simulation.outcomes import code, condition, deleted
from tests.simulation.scenes import BAD, new_model, running, start, stopped_by_the_gate
from tests.simulation.world import EPOCH, World, policy, spec, version


def protect(world: World, *instances: Mapping[str, object]) -> None:
    raw = world.spec.model_dump(by_alias=True, exclude_defaults=True)
    world.spec = type(world.spec).model_validate({**raw, "protectedInstances": list(instances)})


@pytest.mark.parametrize("replicas", [0, 1, 2, 5, 100, 1000])
def test_a_new_set_has_ids_from_zero(replicas):
    world = World(spec=spec(replicas=replicas, singlePlacementGroup=False))
    world.publish("1.0.0")
    world.run(5)
    assert sorted(world.pods) == list(range(replicas))
    assert world.status["currentVersion"] == "1.0.0"
    assert condition(world, "Ready")["status"] == "True"


def test_a_new_instance_takes_the_lowest_free_id():
    world = running(5)
    protect(world, {"id": 4, "protectFromScaleIn": True})
    world.change(replicas=2)
    world.run(5)
    assert sorted(world.pods) == [0, 4]
    world.change(replicas=4)
    world.run(5)
    assert sorted(world.pods) == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("protected", "left"),
    [
        ([], [0, 1]),
        ([{"id": 4, "protectFromScaleIn": True}], [0, 4]),
        ([{"id": 3, "protectFromScaleSetActions": True}], [0, 3]),
        ([{"id": 4, "protectFromScaleIn": False}], [0, 1]),
    ],
    ids=["highest first", "protected from scale-in", "protected from everything", "not protected"],
)
def test_scaling_in_removes_the_highest_ids_that_may_go(protected, left):
    world = running(5)
    protect(world, *protected)
    world.change(replicas=2)
    world.run(5)
    assert sorted(world.pods) == left


@pytest.mark.parametrize(
    ("policy", "protected", "replicas", "left"),
    [
        ({"preferredInstances": [3, 1]}, [], 3, [0, 2, 4]),
        ({"preferredInstances": [3, 1]}, [], 4, [0, 1, 2, 4]),
        ({"preferredInstances": [1, 3]}, [], 4, [0, 2, 3, 4]),
        ({"preferredInstances": [3]}, [], 3, [0, 1, 2]),
        ({"preferredInstances": [3, 3, 70]}, [], 4, [0, 1, 2, 4]),
        ({"preferredInstances": [3]}, [{"id": 3, "protectFromScaleIn": True}], 4, [0, 1, 2, 3]),
        ({"preferredInstances": [0], "rules": ["OldestVM"]}, [], 3, [2, 3, 4]),
        ({"preferredInstances": []}, [], 4, [0, 1, 2, 3]),
    ],
)
def test_scaling_in_takes_preferred_instances_first(policy, protected, replicas, left):
    world = running(5, scaleInPolicy=policy)
    protect(world, *protected)
    world.change(replicas=replicas)
    world.run(10)
    assert sorted(world.pods) == left


def test_a_preferred_instance_goes_before_its_zone_is_the_fullest():
    """What a person chose comes first; the others balance the zones again."""
    world = running(6, zones=["a", "b"], scaleInPolicy={"preferredInstances": [0]})
    world.change(replicas=3)
    world.run(30)
    assert sorted(world.pods) == [1, 2, 3]


@pytest.mark.parametrize(("first", "left"), [(True, [0, 2, 4, 5]), (False, [0, 1, 2, 3]), (None, [0, 1, 2, 3])])
def test_scaling_in_takes_unhealthy_instances_first_where_that_is_wanted(first, left):
    world = running(6, scaleInPolicy={} if first is None else {"prioritizeUnhealthyInstances": first})
    world.breaks(1)
    world.breaks(3)
    world.change(replicas=4)
    world.run(2000)
    assert sorted(world.pods) == left


def test_preferred_instances_go_before_unhealthy_ones():
    world = running(6, scaleInPolicy={"prioritizeUnhealthyInstances": True, "preferredInstances": [4]})
    world.breaks(1)
    world.change(replicas=5)
    world.run(2000)
    assert sorted(world.pods) == [0, 1, 2, 3, 5]


def test_a_preferred_instance_leaves_the_running_batch():
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(10)
    assert world.state.rollout is not None
    assert world.state.rollout.in_progress == {0}
    world.change(
        replicas=4, scale_in_policy=world.spec.scale_in_policy.model_copy(update={"preferred_instances": (0,)})
    )
    world.run(600)
    assert sorted(world.pods) == [1, 2, 3, 4]
    assert code(world) == "Completed"


# --- the lowest id


def test_ids_begin_where_the_spec_says():
    world = running(3, ordinals={"start": 5})
    assert sorted(world.pods) == [5, 6, 7]
    world.change(replicas=1)
    world.run(30)
    assert sorted(world.pods) == [5]
    world.change(replicas=4)
    world.run(30)
    assert sorted(world.pods) == [5, 6, 7, 8]


def test_new_instances_of_a_surge_have_no_lower_ids():
    world = running(2, by=policy(rolling={"maxSurge": True}), ordinals={"start": 5})
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert min(world.pods) >= 5
    assert len(world.pods) == 2


def test_protection_wins_over_the_count_and_says_so():
    world = running(3)
    protect(world, *({"id": n, "protectFromScaleIn": True} for n in range(3)))
    world.change(replicas=1)
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2]
    assert condition(world, "Stalled")["reason"] == "ScaleInProtected"


def test_a_lost_instance_keeps_its_age():
    """The age is the instance's, not its present pod's: it is written on every new pod."""
    world = running(3)
    world.loses(1)
    (creation,) = decide(world.snapshot(ages={1: EPOCH - 500})).creations
    assert (creation.instance, creation.created_at) == (1, EPOCH - 500)


def versions_after_scaling_out(world: World, replicas: int) -> set[str]:
    before = set(world.pods)
    world.change(replicas=replicas)
    world.step()
    return {world.pods[n].version for n in world.pods.keys() - before}


def test_new_instances_get_what_latest_means():
    world = running(3, by=policy(automatic=False))
    world.publish("2.0.0")
    world.settle()
    assert versions_after_scaling_out(world, 5) == {"2.0.0"}


def test_while_a_rollout_runs_they_get_what_is_proven():
    world = running(10)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    assert versions_after_scaling_out(world, 12) == {"1.0.0"}


def test_after_a_failed_rollout_they_get_what_is_proven():
    """Scaling out must not spread a bad image."""
    world = running(10)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert code(world) == "Faulted"
    assert versions_after_scaling_out(world, 12) == {"1.0.0"}


def test_after_one_that_the_gate_ended_they_get_what_is_proven():
    """That version did not fail and is tried again: until then nobody knows it."""
    world = stopped_by_the_gate()
    assert code(world) == "Faulted"
    assert world.state.failed_targets == ()
    assert versions_after_scaling_out(world, 12) == {"1.0.0"}


def test_after_a_completed_one_they_get_the_new_one():
    world = running(3)
    world.publish("2.0.0")
    world.run(60)
    assert versions_after_scaling_out(world, 5) == {"2.0.0"}


def scaled_out_onto_a_bad_version(**rolling: object) -> World:
    """In the moment between its publication and its first rollout; the fix follows."""
    world = running(2, by=policy(rolling=rolling))
    world.publish("2.0.0", suffix=BAD)
    world.change(replicas=3)
    world.run(400)
    assert world.versions == {0: "1.0.0", 1: "1.0.0", 2: "2.0.0"}
    world.publish("3.0.0")
    world.run(400)
    return world


def test_one_that_came_before_the_first_rollout_of_a_bad_version_does_not_lock_the_fix_out_of_a_small_set():
    world = scaled_out_onto_a_bad_version()
    assert world.versions == dict.fromkeys(range(3), "3.0.0")


def test_unless_unhealthy_instances_go_first():
    world = scaled_out_onto_a_bad_version(prioritizeUnhealthyInstances=True)
    assert world.versions == {0: "3.0.0", 1: "3.0.0", 2: "3.0.0"}


def test_they_always_get_the_newest_model():
    world = running(3)
    new_model(world)
    world.settle()
    world.change(replicas=4)
    world.run(5)
    assert world.pods[3].model == world.model.name


def test_a_proven_version_that_was_withdrawn_still_makes_instances():
    """The image is written down: deleting an old version does not stop scaling out."""
    world = running(10)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    del world.catalogue[0]
    assert versions_after_scaling_out(world, 11) == {"1.0.0"}


def test_while_a_republished_image_is_rolled_out_they_get_the_proven_image():
    """Two images of one version: the instance that was replaced last does not decide."""
    world = running(10)
    world.start = 30.0
    world.catalogue[0] = version("1.0.0", suffix="-again", name="web-again")
    world.run(5)
    assert code(world) == "RollingForward"
    world.change(replicas=11)
    world.step()
    assert dict(world.pods[0].images)["app"] == "example.com/web:1.0.0-again"
    assert dict(world.pods[10].images)["app"] == "example.com/web:1.0.0"


def test_a_set_born_before_its_image_begins_when_it_is_published():
    world = World(spec=spec(replicas=2))
    world.run(60)
    assert world.pods == {}
    assert condition(world, "Accepted")["reason"] == "ImageNotFound"
    world.publish("1.0.0")
    world.run(5)
    assert set(world.versions.values()) == {"1.0.0"}


def test_a_start_after_scaling_from_nothing():
    """N = 0: nothing is outdated, a start completes at once, and new instances are current."""
    world = World(spec=spec(replicas=0), policy=policy(automatic=False))
    world.publish("1.0.0")
    world.run(5)
    start(world)
    world.run(5)
    assert code(world) == "Completed"
    world.publish("2.0.0")
    world.change(replicas=3)
    world.run(10)
    assert set(world.versions.values()) == {"2.0.0"}


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6), apart=st.lists(st.integers(0, 11), max_size=3))
def test_any_sequence_of_sizes_ends_at_the_last_one(sizes, apart):
    """And deletes no instance that the last size keeps in vain: ids stay unique and as low as they were free."""
    world = running(3)
    for size in sizes:
        world.change(replicas=size)
        for number in apart:
            world.loses(number)
        world.run(3)
    assert len(world.pods) == sizes[-1]
    assert sorted(world.pods) == list(range(sizes[-1]))
    assert all(pod.version == "1.0.0" for pod in world.pods.values())
    assert deleted(world) == [n for n in deleted(world) if n >= min(sizes)]
