"""An UpgradePolicy says how many sets refer to it, whichever way they come and go."""

from tests.cluster.harness import manifests
from tests.cluster.harness.api import POLICIES, SCALE_SETS
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene


def users(scene: Scene, **expected: int) -> None:
    def as_expected(world: World) -> bool:
        found = {name: policy.get("status", {}).get("scaleSets") for name, policy in world.all(POLICIES).items()}
        return found == expected

    scene.wait(as_expected, f"the policies count {expected}")


def test_sets_that_come_go_and_refer_to_another_policy_are_counted(scene: Scene) -> None:
    scene.apply(*(manifests.upgrade_policy(name) for name in ("old", "new")))
    users(scene, old=0, new=0)
    scene.publish("1.0.0", "fast")
    scene.apply(*(manifests.scale_set(name, replicas=1, policy="old") for name in ("one", "two")))
    users(scene, old=2, new=0)
    scene.change("one", upgradePolicyRef={"name": "new"})
    users(scene, old=1, new=1)
    scene.change("two", upgradePolicyRef=None)
    users(scene, old=0, new=1)
    scene.delete(SCALE_SETS, "one")
    users(scene, old=0, new=0)


def test_a_policy_that_comes_after_its_sets_counts_them(scene: Scene) -> None:
    scene.publish("1.0.0", "fast")
    scene.apply(manifests.scale_set("one", replicas=1, policy="late"))
    scene.apply(manifests.upgrade_policy("late"))
    users(scene, late=1)
