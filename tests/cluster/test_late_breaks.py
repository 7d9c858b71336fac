"""Versions that break after they were healthy for a moment: how far they come, and that they are taken back."""

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.fleet import code, ids, rollout
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, progress, ready, runs

UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
PAUSED = {"pauseTimeBetweenBatches": "PT6S"}
LONG = 60.0


def template(**annotations: str) -> Json:
    found: Json = scale_set()["spec"]["template"]
    found["metadata"]["annotations"] = {
        f"sim.scaleset.dev/{key.replace('_', '-')}": v for key, v in annotations.items()
    }
    return found


def without_signal() -> Json:
    """Health is then the state of the containers."""
    found = template()
    del found["spec"]["containers"][0]["readinessProbe"]
    return {"template": found, "health": {"source": "InstanceState"}}


def reached(scene: Scene, version: str) -> set[str]:
    """The pods that ever had that version."""
    return {seen.name for seen in scene.recorder.trace().of("pods") if seen.scale_set and runs(seen.object) == version}


def failed_versions(scene: Scene) -> list[str]:
    return [target["version"] for target in scene.world.status("web").get("failedTargets") or []]


def test_a_container_that_exits_after_its_start_is_not_health(scene: Scene) -> None:
    scene.policy(healthTimeout="PT8S")
    scene.create(replicas=10, **without_signal())
    before = scene.uids()
    scene.publish("1.1.0", "exits")
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG)
    assert (found["progress"], found["restored"]) == (progress(0, 2, 0, 8), "0-1")
    assert reached(scene, "1.1.0") == {"web-0", "web-1"}
    scene.healthy(10, version="1.0.0")
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0", "web-1"}
    assert failed_versions(scene) == ["1.1.0"]


def test_running_containers_are_believed_after_ten_seconds(scene: Scene) -> None:
    scene.create(replicas=2, **without_signal())
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0", timeout=LONG)["progress"] == progress(2, 0, 0, 0)
    pods = [seen for seen in scene.recorder.trace().of("pods") if runs(seen.object) == "1.1.0"]
    first = next(seen.at for seen in pods if seen.name == "web-0" and seen.running)
    second = next(seen.at for seen in pods if seen.name == "web-1")
    assert second - first > 9  # whole seconds count


def test_no_time_is_waited_where_the_policy_says_so(scene: Scene) -> None:
    scene.policy(minReadyTime="PT0S")
    scene.create(replicas=2, **without_signal())
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0", timeout=9)


def test_what_broke_in_the_pause_is_restored(scene: Scene) -> None:
    scene.policy(rolling=PAUSED, minReadyTime="PT0S")
    scene.create(replicas=10)
    scene.publish("1.1.0", "flaky")  # ready after one second, for three
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG)
    assert (found["error"]["code"], found["progress"]) == (UPGRADED, progress(0, 2, 0, 8))
    assert found["restored"] == "0-1"
    scene.healthy(10, version="1.0.0")
    assert touched(scene.recorder)[0] == [0, 1]
    assert reached(scene, "1.1.0") == {"web-0", "web-1"}
    assert failed_versions(scene) == ["1.1.0"]
    scene.never(lambda world: code(world) != "Faulted" or "1.1.0" in scene.versions(), "it is tried again")


@pytest.mark.parametrize("behaviour", ["exits", "fast"])
def test_a_restart_by_the_change_itself_is_not_held_against_a_version(scene: Scene, behaviour: str) -> None:
    """In place the container is started again once; what counts is how often after that."""
    scene.policy(healthTimeout="PT8S", replacementMethod="InPlaceIfPossible")
    scene.create(replicas=2, **without_signal())
    before = scene.uids()
    scene.publish("1.1.0", behaviour)
    if behaviour == "fast":
        assert scene.rollout("Completed", "1.1.0", timeout=LONG)["progress"] == progress(2, 0, 0, 0)
        scene.healthy(2, version="1.1.0")
    else:
        assert scene.rollout("Faulted", "1.1.0", timeout=LONG)["restored"] == "0"
        scene.healthy(2, version="1.0.0")
    assert scene.uids() == before


def test_what_broke_in_the_pause_is_restored_in_place(scene: Scene) -> None:
    scene.policy(rolling=PAUSED, minReadyTime="PT0S", replacementMethod="InPlaceIfPossible")
    scene.create(replicas=5)
    before = scene.uids()
    scene.publish("1.1.0", "flaky")
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG)
    assert (found["progress"], found["restored"]) == (progress(0, 1, 0, 4), "0")
    scene.healthy(5, version="1.0.0")
    assert scene.uids() == before


def test_what_broke_after_several_batches_is_restored_batch_by_batch(scene: Scene) -> None:
    """A pod starts within three seconds and is ready for four: three batches are through before the first one counts,
    and each restore takes long enough for the next ones to break.
    """
    scene.policy(healthTimeout="PT10S", minReadyTime="PT0S")
    scene.create(replicas=10, template=template(start="3s", fails_after="4s"))
    scene.publish("1.1.0", "flaky")
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG + 30)
    assert found["error"]["code"] == UPGRADED
    upgraded = ids(scene.world, "failed") | ids(scene.world, "successful")
    assert len(upgraded) >= 4
    assert ids(scene.world, "restored") == upgraded
    scene.healthy(10, version="1.0.0")
    assert failed_versions(scene) == ["1.1.0"]


def test_what_is_ready_for_three_seconds_only_is_taken_back_from_everybody(scene: Scene) -> None:
    """Batches are so quick that the last one breaks after the first ones were taken back."""
    scene.policy(healthTimeout="PT8S", minReadyTime="PT0S")
    scene.create(replicas=10)
    scene.publish("1.1.0", "flaky")
    scene.rollout("Faulted", "1.1.0", timeout=LONG)
    scene.healthy(10, version="1.0.0", timeout=10)


def test_an_outage_takes_nothing_back(scene: Scene) -> None:
    """The instances that the run has not touched are down as well: the version is not what is wrong."""
    scene.policy(rolling=PAUSED)
    scene.create(replicas=5)
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: rollout(world).get("batchesDone") == 1, "the first batch is through")
    uid = scene.uids()["web-0"]
    for name in scene.uids():
        scene.break_pod(name)
    scene.rollout("Faulted", "1.1.0", timeout=LONG)
    scene.never(lambda _: scene.versions() != ["1.1.0", *["1.0.0"] * 4], "an instance is taken back", seconds=3)
    assert scene.uids()["web-0"] == uid


def test_a_start_by_hand_takes_nothing_back(scene: Scene) -> None:
    scene.policy(automatic=False, rolling=PAUSED, minReadyTime="PT0S")
    scene.create(replicas=5)
    scene.publish("1.1.0", "flaky")
    scene.ask("start-upgrade-at", "now")
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG)
    assert (found["error"]["code"], found["restored"]) == (UPGRADED, "")
    scene.never(lambda _: scene.versions() != ["1.1.0", *["1.0.0"] * 4], "an instance is taken back", seconds=3)


def test_a_restore_that_mends_nothing_is_the_last_one(scene: Scene) -> None:
    """None of the first restored batch becomes healthy again, so the rest stays."""
    scene.policy(healthTimeout="PT10S", minReadyTime="PT0S")
    scene.create(replicas=10, template=template(start="3s", fails_after="4s"))
    scene.publish("1.1.0", "flaky")

    first = scene.wait(lambda world: ids(world, "restoring"), "a batch is restored", timeout=LONG)
    went = {f"web-{number}" for number in first}
    scene.wait(
        lambda world: went <= world.pods.keys() and all(runs(world.pods[name]) == "1.0.0" for name in went),
        "its pods are there again",
    )
    for name in went:
        scene.break_pod(name)
    found = scene.rollout("Faulted", "1.1.0", timeout=LONG)
    assert ids(scene.world, "restored") == frozenset()
    assert not any(ready(pod) for pod in scene.world.pods_of("web") if pod["metadata"]["name"] in went)
    stayed = reached(scene, "1.1.0") - went
    scene.never(
        lambda world: any(runs(world.pods[name]) != "1.1.0" for name in stayed), "another one is taken back", seconds=3
    )
    assert "previous" in found["error"]["message"]
