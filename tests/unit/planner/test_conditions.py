"""The sentences of the conditions: for each situation of a set, what every condition says about it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.simulation.outcomes import condition
from tests.simulation.scenes import cancel, faulted, new_model, pin, running, start, under_way
from tests.simulation.world import World, policy, spec

NOT_AGAIN = (
    "Version 2.0.0 {} and is not tried again until a newer version, a start by hand, or a change of what it was judged "
    "by: the template, health, and the policy's timeouts and limits of unhealthy instances."
)
BEHIND = "5 of 5 instances are healthy. 5 of 5 are behind the spec"
BY_START = "; a newer version is brought by annotation scaleset.dev/start-upgrade-at"
BY_HAND = (
    "; a newer model by annotation scaleset.dev/start-model-rollout-at, or at once by scaleset.dev/apply-model, since "
    "the policy's mode is Manual"
)


def protected(number: int, **kind: bool) -> list[dict[str, object]]:
    return [{"id": each, **kind} for each in range(number)]


def later(world: World, seconds: float) -> World:
    world.run(seconds)
    return world


def at_rest() -> World:
    return running(5)


def upgrading() -> World:
    return under_way(10)


def pausing() -> World:
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}))
    world.publish("2.0.0")
    return later(world, 10)


def completed() -> World:
    world = running(5)
    world.publish("2.0.0")
    return later(world, 100)


def cancelled() -> World:
    """After its first batch of one instance."""
    world = under_way(5)
    cancel(world)
    return later(world, 50)


def withdrawn() -> World:
    world = under_way(5)
    world.catalogue.pop()
    return later(world, 50)


def closed_gate() -> World:
    world = running(10)
    for number in range(5):
        world.breaks(number)
    world.publish("2.0.0")
    world.settle()
    return world


def suspended() -> World:
    world = running(5)
    world.change(suspend=True)
    world.settle()
    return world


def suspended_behind() -> World:
    world = running(5)
    world.change(suspend=True)
    world.publish("2.0.0")
    world.settle()
    return world


def unpublished() -> World:
    world = World(spec=spec(replicas=5))
    return later(world, 5)


def without_a_policy() -> World:
    world = running(5)
    world.policy = None
    world.settle()
    return world


def larger_than_wanted() -> World:
    world = running(5, protectedInstances=protected(5, protectFromScaleIn=True))
    world.change(replicas=3)
    return later(world, 60)


def scaled_in(replicas: int, *, over: str = "") -> World:
    """The pods of those that leave do not end. `over`: or the API server refuses to delete them, with these words."""
    world = running(5)
    world.held = set() if over else set(range(replicas, 5))
    world.keeps_alive = lambda _: over or None
    world.change(replicas=replicas)
    return later(world, 5)


def shrinking() -> World:
    return scaled_in(3)


def shrunk_but_for_a_pod() -> World:
    return scaled_in(4)


def shrinking_over_a_stuck_pod() -> World:
    return later(scaled_in(3), 60)


def shrinking_over_a_refusal() -> World:
    return scaled_in(3, over="It is under investigation.")


def sick() -> World:
    """Three instances are unhealthy, two of them for the same reason; the first one has another."""
    world = running(5)
    for number in range(3):
        world.sickens(number)
    world.pods[0] = replace(world.pods[0], message="disk full")
    world.settle()
    return world


def sick_for_long() -> World:
    world = sick()
    return later(world, 400)


def starting() -> World:
    world = running(5)
    world.start = 30.0
    world.loses(0)
    return later(world, 5)


def replacing_at_once() -> World:
    world = running(5, by=policy(mode="Automatic"))
    new_model(world)
    world.step()
    return world


def growing() -> World:
    world = running(5)
    world.change(replicas=6)
    world.step()
    return world


def blocked() -> World:
    world = running(5)
    world.foreign_pods[0] = "Taken."
    world.loses(0)
    world.settle()
    return world


def not_created() -> World:
    world = running(5)
    world.quota = lambda _: "Exceeded quota."
    world.loses(0)
    return later(world, 5)


def not_started() -> World:
    world = suspended()
    start(world)
    world.settle()
    return world


def not_started_some_time_ago() -> World:
    world = not_started()
    world.now += 100
    world.change(suspend=False)
    world.settle()
    return world


NO_IMAGE = (
    "No GalleryImageVersion in namespace shop offers a version of contoso/web/stable. Publish one. For a gallery in "
    "another namespace set spec.imageReference.galleryNamespace."
)
NO_POLICY = "UpgradePolicy shop/careful does not exist. Create it, or change spec.upgradePolicyRef.name."
WITHDRAWN = (
    "Rolling upgrade 1 to version 2.0.0: Cancelled. Version 2.0.0 was withdrawn: its GalleryImageVersion was deleted."
)
CLOSED = (
    "The health gate is closed: 50% of instances are in an unhealthy state - more than the threshold of 20%. It opens "
    "when enough of instances 0-4 are healthy again. With prioritizeUnhealthyInstances in the policy an upgrade begins "
    "with what is unhealthy."
)
SHRINKING = "Scaling in: 1 of 4 instances are to go. Waiting for the pods of instances 4 to end."
LAST_GOING = "Scaling in: The last instances are going. Waiting for the pods of instances 4 to end."
STUCK = (
    "Scaling in: 1 of 4 instances are to go. The pods of instances 4 do not end: their grace period is over. A pod on "
    "a lost node stays Terminating until the node is back, or is deleted or tainted out-of-service; a finalizer keeps "
    "a pod until its owner removes it."
)
KEPT = (
    "Scaling in: 1 of 4 instances are to go. The API server does not let the pods of instances 3-4 be deleted: It is "
    "under investigation."
)
UNSUSPEND = "The set is suspended: no rollout starts until spec.suspend is lifted."

SAID: dict[Callable[[], World], dict[str, tuple[str, str]]] = {
    at_rest: {
        "Accepted": ("Accepted", "The spec is valid and can be carried out."),
        "Available": ("GateOpen", "5 of 5 instances are healthy."),
        "Progressing": ("Idle", "There was no rolling upgrade yet."),
        "Ready": ("Healthy", "5 of 5 instances are healthy."),
        "Reconciling": ("Idle", "Nothing is under way."),
        "Stalled": ("NotStalled", "Nothing is in the way."),
    },
    upgrading: {
        "Progressing": (
            "RollingForward",
            "Waiting for instances 0-1 of batch 1 to become healthy, at most 300 s each.",
        ),
        "Ready": ("RollingForward", "8 of 10 instances are healthy; a rolling upgrade is running."),
        "Reconciling": ("Busy", "Rolling upgrade 1 is running."),
    },
    pausing: {
        "Progressing": ("RollingForward", "Pausing 60 s between batches."),
        "Ready": (
            "Paused",
            "10 of 10 instances are healthy; a rolling upgrade is running. Pausing 60 s between batches.",
        ),
    },
    completed: {"Progressing": ("Completed", "Rolling upgrade 1 to version 2.0.0: Completed.")},
    cancelled: {
        "Progressing": ("TargetFailed", NOT_AGAIN.format("was cancelled by the user")),
        "Ready": (
            "Cancelled",
            "5 of 5 instances are healthy. 4 of 5 are behind the spec. "
            + NOT_AGAIN.format("was cancelled by the user"),
        ),
        "Stalled": ("TargetFailed", "Cancelled by the user."),
    },
    withdrawn: {
        "Progressing": ("Cancelled", WITHDRAWN),
        "Stalled": ("NotStalled", "Nothing is in the way."),
    },
    closed_gate: {
        **dict.fromkeys(("Progressing", "Stalled"), ("HealthGateWaiting", CLOSED)),
        "Ready": ("WaitingForHealth", "5 of 10 instances are healthy. Most frequent: readiness probe failed: 503"),
    },
    faulted: {
        "Progressing": ("TargetFailed", NOT_AGAIN.format("failed")),
        "Ready": (
            "Faulted",
            "5 of 5 instances are healthy; the last rolling upgrade failed. 5 of 5 are behind the spec. "
            + NOT_AGAIN.format("failed"),
        ),
    },
    suspended: {
        "Progressing": ("Idle", "There was no rolling upgrade yet."),
        "Ready": ("Suspended", "5 of 5 instances are healthy. The set is suspended."),
    },
    suspended_behind: {
        "Progressing": ("Suspended", UNSUSPEND),
        "Ready": ("Suspended", f"{BEHIND}. {UNSUSPEND}"),
    },
    unpublished: {
        **dict.fromkeys(("Accepted", "Ready", "Stalled"), ("ImageNotFound", NO_IMAGE)),
        "Available": ("TooManyUnhealthy", "0 of 5 instances are healthy."),
    },
    without_a_policy: dict.fromkeys(("Accepted", "Ready", "Stalled"), ("PolicyNotFound", NO_POLICY)),
    larger_than_wanted: {
        "Ready": ("ScaleInProtected", "5 of 5 instances are healthy; 2 more than wanted are protected from scale-in."),
        "Stalled": ("ScaleInProtected", "2 instances more than wanted are protected from scale-in."),
    },
    shrinking: {
        "Ready": ("ScalingIn", f"4 of 4 instances are healthy. {SHRINKING}"),
        "Reconciling": ("Busy", SHRINKING),
    },
    shrunk_but_for_a_pod: {
        "Ready": (
            "ScalingIn",
            f"4 of 4 instances are healthy. {LAST_GOING}",
        ),
        "Stalled": ("NotStalled", "Nothing is in the way."),
    },
    shrinking_over_a_stuck_pod: {
        "Reconciling": ("Busy", STUCK),
        "Stalled": ("PodsTerminating", STUCK),
    },
    shrinking_over_a_refusal: {
        "Reconciling": ("Busy", KEPT),
        "Stalled": ("DeleteRefused", KEPT),
    },
    sick: {
        "Available": ("TooManyUnhealthy", "2 of 5 instances are healthy."),
        "Ready": ("Unhealthy", "2 of 5 instances are healthy. Most frequent: out of memory"),
        "Reconciling": ("Idle", "Nothing is under way."),
        "Stalled": ("NotStalled", "Nothing is in the way."),
    },
    sick_for_long: {
        "Stalled": ("InstancesUnhealthy", "Instances 0-2 are not healthy. Most frequent: out of memory"),
    },
    starting: {
        "Ready": ("Starting", "4 of 5 instances are healthy. Most frequent: containers not ready"),
        "Reconciling": ("Busy", "4 of 5 instances are healthy; the others are starting."),
    },
    replacing_at_once: {"Reconciling": ("Busy", "Instances 0-4 are being replaced.")},
    growing: {"Reconciling": ("Busy", "Instances are being created or deleted.")},
    blocked: {"Stalled": ("InstanceBlocked", "Instance 0 is blocked. Taken.")},
    not_created: {"Stalled": ("FailedCreate", "Instance 0 cannot be created. Exceeded quota.")},
    not_started: {
        "Progressing": ("StartRefused", "The set is suspended. Set spec.suspend to false and ask again."),
        "Stalled": ("NotStalled", "Nothing is in the way."),
    },
    not_started_some_time_ago: {
        "Progressing": ("StartRefused", "The set is suspended. Set spec.suspend to false and ask again."),
        "Ready": ("Healthy", "5 of 5 instances are healthy."),
    },
}


@pytest.mark.parametrize("scene", SAID)
def test_a_condition_says_what_a_set_does_or_waits_for(scene: Callable[[], World]):
    world = scene()
    said = {kind: condition(world, kind) for kind in SAID[scene]}
    assert {kind: (each["reason"], each["message"]) for kind, each in said.items()} == SAID[scene]


def test_a_failed_rollout_stalls_the_set_with_its_own_error():
    world = faulted()
    stalled = condition(world, "Stalled")
    assert (stalled["reason"], stalled["message"]) == (
        "RolloutFaulted",
        world.status["rollingUpgrade"]["error"]["message"],
    )


@pytest.mark.parametrize(
    ("mode", "automatic", "pinned", "sentence"),
    [
        ("Manual", False, False, f"{BEHIND}{BY_START}{BY_HAND}."),
        ("Manual", False, True, f"{BEHIND}{BY_HAND}."),
        ("Manual", True, True, f"{BEHIND}{BY_HAND}."),
        ("Rolling", False, False, f"{BEHIND}{BY_START}."),
        ("Automatic", False, False, f"{BEHIND}{BY_START}."),
    ],
)
def test_a_set_that_is_behind_says_what_brings_it_further(mode, automatic, pinned, sentence):
    """An annotation is named only where the policy does not act by itself, and where it would do something."""
    world = running(5, by=policy(mode=mode, automatic=automatic))
    world.publish("2.0.0")
    if pinned:
        pin(world, "2.0.0")
    world.settle()
    assert condition(world, "Ready")["message"] == sentence


@pytest.mark.parametrize(("spared", "sentence"), [(5, f"{BEHIND}: they are protected."), (4, f"{BEHIND}{BY_START}.")])
def test_only_where_all_that_is_behind_is_protected_protection_is_the_reason(spared, sentence):
    world = running(
        5,
        by=policy(mode="Rolling", automatic=False),
        protectedInstances=protected(spared, protectFromScaleSetActions=True),
    )
    world.publish("2.0.0")
    world.settle()
    assert condition(world, "Ready")["message"] == sentence


@pytest.mark.parametrize(
    ("published", "updated", "status", "reason"), [((), 5, "True", "Current"), (("2.0.0",), 0, "False", "Outdated")]
)
def test_up_to_date_names_the_version_and_the_model_that_are_compared(published, updated, status, reason):
    world = running(5, by=policy(automatic=False))
    for number in published:
        world.publish(number)
    world.settle()
    wanted = world.status["targetVersion"]
    found = condition(world, "UpToDate")
    assert (found["status"], found["reason"]) == (status, reason)
    assert found["message"] == f"{updated} of 5 instances run version {wanted} and model {world.model.name}."
    assert wanted == ("2.0.0" if published else "1.0.0")


def test_nothing_is_up_to_date_before_a_version_is_published():
    found = condition(unpublished(), "UpToDate")
    assert (found["status"], found["reason"]) == ("False", "Unknown")
    assert found["message"] == "There is no image version to compare with."


@pytest.mark.parametrize("after", [299.0, 300.0])
def test_an_instance_that_stays_unhealthy_stalls_the_set_after_the_health_timeout(after):
    """As long as an upgrade would wait for it."""
    world = running(5)
    world.sickens(0)
    world.run(after)
    assert condition(world, "Stalled")["status"] == ("True" if after >= 300 else "False")
