"""What starts a rollout, and what replaces instances without one."""

from dataclasses import replace

import pytest

from scaleset.api import names
from scaleset.planner.by_hand import NOTHING_TO_UPGRADE
from scaleset.planner.snapshot import Verdict
from scaleset.planner.targets import Retry
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, rollout, waits_for
from tests.simulation.scenes import apply_model, ask, faulted, new_model, pin, running, start, under_way
from tests.simulation.world import World, policy

# --- by the platform


def test_a_newer_version_is_chosen_in_the_first_decision_that_sees_it():
    world = running(5)
    world.publish("2.0.0")
    world.step()
    assert rollout(world)["startedBy"] == "Platform"
    assert rollout(world)["targetImageReference"]["exactVersion"] == "2.0.0"


@pytest.mark.parametrize("number", ["0.9.9", "1.0.0"])
def test_a_version_that_is_not_higher_starts_nothing(number):
    """Never an automatic downgrade."""
    world = running(5)
    world.catalogue.clear()
    world.publish(number)
    world.run(100)
    assert deleted(world) == []
    assert world.state.rollout is None


@pytest.mark.parametrize("changes", [{"excluded": True}, {"regions": {"west": False}}, {"regions": {"default": True}}])
def test_a_version_that_latest_does_not_mean_starts_nothing(changes):
    world = running(5)
    world.publish("2.0.0", **changes)
    world.run(100)
    assert deleted(world) == []


def test_a_version_whose_end_of_life_comes_starts_nothing_any_more():
    world = running(5)
    world.change(suspend=True)
    world.publish("2.0.0", end_of_life=world.now + 60)
    world.run(61)
    world.change(suspend=False)
    world.run(60)
    assert deleted(world) == []
    assert world.status["latestVersion"] == "1.0.0"


def test_without_automatic_upgrades_nothing_starts_by_itself():
    world = running(5, by=policy(automatic=False))
    world.publish("2.0.0")
    world.run(100)
    assert deleted(world) == []
    assert reasons(world) == ["NewVersionAvailable"]
    assert condition(world, "UpToDate")["status"] == "False"


def test_a_suspended_set_waits_and_says_so():
    world = running(5)
    world.change(suspend=True)
    world.publish("2.0.0")
    world.run(100)
    assert deleted(world) == []
    told = condition(world, "Progressing")
    assert (told["reason"], told["message"]) == (
        "Suspended",
        "The set is suspended: no rollout starts until spec.suspend is lifted.",
    )


def test_a_pinned_version_is_left_alone():
    world = running(5)
    pin(world, "1.0.0")
    world.publish("2.0.0")
    world.run(100)
    assert deleted(world) == []


# --- memory


def test_a_failed_version_is_not_tried_again():
    """S8: not after a day either."""
    world = faulted()
    world.run(86400)
    assert deleted(world) == []
    assert condition(world, "Progressing")["reason"] == "TargetFailed"
    assert condition(world, "Stalled")["status"] == "True"
    assert condition(world, "Stalled")["reason"] == "RolloutFaulted"


@pytest.mark.parametrize(
    "lifted_by",
    ["a newer version", "another image", "the template", "healthTimeout", "minReadyTime", "a start by hand"],
)
def test_what_lifts_the_memory_of_a_failed_version(lifted_by):
    """4.7: until a newer version, another image, a start by hand, or a change of what could change the verdict."""
    world = faulted()
    if lifted_by == "a newer version":
        world.publish("3.0.0")
    elif lifted_by == "another image":
        world.catalogue[-1] = replace(world.catalogue[-1], image="example.com/web:2.0.0")
    elif lifted_by == "the template":
        new_model(world)
    elif lifted_by == "a start by hand":
        start(world)
    elif lifted_by == "healthTimeout":
        world.policy = policy(healthTimeout="PT9M")
    else:
        world.policy = policy(minReadyTime="PT9M")
    world.run(100)
    assert deleted(world) != [], "it is tried again"


@pytest.mark.parametrize("edited", [{"maxBatchInstancePercent": 40}, {"pauseTimeBetweenBatches": "PT1H"}])
def test_what_says_nothing_about_a_version_does_not_have_it_tried_again(edited):
    world = faulted()
    world.policy = policy(rolling=edited)
    world.run(86400)
    assert deleted(world) == []


def test_a_lower_version_is_not_taken_instead_of_the_failed_one():
    """Latest is the highest that may be chosen; what failed stays latest until something newer comes."""
    world = faulted()
    world.publish("1.5.0")
    world.run(1000)
    assert deleted(world) == []


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (8, 3600), (10**6, 3600)]
)
def test_the_back_off_doubles_from_a_minute_to_an_hour(attempts, seconds):
    assert Retry("m", "2.0.0", attempts, 0.0).delay == seconds


def test_a_run_that_the_gate_ended_is_tried_again_with_growing_delays():
    """A Faulted 4.2 is retried once the gate has been open for a minute, then for two."""
    world = running(20, by=policy(rolling={"maxBatchInstancePercent": 5}))
    world.publish("2.0.0")
    delays: list[float] = []
    for _ in range(3):
        world.run(1.5)
        assert code(world) == "RollingForward"
        for number in range(15, 20):
            world.sickens(number)
        world.run(20)
        assert code(world) == "Faulted"
        world.sick.clear()
        world.happen()
        open_since = world.now
        while code(world) == "Faulted":
            world.run(1)
        delays.append(world.now - open_since)
    assert [round(delay, -1) for delay in delays] == [60, 120, 240]
    world.run(1000)
    assert code(world) == "Completed"
    assert world.state.retry is None


# --- by hand


def test_a_start_by_hand_works_without_automatic_upgrades():
    world = running(5, by=policy(automatic=False))
    world.publish("2.0.0")
    start(world)
    world.run(60)
    assert code(world) == "Completed"
    assert rollout(world)["startedBy"] == "User"
    assert world.status["lastHandledStart"] == "now"


def test_nothing_newer_is_a_rollout_that_completes_with_four_zeros():
    world = running(5, by=policy(automatic=False))
    start(world)
    world.run(10)
    assert code(world) == "Completed"
    assert counts(world) == (0, 0, 0, 0)
    assert deleted(world) == []
    assert len(world.status["osUpgradeHistory"]) == 1


def test_a_request_is_handled_once():
    """The value handled last is written down; a new value is a new request."""
    world = running(5, by=policy(automatic=False))
    start(world, "1")
    world.run(100)
    assert len(world.status["osUpgradeHistory"]) == 1
    world.publish("2.0.0")
    world.run(100)
    assert deleted(world) == []
    start(world, "2")
    world.run(100)
    assert set(world.versions.values()) == {"2.0.0"}


def test_long_values_of_requests_are_told_apart():
    """Only a digest is kept of them: two that begin alike are two requests."""
    world = running(5, by=policy(automatic=False))
    for ending in "abc":
        start(world, "x" * 5000 + ending)
        world.run(100)
    assert len(world.status["osUpgradeHistory"]) == 3
    assert len(world.status["lastHandledStart"]) < 100


@pytest.mark.parametrize("why", ["pinned", "all protected"])
def test_a_start_without_anything_to_upgrade_is_refused_in_azures_words(why):
    protected = [{"id": n, "protectFromScaleSetActions": True} for n in range(3)] if why == "all protected" else []
    world = running(3, by=policy(automatic=False), protectedInstances=protected)
    if why == "pinned":
        pin(world, "1.0.0")
    world.publish("2.0.0")
    start(world)
    world.run(60)
    assert NOTHING_TO_UPGRADE == (
        "The OS Rolling Upgrade API cannot be used on a ScaleSet unless it has some unprotected instances which have "
        "imageReference.version set to latest."
    )
    assert world.state.rollout is None
    assert world.status["osUpgradeHistory"] == []
    progressing = condition(world, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "StartRefused")
    assert progressing["message"] == NOTHING_TO_UPGRADE
    assert [e.message for e in world.events if e.reason == "StartRefused"] == [NOTHING_TO_UPGRADE]


def test_a_start_during_a_rollout_is_refused():
    """At most one rollout per set."""
    world = under_way(5)
    start(world)
    world.run(5)
    assert [e.message for e in world.events if e.reason == "StartRefused"] == [
        "Rolling upgrade 1 is running. Wait for its end, or cancel it."
    ]
    world.run(1000)
    assert len(world.status["osUpgradeHistory"]) == 1


def test_a_start_of_a_suspended_set_is_refused():
    world = running(5, by=policy(automatic=False))
    world.change(suspend=True)
    world.publish("2.0.0")
    start(world)
    world.run(60)
    assert deleted(world) == []
    assert condition(world, "Progressing")["message"].startswith("The set is suspended.")


def test_a_start_with_the_gate_closed_is_an_attempt_that_failed_before_any_batch():
    """0/0/0/N, in the history, with Azure's code."""
    world = running(10, by=policy(automatic=False))
    for number in (0, 1, 2):
        world.sickens(number)
    world.publish("2.0.0")
    start(world)
    world.run(5)
    assert code(world) == "Faulted"
    assert counts(world) == (0, 0, 0, 10)
    assert rollout(world)["error"]["code"] == "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
    assert len(world.status["osUpgradeHistory"]) == 1
    assert deleted(world) == []


def test_a_start_waits_for_instances_that_still_start():
    """Initializing is waited for, not counted: the gate is asked when it is known how they are."""
    world = running(5, by=policy(automatic=False))
    world.start = 60.0
    world.loses(4)
    world.publish("2.0.0")
    world.settle()
    start(world)
    world.run(10)
    assert waits_for(world) == "InstancesInitializing"
    world.run(1000)
    assert code(world) == "Completed"


def test_a_start_by_hand_that_is_refused_holds_the_platform_up_by_one_write():
    """Its result is written down first; nobody else has to look at the set for the rest."""
    world = running(5)
    world.publish("2.0.0")
    ask(world, names.ANNOTATION_ROLLBACK)
    plan = world.step()
    assert reasons(world)[-1] == "StartRefused"
    assert (plan.state.rollout, plan.wake_at) == (None, world.now)
    world.settle()
    assert rollout(world)["startedBy"] == "Platform"


ID = "an instance id nor a range such as 0-3."
NO_POLICY = "UpgradePolicy shop/careful does not exist. Create it, or change spec.upgradePolicyRef.name."
HOW = "Write ids as 0,3 or 0-3, or * for all."


def no_policy(world: World) -> None:
    world.policy = None


def no_room(world: World) -> None:
    world.admit = lambda _: Verdict(accepted=False, message="Exceeded quota.")


def nothing(world: World) -> None:
    del world


@pytest.mark.parametrize(
    ("value", "happens", "reason", "sentence"),
    [
        ("0-", nothing, "InvalidSpec", f"scaleset.dev/apply-model: '0-' is neither {ID} {HOW}"),
        (
            "*",
            no_policy,
            "StartRefused",
            f"scaleset.dev/apply-model cannot be carried out: {NO_POLICY}",
        ),
        (
            "*",
            no_room,
            "StartRefused",
            "scaleset.dev/apply-model: The API server refuses the new pod, so the present one stays. Exceeded quota.",
        ),
    ],
)
def test_an_apply_model_that_is_not_carried_out_says_why_and_replaces_nothing(value, happens, reason, sentence):
    world = running(5)
    new_model(world)
    world.settle()
    happens(world)
    apply_model(world, value)
    world.run(60)
    told = [(event.reason, event.message, event.warning) for event in world.events if "apply-model" in event.message]
    assert told == [(reason, sentence, True)]
    assert deleted(world) == []
    assert world.status["lastHandledApply"] == value


@pytest.mark.parametrize(("value", "ids"), [("*", "0-4"), (" * ", "0-4"), ("1,3-4", "1,3-4"), ("3-9", "3-4")])
def test_an_apply_model_names_the_instances_that_it_replaces(value, ids):
    world = running(5)
    new_model(world)
    apply_model(world, value)
    world.settle()
    assert [event.message for event in world.events if event.reason == "ApplyingModel"] == [
        f"Replacing instances {ids} at once with model {world.model.name}."
    ]


def test_every_request_has_its_own_annotation():
    assert names.ANNOTATION_START == "scaleset.dev/start-upgrade-at"
    assert names.ANNOTATION_CANCEL == "scaleset.dev/cancel-upgrade-at"
    assert names.ANNOTATION_APPLY == "scaleset.dev/apply-model"
    world = running(3)
    ask(world, "scaleset.dev/something-else")
    world.settle()
    assert world.writes == []


def test_a_model_that_failed_does_not_hold_up_a_newer_image():
    world = running(5, by=policy(mode="Rolling"))
    world.broken.add(0)
    new_model(world)
    world.run(1000)
    assert (code(world), rollout(world)["kind"]) == ("Faulted", "Model")
    world.heals(0)
    world.publish("2.0.0")
    world.run(1000)
    assert (code(world), rollout(world)["kind"]) == ("Completed", "Image")
