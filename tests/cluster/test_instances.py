"""Instances: their number, their names and their data, whatever happens to their pods."""

import re
from typing import Any

from tests.cluster.harness.api import CLAIMS, PODS, SCALE_SETS, SERVICE_ACCOUNTS, Json
from tests.cluster.harness.manifests import claim, pod, scale_set
from tests.cluster.harness.scene import COLLECTED, Scene, progress, ready, runs, says, with_claims
from tests.cluster.harness.trace import parse_ranges


def back(scene: Scene, name: str, gone: str) -> Json:
    """Waits until an instance has another pod, which is Ready, and returns that."""
    found = scene.wait(
        lambda world: (
            (new := world.pods.get(name)) is not None and new["metadata"]["uid"] != gone and ready(new) and new
        ),
        f"{name} is back",
    )
    assert found
    return found


def blocked(scene: Scene, instance: int, message: str) -> None:
    """Waits until the set says that it may not touch that instance, and why."""
    scene.wait(
        lambda world: any(
            row["id"] == instance and row["state"] == "Blocked" and message in row["message"]
            for row in world.status("web").get("instances") or []
        ),
        f"instance {instance} is Blocked: {message}",
    )
    scene.wait(
        lambda world: any(instance in told_of(note) for note in world.events("InstanceBlocked")),
        f"an event tells that instance {instance} is blocked",
    )
    scene.wait(lambda world: message in says(world, "Stalled")["message"], "a condition says why")


def told_of(note: str) -> frozenset[int]:
    """The instances that an event InstanceBlocked is about."""
    found = re.match(r"Instances? ([\d,-]+) (is|are) blocked\. ", note)
    return parse_ranges(found[1]) if found else frozenset()


def test_scaling_to_zero_and_back_keeps_the_data(scene: Scene) -> None:
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    claims = scene.claims()
    scene.scale(0)
    scene.wait(lambda world: not world.pods, "all pods are gone")
    scene.condition("Ready", "Healthy")
    assert scene.claims() == claims
    scene.scale(3)
    scene.healthy(3)
    assert scene.claims() == claims
    volumes = scene.world.pods["web-2"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}} in volumes


def test_instances_added_in_a_rollout_join_it(scene: Scene) -> None:
    scene.first_batch(replicas=3)
    scene.scale(5)
    new = ("web-3", "web-4")
    scene.wait(lambda world: world.pods.keys() >= set(new), "the set scales out")
    assert [runs(scene.world.pods[name]) for name in new] == ["1.0.0", "1.0.0"]
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.1.0")


def test_scaling_in_takes_an_instance_out_of_the_batch(scene: Scene) -> None:
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    claims = scene.claims()
    scene.publish("1.1.0")
    assert scene.batch(3) == [2]
    scene.scale(2)
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(2, 0, 0, 0)
    scene.healthy(2, version="1.1.0")
    assert scene.claims() == claims


def test_protected_instances_are_passed_over(scene: Scene) -> None:
    protected = [{"id": 1, "protectFromScaleSetActions": True}, {"id": 4, "protectFromScaleIn": True}]
    scene.create(replicas=5, protectedInstances=protected)
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(4, 0, 0, 0)
    assert scene.versions() == ["1.1.0", "1.0.0", "1.1.0", "1.1.0", "1.1.0"]
    scene.scale(3)
    scene.wait(lambda world: set(world.pods) == {"web-0", "web-1", "web-4"}, "the others are scaled in")
    scene.scale(4)
    scene.wait(lambda world: set(world.pods) == {"web-0", "web-1", "web-2", "web-4"}, "the lowest free id is taken")


def test_a_lost_instance_comes_back_with_what_it_ran(scene: Scene) -> None:
    scene.policy(automatic=False)
    scene.create(replicas=2)
    scene.publish("1.1.0", "fast")
    gone = scene.delete_pod("web-1")
    assert runs(back(scene, "web-1", gone)) == "1.0.0"
    scene.scale(3)
    scene.wait(lambda world: "web-2" in world.pods, "the set scales out")
    assert scene.versions() == ["1.0.0", "1.0.0", "1.1.0"]  # a new one gets what latest means now


def test_a_new_instance_gets_the_proven_version_after_a_failure(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.publish("1.1.0", "bad")
    scene.rollout("Faulted", "1.1.0")
    scene.healthy(2)
    scene.scale(4)
    scene.healthy(4, version="1.0.0")


def test_pods_deleted_by_hand_in_a_rollout(scene: Scene) -> None:
    assert scene.first_batch(replicas=4) == [0]
    in_batch, outside = scene.delete_pod("web-0"), scene.delete_pod("web-3")
    assert runs(back(scene, "web-0", in_batch)) == "1.1.0"
    assert runs(back(scene, "web-3", outside)) == "1.0.0"
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(4, 0, 0, 0)
    scene.healthy(4, version="1.1.0")


def test_an_evicted_pod_is_made_again(scene: Scene) -> None:
    scene.create(replicas=2)
    uid = scene.uids()["web-1"]
    ended = {"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}}
    scene.api.patch(PODS, scene.namespace, "web-1", ended, subresource="status")
    assert runs(back(scene, "web-1", uid)) == "1.0.0"


def test_a_pod_that_does_not_go_is_waited_for(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    uid = scene.uids()["web-0"]
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the pod is terminating")
    scene.never(lambda _: scene.uids() != {**scene.uids(), "web-0": uid}, "it is replaced or forced away", seconds=2)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
    scene.rollout("Completed", "1.1.0")


def test_a_strangers_pod_on_our_name_blocks_the_instance(scene: Scene) -> None:
    stranger = scene.api.create(PODS, scene.namespace, pod("web-1", "1"))
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=3))
    blocked(scene, 1, "Pod web-1 exists but does not belong to this ScaleSet.")
    scene.wait(lambda world: sum(ready(each) for each in world.pods_of("web")) == 2, "the others are made")
    assert scene.world.pods["web-1"]["metadata"]["uid"] == stranger["metadata"]["uid"]
    assert scene.world.pods["web-1"]["metadata"].get("labels") is None
    scene.delete(PODS, "web-1")
    scene.healthy(3)


def test_a_strangers_claim_on_our_name_is_not_taken(scene: Scene) -> None:
    scene.recorder.disturb("data-web-0")
    scene.api.create(CLAIMS, scene.namespace, claim("data-web-0"))
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=2, volumeClaimTemplates=with_claims()))
    blocked(scene, 0, "PersistentVolumeClaim data-web-0 exists but is not ours.")
    scene.wait(lambda world: ready(world.pods.get("web-1", {"metadata": {}})), "the other one is made")
    assert "web-0" not in scene.world.pods
    labels = {"metadata": {"labels": {"scaleset.dev/name": "web"}}}
    scene.api.patch(CLAIMS, scene.namespace, "data-web-0", labels)  # as the message says
    scene.healthy(2)


def test_a_claim_that_somebody_deleted_is_never_made_anew(scene: Scene) -> None:
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    uid = scene.uids()["web-1"]
    scene.recorder.disturb("data-web-1")
    scene.delete(CLAIMS, "data-web-1")  # stays as long as the pod is there
    blocked(scene, 1, "PersistentVolumeClaim data-web-1 is marked for deletion")
    scene.publish("1.1.0", "fast")
    scene.wait(
        lambda world: {n for n, pod in world.pods.items() if runs(pod) == "1.1.0"} == {"web-0", "web-2"},
        "the others are upgraded",
    )
    assert scene.uids()["web-1"] == uid
    scene.delete_pod("web-1")
    scene.wait(lambda world: "data-web-1" not in world.claims, "now it goes")
    blocked(scene, 1, "PersistentVolumeClaim data-web-1 of this instance is gone")
    scene.never(lambda world: "web-1" in world.pods or "data-web-1" in world.claims, "something takes its place")
    labels = {"scaleset.dev/name": "web"}
    restored = claim("data-web-1")
    scene.api.create(CLAIMS, scene.namespace, {**restored, "metadata": {"name": "data-web-1", "labels": labels}})
    back(scene, "web-1", uid)
    scene.healthy(3)


def test_a_quota_that_just_fits_is_no_obstacle(scene: Scene) -> None:
    scene.create(replicas=3)
    scene.quota(pods="3")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0", timeout=45)
    scene.healthy(3, version="1.1.0")


def test_a_new_pod_that_would_be_refused_costs_nothing(scene: Scene) -> None:
    scene.create(replicas=3)
    before = scene.uids()
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    scene.label_namespace(enforce)
    scene.publish("1.1.0", "fast")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert rollout["progress"] == progress(0, 0, 0, 3)
    assert 'violates PodSecurity "restricted:latest"' in rollout["error"]["message"]
    assert scene.uids() == before


def test_two_sets_whose_names_nest(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.create(replicas=2, name="web-1")
    assert set(scene.uids("web")) == {"web-0", "web-1"}
    assert set(scene.uids("web-1")) == {"web-1-0", "web-1-1"}
    scene.publish("1.1.0", "fast")
    scene.healthy(2, version="1.1.0")
    scene.healthy(2, version="1.1.0", name="web-1")
    scene.delete(SCALE_SETS, "web-1")
    scene.wait(lambda world: set(world.pods) == {"web-0", "web-1"}, "its pods go, the other's stay", timeout=COLLECTED)


def test_a_set_made_again_gets_its_data_back(scene: Scene) -> None:
    scene.create(replicas=2, volumeClaimTemplates=with_claims())
    claims, pods = scene.claims(), scene.uids()
    scene.delete(SCALE_SETS, "web")
    scene.wait(lambda world: not world.scale_sets, "the set is gone")
    scene.apply(scale_set(replicas=2, volumeClaimTemplates=with_claims()))
    gone = "the pods of the old set are gone"
    scene.wait(lambda _: not set(scene.uids().values()) & set(pods.values()), gone, timeout=COLLECTED)
    scene.healthy(2)
    assert scene.claims() == claims


def test_orphans_of_a_deleted_set_are_not_adopted(scene: Scene) -> None:
    scene.create(replicas=2)
    pods = scene.uids()
    scene.delete(SCALE_SETS, "web", propagationPolicy="Orphan")
    scene.wait(lambda world: not world.scale_sets, "the set is gone", timeout=COLLECTED)
    scene.apply(scale_set(replicas=2))
    blocked(scene, 0, "Pod web-0 exists but does not belong to this ScaleSet.")
    assert scene.uids() == pods
    for name in pods:
        scene.delete_pod(name)
    scene.healthy(2)


def test_a_set_that_lost_its_status_restarts_nothing(scene: Scene) -> None:
    scene.policy(automatic=False)
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    scene.publish("1.1.0", "fast")
    scene.scale(4)
    scene.healthy(4)
    before = scene.uids()
    scene.api.patch(SCALE_SETS, scene.namespace, "web", {"status": None}, subresource="status")
    scene.wait(lambda world: world.status("web").get("healthyReplicas") == 4, "the status is there again")
    scene.condition("Ready", "Healthy")
    assert scene.world.status("web")["currentVersion"] == "1.0.0"  # what most of them run
    assert scene.uids() == before
    scene.quiet(seconds=2)
    assert scene.uids() == before


def test_a_service_name_gives_stable_names(scene: Scene) -> None:
    scene.create(replicas=1, serviceName="web")
    spec: dict[str, Any] = scene.world.pods["web-0"]["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("web-0", "web")


def test_a_deleted_namespace_goes_though_a_rollout_runs(scene: Scene) -> None:
    scene.first_batch(replicas=3, volumeClaimTemplates=with_claims())
    scene.recorder.disturb(*scene.claims(), *scene.uids())
    scene.delete_namespace()
    scene.wait(lambda world: not (world.pods or world.claims or world.scale_sets), "everything in it is gone")
    scene.api.wait(
        SERVICE_ACCOUNTS, scene.namespace, "default", lambda seen: seen is None, timeout=15, message="it is empty"
    )
