"""What the user sees: counts, conditions, and a status that stays small."""

import json
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time
from typing import Any

import pytest

from scaleset.api.moments import timestamp
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planner.decide import decide
from tests.simulation.outcomes import code, condition, rollout
from tests.simulation.scenes import BAD, cancel, new_model, running, start
from tests.simulation.world import World, policy


def conditions(world: World) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in world.status["conditions"]}


def kstatus(world: World) -> str:
    """What kubectl wait, helm --wait and GitOps tools make of it (cli-utils/pkg/kstatus, the generic rules)."""
    if world.status["observedGeneration"] != world.generation:
        return "InProgress"
    found = conditions(world)
    if found["Stalled"][0] == "True":
        return "Failed"
    if found["Reconciling"][0] == "True":
        return "InProgress"
    return "Current" if found["Ready"][0] == "True" else "InProgress"


def healthy(world: World) -> None:
    del world


def upgrading(world: World) -> None:
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)


def halted(world: World) -> None:
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)


def healing(world: World) -> None:
    world.start = 30.0
    world.loses(0)
    world.run(5)


def broken(world: World) -> None:
    world.sickens(0)
    world.settle()


def refused(world: World) -> None:
    world.policy = None
    world.settle()


def suspended(world: World) -> None:
    world.change(suspend=True)
    world.settle()


def shrinking(world: World) -> None:
    world.change(replicas=2)
    world.settle()


@pytest.mark.parametrize(
    ("scene", "status", "ready"),
    [
        (healthy, "Current", ("True", "Healthy")),
        (upgrading, "InProgress", ("False", "RollingForward")),
        (halted, "Failed", ("False", "Faulted")),
        (healing, "InProgress", ("False", "Starting")),
        (broken, "InProgress", ("False", "Unhealthy")),
        (refused, "Failed", ("False", "PolicyNotFound")),
        (suspended, "Current", ("True", "Suspended")),
        (shrinking, "InProgress", ("False", "ScalingIn")),
    ],
)
def test_tools_that_know_only_conditions_understand_a_set(scene: Callable[[World], None], status, ready):
    world = running(5)
    scene(world)
    found = conditions(world)
    if scene is halted:
        assert found["Stalled"] == ("True", "RolloutFaulted")
        assert found["Reconciling"][0] == "False"
        return
    assert kstatus(world) == status
    assert found["Ready"] == ready
    assert not (found["Ready"][0] == "True" and "True" in (found["Reconciling"][0], found["Stalled"][0]))


@pytest.mark.parametrize("scene", [healthy, upgrading, halted, healing, broken, refused, suspended, shrinking])
def test_the_conditions_are_complete_and_of_this_generation(scene: Callable[[World], None]):
    """Every type in every status, each with a reason, a sentence, a time and the generation it was computed from."""
    world = running(5)
    scene(world)
    types = ["Accepted", "Available", "Progressing", "Ready", "Reconciling", "Stalled", "UpToDate"]
    assert [c["type"] for c in world.status["conditions"]] == types
    for found in world.status["conditions"]:
        assert found["observedGeneration"] == world.generation
        assert found["reason"]
        assert found["message"]
        assert found["lastTransitionTime"].endswith("Z")


@pytest.mark.parametrize(
    ("unhealthy", "available", "reason"),
    [(0, "True", "GateOpen"), (2, "True", "GateOpen"), (3, "False", "TooManyUnhealthy")],
)
def test_available_goes_by_the_gate(unhealthy, available, reason):
    """Exactly 20 % unhealthy is available."""
    world = running(10)
    for number in range(unhealthy):
        world.sickens(number)
    world.settle()
    assert conditions(world)["Available"] == (available, reason)


def test_a_transition_time_moves_only_with_the_status():
    world = running(5)
    before = condition(world, "Ready")["lastTransitionTime"]
    world.now += 100
    world.change(service_name="web")
    world.settle()
    assert condition(world, "Ready")["lastTransitionTime"] == before
    world.sickens(0)
    world.settle()
    assert condition(world, "Ready")["lastTransitionTime"] > before


def test_the_counts():
    world = running(5, by=policy(automatic=False))
    world.publish("2.0.0")
    world.sickens(1)
    world.pods[2] = replace(world.pods[2], deleting=True)
    world.settle()
    status = world.status
    assert (status["replicas"], status["healthyReplicas"], status["updatedReplicas"]) == (4, 3, 0)
    assert status["selector"] == "scaleset.dev/name=web"
    assert (status["currentVersion"], status["latestVersion"]) == ("1.0.0", "2.0.0")


@pytest.mark.parametrize(
    ("instances", "shown"),
    [
        ("1", "1.0.0"),
        ("1 1 2", "1.0.0 (2), 2.0.0 (1)"),
        ("1 2 2", "2.0.0 (2), 1.0.0 (1)"),
        ("1 1 2 2", "2.0.0 (2), 1.0.0 (2)"),
        ("1 2 3 4", "4.0.0 (1), 3.0.0 (1), 2.0.0 (1), 1.0.0 (1)"),
        ("1 2 3 4 5", "5.0.0 (1), 4.0.0 (1), 3.0.0 (1), 2.0.0 (1), 1 more"),
        ("1 1 2 3 4 5 6 7 8", "1.0.0 (2), 8.0.0 (1), 7.0.0 (1), 6.0.0 (1), 4 more"),
        ("9 10", "10.0.0 (1), 9.0.0 (1)"),
    ],
)
def test_the_four_versions_that_most_instances_run_are_shown_with_their_numbers(instances, shown):
    """Of two with as many instances, the higher one comes first."""
    world = running(len(instances.split()), by=policy(automatic=False))
    for number, major in enumerate(instances.split()):
        world.pods[number] = replace(world.pods[number], version=f"{major}.0.0")
    world.settle()
    assert world.status["versions"] == shown


def test_only_instances_out_of_the_ordinary_are_listed():
    world = running(5)
    assert world.status["instances"] == []
    world.sickens(3)
    world.settle()
    (row,) = world.status["instances"]
    assert (row["id"], row["state"], row["version"], row["message"]) == (3, "Unhealthy", "1.0.0", "out of memory")


@pytest.mark.parametrize(
    ("happens", "state"),
    [
        (lambda w: w.sickens(0), "Unhealthy"),
        (lambda w: w.pods.update({0: replace(w.pods[0], reporting=False)}), "Unknown"),
        (lambda w: w.pods.pop(0), "Missing"),
        (lambda w: w.foreign_pods.update({0: "taken"}) or w.pods.pop(0), "Blocked"),
    ],
)
def test_states_of_instances(happens: Callable[[World], Any], state):
    world = running(5)
    world.quota = lambda _: "quota"
    happens(world)
    world.settle()
    assert world.status["instances"][0]["state"] == state


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (lambda w: w.foreign_pods.clear() or w.pods.pop(0), "The pod does not exist."),
        (lambda w: w.pods.update({0: replace(w.pods[0], deleting=True)}), "The pod is terminating."),
    ],
)
def test_instances_whose_pod_says_nothing(happens: Callable[[World], Any], message):
    world = running(5)
    happens(world)
    world.step()
    assert world.status["instances"][0]["message"] == message


@pytest.mark.parametrize(
    ("published", "different"),
    [
        ((), {}),
        (("2.0.0",), {"UpToDate": ("False", "Outdated")}),
    ],
)
def test_the_reasons_of_a_set_at_rest(published, different):
    """Tools match them: they are part of the API."""
    world = running(3, by=policy(automatic=False))
    for number in published:
        world.publish(number)
    world.settle()
    assert conditions(world) == {
        "Accepted": ("True", "Accepted"),
        "Available": ("True", "GateOpen"),
        "Progressing": ("False", "Idle"),
        "Ready": ("True", "Healthy"),
        "Reconciling": ("False", "Idle"),
        "Stalled": ("False", "NotStalled"),
        "UpToDate": ("True", "Current"),
        **different,
    }
    assert condition(world, "Progressing")["message"] == "There was no rolling upgrade yet."


def test_many_different_obstacles_are_five_events():
    world = running(8)
    for number in range(8):
        world.foreign_pods[number] = f"Taken by {chr(ord('a') + number)}."
        world.loses(number)
    world.settle()
    said = [event.message for event in world.events if event.reason == "InstanceBlocked"]
    assert len(said) == 5
    assert said[-1].startswith("Instances 4-7 are blocked. 4: Taken by e.")


def within_the_schema(world: World) -> None:
    """The API server takes it: parsing and writing changes nothing, so nothing had to be cut or dropped."""
    parsed = ScaleSetStatus.model_validate(world.status)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == world.status


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_status_stays_below_100_kb_at_1000_instances_at_its_worst(letter, record_property):
    """Alternating builds and digests (nothing becomes a range), failing instances with long messages, five failed
    attempts.
    """
    world = running(1000, by=policy(rolling={"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50}))
    old = world.pods[0].model
    for number in range(0, 1000, 2):
        world.pods[number] = replace(
            world.pods[number], version="0.9.0", images=(("app", "example.com/" + "w" * 200 + ":0.9.0"),)
        )
    for number, pod in world.pods.items():
        runs = f"{pod.images[0][1].rpartition(':')[0]}@sha256:{number % 20:064x}"
        world.pods[number] = replace(pod, image_ids=(("app", runs),), asked_image=pod.images[0][1])
    world.status = {key: value for key, value in world.status.items() if key != "builds"}
    new_model(world)
    world.settle()
    world.says = letter * 512
    sizes = []
    for attempt in range(2, 8):
        world.publish(f"{attempt}.0.0", suffix=BAD)
        for seconds in (310, 310, 5):
            world.run(seconds)
            sizes.append(len(json.dumps(world.status, ensure_ascii=False).encode()))
            within_the_schema(world)
        world.run(4000)
    assert len({build.digest for build in world.state.builds.values()} - {None}) >= 10
    assert old in {pod.model for pod in world.pods.values()}
    assert len(world.status["osUpgradeHistory"]) == 5
    record_property("worst status at 1000 instances", f"{max(sizes)} bytes")
    assert max(sizes) < 100_000


def test_sentences_of_the_api_server_are_cut_to_what_the_schema_allows():
    """A status that the API server refuses would stop everything, since it is written first."""
    world = running(3)
    world.foreign_pods[0] = "s" * 50_000
    world.loses(0)
    world.quota = lambda _: "q" * 50_000
    world.loses(1)
    world.settle()
    world.publish("2.0.0")
    start(world)
    world.step()
    within_the_schema(world)
    world.run(1000)
    within_the_schema(world)


def scenes_at_rest() -> list[Callable[[World], None]]:
    return [healthy, upgrading, halted, healing, broken, refused, suspended, shrinking]


@pytest.mark.parametrize("scene", scenes_at_rest())
def test_deciding_again_about_an_unchanged_world_changes_nothing(scene: Callable[[World], None]):
    """S9, for the operator that goes on and for one that starts again."""
    world = running(5)
    scene(world)
    world.settle()
    world.writes.clear()
    for fresh in (False, True):
        plan = decide(world.snapshot(fresh=fresh))
        assert world.actions(plan) == []
    assert plan.events == ()
    world.now += 1
    plan = world.plan()
    assert world.actions(plan) == []


def test_a_decision_about_1000_instances_takes_milliseconds(record_property):
    """In the middle of a rollout with alternating builds; the bound is generous, the median is shown."""
    world = running(1000)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(70)
    assert code(world) == "RollingForward"
    snapshot = world.snapshot(fresh=True)
    times = []
    for _ in range(15):
        begin = process_time()
        decide(snapshot)
        times.append(1000 * (process_time() - begin))
    record_property("decide() for 1000 instances", f"median {median(times):.2f} ms")
    assert median(times) < 25


def test_a_rollouts_status_writes_grow_with_batches_and_not_with_instances():
    """S12: 10 times the instances, the same number of batches, hardly more status writes."""

    def writes(replicas: int) -> int:
        world = running(replicas)
        world.publish("2.0.0")
        world.run(60)
        assert code(world) == "Completed"
        return sum(name == "status" for name in world.writes)

    assert writes(100) <= writes(10) + 10


def test_what_is_under_way_is_named():
    world = running(5, by=policy(mode="Automatic"))
    new_model(world)
    world.step()
    assert condition(world, "Reconciling")["message"].startswith("Instances 0-4 are being replaced")


def test_a_set_that_comes_up_says_so():
    world = running(5)
    world.change(replicas=6)
    world.step()
    assert condition(world, "Reconciling")["message"] == "Instances are being created or deleted."


def test_a_cancel_shows_as_the_last_action():
    world = running(5)
    upgrading(world)
    world.now += 7
    cancel(world)
    world.settle()
    said = rollout(world)["runningStatus"]
    assert (said["lastAction"], said["lastActionTime"]) == ("Cancel", timestamp(world.now))
    assert rollout(world)["ending"] == {
        "code": "Cancelled",
        "reason": "Cancelled",
        "message": "Cancelled by the user.",
    }
