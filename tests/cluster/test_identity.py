"""Names, labels and owners: what other objects of a cluster know instances and their disks by."""

from typing import Any

import pytest

from tests.cluster.harness.api import CLAIMS, ENDPOINT_SLICES, SCALE_SETS, SERVICES, ApiError, Json
from tests.cluster.harness.manifests import claim, scale_set
from tests.cluster.harness.scene import COLLECTED, Scene, progress, with_claims

DELETE: dict[str, Any] = {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}


def owners(scene: Scene) -> dict[str, list[str]]:
    """The uids that each claim names as its owners."""
    return {
        each["metadata"]["name"]: [owner["uid"] for owner in each["metadata"].get("ownerReferences") or ()]
        for each in scene.api.list(CLAIMS, scene.namespace)
    }


# Labels


def test_a_service_of_one_pod_finds_it_as_in_a_statefulset(scene: Scene) -> None:
    selector = {"statefulset.kubernetes.io/pod-name": "web-1"}
    service = {"metadata": {"name": "second"}, "spec": {"selector": selector, "ports": [{"port": 80}]}}
    scene.api.create(SERVICES, scene.namespace, service)
    scene.create(replicas=3)
    assert scene.world.pods["web-1"]["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"

    def targets(_: Any) -> list[str]:
        slices = scene.api.list(ENDPOINT_SLICES, scene.namespace)
        return [each["targetRef"]["name"] for found in slices for each in found.get("endpoints") or ()]

    scene.wait(lambda world: targets(world) == ["web-1"], "the Service has that pod and no other")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.wait(lambda world: targets(world) == ["web-1"], "the Service has the next pod of the instance")


def test_claims_bear_the_labels_of_both_templates(scene: Scene) -> None:
    (disk,) = with_claims()
    disk = {**disk, "metadata": {"name": "data", "labels": {"backup": "daily", "app.kubernetes.io/managed-by": "ops"}}}
    scene.create(replicas=1, volumeClaimTemplates=[disk])
    (found,) = scene.api.list(CLAIMS, scene.namespace)
    assert found["metadata"]["labels"] == {
        "app": "web",
        "backup": "daily",
        "app.kubernetes.io/managed-by": "ops",
        "scaleset.dev/name": "web",
        "scaleset.dev/instance-id": "0",
    }
    assert scene.world.pods["web-0"]["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "scaleset-operator"


# The lowest id


def test_ids_begin_at_the_start_ordinal(scene: Scene) -> None:
    scene.create(replicas=2, ordinals={"start": 5}, volumeClaimTemplates=with_claims())
    assert sorted(scene.world.pods) == ["web-5", "web-6"]
    assert sorted(scene.claims()) == ["data-web-5", "data-web-6"]
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(2, 0, 0, 0)
    scene.scale(3)
    scene.healthy(3, version="1.1.0")
    scene.scale(1)
    scene.wait(lambda world: sorted(world.pods) == ["web-5"], "the highest ids go")


def test_a_set_cannot_grow_beyond_a_host_name(scene: Scene) -> None:
    name = "a" * 59
    scene.api.create(SCALE_SETS, scene.namespace, scale_set(name, replicas=0, ordinals={"start": 995}))
    scene.api.patch(SCALE_SETS, scene.namespace, name, {"spec": {"replicas": 5}}, subresource="scale", dryRun="All")
    with pytest.raises(ApiError) as refusal:
        scene.api.patch(SCALE_SETS, scene.namespace, name, {"spec": {"replicas": 6}}, subresource="scale")
    assert "the name, a dash and the highest id have at most 63 characters" in refusal.value.message


# Retention


def test_claims_go_with_a_set_that_was_made_with_delete(scene: Scene) -> None:
    scene.create(replicas=3, volumeClaimTemplates=with_claims(), **DELETE)
    uid = scene.world.scale_sets["web"]["metadata"]["uid"]
    claims = scene.claims()
    assert owners(scene) == {name: [uid] for name in claims}
    scene.scale(1)
    scene.wait(lambda world: sorted(world.pods) == ["web-0"], "the set is smaller")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    assert scene.claims() == claims, "scaling in and upgrades keep every disk"
    scene.delete(SCALE_SETS, "web")
    scene.wait(lambda world: not (world.claims or world.pods), "disks go with the set", timeout=2 * COLLECTED)


def test_a_set_made_again_at_once_gets_disks_of_its_own(scene: Scene) -> None:
    """The claims of the set before are about to be collected: nothing runs on them."""
    scene.create(replicas=2, volumeClaimTemplates=with_claims(), **DELETE)
    before = scene.claims()
    scene.delete(SCALE_SETS, "web")
    scene.wait(lambda world: not world.scale_sets, "the set is gone")
    scene.apply(scale_set(replicas=2, volumeClaimTemplates=with_claims(), **DELETE))
    scene.healthy(2, timeout=2 * COLLECTED)
    after = scene.claims()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert owners(scene) == {name: [scene.world.scale_sets["web"]["metadata"]["uid"]] for name in after}


def test_orphans_of_such_a_set_keep_their_disks(scene: Scene) -> None:
    scene.create(replicas=1, volumeClaimTemplates=with_claims(), **DELETE)
    claims = scene.claims()
    scene.delete(SCALE_SETS, "web", propagationPolicy="Orphan")
    scene.wait(lambda world: not world.scale_sets, "the set is gone", timeout=COLLECTED)
    scene.wait(lambda _: owners(scene) == {"data-web-0": []}, "the claim has no owner any more")
    assert scene.claims() == claims


def test_disks_of_a_set_before_stay_what_they_were(scene: Scene) -> None:
    """An owner is written when a claim is created, and never later."""
    scene.create(replicas=1, volumeClaimTemplates=with_claims())
    claims = scene.claims()
    assert owners(scene) == {"data-web-0": []}
    pods = scene.uids()
    scene.delete(SCALE_SETS, "web")
    scene.wait(lambda world: not (world.scale_sets or world.pods), "the set is gone", timeout=COLLECTED)
    scene.apply(scale_set(replicas=2, volumeClaimTemplates=with_claims(), **DELETE))
    scene.healthy(2)
    assert not set(pods.values()) & set(scene.uids().values())
    uid = scene.world.scale_sets["web"]["metadata"]["uid"]
    assert owners(scene) == {"data-web-0": [], "data-web-1": [uid]}
    scene.delete(SCALE_SETS, "web")
    scene.wait(lambda world: sorted(world.claims) == ["data-web-0"], "its own disk goes", timeout=2 * COLLECTED)
    assert scene.claims() == claims


def test_nothing_runs_on_a_claim_that_another_set_takes_along(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set("other", replicas=0, **DELETE))
    uid = scene.world.scale_sets["other"]["metadata"]["uid"]
    scene.recorder.disturb("data-web-0")
    restored = claim("data-web-0")
    reference: Json = {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "other", "uid": uid}
    metadata = {"name": "data-web-0", "labels": {"scaleset.dev/name": "web"}, "ownerReferences": [reference]}
    scene.api.create(CLAIMS, scene.namespace, {**restored, "metadata": metadata})
    scene.apply(scale_set(replicas=1, volumeClaimTemplates=with_claims()))
    stalled = scene.condition("Stalled", "InstanceBlocked")
    assert "PersistentVolumeClaim data-web-0 names another ScaleSet as its owner" in stalled["message"]
    scene.never(lambda world: "web-0" in world.pods, "a pod runs on it")
    scene.api.patch(CLAIMS, scene.namespace, "data-web-0", {"metadata": {"ownerReferences": None}})
    scene.healthy(1)
