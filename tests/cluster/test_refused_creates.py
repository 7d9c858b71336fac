"""What the API server refuses to create: users are told, no version is condemned for it, and it is tried again."""

from tests.cluster.harness.api import PODS, QUOTAS, Json
from tests.cluster.harness.fleet import limit, refusing
from tests.cluster.harness.manifests import pod
from tests.cluster.harness.scene import Scene, has_model, progress, ready, says, with_claims
from tests.cluster.harness.trace import VERSION_LABEL

NOT_1_1 = f"!object.metadata.?labels[?'{VERSION_LABEL}'].orValue('').startsWith('1.1')"


def rows(scene: Scene) -> dict[int, str]:
    """What the set says of its instances, by id."""
    return {row["id"]: row.get("message", "") for row in scene.world.status("web").get("instances") or []}


def test_instances_that_a_quota_refuses_are_told_one_by_one(scene: Scene) -> None:
    scene.create(replicas=2)
    limit(scene.api, scene.namespace, "pods", {"pods": "4"}, used={"pods": "2"})
    scene.scale(6)
    scene.wait(lambda world: sum(map(ready, world.pods_of("web"))) == 4, "there is room for four")
    scene.event("FailedCreate", "exceeded quota: pods")
    stalled = scene.wait(
        lambda world: (found := says(world, "Stalled"))["reason"] == "FailedCreate" and found, "the set is stalled"
    )
    assert stalled
    assert stalled["status"] == "True"
    assert "exceeded quota: pods" in stalled["message"]
    missing = {number for number in range(6) if f"web-{number}" not in scene.world.pods}
    refused = "the set says so of both instances"
    scene.wait(lambda _: all("exceeded quota" in rows(scene).get(number, "") for number in missing), refused)
    for number in missing:
        (other,) = missing - {number}
        said = rows(scene)[number]
        assert f'"web-{other}"' not in said or f"instance {other}" in said, f"instance {number}: {said}"
    scene.delete(QUOTAS, "pods")
    scene.healthy(6, version="1.0.0", timeout=60)
    scene.wait(lambda world: says(world, "Stalled")["status"] == "False", "nothing is in the way any more")


def test_a_quota_lowered_in_a_run_condemns_no_version(scene: Scene) -> None:
    """The pod is gone when the server refuses the next one: the version never ran."""
    scene.create(replicas=5)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the first batch has begun")
    limit(scene.api, scene.namespace, "pods", {"pods": "4"})
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
    scene.wait(lambda world: "web-0" not in world.pods, "the old pod is gone")
    scene.rollout("Faulted", "1.1.0", timeout=40)
    assert not scene.world.status("web").get("failedTargets")
    scene.delete(QUOTAS, "pods")
    scene.rollout("Completed", "1.1.0", timeout=150)
    scene.healthy(5, version="1.1.0", timeout=30)


def test_a_policy_that_refuses_the_new_pod_in_a_run_condemns_no_version(scene: Scene) -> None:
    scene.create(replicas=5)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the first batch has begun")
    sample = pod("probe", "1")
    sample["metadata"]["labels"] = {VERSION_LABEL: "1.1.0"}
    with refusing(scene.api, scene.namespace, "pods", "CREATE", unless=NOT_1_1, sample=sample):
        scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
        found = scene.rollout("Faulted", "1.1.0", timeout=40)
        assert (found["progress"], found["restored"]) == (progress(0, 1, 0, 4), "0")
        assert "refused by the test" in found["error"]["message"]
        scene.healthy(5, version="1.0.0")
        assert not scene.world.status("web").get("failedTargets")
    scene.rollout("Completed", "1.1.0", timeout=150)
    scene.healthy(5, version="1.1.0", timeout=30)


def test_a_claim_that_is_refused_in_a_run_condemns_no_model(scene: Scene) -> None:
    scene.policy(automatic=False, mode="Rolling")
    scene.create(replicas=3, volumeClaimTemplates=with_claims())
    limit(scene.api, scene.namespace, "disks", {"requests.storage": "6Gi"}, used={"requests.storage": "3Gi"})
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    (data,) = with_claims()
    scene.change(volumeClaimTemplates=[data, {"metadata": {"name": "logs"}, "spec": data["spec"]}])
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the first batch has begun")
    hard: Json = {"spec": {"hard": {"requests.storage": "3Gi"}}}
    scene.api.patch(QUOTAS, scene.namespace, "disks", hard)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
    scene.rollout("Faulted", timeout=40)
    assert not scene.world.status("web").get("failedTargets")
    scene.delete(QUOTAS, "disks")
    assert scene.rollout("Completed", timeout=150)["progress"]["failedInstanceCount"] == 0
    scene.healthy(3, version="1.0.0", timeout=30)
    assert len({has_model(pod) for pod in scene.world.pods_of("web")}) == 1
    assert {f"logs-web-{number}" for number in range(3)} <= scene.claims().keys()


def test_a_run_that_is_refused_at_its_first_batch_is_tried_again_by_itself(scene: Scene) -> None:
    """The dry run is refused, so nothing is deleted; and nobody but the back-off brings the next look."""
    scene.create(replicas=3)
    before = scene.uids()
    sample = pod("probe", "1")
    sample["metadata"]["labels"] = {VERSION_LABEL: "1.1.0"}
    with refusing(scene.api, scene.namespace, "pods", "CREATE", unless=NOT_1_1, sample=sample):
        scene.publish("1.1.0", "fast")
        found = scene.rollout("Faulted", "1.1.0")
        assert (found["progress"], scene.uids()) == (progress(0, 0, 0, 3), before)
        assert "refused by the test" in found["error"]["message"]
        assert not scene.world.status("web").get("failedTargets")
    scene.rollout("Completed", "1.1.0", timeout=100)
    scene.healthy(3, version="1.1.0")
