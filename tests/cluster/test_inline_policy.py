"""`spec.upgradePolicy`: a policy in the set itself, in the place of one that several sets share."""

import pytest

from tests.cluster.harness import manifests
from tests.cluster.harness.api import POLICIES, SCALE_SETS, ApiError, Json
from tests.cluster.harness.scene import HEALTH_TIMEOUT, Scene, progress, says

ONE = "keep one of upgradePolicy and upgradePolicyRef: a set has one policy"


def own(**more: object) -> Json:
    return {
        "healthTimeout": HEALTH_TIMEOUT,
        "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True},
        **more,
    }


def create(scene: Scene, *, replicas: int = 3, **policy: object) -> None:
    scene.publish("1.0.0", "fast")
    scene.apply(manifests.scale_set(replicas=replicas, policy=None, upgradePolicy=own(**policy)))
    scene.healthy(replicas)


def test_a_set_with_its_own_policy_is_upgraded_by_it(scene: Scene) -> None:
    create(scene, replicas=4, rollingUpgradePolicy={"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50})
    stored = scene.world.scale_sets["web"]["spec"]["upgradePolicy"]
    assert "mode" not in stored, "what is absent stays absent"
    scene.publish("1.1.0", "fast")
    run = scene.rollout("Completed", "1.1.0")
    assert run["progress"] == progress(4, 0, 0, 0)
    assert run["batchesDone"] == 2
    assert run["policy"]["maxBatchInstancePercent"] == 50
    scene.publish("1.2.0", "bad")
    assert scene.rollout("Faulted", "1.2.0")["restored"] == "0-1"
    scene.healthy(4, version="1.1.0")


def test_an_edit_holds_for_the_next_rollout_and_suspend_at_once(scene: Scene) -> None:
    create(scene)
    before = scene.uids()
    scene.change(upgradePolicy={"suspend": True})
    scene.publish("1.1.0", "fast")
    text = "The set's own policy suspends it: no rollout starts until spec.upgradePolicy.suspend is lifted."
    assert scene.condition("Progressing", "Suspended")["message"] == text
    assert scene.uids() == before, "an edit of the policy is no new model"
    scene.change(upgradePolicy={"suspend": None, "mode": "Rolling"})
    scene.rollout("Completed", "1.1.0")
    scene.change_template(change="1")
    scene.wait(lambda world: world.status("web")["rollingUpgrade"]["kind"] == "Model", "mode Rolling holds")
    scene.healthy(3)


def test_a_set_can_change_from_the_one_to_the_other(scene: Scene) -> None:
    scene.create(replicas=2)
    before = scene.uids()
    with pytest.raises(ApiError, match=ONE):
        scene.change(upgradePolicy=own())
    scene.change(upgradePolicyRef=None, upgradePolicy=own())
    scene.delete(POLICIES, "policy")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    assert says(scene.world, "Accepted")["status"] == "True"
    assert not before.keys() - scene.uids().keys()


def test_bad_fields_are_refused_as_in_an_upgrade_policy(scene: Scene) -> None:
    def refused(**policy: object) -> str:
        body = manifests.scale_set("bad", policy=None, upgradePolicy=policy)
        with pytest.raises(ApiError) as refusal:
            scene.api.create(SCALE_SETS, scene.namespace, body)
        return refusal.value.message

    assert "choose a duration from PT1S to P1D" in refused(healthTimeout="P2D")
    assert "should be less than or equal to 100" in refused(rollingUpgradePolicy={"maxBatchInstancePercent": 101})
    surge = {"maxSurge": True}
    assert "set maxSurge to false" in refused(replacementMethod="InPlaceOnly", rollingUpgradePolicy=surge)
    both = manifests.scale_set("bad", upgradePolicy=own())
    with pytest.raises(ApiError, match=ONE):
        scene.api.create(SCALE_SETS, scene.namespace, both)
