"""What new users played, from the first command to the last: what the screens say of a set is what its pods are."""

import itertools
import re
from typing import Any

import pytest

from tests.cluster.harness.api import EVENTS, IMAGES, SCALE_SETS, Json
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.recorder import World
from tests.cluster.harness.rollouts import batches, touched
from tests.cluster.harness.scene import Scene, progress, says
from tests.cluster.harness.screens import Screen, screen_of

BY_HAND = "apply-model replaces instances at once"
PATIENT = ("--yes", "--wait", "--timeout", "60s")
SHOWN = ("VERSION", "TARGET", "UPDATED", "STATUS")
LONG = 60.0


def pin(scene: Scene, version: str) -> None:
    """Names a version in the spec, or `latest`, and waits until the operator has looked at it."""
    scene.change(imageReference={"version": version})
    scene.wait(lambda world: says(world, "UpToDate")["status"], f"the operator has seen {version}")


def fault(scene: Scene, *names: str, replicas: int = 10) -> None:
    """Version 1.1.0 is bad: it fails in each of these sets and is taken back."""
    scene.publish("1.1.0", "bad")
    for name in names or ("web",):
        assert scene.rollout("Faulted", "1.1.0", name=name)["restored"] == "0-1"
        scene.healthy(replicas, version="1.0.0", name=name)


def upgraded(scene: Scene, screen: Screen) -> None:
    """Ten instances, brought from 1.0.0 to 1.1.0."""
    scene.create(replicas=10)
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: world.status("web").get("latestVersion") == "1.1.0", "the version is seen")
    screen.scaleset("start", "web", *PATIENT)
    scene.healthy(10, version="1.1.0")


# --- back to an older version by a pin


def test_back_by_a_pin_and_forward_again(scene: Scene) -> None:
    """In mode Automatic nothing rolls: what runs is current all the same."""
    scene.recorder.exempt("S1", "mode Automatic replaces all outdated instances at once")
    scene.policy(automatic=False, mode="Automatic")
    with screen_of(scene) as screen:
        upgraded(scene, screen)
        for version, name in (("1.0.0", "1.0.0"), ("1.1.0", "latest")):
            pin(scene, name)
            scene.healthy(10, version=version)
            scene.wait(lambda world: says(world, "UpToDate")["status"] == "True", "it is up to date")
            assert screen.cells("VERSION") == (version,)
            shown = screen.scaleset("get", "web").out
            assert re.search(rf"^Version: +{re.escape(version)}$", shown, re.MULTILINE), shown
            assert scene.world.status("web")["currentVersion"] == version
            assert screen.cells(*SHOWN) == (version, version, "10", "Healthy")
        assert scene.world.status("web")["rollingUpgrade"]["id"] == "1"


def test_a_fleet_that_is_half_way_back_shows_both_versions(scene: Scene) -> None:
    scene.recorder.exempt("S1", BY_HAND)
    scene.policy(automatic=False)
    with screen_of(scene) as screen:
        upgraded(scene, screen)
        pin(scene, "1.0.0")
        screen.scaleset("apply-model", "web", "0-3", *PATIENT)
        assert scene.versions() == ["1.0.0"] * 4 + ["1.1.0"] * 6
        assert screen.cells(*SHOWN) == ("1.1.0 (6), 1.0.0 (4)", "1.0.0", "4", "Healthy")
        screen.scaleset("apply-model", "web", "--all", *PATIENT)
        scene.healthy(10, version="1.0.0")
        assert screen.cells(*SHOWN) == ("1.0.0", "1.0.0", "10", "Healthy")
        pin(scene, "latest")
        assert screen.cells(*SHOWN) == ("1.0.0", "1.1.0", "0", "Healthy")
        assert screen.scaleset("start", "web", *PATIENT).out.endswith("web: Completed to version 1.1.0: 10 upgraded.\n")
        assert screen.cells(*SHOWN) == ("1.1.0", "1.1.0", "10", "Healthy")


# --- nobody asked for the failed version


def test_a_pause_in_a_shared_policy_brings_the_failed_version_to_nobody(scene: Scene) -> None:
    names = ("web", "other")
    scene.create(replicas=10)
    scene.create(replicas=10, name="other")
    fault(scene, *names)
    before = {name: scene.uids(name) for name in names}
    scene.policy(rolling={"pauseTimeBetweenBatches": "PT10M"})
    scene.never(lambda _: any(scene.uids(name) != before[name] for name in names), "it is tried again", seconds=4)
    with screen_of(scene) as screen:
        for name in names:
            assert screen.cells(*SHOWN, name=name) == ("1.0.0", "1.1.0", "0", "Faulted")
            assert scene.says("Stalled", name=name)["reason"] == "RolloutFaulted"
            assert scene.world.status(name)["rollingUpgrade"]["id"] == "1"
        assert screen.row("server-1.1.0", kind="galleryimageversions", wide=True)["FAILED"] == "2"
    # An edit that could change the verdict is another matter.
    scene.policy(healthTimeout="PT6S", rolling={"pauseTimeBetweenBatches": "PT10M"})
    for name in names:
        assert scene.rollout("Faulted", "1.1.0", name=name, run="2")["restored"] == "0-1"
        scene.healthy(10, version="1.0.0", name=name)


def test_the_end_of_a_pin_brings_the_failed_version_to_nobody(scene: Scene) -> None:
    """The mode in which a pin rolls is no reason to try the version again, neither now nor at the pin's end."""
    scene.create(replicas=10)
    fault(scene)
    pin(scene, "1.0.0")
    scene.policy(mode="Rolling")
    assert scene.rollout("Completed", run="2", timeout=LONG)["kind"] == "Model"
    scene.healthy(10, version="1.0.0")
    before = scene.uids()
    pin(scene, "latest")
    scene.never(lambda _: scene.uids() != before, "the failed version comes back", seconds=4)
    assert scene.world.status("web")["rollingUpgrade"]["id"] == "2"
    said = scene.says("Ready")
    assert said["status"] == "True"
    assert "10 of 10 are behind the spec. Version 1.1.0 failed and is not tried again" in said["message"]
    assert scene.says("Stalled")["status"] == "True"
    with screen_of(scene) as screen:
        assert screen.cells("VERSION", "TARGET") == ("1.0.0", "1.1.0")
        assert "and is not tried again by itself" in screen.scaleset("versions", "web").out
    scene.publish("1.2.0", "fast")
    found = scene.rollout("Completed", "1.2.0", run="3", timeout=LONG)
    assert (found["kind"], found["progress"]) == ("Image", progress(10, 0, 0, 0))
    scene.healthy(10, version="1.2.0")


def test_a_pin_that_fails_is_taken_back(scene: Scene) -> None:
    """Going back is as careful as going forward."""
    scene.recorder.exempt("S8", "the user pins a version that no instance had before")
    scene.policy(mode="Rolling")
    scene.create(replicas=10)
    scene.publish("0.9.0", "bad")
    pin(scene, "0.9.0")
    found = scene.rollout("Faulted", "0.9.0", timeout=LONG)
    assert (found["kind"], found["restored"]) == ("Model", "0-1")
    scene.healthy(10, version="1.0.0")
    with screen_of(scene) as screen:
        assert screen.cells(*SHOWN) == ("1.0.0", "0.9.0", "0", "Faulted")


def test_a_new_set_is_told_that_its_version_failed_elsewhere(scene: Scene) -> None:
    scene.create(replicas=10)
    fault(scene)
    scene.wait(lambda world: _failures(world, "1.1.0") == 1, "the version counts where it failed")
    told = f"Version 1.1.0 failed in 1 ScaleSet: {scene.namespace}/web at 20"
    with screen_of(scene) as screen:
        assert told in screen.scaleset("versions").error
        scene.apply(scale_set("other", replicas=10))
        scene.condition("Ready", "Unhealthy", name="other")
        assert _reasons(scene, "other") == ["Starting", "Unhealthy"]
        assert screen.cells("HEALTHY", "VERSION", "STATUS", name="other") == ("0", "1.1.0", "Unhealthy")
        assert told in screen.scaleset("versions", "other").error
        assert told in screen.scaleset("plan", "other").out
        reader = screen.may(
            "reader", {"apiGroups": ["scaleset.dev"], "resources": ["galleryimageversions"], "verbs": ["list"]}
        )
        hidden = screen.scaleset("versions", "--kubeconfig", reader).error
        assert hidden == "Version 1.1.0 failed in 1 ScaleSet, which you may not list.\n"
        # The fix waits for no gate where nothing was ever healthy.
        scene.publish("1.2.0", "fast")
        scene.healthy(10, version="1.2.0", name="other", timeout=LONG)
        scene.rollout("Completed", "1.2.0", timeout=LONG)
        scene.healthy(10, version="1.2.0")
        assert screen.cells(*SHOWN, name="other") == ("1.2.0", "1.2.0", "10", "Healthy")


def _reasons(scene: Scene, name: str) -> list[str]:
    """What the column STATUS has said of a set, one after the other."""
    seen = (each.object for each in scene.recorder.trace().of("scalesets") if each.name == name)
    conditions = (each for found in seen for each in (found.get("status") or {}).get("conditions") or [])
    reasons = [each["reason"] for each in conditions if each["type"] == "Ready"]
    return [reason for reason, _ in itertools.groupby(reasons)]


def _failures(world: World, version: str) -> int:
    found = world.all(IMAGES).get(f"server-{version}") or {}
    return int((found.get("status") or {}).get("failedScaleSets") or 0)


# --- the fix


def tried_on_the_last_two(scene: Scene, behaviour: str, *, fails_after: str = "3s", **policy: Any) -> None:
    """The others are protected; a start by hand restores nothing, so the two are left on a version that failed."""
    scene.policy(automatic=False, **policy)
    template = scale_set()["spec"]["template"]
    template["metadata"]["annotations"] = {"sim.scaleset.dev/fails-after": fails_after}
    scene.create(replicas=10, template=template)
    scene.change(protectedInstances=[{"id": n, "protectFromScaleSetActions": True} for n in range(8)])
    scene.publish("1.1.0", behaviour)
    scene.ask("start-upgrade-at", "first")
    assert scene.rollout("Faulted", "1.1.0")["progress"] == progress(0, 2, 0, 0)
    assert scene.versions() == ["1.0.0"] * 8 + ["1.1.0"] * 2
    scene.change(protectedInstances=[])
    scene.condition("Ready", "Unhealthy")


@pytest.mark.parametrize("by", ["platform", "user"])
def test_a_new_image_reaches_the_broken_instances_first(scene: Scene, by: str) -> None:
    tried_on_the_last_two(scene, "bad")
    scene.publish("1.2.0", "fast")
    if by == "platform":
        scene.policy()
    else:
        scene.ask("start-upgrade-at", "second")
    found = scene.rollout("Completed", "1.2.0", run="2", timeout=LONG)
    assert found["progress"] == progress(10, 0, 0, 0)
    assert touched(scene.recorder)[1:] == [[8, 9], [0, 1], [2, 3], [4, 5], [6, 7]]
    scene.healthy(10, version="1.2.0")
    with screen_of(scene) as screen:
        assert screen.cells(*SHOWN) == ("1.2.0", "1.2.0", "10", "Healthy")


def test_a_new_template_reaches_all_that_lack_it_or_the_version_in_one_rollout(scene: Scene) -> None:
    """The version is sound, the template was not: two have the one, nobody the other."""
    timeouts: Json = {"minReadyTime": "PT2S", "mode": "Rolling"}
    tried_on_the_last_two(scene, "flaky", fails_after="1s", **timeouts)
    scene.policy(**timeouts)
    scene.change_template(fails_after="3600s")
    scene.healthy(10, version="1.1.0", timeout=LONG)
    scene.condition("UpToDate", "Current", timeout=LONG)
    scene.condition("Ready", "Healthy")
    assert {batch.run for batch in batches(scene.recorder)} == {"1", "2"}
    assert touched(scene.recorder)[1:] == [[8, 9], [0, 1], [2, 3], [4, 5], [6, 7]]
    found = scene.world.status("web")["rollingUpgrade"]
    assert (found["kind"], found["progress"]) == ("Image", progress(10, 0, 0, 0))


# --- what is asked for and cannot be


def test_a_pinned_set_says_what_is_behind_and_refuses_a_start_before_it_writes(scene: Scene) -> None:
    scene.recorder.exempt("S1", BY_HAND)
    scene.policy(automatic=False)
    with screen_of(scene) as screen:
        upgraded(scene, screen)
        scene.publish("1.2.0", "bad")
        pin(scene, "1.0.0")
        before, uids = scene.api.get(SCALE_SETS, scene.namespace, "web"), scene.uids()
        refused = screen.scaleset("start", "web", "--yes", code=1)
        assert "which have imageReference.version set to latest" in refused.error
        assert "requested" not in refused.out
        scene.quiet(seconds=2)
        assert _unchanged(scene, before)
        assert not [each for each in scene.api.list(EVENTS, scene.namespace) if each["reason"] == "StartRefused"]
        assert scene.uids() == uids
        assert screen.cells(*SHOWN) == ("1.1.0", "1.0.0", "0", "Healthy")
        assert scene.says("Ready")["message"] == (
            "10 of 10 instances are healthy. 10 of 10 are behind the spec; a newer model by annotation "
            "scaleset.dev/start-model-rollout-at, or at once by scaleset.dev/apply-model, since the policy's mode is "
            "Manual."
        )
        screen.kubectl("wait", "sset/web", "--for=condition=Ready", "--timeout=5s")
        screen.kubectl("wait", "sset/web", "--for=condition=UpToDate", "--timeout=1s", code=1)
        screen.scaleset("apply-model", "web", "--all", *PATIENT)
        screen.kubectl("wait", "sset/web", "--for=condition=UpToDate", "--timeout=20s")
        scene.healthy(10, version="1.0.0")
        assert scene.says("Ready")["message"] == "10 of 10 instances are healthy."


def _unchanged(scene: Scene, before: Json) -> bool:
    now = scene.api.get(SCALE_SETS, scene.namespace, "web")
    return all(now["metadata"].get(part) == before["metadata"].get(part) for part in ("annotations", "generation"))


# --- what a set waits for


def test_waiting_pausing_suspended_and_cancelled_are_told_apart(scene: Scene) -> None:
    scene.policy(rolling={"pauseTimeBetweenBatches": "PT10S"}, healthTimeout="PT20S")
    scene.create(replicas=10)
    with screen_of(scene) as screen:
        for number in (7, 8, 9):
            scene.break_pod(f"web-{number}")
        scene.wait(lambda world: says(world, "Available")["status"] == "False", "the gate is closed")
        scene.publish("1.1.0", "fast")
        scene.condition("Ready", "WaitingForHealth")
        assert screen.cells("VERSION", "TARGET", "STATUS") == ("1.0.0", "1.1.0", "WaitingForHealth")
        scene.change(suspend=True)
        for number in (7, 8, 9):
            scene.mend_pod(f"web-{number}")
        scene.healthy(10, version="1.0.0")
        scene.condition("Ready", "Suspended")
        scene.change(suspend=False)
        scene.condition("Ready", "Paused")
        scene.change(suspend=True)
        scene.condition("Ready", "Suspended")
        assert screen.cells("VERSION", "TARGET", "STATUS") == ("1.0.0 (8), 1.1.0 (2)", "1.1.0", "Suspended")
        assert "The set is suspended" in screen.scaleset("status", "web", code=2).out
        scene.never(lambda _: scene.versions().count("1.1.0") > 2, "another batch begins", seconds=11)
        assert scene.says("Ready")["status"] == "False"

        screen.scaleset("resume", "web", "--yes")
        scene.wait(lambda _: scene.versions().count("1.1.0") == 4, "the second batch begins")
        scene.condition("Ready", "Paused")
        scene.ask("cancel-upgrade-at", "now")
        scene.condition("Ready", "Cancelled")
        scene.healthy(10)
        assert scene.versions() == ["1.1.0"] * 4 + ["1.0.0"] * 6
        assert screen.cells(*SHOWN) == ("1.0.0 (6), 1.1.0 (4)", "1.1.0", "4", "Cancelled")
        assert "6 of 10 are behind the spec. Version 1.1.0 was cancelled" in scene.says("Ready")["message"]
        scene.never(lambda _: scene.versions().count("1.1.0") > 4, "another batch begins")
