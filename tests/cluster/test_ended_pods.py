"""Versions whose pods end, or are taken away, before they are ready: a batch has a deadline of its own."""

import pytest

from tests.cluster.harness.api import IMAGES, PODS
from tests.cluster.harness.fleet import code, rollout
from tests.cluster.harness.rollouts import made_at
from tests.cluster.harness.scene import Scene, progress, ready, runs

ENDED = {"evict-bad": "low on resource", "reject": "Pod was rejected"}


def started(scene: Scene, behaviour: str, *, timeout: str = "PT8S") -> dict[str, str]:
    """Five healthy instances and a first batch on a version of that behaviour; returns the uids from before it."""
    scene.policy(healthTimeout=timeout)
    scene.create(replicas=5)
    before = scene.uids()
    scene.publish("1.1.0", behaviour)
    scene.wait(lambda world: runs(world.pods.get("web-0", world.pods["web-1"])) == "1.1.0", "web-0 gets the version")
    return before


def restored(scene: Scene, before: dict[str, str]) -> None:
    """The first instance is back on its previous version, and no other instance was touched."""
    scene.healthy(5, version="1.0.0")
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0"}


@pytest.mark.parametrize("behaviour", ENDED)
def test_a_version_whose_pods_end_fails_at_the_deadline_of_its_batch(scene: Scene, behaviour: str) -> None:
    before = started(scene, behaviour)
    found = scene.rollout("Faulted", "1.1.0", timeout=40)
    assert (found["progress"], found["restored"]) == (progress(0, 1, 0, 4), "0")
    assert ENDED[behaviour] in found["error"]["message"]
    restored(scene, before)
    # One at the start, one at once after its end; the third would come ten seconds later, after the deadline.
    assert len(made_at(scene.recorder, "web-0", "1.1.0")) == 2
    assert len(scene.world.events("PodEnded")) == 1
    # The image of a pod that the kubelet rejects was never tried: its version is not what is wrong.
    failed = [target["version"] for target in scene.world.status("web").get("failedTargets") or []]
    assert failed == ([] if behaviour == "reject" else ["1.1.0"])
    scene.never(lambda _: runs(scene.world.pods["web-0"]) != "1.0.0", "it is tried again")


def test_ended_pods_are_made_again_with_a_back_off(scene: Scene) -> None:
    started(scene, "evict-bad", timeout="PT50S")
    scene.wait(lambda _: len(made_at(scene.recorder, "web-0", "1.1.0")) == 4, "it is made four times", timeout=60)
    first, second, third, fourth = made_at(scene.recorder, "web-0", "1.1.0")
    assert second - first < 6  # at once when it has ended, after one second and a half
    assert third - second > 8  # whole seconds count, and an old pod goes first
    assert fourth - third > 18
    (told,) = scene.world.events("PodEnded")
    assert "low on resource" in told


def ended(scene: Scene, timeout: float) -> None:
    """Waits for the end of the run, however it ends: its failed batch may be the reason, or what the user wanted."""
    over = ("Cancelled", "Faulted")
    scene.wait(lambda world: code(world) in over, "the rollout has ended", timeout=timeout)


def test_cancelling_ends_the_run_at_the_deadline_of_its_batch(scene: Scene) -> None:
    before = started(scene, "evict-bad")
    scene.ask("cancel-upgrade-at", "now")
    ended(scene, 25)
    restored(scene, before)
    scene.never(lambda _: runs(scene.world.pods["web-0"]) != "1.0.0", "it is tried again")


def test_withdrawing_the_version_ends_the_run_at_the_deadline_of_its_batch(scene: Scene) -> None:
    before = started(scene, "evict-bad")
    scene.delete(IMAGES, "server-1.1.0")
    ended(scene, 25)
    restored(scene, before)


def test_a_good_version_follows_one_whose_pods_end(scene: Scene) -> None:
    started(scene, "evict-bad")
    scene.publish("1.2.0", "fast")
    scene.rollout("Completed", "1.2.0", timeout=60)
    scene.healthy(5, version="1.2.0")


def test_pods_that_others_take_away_begin_anew_only_twice(scene: Scene) -> None:
    """Otherwise a version that is never ready would never be judged while somebody keeps deleting its pods."""
    before = started(scene, "bad", timeout="PT8S")
    taken: set[str] = set()
    while code(scene.world) == "RollingForward" and len(taken) < 8:
        scene.wait(
            lambda world: (
                code(world) != "RollingForward"
                or ((pod := world.pods.get("web-0")) and runs(pod) == "1.1.0" and pod["metadata"]["uid"] not in taken)
            ),
            "web-0 has another pod of the version",
            timeout=15,
        )
        scene.recorder.settle(4)
        pod = scene.world.pods.get("web-0")
        if code(scene.world) == "RollingForward" and pod and runs(pod) == "1.1.0":
            taken.add(scene.delete_pod("web-0"))
    assert (code(scene.world), rollout(scene.world)["failed"]) == ("Faulted", "0")
    assert 3 <= len(taken) <= 5  # it ends within three times the health timeout
    restored(scene, before)


def test_a_drain_condemns_no_version(scene: Scene) -> None:
    """Two pods of a good version are evicted while they start, which together takes longer than the health timeout."""
    scene.create(replicas=2, template={**_template(), "metadata": {"annotations": {"sim.scaleset.dev/start": "3s"}}})
    scene.publish("1.1.0", "fast")
    taken: set[str] = set()
    for _ in range(2):
        scene.wait(
            lambda world: (
                (pod := world.pods.get("web-0")) and runs(pod) == "1.1.0" and pod["metadata"]["uid"] not in taken
            ),
            "web-0 has another pod of the version",
        )
        scene.recorder.settle(2)
        taken.add(scene.delete_pod("web-0"))
    assert scene.rollout("Completed", "1.1.0", timeout=40)["progress"] == progress(2, 0, 0, 0)
    scene.healthy(2, version="1.1.0")


def test_an_old_pod_that_goes_slowly_stops_the_clock(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete="true")
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-0"]["metadata"], "the pod is terminating")
    scene.never(lambda world: code(world) != "RollingForward", "the run ends", seconds=8)  # the timeout is five
    scene.api.label(PODS, scene.namespace, "web-0", hold_delete=None)
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(2, 0, 0, 0)
    assert all(ready(pod) for pod in scene.world.pods_of("web"))


def _template() -> dict[str, object]:
    container = {"name": "os", "image": "-", "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}}
    return {"spec": {"containers": [container]}}
