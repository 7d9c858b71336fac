"""A quota that is full, or nearly: nothing is deleted that could not come back, and nothing waits that fits."""

from typing import Any

import pytest

from tests.cluster.harness.api import CLAIMS, PODS, QUOTAS, Json, Kind
from tests.cluster.harness.fleet import limit, until
from tests.cluster.harness.manifests import claim, pod, scale_set
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, progress, ready, says

LIMIT_RANGES = Kind("limitranges")
RUNTIME_CLASSES = Kind("runtimeclasses", "node.k8s.io", namespaced=False)
HALF = {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 100}
PATIENCE = "PT1M"
"""A quota still counts a pod for some seconds after it is gone."""
PROBE = {"tcpSocket": {"port": 80}, "periodSeconds": 1}


def container(**resources: Any) -> Json:
    return {"name": "os", "image": "placeholder", "readinessProbe": PROBE, "resources": resources}


def template(requests: Json | None = None, limits: Json | None = None, **spec: Any) -> Json:
    resources = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container(**resources)], **spec}}


def begin(scene: Scene, body: Json, *, replicas: int = 4, rolling: Json | None = None, **spec: Any) -> dict[str, str]:
    """A set that is healthy on 1.0.0, with that template; the uids of its pods."""
    scene.policy(mode="Rolling", rolling=rolling, healthTimeout=PATIENCE)
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=replicas, template=body, **spec))
    scene.healthy(replicas, version="1.0.0", timeout=60)
    return scene.uids()


def default_cpu(scene: Scene, amount: str) -> None:
    """What containers ask for that do not say, once the API server goes by it. Before there is a quota."""
    body = {
        "metadata": {"name": "defaults"},
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": amount}}]},
    }
    scene.api.apply(LIMIT_RANGES, scene.namespace, {"apiVersion": "v1", "kind": "LimitRange", **body})

    def known() -> bool:
        made = scene.api.try_create(PODS, scene.namespace, pod("probe", "1.0.0"))
        return bool((made["spec"]["containers"][0]["resources"].get("requests") or {}).get("cpu") == amount)

    until(known, timeout=25, message=f"containers ask for {amount}")


def raised_default(scene: Scene, before: str, after: str, **spec: Any) -> dict[str, str]:
    """A healthy set whose pods were made when another default held."""
    default_cpu(scene, before)
    uids = begin(scene, template(), **spec)
    default_cpu(scene, after)
    return uids


def refused(scene: Scene, before: dict[str, str], *said: str) -> None:
    """The rollout ends as Faulted in those words, the pods are those of before, and no target is held to be bad."""
    error = scene.rollout("Faulted")["error"]
    assert error["code"] == "ModelRefused"
    assert [words for words in said if words not in error["message"]] == [], error["message"]
    unharmed(scene, before)
    assert not scene.world.status("web").get("failedTargets")


def refused_model(scene: Scene, before: dict[str, str], *said: str) -> None:
    """The same, or the model is not even accepted."""

    def told(world: World) -> str:
        error = (world.status("web").get("rollingUpgrade") or {}).get("error") or {}
        accepted = says(world, "Accepted")
        return str(accepted["message"] if accepted["reason"] == "ModelRefused" else error.get("message", ""))

    message = scene.wait(told, "the model is refused")
    assert [words for words in said if words not in message] == [], message
    unharmed(scene, before)
    assert not scene.world.status("web").get("failedTargets")


def unharmed(scene: Scene, before: dict[str, str]) -> None:
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    assert all(map(ready, scene.world.pods_of("web")))


def disk(name: str, size: str = "1Gi") -> Json:
    body = claim(name)
    body["spec"]["resources"]["requests"]["storage"] = size
    return {"metadata": body["metadata"], "spec": body["spec"]}


# What does not fit


def test_a_default_that_was_raised_is_counted(scene: Scene) -> None:
    before = raised_default(scene, "500m", "900m")
    scene.quota(**{"requests.cpu": "2"})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "exceeded quota: quota, requested: requests.cpu=900m", "2 of 2, of which 500m will be free")
    assert scene.world.status("web")["retry"]["attempts"] >= 1  # nothing is wrong with the version
    scene.lift_quota()
    scene.ask("start-upgrade-at", "now")
    scene.rollout("Completed", "1.1.0", timeout=60)


def test_a_sidecar_is_counted_beside_the_containers(scene: Scene) -> None:
    before = begin(scene, template({"cpu": "500m"}))
    scene.quota(**{"requests.cpu": "2"})
    sidecar = {
        "name": "proxy",
        "image": "registry.example/proxy:1",
        "restartPolicy": "Always",
        "resources": {"requests": {"cpu": "400m"}},
    }
    scene.change(template=template({"cpu": "500m"}, initContainers=[sidecar]))
    refused_model(scene, before, "requested: requests.cpu=900m")


def test_resources_of_the_pod_itself_are_counted(scene: Scene) -> None:
    before = begin(scene, template({"cpu": "500m"}))
    scene.quota(**{"requests.cpu": "2"})
    scene.change(template={"spec": {"resources": {"requests": {"cpu": "900m"}}}})
    refused_model(scene, before, "requested: requests.cpu=900m")


def test_the_overhead_of_a_runtime_class_is_counted(scene: Scene) -> None:
    before = begin(scene, template({"cpu": "500m"}))
    scene.quota(**{"requests.cpu": "2"})
    name = f"heavy-{scene.namespace}"
    scene.api.create(
        RUNTIME_CLASSES,
        None,
        {"metadata": {"name": name}, "handler": "heavy", "overhead": {"podFixed": {"cpu": "400m"}}},
    )
    scene.change(template={"spec": {"runtimeClassName": name}})
    refused_model(scene, before, "requested: requests.cpu=900m")


def test_a_quota_that_was_lowered_takes_nothing_back(scene: Scene) -> None:
    before = begin(scene, template({"cpu": "500m"}))
    scene.quota(**{"requests.cpu": "2"})
    scene.api.patch(QUOTAS, scene.namespace, "quota", {"spec": {"hard": {"requests.cpu": "1500m"}}})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "requests.cpu is 2 of 1500m, of which 500m will be free")


def test_the_quota_that_the_refusal_does_not_name_counts_too(scene: Scene) -> None:
    before = raised_default(scene, "500m", "900m")
    limit(scene.api, scene.namespace, "objects", {"pods": "4"}, used={"pods": "4"})
    scene.quota(**{"requests.cpu": "2"})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "ResourceQuota quota has no room: requests.cpu")


def test_a_batch_has_to_fit_as_a_whole(scene: Scene) -> None:
    before = raised_default(scene, "500m", "600m", rolling=HALF)
    scene.quota(**{"requests.cpu": "2150m"})  # room for one that is larger, not for two
    scene.publish("1.1.0", "fast")
    refused(scene, before, "exceeded quota: quota", "of which 1 will be free, and 1200m is needed")


def test_a_batch_has_to_fit_as_a_whole_though_each_of_it_fits_beside_all(scene: Scene) -> None:
    before = raised_default(
        scene, "100m", "500m", rolling={"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}
    )
    scene.quota(**{"requests.cpu": "1"})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "ResourceQuota quota has no room", "400m of 1, of which 400m will be free, and 2 is needed")


def test_without_room_a_surge_does_not_become_a_loss(scene: Scene) -> None:
    before = raised_default(scene, "500m", "900m", rolling={"maxSurge": True})
    scene.quota(**{"requests.cpu": "2"})
    scene.publish("1.1.0", "fast")
    refused(scene, before, "exceeded quota: quota, requested: requests.cpu=900m")


def test_a_new_disk_without_room_costs_no_instance(scene: Scene) -> None:
    before = begin(scene, template(), volumeClaimTemplates=[disk("data")])
    scene.quota(**{"requests.storage": "5Gi"})
    scene.change(volumeClaimTemplates=[disk("data"), disk("logs", "2Gi")])
    refused_model(scene, before, "exceeded quota: quota, requested: requests.storage=2Gi")
    assert len(scene.claims()) == 4


def test_new_disks_of_a_batch_have_to_fit_together(scene: Scene) -> None:
    before = begin(scene, template(), rolling=HALF, volumeClaimTemplates=[disk("data")])
    scene.quota(**{"requests.storage": "5Gi"})
    scene.change(volumeClaimTemplates=[disk("data"), disk("logs")])
    refused(scene, before, "ResourceQuota quota has no room: requests.storage is 4Gi of 5Gi", "2Gi is needed")
    assert len(scene.claims()) == 4


def test_a_new_disk_that_is_invalid_costs_no_instance(scene: Scene) -> None:
    before = begin(scene, template())
    wrong = disk("data")
    wrong["spec"]["accessModes"] = ["ReadSometimes"]
    scene.change(volumeClaimTemplates=[wrong])
    refused_model(scene, before, "ReadSometimes")


def test_a_claim_of_somebody_else_costs_no_instance(scene: Scene) -> None:
    before = begin(scene, template())
    scene.api.create(CLAIMS, scene.namespace, claim("data-web-0"))
    scene.change(volumeClaimTemplates=[disk("data")])
    refused_model(scene, before, "data-web-0 exists but is not ours")


# Without batches


def with_no_room_for_a_second_disk(scene: Scene, mode: str) -> dict[str, str]:
    """Of four instances that are to get another disk only one has room for it; the uids of their pods."""
    before = begin(scene, template(), volumeClaimTemplates=[disk("data")])
    scene.policy(automatic=False, mode=mode, healthTimeout=PATIENCE)
    scene.quota(**{"requests.storage": "5Gi"})
    scene.change(volumeClaimTemplates=[disk("data"), disk("logs")])
    return before


def test_mode_automatic_deletes_nothing_that_could_not_come_back(scene: Scene) -> None:
    scene.recorder.exempt("S1", "mode Automatic replaces all outdated instances at once")
    before = with_no_room_for_a_second_disk(scene, "Automatic")
    stalled = scene.condition("Stalled", "InstanceBlocked")
    assert "ResourceQuota quota has no room: requests.storage" in stalled["message"]
    rows = scene.world.status("web")["instances"]
    assert [row["state"] for row in rows] == ["Blocked"] * 4
    scene.event("InstanceBlocked", "has no room")
    unharmed(scene, before)
    scene.api.patch(QUOTAS, scene.namespace, "quota", {"spec": {"hard": {"requests.storage": "8Gi"}}})
    scene.wait(lambda _: len(scene.claims()) == 8, "each has both disks", timeout=60)
    scene.healthy(4, version="1.0.0")


def test_apply_model_deletes_nothing_that_could_not_come_back(scene: Scene) -> None:
    scene.recorder.exempt("S1", "apply-model replaces the named instances at once")
    before = with_no_room_for_a_second_disk(scene, "Manual")
    scene.condition("UpToDate", "Outdated")
    scene.ask("apply-model", "*")
    scene.event("StartRefused", "ResourceQuota quota has no room: requests.storage is 4Gi of 5Gi and 4Gi is needed")
    unharmed(scene, before)
    scene.ask("apply-model", "0")
    scene.wait(lambda _: len(scene.claims()) == 5, "the one that there is room for has both disks")
    scene.healthy(4, version="1.0.0")


# What fits


@pytest.mark.parametrize("batch", [20, 50, 100])
def test_a_quota_that_just_fits_blocks_no_upgrade(scene: Scene, batch: int) -> None:
    resources = {"cpu": "500m", "memory": "64Mi"}
    begin(
        scene,
        template(resources, resources),
        rolling={"maxBatchInstancePercent": batch, "maxUnhealthyInstancePercent": 100},
        volumeClaimTemplates=[disk("data")],
    )
    storage = {"requests.storage": "4Gi", "persistentvolumeclaims": "4"}
    scene.quota(
        **{"requests.cpu": "2", "limits.cpu": "2", "memory": "256Mi", "pods": "4", "count/pods": "4"}, **storage
    )
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0", timeout=100)["progress"] == progress(4, 0, 0, 0)
    scene.healthy(4, version="1.1.0")


def test_several_quotas_that_just_fit_block_no_upgrade(scene: Scene) -> None:
    default_cpu(scene, "500m")
    begin(scene, template())
    limit(scene.api, scene.namespace, "objects", {"pods": "4"}, used={"pods": "4"})
    limit(scene.api, scene.namespace, "room", {"requests.cpu": "20"}, used={"requests.cpu": "2"})
    limit(scene.api, scene.namespace, "others", {"pods": "0", "requests.cpu": "0"}, scopes=["Terminating"])
    scene.quota(**{"requests.cpu": "2"})
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0", timeout=100)["progress"] == progress(4, 0, 0, 0)


def test_new_disks_that_just_fit_are_made(scene: Scene) -> None:
    begin(scene, template(), rolling=HALF, volumeClaimTemplates=[disk("data")])
    scene.quota(**{"requests.storage": "8Gi"})
    scene.change(volumeClaimTemplates=[disk("data"), disk("logs")])
    assert scene.rollout("Completed", timeout=100)["progress"] == progress(4, 0, 0, 0)
    assert len(scene.claims()) == 8
