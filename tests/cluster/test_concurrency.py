"""`maxConcurrentScaleSets`: several sets of one policy, so many at a time, in the order in which they began to wait."""

from tests.cluster.harness.api import SCALE_SETS
from tests.cluster.harness.recorder import World
from tests.cluster.harness.rollouts import order, rolling
from tests.cluster.harness.scene import Scene, says

SETS = ["blue", "green", "red"]


def fleet(scene: Scene, *, limit: int, sets: list[str], replicas: int = 2) -> None:
    scene.policy(maxConcurrentScaleSets=limit)
    for name in sets:
        scene.create(replicas=replicas, name=name)


def queue(scene: Scene) -> dict[str, str]:
    """Waits until one set rolls and the others wait; returns since when those do."""

    def waiting(world: World) -> dict[str, str]:
        found = {name: world.status(name).get("waitingSince") for name in SETS}
        return {name: since for name, since in found.items() if since}

    scene.wait(lambda world: len(waiting(world)) == 2, "one rolls and two wait")
    for name in (found := waiting(scene.world)):
        said = says(scene.world, "Progressing", name=name)
        assert (said["status"], said["reason"]) == ("False", "ConcurrencyLimit")
        assert "1 may roll at a time" in said["message"]
    return found


def completed(scene: Scene, sets: list[str], version: str) -> None:
    for name in sets:
        scene.rollout("Completed", version, name=name, timeout=60)
        scene.healthy(2, version=version, name=name)


def test_one_at_a_time_and_all_get_there(scene: Scene) -> None:
    fleet(scene, limit=1, sets=SETS)
    scene.publish("1.1.0")
    since = queue(scene)
    completed(scene, SETS, "1.1.0")
    assert max(len(names) for names in rolling(scene.recorder)) == 1
    assert order(scene.recorder)[1:] == sorted(since, key=lambda name: (since[name], name))
    assert not any("waitingSince" in scene.world.status(name) for name in SETS)


def test_two_of_four(scene: Scene) -> None:
    sets = [*SETS, "white"]
    fleet(scene, limit=2, sets=sets)
    scene.publish("1.1.0")
    completed(scene, sets, "1.1.0")
    assert max(len(names) for names in rolling(scene.recorder)) == 2


def test_longest_waiting_first(scene: Scene) -> None:
    """`red` begins to wait first: the other one is suspended until then."""
    fleet(scene, limit=1, sets=SETS)
    scene.change(name="green", suspend=True)
    scene.change(name="red", suspend=True)
    scene.publish("1.1.0")
    scene.wait(lambda world: world.status("blue").get("rollingUpgrade"), "blue rolls")
    scene.change(name="red", suspend=False)
    scene.condition("Progressing", "ConcurrencyLimit", name="red")
    scene.recorder.settle(1)  # times have whole seconds
    scene.change(name="green", suspend=False)
    completed(scene, SETS, "1.1.0")
    assert order(scene.recorder) == ["blue", "red", "green"]


def test_who_leaves_the_queue_holds_nobody_up(scene: Scene) -> None:
    fleet(scene, limit=1, sets=SETS)
    scene.publish("1.1.0")
    since = queue(scene)
    second, third = sorted(since, key=lambda name: (since[name], name))
    (first,) = set(SETS) - since.keys()
    scene.change(name=second, suspend=True)
    scene.condition("Progressing", "Suspended", name=second)
    completed(scene, [first, third], "1.1.0")
    assert says(scene.world, "UpToDate", name=second)["status"] == "False"
    scene.delete(SCALE_SETS, first)
    scene.change(name=second, suspend=False)
    completed(scene, [second], "1.1.0")


def test_a_failed_one_gives_its_place_away(scene: Scene) -> None:
    fleet(scene, limit=1, sets=["blue", "green"])
    scene.publish("1.1.0", "bad")
    for name in ("blue", "green"):
        scene.rollout("Faulted", "1.1.0", name=name, timeout=60)
    assert max(len(names) for names in rolling(scene.recorder)) == 1
