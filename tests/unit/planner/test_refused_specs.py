"""A spec that is refused is not acted on: the last accepted one stays, its size too.

InvalidSpec refuses a spec as a whole. What only misses something outside it is about new pods, and leaves the size to
the user.
"""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner.decide import decide
from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import code, condition, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import BAD, apply_model, new_model, running
from tests.simulation.world import OWNER, World, policy, spec

FABRIC = {"durabilityLevel": "Silver", "nodeTypeDurabilityLevel": "Silver", "typeHandlerVersion": "1.1"}
TOO_FEW = "Durability Silver needs at least 5 instances; spec.replicas is 4."


def fabric(replicas: int = 6, **changes: Any) -> World:
    return running(replicas, by=policy(mode="Automatic"), serviceFabric=FABRIC, **changes)


def say(world: World) -> str:
    return str(condition(world, "Accepted")["message"])


def invalid(world: World, **changes: Any) -> None:
    """The user names a container that there is not."""
    world.change(instance_container="nobody", **changes)


def test_shrinking_below_five_is_refused_and_not_done():
    world = fabric(6)
    before = {number: pod.uid for number, pod in world.pods.items()}
    world.change(replicas=4)
    world.run(60)
    assert say(world) == f"{TOO_FEW} Until then the set keeps its size of 6."
    assert {number: pod.uid for number, pod in world.pods.items()} == before
    assert world.status["acceptedReplicas"] == 6
    assert condition(world, "Stalled")["status"] == "True"
    assert reasons(world).count("InvalidSpec") == 1


def test_a_highest_id_that_makes_a_host_name_too_long_is_refused():
    """Where the CRDs are those of an earlier release, nobody else says so."""
    world = World(spec=spec(replicas=6, ordinals={"start": 995}))
    world.publish("1.0.0")
    long = OWNER._replace(name="a" * 59)
    plan = decide(world.snapshot(owner=long))
    accepted = next(c for c in plan.status["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "InvalidSpec"
    assert f"{long.name}-1000 would be the name of the highest instance" in accepted["message"]
    assert plan.creations == ()


def test_once_the_size_is_right_it_is_carried_out():
    world = fabric(7)
    world.change(replicas=4)
    world.run(30)
    assert len(world.pods) == 7
    world.change(replicas=5)
    world.run(30)
    assert sorted(world.pods) == [0, 1, 2, 3, 4]
    assert condition(world, "Ready")["status"] == "True"


def test_where_only_automatic_upgrades_need_five_fewer_are_fine_without():
    world = fabric(6)
    world.policy = policy(mode="Automatic", automatic=False)
    world.change(replicas=4)
    world.run(30)
    assert len(world.pods) == 4
    world.policy = policy(mode="Automatic")
    world.run(30)
    assert say(world) == TOO_FEW, "the size is as accepted, so there is nothing more to say"
    assert len(world.pods) == 4
    world.change(replicas=3)
    world.run(30)
    assert say(world).endswith("spec.replicas is 3. Until then the set keeps its size of 4.")
    assert len(world.pods) == 4


@pytest.mark.parametrize("asked", [0, 1, 3, 5, 12])
def test_whatever_makes_the_spec_invalid_the_size_stays(asked):
    world = running(5)
    invalid(world, replicas=asked)
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2, 3, 4]
    assert deleted(world) == []
    world.change(instance_container=None)
    world.run(60)
    assert sorted(world.pods) == list(range(asked))


def test_a_lost_instance_of_a_refused_set_comes_back():
    world = fabric(6)
    world.change(replicas=4)
    world.run(5)
    world.loses(5)
    world.run(30)
    assert sorted(world.pods) == [0, 1, 2, 3, 4, 5]
    assert all(pod.ready for pod in world.pods.values())


def test_scaling_that_was_accepted_goes_on_to_its_end():
    world = running(3)
    world.change(replicas=6)
    world.step(writes=2)
    assert sorted(world.pods) == [0, 1, 2, 3], "it died in the middle of scaling out"
    invalid(world, replicas=1)
    world.run(30)
    assert sorted(world.pods) == [0, 1, 2, 3, 4, 5]


def test_protection_that_a_refused_spec_lifts_still_holds_what_it_held():
    world = running(3, protectedInstances=[{"id": n, "protectFromScaleIn": True} for n in range(3)])
    world.change(replicas=1)
    world.run(10)
    assert len(world.pods) == 3
    invalid(world, protected_instances=())
    world.run(60)
    assert len(world.pods) == 3


def test_what_a_refused_set_kept_survives_a_lost_status():
    """Nothing tells what was accepted but what is there."""
    world = fabric(6)
    world.change(replicas=4)
    world.run(5)
    world.status = {}
    world.run(30)
    assert len(world.pods) == 6
    assert world.status["acceptedReplicas"] == 6
    world.loses(2)
    world.run(30)
    assert len(world.pods) == 6


def test_a_forged_record_makes_no_instances_of_a_refused_set():
    world = running(5)
    invalid(world, replicas=7)
    world.run(5)
    world.status["builds"][0]["instances"] = "0-999"
    world.run(30)
    assert sorted(world.pods) == [0, 1, 2, 3, 4]
    assert world.status["builds"][0]["instances"] == "0-4"


def test_a_set_that_was_never_accepted_has_no_instances_and_says_so():
    world = World(spec=spec(replicas=4, serviceFabric=FABRIC), policy=policy(mode="Automatic"))
    world.publish("1.0.0")
    world.run(30)
    assert world.pods == {}
    assert say(world) == TOO_FEW
    assert condition(world, "Available")["status"] == "False"
    assert "acceptedReplicas" not in world.status


def test_a_running_batch_ends_by_the_size_that_was_accepted():
    world = running(10)
    world.start = 10.0
    world.publish("2.0.0")
    world.run(2)
    invalid(world, replicas=1)
    world.run(400)
    assert deleted(world) == [0, 1]
    assert len(world.pods) == 10
    assert waits_for(world) == "InvalidSpec"


def test_health_goes_by_the_model_that_was_accepted():
    """Without its probe the spec is refused; the batch under way is still judged by the probe that its pods have."""
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(2)
    world.change(template={"spec": {"containers": [{"name": "app"}]}})
    world.pods[0] = replace(world.pods[0], running=True, running_since=world.now)
    world.run(400)
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"
    assert rollout(world)["failed"] == "0"
    assert world.versions[0] == "1.0.0"


# What misses something outside the spec leaves the size to the user


def without_policy(world: World) -> None:
    world.policy = None


def without_image(world: World) -> None:
    world.catalogue.clear()


def with_a_model_that_is_refused(world: World) -> None:
    """More than the quota has: fewer instances may be what makes room."""
    world.verdict = lambda _: Verdict(accepted=False, message="exceeded quota: cpu", retry_at=world.now + 30)
    new_model(world)


@pytest.mark.parametrize("lacking", [without_policy, without_image, with_a_model_that_is_refused])
@pytest.mark.parametrize("replicas", [2, 6])
def test_scaling_goes_on_with_the_model_and_the_version_before(lacking, replicas):
    world = running(4)
    model = world.pods[0].model
    lacking(world)
    world.run(5)
    assert condition(world, "Accepted")["status"] == "False"
    world.change(replicas=replicas)
    world.run(30)
    assert sorted(world.pods) == list(range(replicas))
    assert {pod.model for pod in world.pods.values()} == {model}
    assert set(world.versions.values()) == {"1.0.0"}


def test_apply_model_is_refused_with_the_spec():
    world = running(3)
    invalid(world)
    apply_model(world, "*")
    world.run(30)
    assert deleted(world) == []
    assert [event.warning for event in world.events if event.reason == "StartRefused"] == [True]
    assert code(world) == ""


def test_a_policy_that_is_missing_as_well_does_not_let_the_size_through():
    world = running(10)
    invalid(world, replicas=2)
    world.run(10)
    world.policy = None
    world.run(60)
    assert len(world.pods) == 10
    assert condition(world, "Accepted")["reason"] == "InvalidSpec"
