"""Model rollouts that breach the policy: failed instances stay as they are, or get their previous model back."""

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import REGISTRY
from tests.cluster.harness.scene import Scene, progress

MODEL = "scaleset.dev/model"
UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
BAD_AGENT = [{"name": "agent", "image": f"{REGISTRY}:1-initfail"}]


def models(scene: Scene) -> list[str]:
    pods = scene.world.pods
    return [pods[name]["metadata"]["labels"][MODEL] for name in sorted(pods)]


def rolling(*, back: bool, percent: int = 40) -> Json:
    return {
        "rollbackFailedInstancesOnPolicyBreach": back,
        "maxBatchInstancePercent": percent,
        "maxUnhealthyInstancePercent": percent,
    }


def test_failed_instances_get_their_previous_model_back(scene: Scene) -> None:
    scene.policy(mode="Rolling", automatic=False, rolling=rolling(back=True))
    scene.create(replicas=5)
    before = models(scene)
    scene.change(extensions=BAD_AGENT)
    rollout = scene.rollout("Faulted")
    assert (rollout["kind"], rollout["error"]["code"]) == ("Model", UPGRADED)
    assert rollout["progress"] == progress(0, 2, 0, 3)
    assert rollout["restored"] == rollout["failed"]
    assert "credentials expired" in rollout["error"]["message"]
    scene.event("RollingBack", "to their previous model")
    scene.healthy(5, version="1.0.0")
    assert models(scene) == before
    scene.never(lambda _: models(scene) != before, "it is tried again")


def test_without_it_they_stay(scene: Scene) -> None:
    scene.policy(mode="Rolling", automatic=False, rolling=rolling(back=False))
    scene.create(replicas=5)
    (before,) = set(models(scene))
    scene.change(extensions=BAD_AGENT)
    rollout = scene.rollout("Faulted")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 2, 0, 3), "")
    scene.never(lambda _: models(scene).count(before) != 3, "an instance is restored")


def test_a_good_model_is_no_breach(scene: Scene) -> None:
    scene.policy(mode="Rolling", automatic=False, rolling=rolling(back=True))
    scene.create(replicas=5)
    scene.change(extensions=[{"name": "agent", "image": f"{REGISTRY}:1"}])
    assert scene.rollout("Completed")["progress"] == progress(5, 0, 0, 0)
    assert not scene.world.events("RollingBack")


def test_latest_model_applied_tells_who_is_behind(scene: Scene) -> None:
    scene.recorder.exempt("S1", "apply-model replaces the named instances at once")
    scene.policy(mode="Manual", automatic=False)
    scene.create(replicas=3)
    scene.change_template(change="1")

    def behind() -> dict[int, bool]:
        rows = scene.world.status("web").get("instances") or []
        return {row["id"]: row["latestModelApplied"] for row in rows}

    scene.wait(lambda _: behind() == {0: False, 1: False, 2: False}, "all are behind")
    scene.ask("apply-model", "1")
    scene.wait(lambda _: behind() == {0: False, 2: False}, "1 is not any more")
    scene.ask("apply-model", "*")
    scene.wait(lambda _: behind() == {}, "nobody is")
