"""What is created and deleted, and what is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner.instances import Claim
from tests.simulation.outcomes import code, condition, deleted
from tests.simulation.scenes import BAD, apply_model, new_model, running
from tests.simulation.world import OWNER, World, policy

DISK = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def with_disks(replicas: int = 3) -> World:
    return running(replicas, volumeClaimTemplates=[DISK])


def blocked(world: World) -> dict[int, str]:
    """Sentences of the blocked instances."""
    return {row["id"]: row["message"] for row in world.status["instances"] if row["state"] == "Blocked"}


def test_a_lost_instance_comes_back_with_what_it_had():
    """Self-healing is never a hidden upgrade: neither the version nor the model."""
    world = running(5, by=policy(automatic=False))
    before = world.pods[2].model
    world.publish("2.0.0")
    new_model(world)
    world.settle()
    world.loses(2)
    world.run(10)
    assert world.pods[2].version == "1.0.0"
    assert world.pods[2].model == before


def test_all_pods_lost_at_once_come_back_at_once():
    """Recreating is not upgrading: no batches, no gates."""
    world = running(10)
    world.pods.clear()
    world.settle()
    assert set(world.versions.values()) == {"1.0.0"}
    assert len(world.pods) == 10


def test_a_lost_instance_comes_back_when_its_version_is_gone_from_the_gallery():
    """The image is written down with the build."""
    world = running(3)
    world.catalogue.clear()
    world.loses(1)
    world.run(10)
    assert world.pods[1].images == (("app", "example.com/web:1.0.0"),)
    assert condition(world, "Accepted")["reason"] == "ImageNotFound"


def test_a_pod_that_is_going_is_neither_deleted_again_nor_doubled():
    """S5: never two pods for one identity, however long it takes."""
    world = running(3)
    world.held.add(1)
    world.pods[1] = replace(world.pods[1], deleting=True)
    world.run(7200)
    assert world.pods[1].deleting
    assert world.writes.count("create 1") == 0
    assert deleted(world) == []
    world.held.clear()
    world.run(10)
    assert world.pods[1].ready


def test_every_deletion_names_the_pod_that_was_seen():
    """S7: by uid. A pod of the same name that came later is not meant."""
    world = running(5)
    world.publish("2.0.0")
    plan = world.plan()
    (deletion,) = plan.deletions
    assert (deletion.name, deletion.uid) == ("web-0", world.pods[0].uid)
    world.pods[0] = replace(world.pods[0], uid="another")
    world.delete(deletion)
    assert not world.pods[0].deleting


def test_a_pod_outside_batch_and_request_is_never_replaced():
    """Whatever it runs: an instance is replaced only while the written state hands it over."""
    world = running(5)
    world.pods[3] = replace(world.pods[3], version="7.7.7")
    world.run(100)
    assert deleted(world) == []


# --- claims


def test_claims_are_created_with_the_pod_and_outlive_it():
    """S6: nothing that we plan deletes or changes a claim, and scaling out again finds it."""
    world = with_disks()
    assert sorted(world.claims) == [f"data-web-{n}" for n in range(3)]
    before = dict(world.claims)
    world.publish("2.0.0")
    world.run(60)
    world.change(replicas=1)
    world.run(60)
    assert world.claims == before
    world.change(replicas=3)
    world.run(60)
    assert world.claims == before
    assert len(world.pods) == 3


def lose_claim(world: World) -> None:
    del world.claims["data-web-1"]
    world.loses(1)


def dying_claim(world: World) -> None:
    world.claims["data-web-1"] = replace(world.claims["data-web-1"], deleting=True)
    world.loses(1)


def foreign_claim(world: World) -> None:
    world.claims["data-web-1"] = Claim("shop", "data-web-1", "x", "1", set_name="other")
    world.loses(1)


def claim_of_an_earlier_set(world: World) -> None:
    world.claims["data-web-1"] = replace(world.claims["data-web-1"], owners=("uid-earlier",))
    world.loses(1)


def stranger(world: World) -> None:
    world.foreign_pods[1] = "Pod shop/web-1 exists but is not ours. Delete or rename it."
    world.loses(1)


@pytest.mark.parametrize(
    ("happens", "sentence"),
    [
        (
            lose_claim,
            (
                "PersistentVolumeClaim data-web-1 of this instance is gone; an empty one in its place would hide the "
                "loss. Create it (restored or empty) with the label scaleset.dev/name=web."
            ),
        ),
        (dying_claim, "PersistentVolumeClaim data-web-1 is being deleted: a new pod would lose it."),
        (
            claim_of_an_earlier_set,
            (
                "PersistentVolumeClaim data-web-1 names another ScaleSet as its owner, an earlier one of this name "
                "perhaps, and is deleted with it. To keep its data remove that entry of its ownerReferences; otherwise "
                "a new claim is created once it is gone."
            ),
        ),
        (
            foreign_claim,
            (
                "PersistentVolumeClaim data-web-1 exists but is not ours. Label it scaleset.dev/name=web to hand it "
                "over with its data; if these are somebody else's, give the ScaleSet another name."
            ),
        ),
        (stranger, "Pod shop/web-1 exists but is not ours."),
    ],
    ids=[
        "its claim is gone",
        "its claim is going",
        "claim of an earlier set",
        "the claim is somebody else's",
        "the pod is somebody else's",
    ],
)
def test_an_instance_is_blocked_rather_than_harmed(happens: Any, sentence: str):
    """Left alone, with a condition, an event once, and a sentence that says what to do; the others go on."""
    world = with_disks()
    happens(world)
    world.run(600)
    assert 1 not in world.pods
    assert sentence in blocked(world)[1]
    assert condition(world, "Stalled")["reason"] == "InstanceBlocked"
    assert [event.warning for event in world.events if event.reason == "InstanceBlocked"] == [True]
    assert {0, 2} <= world.pods.keys()


def test_a_blocked_instance_goes_on_when_the_way_is_free():
    """A claim restored from a backup, labelled as the sentence says."""
    world = with_disks()
    lose_claim(world)
    world.run(60)
    world.claims["data-web-1"] = Claim("shop", "data-web-1", "restored", "1", set_name="web")
    world.run(60)
    assert world.pods[1].ready
    assert blocked(world) == {}
    assert condition(world, "Stalled")["status"] == "False"


def test_a_claim_that_waits_only_for_the_pod_to_go_keeps_the_pod():
    """pvc-protection holds the claim while the pod lives: replacing the pod would delete the data."""
    world = with_disks(5)
    world.claims["data-web-0"] = replace(world.claims["data-web-0"], deleting=True)
    world.publish("2.0.0")
    world.run(2000)
    assert world.versions[0] == "1.0.0"
    assert 0 not in deleted(world)
    assert "is marked for deletion: replacing the pod would delete its data" in blocked(world)[0]
    assert code(world) == "Completed"  # of the others: that one is left alone, which is not the version's fault
    assert set(world.versions.values()) == {"1.0.0", "2.0.0"}


def test_a_new_claim_template_makes_new_claims():
    """An instance that never had the claim is not missing it."""
    world = running(3, by=policy(mode="Automatic"))
    world.change(volume_claim_templates=running(1, volumeClaimTemplates=[DISK]).spec.volume_claim_templates)
    world.run(60)
    assert len(world.pods) == 3
    assert sorted(world.claims) == [f"data-web-{n}" for n in range(3)]


def test_a_new_model_does_not_take_the_claim_of_others():
    """What is in its way is looked at in the decision that gives the instance that model, not in the next one."""
    world = running(3, by=policy(mode="Manual"))
    world.claims["data-web-1"] = Claim("shop", "data-web-1", "x", "1", set_name="other")
    world.change(volume_claim_templates=running(1, volumeClaimTemplates=[DISK]).spec.volume_claim_templates)
    world.loses(1)
    apply_model(world, "1")
    world.run(60)
    assert 1 not in world.pods
    assert "create 1" not in world.writes
    assert "PersistentVolumeClaim data-web-1 exists but is not ours" in blocked(world)[1]


def test_a_new_claim_that_a_quota_refused_is_not_a_lost_one():
    """The instance fails in its batch without ever having had the disk: it gets it when the quota is lifted."""
    world = running(3, by=policy(mode="Rolling"))
    world.change(volume_claim_templates=running(1, volumeClaimTemplates=[DISK]).spec.volume_claim_templates)
    world.quota = lambda _: "exceeded quota: requests.storage"
    world.run(1000)
    assert code(world) == "Faulted"
    assert blocked(world) == {}
    world.quota = lambda _: None
    world.run(60)
    assert world.pods[0].ready
    assert sorted(world.claims) == ["data-web-0"]
    assert not world.status.get("previousBuilds")
    lost = world.claims.pop("data-web-0")
    world.loses(0)
    world.run(60)
    assert f"{lost.name} of this instance is gone" in blocked(world)[0]


def test_a_lost_instance_whose_model_is_gone_says_how_to_go_on():
    world = running(3)
    old = world.pods[1].model
    new_model(world)
    world.settle()
    del world.models[old]
    world.loses(1)
    world.run(10)
    assert 'scaleset.dev/apply-model: "1"' in blocked(world)[1]
    apply_model(world, "1")
    world.run(60)
    assert world.pods[1].ready
    assert world.pods[1].model == world.model.name


def test_a_restore_to_a_model_that_is_gone_blocks_and_does_not_crash():
    """The pod could not be created, its way back was deleted by hand: in one decision."""
    world = running(5)
    old = world.pods[0].model
    new_model(world)
    world.settle()
    world.publish("2.0.0", suffix=BAD)
    world.quota = lambda _: "exceeded quota"
    world.run(100)
    del world.models[old]
    world.run(204)
    assert "is gone" in blocked(world)[0]
    world.quota = lambda _: None
    world.run(600)
    assert "is gone" in blocked(world)[0], "still"


def test_names_come_from_the_set_and_the_id():
    assert OWNER.instance(7) == "web-7"
    assert OWNER.claim("data", 7) == "data-web-7"


def test_beside_a_claim_that_goes_a_pod_whose_model_is_gone_is_looked_at_too():
    world = with_disks(3)
    world.claims["data-web-2"] = replace(world.claims["data-web-2"], deleting=True)
    world.pods[0] = replace(world.pods[0], model="web-gone")
    world.settle()
    assert list(blocked(world)) == [2]
