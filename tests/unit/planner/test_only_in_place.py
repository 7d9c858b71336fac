"""`replacementMethod: InPlaceOnly`: no pod is made again for an upgrade; what cannot be done is refused."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.api import names
from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.simulation.outcomes import changed, code, condition, counts, deleted, refusals, rollout, waits_for
from tests.simulation.scenes import apply_model, ask, born_broken, new_model, pin, running, start
from tests.simulation.world import World, policy

ONLY = "InPlaceOnly"
REASON = "NotInPlace"
WAY_OUT = "Take the change back, or set replacementMethod to InPlaceIfPossible."


def only(replicas: int = 5, *, mode: str = "Rolling", **changes: Any) -> World:
    return running(replicas, by=careful(mode=mode), **changes)


def careful(**changes: Any) -> UpgradePolicySpec:
    return policy(replacementMethod=ONLY, **changes)


def test_an_upgrade_changes_images_and_makes_no_pod_again():
    world = only()
    uids = {number: pod.uid for number, pod in world.pods.items()}
    world.publish("2.0.0")
    world.run(120)
    assert (code(world), counts(world)) == ("Completed", (5, 0, 0, 0))
    assert changed(world) == [0, 1, 2, 3, 4]
    assert {number: pod.uid for number, pod in world.pods.items()} == uids
    assert rollout(world)["policy"]["replacementMethod"] == ONLY


def test_a_version_for_another_system_is_refused_with_the_reason():
    world = only()
    world.publish("2.0.0", os_type="Windows")
    world.run(1000)
    assert (deleted(world), changed(world)) == ([], [])
    assert condition(world, "UpToDate")["reason"] == REASON
    assert (
        "Instances 0-4 cannot be changed in place: version 2.0.0 is for Windows."
        in condition(world, "UpToDate")["message"]
    )


@pytest.mark.parametrize("mode", ["Rolling", "Automatic"])
def test_a_new_model_is_refused_with_the_reason(mode: str):
    world = only(mode=mode)
    new_model(world)
    world.run(1000)
    assert (deleted(world), changed(world), code(world)) == ([], [], "")
    text = f"Instances 0-4 cannot be changed in place: model {world.model.name} differs in more than the image."
    assert condition(world, "Progressing")["reason"] == REASON
    assert condition(world, "Progressing")["message"].startswith(text)
    assert condition(world, "Stalled")["reason"] == REASON
    assert condition(world, "UpToDate")["reason"] == REASON
    assert condition(world, "UpToDate")["message"].endswith(WAY_OUT)
    assert condition(world, "Accepted")["status"] == "True"
    world.policy = policy(mode=mode, replacementMethod="InPlaceIfPossible")
    world.run(120)
    assert sorted(deleted(world)) == [0, 1, 2, 3, 4]
    assert condition(world, "UpToDate")["status"] == "True"


def test_in_mode_manual_the_condition_says_so_too():
    world = only(mode="Manual")
    new_model(world)
    world.run(10)
    assert condition(world, "UpToDate")["reason"] == REASON
    assert condition(world, "Stalled")["status"] == "False", "nobody has asked for it"


def test_a_version_behind_a_new_model_is_refused_until_the_change_is_taken_back():
    """An image upgrade brings the newest model along, so it would make new pods."""
    world = only()
    before = world.spec.template
    new_model(world)
    world.publish("2.0.0")
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    assert condition(world, "Progressing")["reason"] == REASON
    world.change(template=before)
    world.run(120)
    assert set(world.versions.values()) == {"2.0.0"}
    assert deleted(world) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"extensions": [{"name": "agent", "image": "os:1"}]}, "extensions run in new pods only"),
        ({"customData": "echo", "runCustomData": True}, "custom data runs in new pods only"),
        (
            {
                "template": {
                    "spec": {
                        "initContainers": [{"name": "migrate"}],
                        "containers": [{"name": "app", "readinessProbe": {"tcpSocket": {"port": 80}}}],
                    }
                }
            },
            "init container migrate runs the image of the version",
        ),
    ],
)
def test_what_has_to_run_again_is_refused(changes: dict[str, Any], why: str):
    world = only(2, **changes)
    world.publish("2.0.0")
    world.run(100)
    assert set(world.versions.values()) == {"1.0.0"}
    assert f"cannot be changed in place: {why}." in condition(world, "Progressing")["message"]


def test_starts_by_hand_are_refused_with_the_reason():
    world = only(mode="Manual", extensions=[{"name": "agent", "image": "os:1"}])
    world.publish("2.0.0")
    start(world)
    world.run(10)
    ask(world, names.ANNOTATION_RESTART)
    world.run(10)
    image, restart = refusals(world)
    assert image.startswith("Instances 0-4 cannot be changed in place: extensions run in new pods only.")
    assert restart.startswith(
        "scaleset.dev/restart-at: Instances 0-4 cannot be changed in place: a restart makes new pods."
    )
    assert deleted(world) == []


def test_apply_model_is_refused_with_the_reason():
    world = only(mode="Manual")
    new_model(world)
    apply_model(world, "1-2")
    world.run(10)
    assert deleted(world) == []
    (text,) = refusals(world)
    assert text.startswith("scaleset.dev/apply-model: Instances 1-2 cannot be changed in place")


def test_a_pin_is_a_change_of_the_image_alone():
    world = only()
    world.publish("2.0.0")
    world.run(120)
    pin(world, "1.0.0")
    world.run(120)
    assert set(world.versions.values()) == {"1.0.0"}
    assert deleted(world) == []


def test_instances_that_it_is_impossible_for_are_left_out_and_told():
    """Two instances run an older model: the others are upgraded, and the condition names the two."""
    world = only(5, mode="Manual", upgradePolicyRef={"name": "careful"})
    before = world.model
    new_model(world)
    world.policy = policy(mode="Manual", replacementMethod="InPlaceIfPossible")
    apply_model(world, "0-2")
    world.run(30)
    world.policy = careful()
    world.writes.clear()
    world.publish("2.0.0")
    world.run(300)
    assert changed(world) == [0, 1, 2]
    assert deleted(world) == []
    assert [pod.model == before.name for _, pod in sorted(world.pods.items())] == [False, False, False, True, True]
    assert code(world) == "Completed"
    assert "Instances 3-4 cannot be changed in place" in condition(world, "Progressing")["message"]
    looks = len(world.plans)
    world.run(10_000)
    assert len(world.plans) - looks < 10, "it is not tried again and again"


def test_a_refused_change_keeps_the_pod_and_fails_the_instance_without_blame():
    world = only()
    world.keeps = lambda change: "images are fixed" if change.instance == 1 else None
    world.publish("2.0.0")
    world.run(60)
    assert waits_for(world) == "DeleteRefused"
    text = "The API server does not let the pods of instances 1 be changed in place: images are fixed"
    assert rollout(world)["waitingFor"]["message"] == text
    assert condition(world, "Stalled")["message"] == text
    world.run(300)
    assert deleted(world) == []
    assert rollout(world)["failed"] == "1"
    assert world.versions[1] == "1.0.0"
    assert not world.status["failedTargets"]


def test_a_restore_is_a_change_in_place():
    world = only()
    world.publish("2.0.0", suffix="-bad")
    world.run(1000)
    assert (code(world), changed(world), deleted(world)) == ("Faulted", [0, 0], [])
    assert set(world.versions.values()) == {"1.0.0"}


def test_a_restore_that_is_refused_in_place_makes_the_pod_again():
    """An instance that the bad version broke is not left with it."""
    world = only()
    world.keeps = lambda change: "images are fixed" if change.build.version == "1.0.0" else None
    world.publish("2.0.0", suffix="-bad")
    world.run(1000)
    assert (code(world), changed(world), deleted(world)) == ("Faulted", [0, 0], [0])
    assert set(world.versions.values()) == {"1.0.0"}


def test_lost_and_ended_pods_are_made_again():
    world = only(3)
    world.loses(1)
    world.pods[2] = replace(world.pods[2], ended=True, ready=False, running=False)
    world.run(60)
    assert len(world.pods) == 3
    assert condition(world, "Ready")["status"] == "True"


def test_a_set_that_was_born_broken_is_repaired_in_place():
    world = born_broken(3, by=careful())
    world.publish("2.0.0")
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}
    assert deleted(world) == []


def test_the_method_is_that_of_the_start_of_the_run():
    world = running(5, by=policy(replacementMethod="InPlaceIfPossible"))
    world.start = 30.0
    world.publish("2.0.0")
    world.run(10)
    world.policy = careful()
    world.keeps = lambda _: "images are fixed"
    world.run(300)
    assert deleted(world), "it began with the right to make pods again"
    assert code(world) == "Completed"


def test_what_is_replaced_at_once_stays_when_the_policy_forbids_it_meanwhile():
    world = running(3, by=policy(mode="Manual"))
    world.keeps_alive = lambda _: "not now"
    before = world.model.name
    new_model(world)
    apply_model(world, "*")
    world.run(10)
    assert world.status["applying"] == "0-2"
    world.policy = careful(mode="Manual")
    world.keeps_alive = lambda _: None
    world.run(100)
    assert {pod.model for pod in world.pods.values()} == {before}
    assert not world.status.get("applying")
    assert condition(world, "UpToDate")["reason"] == REASON


def test_surge_is_refused_with_it():
    with pytest.raises(ValueError, match="set maxSurge to false"):
        careful(rolling={"maxSurge": True})
