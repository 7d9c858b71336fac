"""`plan`: the forecast is what then happens, and it says what holds a rollout back."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubectl_scaleset import forecasts, plans
from kubectl_scaleset.forecasts import ByHand, Forecast, foresee
from kubectl_scaleset.pictures import SetView
from scaleset.api.scale_set import ProtectedInstance
from scaleset.planner.instances import Reported
from scaleset.planner.plan import DryRun, ModelCheck
from scaleset.planner.ranges import parse
from scaleset.planner.snapshot import QueuePosition, Verdict
from tests.simulation import outcomes, scenes
from tests.simulation.world import World, policy, spec

WEB = SetView({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "spec": {}})


def accepted(_: DryRun | ModelCheck, __: float) -> Verdict:
    return Verdict(accepted=True)


def forecast(world: World, **changes: Any) -> Forecast:
    return foresee(world.snapshot(fresh=True, **changes), accepted)


def foreseen(found: Forecast) -> list[frozenset[int]]:
    course = found.running or found.next or found.freed or found.by_hand
    assert course is not None
    return [frozenset(batch.instances) for batch in course.batches]


def taken(world: World) -> list[frozenset[int]]:
    """The batches that the operator said it takes."""
    notes = [event.message for event in world.events if event.reason == "BatchStarted"]
    return [parse(re.search(r"(?:in place of|replacing instances) ([\d,-]+)", note).group(1)) for note in notes]  # type: ignore[union-attr]


SETTINGS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    (1, {}, {}),
    (5, {}, {}),
    (10, {}, {"updateDomains": 5}),
    (10, {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 30}, {}),
    (12, {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}, {"zones": ["a", "b", "c"]}),
    (12, {"maxBatchInstancePercent": 50, "enableCrossZoneUpgrade": True}, {"zones": ["a", "b", "c"]}),
    (10, {"pauseTimeBetweenBatches": "PT10M"}, {}),
    (7, {"maxSurge": True, "maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40}, {}),
    (6, {}, {"protectedInstances": [{"id": 2, "protectFromScaleSetActions": True}]}),
]


@pytest.mark.parametrize(("replicas", "rolling", "changes"), SETTINGS)
def test_the_batches_are_those_that_the_operator_then_takes(replicas, rolling, changes):
    world = scenes.running(replicas, by=policy(rolling=rolling), **changes)
    world.publish("1.1.0")
    found = forecast(world)
    assert found.next is not None
    assert found.next.ending == "Completed"
    world.run(4 * 3600)
    assert taken(world) == foreseen(found)
    assert len(foreseen(found)) > 0


@pytest.mark.parametrize("begun", [False, True])
def test_changes_in_place_are_foreseen(begun):
    """From the beginning, and while the first batch is under way."""
    world = scenes.running(10, by=policy(replacementMethod="InPlaceIfPossible"))
    world.start = 30.0
    world.publish("1.1.0")
    if begun:
        world.settle()
        assert not world.pods[0].current
    found = forecast(world)
    course = found.running if begun else found.next
    assert course is not None
    assert course.ending == "Completed"
    assert "images changed in place where nothing else differs" in "\n".join(plans.lines(WEB, found))
    world.run(4 * 3600)
    assert taken(world) == foreseen(found)
    assert outcomes.deleted(world) == []


def test_in_the_middle_of_a_rollout_the_rest_is_told():
    world = scenes.under_way(10)
    found = forecast(world)
    assert found.running is not None
    assert foreseen(found) == [frozenset({n, n + 1}) for n in range(0, 10, 2)]
    assert "is running and would go on" in plans.lines(WEB, found)[0]


def test_minimum_ready_time_is_waited_for():
    world = scenes.running(10, by=policy(minReadyTime="PT5M"))
    world.publish("1.1.0")
    found = forecast(world)
    assert found.next is not None
    assert (found.next.ending, len(found.next.batches)) == ("Completed", 5)


def test_a_broken_instance_goes_as_the_policy_says():
    world = scenes.running(10, by=policy(rolling={"prioritizeUnhealthyInstances": True}))
    world.breaks(7)
    world.publish("1.1.0")
    assert 7 in foreseen(forecast(world))[0]


def test_a_closed_gate_holds_back_and_what_would_come_is_told():
    world = scenes.running(10)
    for number in (1, 2, 3):
        world.breaks(number)
    world.publish("1.1.0")
    found = forecast(world)
    assert found.next is None
    assert found.held is not None
    assert found.held[0] == "HealthGateWaiting"
    assert foreseen(found)[0] == {0, 1}
    told = plans.lines(WEB, found)
    assert told[1].startswith("Held back: HealthGateWaiting: ")
    assert told[2] == "Without that an image upgrade to version 1.1.0 would start:"


@pytest.mark.parametrize("by", [policy(suspend=True), policy()], ids=["by its policy", "by itself"])
def test_a_suspended_set(by):
    world = scenes.running(5, by=by, suspend=not by.suspend)
    world.publish("1.1.0")
    found = forecast(world)
    assert found.held is not None
    assert (found.held[0], len(foreseen(found))) == ("Suspended", 5)


def test_a_set_that_waits_for_its_turn():
    world = scenes.running(5, by=policy(maxConcurrentScaleSets=1))
    world.publish("1.1.0")
    found = forecast(world, queue=QueuePosition(rolling=1, ahead=0))
    assert found.held is not None
    assert (found.held[0], len(foreseen(found))) == ("ConcurrencyLimit", 5)


def test_a_rollout_that_is_halted_says_why():
    world = scenes.under_way(10)
    world.change(suspend=True)
    found = forecast(world)
    assert found.running is not None
    assert found.running.ending == ""
    assert found.held is not None
    assert found.held[0] == "Suspended"


def test_where_nothing_starts_by_itself_a_start_by_hand_is_foreseen():
    world = scenes.running(5, by=policy(automatic=False))
    world.publish("1.1.0")
    found = forecast(world)
    assert (found.next, found.held) == (None, None)
    assert len(foreseen(found)) == 5
    assert "kubectl scaleset start web" in "".join(plans.lines(WEB, found))


def test_nothing_to_do():
    world = scenes.running(5)
    found = forecast(world)
    assert foreseen(found) == []
    assert plans.lines(WEB, found)[-1] == "A start by hand would complete at once: every instance is current."


def test_a_start_that_would_be_refused():
    world = scenes.running(3, protectedInstances=[{"id": n, "protectFromScaleSetActions": True} for n in range(3)])
    world.publish("1.1.0")
    found = forecast(world)
    assert found.refused is not None
    assert "unless it has some unprotected instances" in found.refused


def by_hand(world: World) -> ByHand:
    return forecasts.by_hand(world.snapshot(fresh=True), accepted)


def test_a_start_by_hand_that_goes_on():
    world = scenes.running(5, by=policy(automatic=False))
    world.publish("1.1.0")
    assert by_hand(world) == ByHand()


def test_a_start_of_what_failed_goes_on_and_says_so():
    world = scenes.running(5)
    world.publish("1.1.0", suffix=scenes.BAD)
    world.run(3600)
    world.catalogue[-1] = replace(world.catalogue[-1], version="1.1")
    found = by_hand(world)
    assert found.refused is None
    assert found.failed is not None
    assert found.failed.version == "1.1.0"


ALL_PROTECTED = {
    "protected_instances": tuple(ProtectedInstance(id=n, protect_from_scale_set_actions=True) for n in range(5))
}
REFUSALS: dict[str, tuple[Callable[[World], object], str]] = {
    "pinned": (lambda world: scenes.pin(world, "1.0.0"), "which have imageReference.version set to latest"),
    "suspended": (lambda world: world.change(suspend=True), "The set is suspended."),
    "not accepted": (
        lambda world: world.change(instance_container="none"),
        "the template has no container of that name",
    ),
    "all protected": (lambda world: world.change(**ALL_PROTECTED), "unless it has some unprotected instances"),
    "running": (lambda world: world.publish("2.0.0"), "is running. Wait for its end, or cancel it."),
    "nothing newer": (lambda world: world.catalogue.pop(), "no unprotected instance runs less than version 1.0.0"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_start_that_is_refused_by_the_planners_own_sentence(why):
    change, words = REFUSALS[why]
    world = scenes.running(5, by=policy(automatic=why == "running"))
    if why != "running":
        world.publish("1.1.0")
    change(world)
    world.start = 30.0
    world.run(5)
    assert words in (by_hand(world).refused or "")


def test_a_model_that_the_api_server_refuses_holds_the_rollout_back():
    world = scenes.running(5, by=policy(mode="Rolling"))
    template = {**world.spec.template, "metadata": {"labels": {"new": "yes"}}}
    world.change(template=template)

    def refuses(_: DryRun | ModelCheck, __: float) -> Verdict:
        return Verdict(accepted=False, message="no such priority class")

    found = foresee(world.snapshot(fresh=True), refuses)
    assert found.held is not None
    assert "no such priority class" in found.held[1]


def test_a_batch_that_the_api_server_refuses_ends_the_rollout():
    world = scenes.running(5)
    world.publish("1.1.0")

    def refuses(_: DryRun | ModelCheck, __: float) -> Verdict:
        return Verdict(accepted=False, message="the quota is used up")

    found = foresee(world.snapshot(fresh=True), refuses)
    assert found.next is not None
    assert found.next.batches == ()
    assert "the quota is used up" in found.next.ending
    assert "then it would end as Faulted" in plans.lines(WEB, found)[-1]


def test_a_forecast_changes_nothing():
    world = scenes.running(5)
    world.publish("1.1.0")
    snapshot = world.snapshot(fresh=True)
    before = replace(snapshot)
    assert foresee(snapshot, accepted) == foresee(snapshot, accepted)
    assert snapshot == before


def test_a_big_set_is_foreseen_too():
    world = scenes.running(200, by=policy(rolling={"maxBatchInstancePercent": 5}))
    world.publish("1.1.0")
    found = forecast(world)
    assert len(foreseen(found)) == 20
    assert plans.document(found)["next"]["batches"][19]["instances"] == "190-199"


def test_many_batches_are_not_all_listed():
    world = scenes.running(60, by=policy(rolling={"maxUnhealthyInstancePercent": 5, "maxBatchInstancePercent": 5}))
    world.publish("1.1.0")
    world.spec = world.spec.model_copy(update={"update_domains": 1})
    told = plans.lines(WEB, forecast(world))
    assert sum("  batch " in line for line in told) <= plans.SHOWN


def test_a_set_whose_health_is_a_condition():
    """The forecast takes for granted that somebody writes it."""
    health = {"source": "PodCondition", "conditionType": "example.com/Healthy"}
    world = World(spec=spec(replicas=3, health=health), policy=policy())
    world.publish("1.0.0")

    def write(world: World) -> None:
        for number, pod in world.pods.items():
            if pod.running and not pod.conditions:
                reported = Reported("example.com/Healthy", "True", world.now)
                world.pods[number] = replace(pod, conditions=(reported,))

    world.lives(10, write)
    world.publish("1.1.0")
    assert foreseen(forecast(world)) == [frozenset({0}), frozenset({1}), frozenset({2})]


def test_what_cannot_be_done_in_place_is_held_back():
    world = scenes.running(3, by=policy(mode="Rolling", replacementMethod="InPlaceOnly"))
    scenes.new_model(world)
    world.run(10)
    found = forecast(world)
    assert found.next is None
    text = "\n".join(plans.lines(WEB, found))
    assert "Held back: NotInPlace: Instances 0-2 cannot be changed in place" in text
    world.change(template=spec().template)
    world.publish("1.1.0")
    assert foreseen(forecast(world)) == [frozenset({0}), frozenset({1}), frozenset({2})]
