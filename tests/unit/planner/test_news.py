"""Events about what a decision finds for the first time: each is recorded once, however often the set is looked at."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.simulation.outcomes import condition
from tests.simulation.scenes import running
from tests.simulation.world import World, policy


def said(world: World, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


def newer_version(world: World) -> None:
    world.policy = policy(automatic=False)
    world.publish("2.0.0")


def no_policy(world: World) -> None:
    world.policy = None


def foreign_pod(world: World) -> None:
    world.foreign_pods[3] = "Taken."
    world.loses(3)


def refused_pod(world: World) -> None:
    world.quota = lambda _: "Exceeded quota."
    world.loses(3)


def failed_script(world: World) -> None:
    world.pods[3] = replace(world.pods[3], note="custom-data failed: exit code 3")


def sick_for_long(world: World) -> None:
    world.sickens(3)
    world.run(400)


def closed_gate(world: World) -> None:
    for number in range(3):
        world.breaks(number)
    world.publish("2.0.0")


def suspended(world: World) -> None:
    world.change(suspend=True)
    world.publish("2.0.0")


CLOSED = (
    "The health gate is closed: 60% of instances are in an unhealthy state - more than the threshold of 20%. It opens "
    "when enough of instances 0-2 are healthy again. With prioritizeUnhealthyInstances in the policy an upgrade begins "
    "with what is unhealthy."
)

FOUND: dict[Callable[[World], None], tuple[str, bool, str]] = {
    newer_version: ("NewVersionAvailable", False, "latest is now version 2.0.0, before 1.0.0."),
    no_policy: (
        "PolicyNotFound",
        True,
        "UpgradePolicy shop/careful does not exist. Create it, or change spec.upgradePolicyRef.name.",
    ),
    foreign_pod: ("InstanceBlocked", True, "Instance 3 is blocked. Taken."),
    refused_pod: ("FailedCreate", True, "Instance 3 cannot be created. Exceeded quota."),
    failed_script: ("ProvisioningFailed", True, "On instances 3: custom-data failed: exit code 3"),
    sick_for_long: ("InstancesUnhealthy", True, "Instances 3 are not healthy. Most frequent: out of memory"),
    suspended: ("Suspended", False, "The set is suspended: no rollout starts until spec.suspend is lifted."),
    closed_gate: (
        "HealthGateWaiting",
        False,
        CLOSED,
    ),
}


@pytest.mark.parametrize("happens", FOUND)
def test_a_finding_is_one_event_however_often_the_set_is_looked_at(happens: Callable[[World], None]):
    reason, warning, sentence = FOUND[happens]
    world = running(5)
    happens(world)
    for _ in range(4):
        world.settle()
        world.step()
        world.now += 1
    found = [event for event in world.events if event.reason == reason]
    assert [(event.message, event.warning) for event in found] == [(sentence, warning)]


def all_taken(world: World) -> None:
    world.foreign_pods.update(dict.fromkeys(world.pods, "Taken."))


def all_refused(world: World) -> None:
    world.quota = lambda _: "Exceeded quota."


@pytest.mark.parametrize(
    ("happens", "reason", "sentence"),
    [
        (all_taken, "InstanceBlocked", "Instances 0-79 are blocked. 0: Taken."),
        (all_refused, "FailedCreate", "Instances 0-79 cannot be created. 0: Exceeded quota."),
    ],
)
def test_instances_that_the_status_has_no_room_for_are_reported_with_the_listed_ones(happens, reason, sentence):
    """Nothing records that they were reported: only the listed ones keep the event from being repeated."""
    world = running(80)
    happens(world)
    for number in range(80):
        world.loses(number)
    world.settle()
    assert len(world.status["instances"]) == 50
    for _ in range(3):
        world.step()
    assert said(world, reason) == [sentence]


JOINED = {
    foreign_pod: ("InstanceBlocked", "is blocked. Taken."),
    refused_pod: ("FailedCreate", "cannot be created. Exceeded quota."),
}


@pytest.mark.parametrize("happens", JOINED)
def test_an_instance_with_an_obstacle_that_joins_others_is_reported_alone(happens):
    world, (reason, verb) = running(5), JOINED[happens]
    happens(world)
    world.run(60)
    world.foreign_pods.update({4: "Taken."} if world.foreign_pods else {})
    world.loses(4)
    world.run(60)
    assert said(world, reason) == [f"Instance 3 {verb}", f"Instance 4 {verb}"]


def test_a_pod_that_is_merely_missing_was_not_reported_yet():
    """An instance is listed as Missing before its pod is asked for; a refusal after that is news."""
    world = running(5)
    world.loses(3)
    world.status["instances"] = [{"id": 3, "state": "Missing", "message": "The pod does not exist."}]
    world.quota = lambda _: "Exceeded quota."
    world.settle()
    assert said(world, "FailedCreate") == ["Instance 3 cannot be created. Exceeded quota."]


def test_instances_whose_obstacles_differ_only_in_their_own_name_share_a_sentence():
    world = running(3)
    world.quota = lambda creation: f'pods "web-{creation.instance}" is forbidden: exceeded quota'
    for number in range(3):
        world.loses(number)
    world.run(60)
    assert said(world, "FailedCreate") == [
        'Instances 0-2 cannot be created. 0: pods "web-0" is forbidden: exceeded quota'
    ]


def test_a_refusal_with_another_sentence_is_another_event():
    world = running(5)
    no_policy(world)
    world.settle()
    world.policy = policy()
    world.settle()
    world.catalogue.clear()
    world.change(image_reference=world.spec.image_reference.model_copy(update={"sku": "other"}))
    world.settle()
    refusal = condition(world, "Accepted")
    assert refusal["reason"] == "ImageNotFound"
    assert said(world, "ImageNotFound") == [refusal["message"]]
    assert len(said(world, "PolicyNotFound")) == 1


def test_a_wait_that_begins_anew_is_reported_anew():
    world = running(5)
    suspended(world)
    for suspend in (True, False, True):
        world.policy = policy(automatic=suspend)
        world.change(suspend=suspend)
        world.settle()
    assert len(said(world, "Suspended")) == 2


def test_a_running_rollout_reports_its_wait_once():
    world = running(5, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}))
    world.publish("2.0.0")
    world.run(10)
    world.change(suspend=True)
    for _ in range(3):
        world.run(100)
        world.step()
    assert said(world, "Suspended") == ["The set is suspended: no batch starts until spec.suspend is lifted."]
