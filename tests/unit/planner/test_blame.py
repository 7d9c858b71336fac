"""Who is to blame: an image that never ran is not remembered as failed; what is remembered, and what lifts it."""

from dataclasses import replace

import pytest

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.targets import FailedTarget
from tests.simulation.outcomes import code, condition, reasons, rollout
from tests.simulation.scenes import new_model, pin, refused_by_a_quota, running, start, surged_over_a_refusal
from tests.simulation.world import DEFINITION, World, policy, spec, version


def failed(world: World) -> list[str]:
    return [entry["version"] for entry in world.status.get("failedTargets", ())]


# --- refused, unscheduled, rejected


def test_a_pod_that_the_api_server_refuses_condemns_no_version():
    world = refused_by_a_quota('pods "web-0" is forbidden: exceeded quota')
    assert rollout(world)["neverRan"] == "0"
    assert failed(world) == []
    world.quota = lambda _: None
    world.run(120)
    assert code(world) == "Completed"


def test_nor_does_one_that_the_kubelet_rejects_again_and_again():
    world = running(5)
    world.publish("2.0.0")

    def each(world: World) -> None:
        for number, pod in list(world.pods.items()):
            if pod.version == "2.0.0" and not pod.ended and not pod.deleting:
                world.pods[number] = replace(pod, ended=True, ready=False, reached=False, message="OutOfcpu: full")

    world.lives(310, each)
    assert code(world) == "Faulted"
    assert failed(world) == []
    assert world.pods[0].version == "1.0.0"


def test_one_whose_image_cannot_be_pulled_does():
    """The kubelet got as far as the image."""
    world = running(5)
    world.publish("2.0.0", suffix="-bad")
    world.run(310)
    assert failed(world) == ["2.0.0"]


def unschedulable(world: World) -> None:
    for number, pod in list(world.pods.items()):
        if number >= 5 and not pod.unschedulable:
            world.broken.add(number)
            world.pods[number] = replace(pod, unschedulable=True, reached=False, ready=False, message="0/5 nodes")


def test_a_surge_that_finds_no_node_falls_back_when_its_time_is_up():
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.publish("2.0.0")
    world.lives(290, unschedulable)
    assert set(world.versions.values()) == {"1.0.0", "2.0.0"}
    assert sum(pod.ready for pod in world.pods.values()) == 5, "nodes may be added"
    world.lives(60, unschedulable)
    assert code(world) == "Completed"
    assert world.versions == dict.fromkeys(range(5), "2.0.0")
    assert reasons(world).count("SurgeRefused") == 1, "the rest goes without surge"
    assert failed(world) == []


def test_the_first_deadline_of_a_surge_without_nodes_counts_for_the_whole_batch():
    """Or the instance that may still wait would take the node that the old one of the other leaves."""
    half = {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}
    world = running(5, by=policy(rolling={"maxSurge": True, **half}))
    world.publish("2.0.0")
    world.lives(20, unschedulable)
    # Others delete a new pod, so that its instance gets its time anew.
    world.pods[6] = replace(world.pods[6], deleting=True, deletion_due=world.now + world.grace)
    world.lives(285, unschedulable)
    (said,) = [event.message for event in world.events if event.reason == "SurgeRefused"]
    assert said.startswith("No room for more instances, replacing 0-1 without surge")
    assert not {5, 6} & world.pods.keys()


def test_instances_that_cannot_be_created_are_told_and_stall():
    world = running(2)
    world.quota = lambda creation: f'pods "web-{creation.instance}" is forbidden: exceeded quota: q'
    world.change(replicas=6)
    world.run(10)
    assert reasons(world).count("FailedCreate") == 1
    told = next(event for event in world.events if event.reason == "FailedCreate")
    assert told.message.startswith('Instances 2-5 cannot be created. 2: pods "web-2" is forbidden')
    stalled = condition(world, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "FailedCreate")
    world.quota = lambda _: None
    world.memory.create_errors.clear()
    world.run(10)
    assert condition(world, "Stalled")["status"] == "False"


def test_a_new_instance_does_not_wait_for_what_was_said_of_the_one_before():
    """An instance's pod is refused in one run, a later run surges over it."""
    world = surged_over_a_refusal()
    world.quota = lambda _: None
    world.run(4000)
    assert set(world.versions.values()) == {"3.0.0"}


# --- memory goes by version and image


def republished(world: World, suffix: str) -> None:
    world.catalogue[-1] = version("2.0.0", suffix=suffix, name="web-2.0.0-again")


def test_a_failed_version_that_is_published_again_with_another_image_is_tried_again():
    world = running(5)
    world.publish("2.0.0", suffix="-bad")
    world.run(400)
    assert failed(world) == ["2.0.0"]
    republished(world, "-fixed")
    world.run(60)
    assert code(world) == "Completed"
    assert {pod.images[0][1] for pod in world.pods.values()} == {"example.com/web:2.0.0-fixed"}


def test_two_images_of_one_version_are_not_up_to_date():
    world = running(5)
    world.publish("2.0.0")
    world.run(60)
    assert condition(world, "UpToDate")["status"] == "True"
    world.policy = policy(automatic=False)
    republished(world, "-other")
    world.run(10)
    assert condition(world, "UpToDate")["status"] == "False"
    world.policy = policy()
    world.run(60)
    assert condition(world, "UpToDate")["status"] == "True"
    assert {pod.images[0][1] for pod in world.pods.values()} == {"example.com/web:2.0.0-other"}


def test_pods_of_an_older_operator_do_not_say_which_image_they_were_asked_for():
    """Admission may have rewritten it: nothing follows from that."""
    world = running(5)
    for number, pod in list(world.pods.items()):
        mirrored = "mirror.local/example.com/web:1.0.0"
        world.pods[number] = replace(pod, asked_image=None, images=(("app", mirrored),))
    world.run(60)
    assert world.state.rollout is None
    assert condition(world, "UpToDate")["status"] == "True"


def test_an_instance_whose_image_was_rewritten_comes_back_with_what_was_asked_for():
    world = running(3)
    world.status = {}
    for number, pod in list(world.pods.items()):
        world.pods[number] = replace(pod, images=(("app", "mirror.local/example.com/web:1.0.0"),))
    world.run(5)
    assert {build.image for build in world.state.builds.values()} == {"example.com/web:1.0.0"}


# --- what lifts it


def after_a_failure(**changes) -> World:
    world = running(5, by=policy(mode="Rolling", **changes))
    world.publish("2.0.0", suffix="-bad")
    world.run(700)
    assert failed(world) == ["2.0.0"]
    world.writes.clear()
    return world


def pinned(world: World) -> None:
    pin(world, "2.0.0")


def more_patient(world: World) -> None:
    world.policy = policy(mode="Rolling", healthTimeout="PT10M")


@pytest.mark.parametrize(
    "edit",
    [
        {"rolling": {"pauseTimeBetweenBatches": "PT10M"}},
        {"rolling": {"maxBatchInstancePercent": 40}},
        {"maxConcurrentScaleSets": 3},
        {"replacementMethod": "InPlaceIfPossible"},
    ],
)
def test_an_edit_that_could_not_change_the_verdict_does_not(edit):
    world = after_a_failure()
    world.policy = policy(mode="Rolling", **edit)
    world.run(1000)
    assert "delete" not in " ".join(world.writes)
    assert rollout(world)["id"] == "1"


@pytest.mark.parametrize(
    "edit",
    [
        {"healthTimeout": "PT10M"},
        {"minReadyTime": "PT30S"},
        {"rolling": {"maxUnhealthyInstancePercent": 40}},
        {"rolling": {"maxUnhealthyUpgradedInstancePercent": 40}},
    ],
)
def test_an_edit_that_could_change_it_does(edit):
    world = after_a_failure()
    world.policy = policy(mode="Rolling", **edit)
    world.run(5)
    assert rollout(world)["id"] == "2"


@pytest.mark.parametrize(
    ("entry", "happens", "tried"),
    [
        ({}, pinned, False),
        ({"policy": "0123456789"}, pinned, False),
        ({"policy": "0123456789", "model": "web-gone"}, pinned, False),
        ({"policy": "0123456789"}, new_model, True),
        ({"policy": "0123456789"}, more_patient, False),
    ],
    ids=[
        "another image reference",
        "another image reference, of an older operator",
        "the model is gone, of an older operator",
        "another template, of an older operator",
        "another policy, of an older operator",
    ],
)
def test_an_entry_of_an_operator_before_1_1_holds_as_long_as_only_the_image_reference_differs(entry, happens, tried):
    """Its hash is of the whole policy, and says nothing any more."""
    world = after_a_failure()
    world.status["failedTargets"][0].update(entry)
    happens(world)
    world.run(100)
    last = (rollout(world)["id"], rollout(world)["kind"])
    assert last == (("2", "Image") if tried else ("1", "Image")), "a model alone is tried in any case"


def test_a_new_template_does():
    world = after_a_failure()
    new_model(world)
    world.run(5)
    assert rollout(world)["id"] == "2"


def test_a_pin_and_its_end_do_not_and_bring_the_failed_version_to_nobody():
    world = after_a_failure()
    pin(world, "1.0.0")
    world.run(200)
    pin(world, "latest")
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    assert failed(world) == ["2.0.0"]


@pytest.mark.parametrize("by", ["the end of a pin", "a pin"])
def test_mode_automatic_brings_nobody_to_a_version_that_failed(by):
    """All at once and past every gate, where a rollout would stop after one batch."""
    world = running(5, by=policy(mode="Automatic"))
    world.publish("2.0.0", suffix="-bad")
    world.run(700)
    if by == "the end of a pin":
        pin(world, "1.0.0")
        world.run(100)
    pin(world, "latest" if by == "the end of a pin" else "2.0.0")
    world.run(400)
    assert set(world.versions.values()) == {"1.0.0"}
    progressing = condition(world, "Progressing")
    assert progressing["reason"] == "TargetFailed"
    assert progressing["message"].startswith("Version 2.0.0 failed and is not tried again")
    world.publish("3.0.0")
    pin(world, "latest")
    world.run(400)
    assert set(world.versions.values()) == {"3.0.0"}


def test_what_an_older_operator_remembers_stays_remembered():
    """It kept the hash of the whole policy, and no image."""
    world = after_a_failure()
    entry = {key: value for key, value in world.status["failedTargets"][0].items() if key != "image"}
    world.status = {**world.status, "failedTargets": [{**entry, "policy": "0123456789"}]}
    world.policy = policy(mode="Rolling", rolling={"pauseTimeBetweenBatches": "PT1M"})
    world.run(1000)
    assert rollout(world)["id"] == "1"
    new_model(world)
    world.run(5)
    assert rollout(world)["id"] == "2", "a new template lifts it"


def test_an_entry_without_an_image_holds_for_every_image_of_its_version():
    old = FailedTarget("m", "2.0.0", "x", "Breach", 0.0)
    assert old.image is None


# --- going back is as careful as going forward


def test_a_pin_that_fails_is_taken_back_like_an_image_upgrade():
    """A model rollout of the platform whose only change is the version restores."""
    world = running(10, by=policy(mode="Rolling"))
    world.publish("0.9.0", suffix="-bad")
    pin(world, "0.9.0")
    world.run(700)
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}
    assert rollout(world)["versionOnly"] is True


def test_nothing_goes_back_to_a_version_that_failed():
    world = running(5, by=policy(automatic=False, mode="Rolling"))
    world.publish("2.0.0", suffix="-bad")
    world.annotations["scaleset.dev/start-upgrade-at"] = "1"
    world.run(400)
    assert world.versions[0] == "2.0.0"
    world.publish("0.9.0", suffix="-bad")
    pin(world, "0.9.0")
    world.run(400)
    assert world.versions[0] == "0.9.0", "it would be restored to a version that failed"


# --- one release, one rollout


def test_a_release_of_image_and_template_replaces_each_instance_once():
    world = running(5, by=policy(mode="Rolling"))
    new_model(world)
    world.publish("2.0.0")
    world.run(120)
    assert code(world) == "Completed"
    assert sorted(name for name in world.writes if name.startswith("delete")) == [f"delete {n}" for n in range(5)]
    assert {(pod.version, pod.model) for pod in world.pods.values()} == {("2.0.0", world.model.name)}
    assert rollout(world)["kind"] == "Image"
    assert len(world.status["osUpgradeHistory"]) == 1


def test_if_the_pair_fails_the_model_goes_alone():
    world = running(5, by=policy(mode="Rolling"))
    new_model(world)
    world.publish("2.0.0", suffix="-bad")
    world.run(900)
    assert {(pod.version, pod.model) for pod in world.pods.values()} == {("1.0.0", world.model.name)}
    assert failed(world) == ["2.0.0"]


def test_the_fix_reaches_the_broken_instances_first_and_in_one_rollout():
    """Eight healthy ones on the version, two broken ones behind both."""
    world = running(10, by=policy(mode="Rolling", rolling={"pauseTimeBetweenBatches": "PT1M"}))
    for number in (8, 9):
        world.sickens(number)
    new_model(world)
    world.publish("2.0.0")
    world.settle()
    assert rollout(world)["batch"]["instances"] == "8-9"
    world.run(600)
    assert rollout(world)["id"] == "1"
    assert code(world) == "Completed"


@pytest.mark.parametrize("by", ["platform", "user"])
def test_a_new_image_alone_reaches_first_what_the_failed_one_broke(by):
    """Whoever is ill for another reason waits for its turn."""
    rolling = {"maxUnhealthyInstancePercent": 30}
    world = running(10, by=policy(automatic=False, rolling=rolling))
    canaries = [{"id": n, "protectFromScaleSetActions": True} for n in range(8)]
    world.change(protected_instances=spec(protectedInstances=canaries).protected_instances)
    world.publish("2.0.0", suffix="-bad")
    start(world)
    world.run(400)
    assert (code(world), {n for n, ran in world.versions.items() if ran == "2.0.0"}) == ("Faulted", {8, 9})
    world.change(protected_instances=())
    world.sickens(7)
    world.run(5)
    world.publish("3.0.0")
    if by == "platform":
        world.policy = policy(rolling=rolling)
    else:
        start(world, "again")
    world.settle()
    assert rollout(world)["batch"]["instances"] == "8-9"
    world.run(600)
    assert (code(world), set(world.versions.values())) == ("Completed", {"3.0.0"})


def test_definitions_are_those_of_the_world():
    assert DEFINITION.publisher == "contoso"
    assert UpgradePolicySpec().min_ready_time is None
