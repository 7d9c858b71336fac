"""Scaling in takes at most a batch at a time, and claim templates keep their spec, on a real API server."""

from copy import deepcopy
from typing import Any

import pytest

from tests.cluster.harness.api import PODS, SCALE_SETS, ApiError, Json
from tests.cluster.harness.cluster import kubernetes_minor
from tests.cluster.harness.manifests import claim, scale_set
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, says, waiting_for, with_claims


def held(scene: Scene, replicas: int, **spec: Any) -> None:
    """A healthy set whose pods stay Terminating until they are let go."""
    scene.create(replicas=replicas, **spec)
    for name in scene.uids():
        scene.api.label(PODS, scene.namespace, name, hold_delete="true")


def let_go(scene: Scene, name: str) -> None:
    uid = scene.uids()[name]
    scene.api.label(PODS, scene.namespace, name, hold_delete=None)
    scene.wait(lambda _: scene.uids().get(name) != uid, f"{name} is gone, though the next one may be there already")


def terminating(world: World) -> list[str]:
    return sorted(name for name, pod in world.pods.items() if "deletionTimestamp" in pod["metadata"])


def goes(scene: Scene, *names: str) -> None:
    scene.wait(lambda world: terminating(world) == sorted(names), f"{names} are terminating")
    scene.never(lambda world: terminating(world) != sorted(names), "others go, too")


def test_six_become_three_one_after_the_other(scene: Scene) -> None:
    scene.policy(healthTimeout="PT1M")
    held(scene, 6)
    scene.scale(3)
    goes(scene, "web-5")
    assert scene.world.status("web")["scaleIn"]["from"] == 6
    assert says(scene.world, "Reconciling")["message"].startswith("Scaling in: 2 of 5 instances are to go. Waiting for")
    scene.condition("Ready", "ScalingIn")
    let_go(scene, "web-5")
    goes(scene, "web-4")
    let_go(scene, "web-4")
    goes(scene, "web-3")
    let_go(scene, "web-3")
    scene.healthy(3)
    assert "scaleIn" not in scene.world.status("web")


def test_all_at_once_where_somebody_wants_that(scene: Scene) -> None:
    scene.policy(healthTimeout="PT1M")
    held(scene, 6, scaleInPolicy={"maxConcurrent": "100%"})
    scene.scale(3)
    goes(scene, "web-3", "web-4", "web-5")
    for number in (3, 4, 5):
        let_go(scene, f"web-{number}")
    scene.healthy(3)


@pytest.mark.parametrize("wrong", [0, 1001, "0%", "101%", "1", "ten", 1.5])
def test_shares_that_mean_nothing_are_refused(scene: Scene, wrong: object) -> None:
    with pytest.raises(ApiError):
        scene.change(scaleInPolicy={"maxConcurrent": wrong})


def test_a_broken_instance_does_not_keep_the_set_from_shrinking(scene: Scene) -> None:
    scene.policy(healthTimeout="PT8S")
    scene.create(replicas=5)
    scene.break_pod("web-0")
    scene.wait(lambda world: not _is_ready(world.pods["web-0"]), "web-0 is broken")
    scene.scale(2)
    scene.wait(
        lambda world: "Waiting for instances 0 to become healthy" in says(world, "Reconciling")["message"],
        "it is said who is waited for",
    )
    scene.never(terminating, "somebody goes")
    scene.wait(lambda world: sorted(world.pods) == ["web-0", "web-1"], "the set shrinks all the same")
    scene.mend_pod("web-0")
    scene.healthy(2)


def _is_ready(pod: Json) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def test_a_rollout_and_scaling_in_take_turns(scene: Scene) -> None:
    scene.policy(healthTimeout="PT1M")
    held(scene, 6)
    scene.publish("1.1.0")
    scene.wait(lambda world: terminating(world) == ["web-0"], "a batch is under way")
    scene.scale(4)
    scene.never(lambda world: terminating(world) != ["web-0"], "scaling in goes on beside a batch")
    let_go(scene, "web-0")
    goes(scene, "web-5")
    scene.wait(lambda world: waiting_for(world) == "ScalingIn", "the rollout waits")
    let_go(scene, "web-5")
    goes(scene, "web-4")
    let_go(scene, "web-4")
    for number in (1, 2, 3):
        goes(scene, f"web-{number}")
        let_go(scene, f"web-{number}")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(4, version="1.1.0")


# Claim templates


def sized(size: str, **spec: object) -> Json:
    template = deepcopy(with_claims()[0])
    template["spec"]["resources"] = {"requests": {"storage": size}}
    template["spec"].update(spec)
    return template


def test_another_size_is_refused_when_it_is_applied(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=2, volumeClaimTemplates=[sized("1Gi")])
    before, claims = scene.uids(), scene.claims()
    for wrong in (
        sized("2Gi"),
        sized("1Gi", accessModes=["ReadWriteMany"]),
        sized("1Gi", storageClassName="fast"),
        sized("1Gi", volumeMode="Block"),
        sized("1Gi", selector={"matchLabels": {"disk": "fast"}}),
    ):
        with pytest.raises(ApiError) as refusal:
            scene.change(volumeClaimTemplates=[wrong])
        assert "since no disk would change: to grow a disk edit its PersistentVolumeClaim" in refusal.value.message
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    assert (scene.uids(), scene.claims()) == (before, claims)


def test_labels_of_claim_templates_replace_nobody(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=2, volumeClaimTemplates=[sized("1Gi"), claim_template("logs")])
    before = scene.uids()
    labelled = sized("1Gi")
    labelled["metadata"] = {"name": "data", "labels": {"backup": "daily"}, "annotations": {"example.com/a": "b"}}
    scene.change(volumeClaimTemplates=[claim_template("logs"), labelled])
    scene.condition("UpToDate", "Current")
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")


def test_templates_are_added_and_removed(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=2, volumeClaimTemplates=[sized("1Gi")])
    claims = scene.claims()
    scene.change(volumeClaimTemplates=[sized("1Gi"), claim_template("logs")])
    scene.wait(lambda _: scene.claims().keys() >= {"logs-web-0", "logs-web-1"}, "new disks")
    scene.rollout("Completed")
    scene.healthy(2)
    scene.change(volumeClaimTemplates=[claim_template("logs")])
    scene.wait(
        lambda world: all(
            not any("data-web" in str(v) for v in pod["spec"]["volumes"]) for pod in world.pods_of("web")
        ),
        "the disk is in no pod",
    )
    scene.healthy(2)
    assert scene.claims().items() >= claims.items()


def claim_template(name: str) -> Json:
    made = claim(name)
    return {"metadata": made["metadata"], "spec": made["spec"]}


NULLS = pytest.mark.xfail(
    kubernetes_minor() < 34,
    reason="an older API server takes a null for an absent field where a rule compares objects: docs/compatibility.md",
    strict=True,
)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(
            {"accessModes": None, "storageClassName": None, "volumeMode": None, "resources": None}, marks=NULLS
        ),
        pytest.param({"resources": {"requests": None}}, marks=NULLS),
        {"resources": {"requests": {"storage": 1073741824}}},
        {"resources": {"requests": {"storage": "much"}}, "anything": {"else": [1]}},
        {},
    ],
)
def test_the_status_of_whatever_is_stored_can_be_written(scene: Scene, spec: Json) -> None:
    """With what an older schema let through, too."""
    body = scene.api.create(
        SCALE_SETS, scene.namespace, manifest_of("odd", [{"metadata": {"name": "data"}, "spec": spec}])
    )
    assert body["spec"]["volumeClaimTemplates"][0]["spec"] == spec
    written = scene.api.patch(
        SCALE_SETS, scene.namespace, "odd", {"status": {"healthyReplicas": 0}}, subresource="status"
    )
    assert written["status"]["healthyReplicas"] == 0
    scene.api.patch(SCALE_SETS, scene.namespace, "odd", {"spec": {"replicas": 2}})


def manifest_of(name: str, templates: list[Json]) -> Json:
    return scale_set(name, replicas=0, volumeClaimTemplates=templates)
