"""`health.source: PodCondition`: somebody's condition decides about upgrades, and readiness about traffic only."""

from dataclasses import replace

import pytest

from scaleset.planner.health import READINESS, changed, explanation, healthy_since, source, state
from scaleset.planner.instances import HealthState, Pod, Reported
from scaleset.planner.revisions import describe
from tests.simulation.outcomes import code, condition, counts, rollout
from tests.simulation.scenes import start
from tests.simulation.world import EPOCH, World, policy, spec

KIND = "example.com/Healthy"
HEALTH = {"source": "PodCondition", "conditionType": KIND}
POD = Pod("shop", "web-0", "u", "1", "uid-web", "web", "m", "1.0.0", created=EPOCH, started=EPOCH)
RUNS = replace(POD, running=True, running_since=EPOCH + 1)


def says(status: str, since: float | None = EPOCH + 20, *, stale: bool = False, message: str = "") -> Pod:
    return replace(RUNS, conditions=(Reported(KIND, status, since, message, stale),))


@pytest.mark.parametrize(
    ("pod", "after", "expected"),
    [
        (RUNS, 60, HealthState.INITIALIZING),
        (replace(RUNS, ready=True, ready_since=EPOCH + 5), 299, HealthState.INITIALIZING),
        (RUNS, 300, HealthState.UNHEALTHY),
        (says("True"), 60, HealthState.HEALTHY),
        (says("True", None), 60, HealthState.HEALTHY),
        (says("True"), 99999, HealthState.HEALTHY),
        (replace(says("True"), ready=False, ready_since=EPOCH + 50), 60, HealthState.HEALTHY),
        (says("False"), 60, HealthState.UNHEALTHY),
        (says("False"), 99999, HealthState.UNHEALTHY),
        (says("Unknown"), 60, HealthState.UNKNOWN),
        (says("yes"), 99999, HealthState.UNKNOWN),
        (says("True", stale=True), 60, HealthState.INITIALIZING),
        (says("False", stale=True), 60, HealthState.INITIALIZING),
        (says("True", stale=True), 300, HealthState.UNHEALTHY),
        (replace(says("True"), running=False), 60, HealthState.INITIALIZING),
        (replace(says("True"), running=False), 300, HealthState.UNHEALTHY),
        (replace(says("True"), current=False), 60, HealthState.INITIALIZING),
        (replace(says("True"), deleting=True), 60, HealthState.UNHEALTHY),
        (replace(says("True"), ended=True), 60, HealthState.UNHEALTHY),
        (replace(says("True"), reporting=False), 60, HealthState.UNKNOWN),
    ],
    ids=[
        "nobody has written it",
        "nobody has written it, and the pod is ready",
        "nobody has written it in its time",
        "True",
        "True, without a time",
        "True for long",
        "True, and the pod has lost its readiness",
        "False",
        "False for long",
        "Unknown",
        "no status of a condition",
        "True before the change of the image",
        "False before the change of the image",
        "never written again after the change",
        "True, and a container does not run yet",
        "True, and a container does not run any more",
        "True, and the changed container has not started again",
        "going",
        "at its end",
        "its node does not report",
    ],
)
def test_health_of_a_pod_by_a_condition(pod: Pod, after: float, expected: HealthState):
    assert state(pod, by=KIND, now=EPOCH + after, timeout=300.0) is expected


def test_another_condition_says_nothing():
    other = replace(RUNS, conditions=(Reported("other.example/Healthy", "True", EPOCH),))
    assert state(other, by=KIND, now=EPOCH + 60, timeout=300.0) is HealthState.INITIALIZING


def test_it_is_healthy_since_both_the_condition_and_the_containers_are():
    assert healthy_since(says("True"), by=KIND) == EPOCH + 20
    assert healthy_since(replace(says("True"), running_since=EPOCH + 40), by=KIND) == EPOCH + 40
    assert changed(says("False"), by=KIND, now=EPOCH + 60) == EPOCH + 20
    assert changed(says("False", EPOCH + 10**9), by=KIND, now=EPOCH + 60) == EPOCH, "a time that has not come"


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (RUNS, f"Condition {KIND} is not set."),
        (says("True", stale=True), f"Condition {KIND} was not written since the image was changed."),
        (says("False", message="Slow: p99 is 4 s"), f"Condition {KIND} is False: Slow: p99 is 4 s"),
        (says("Unknown"), f"Condition {KIND} is Unknown."),
        (replace(RUNS, message="ContainersNotReady: [web]"), f"Condition {KIND} is not set."),
        (replace(POD, message="container web: ImagePullBackOff"), "container web: ImagePullBackOff"),
    ],
)
def test_why_it_is_not_healthy(pod: Pod, expected: str):
    assert explanation(pod, by=KIND) == expected


def test_the_source_is_the_type_of_the_condition():
    assert source(describe("web", spec(health=HEALTH))) == KIND
    assert source(describe("web", spec())) == READINESS


@pytest.mark.parametrize(
    "health", [{"source": "PodCondition"}, {"conditionType": KIND}, {**HEALTH, "source": "InstanceState"}]
)
def test_the_one_needs_the_other(health: dict[str, str]):
    with pytest.raises(ValueError, match="set source to PodCondition and conditionType"):
        spec(health=health)


# --- rollouts


def written(world: World, status: str, *numbers: int) -> None:
    """Somebody writes the condition of these pods now."""
    for number in numbers:
        reported = Reported(KIND, status, world.now)
        world.pods[number] = replace(world.pods[number], conditions=(reported,))


def probed(world: World) -> None:
    """A prober finds every pod that runs well, however busy it is."""
    for number, pod in world.pods.items():
        if not pod.conditions and pod.running:
            written(world, "True", number)


def healthy(replicas: int = 5, **changes) -> World:
    """A healthy set whose readiness is under load: a pod is ready for a moment, so that its containers run."""
    world = World(spec=spec(replicas=replicas, health=HEALTH), policy=policy(**changes))
    world.publish("1.0.0")
    world.lives(10, probed)
    assert condition(world, "Ready")["status"] == "True"
    return world


def overloaded(world: World) -> None:
    """Half of the pods are not ready at any moment, and the prober knows better."""
    probed(world)
    for number, pod in world.pods.items():
        ready = (number + int(world.now)) % 2 == 0
        if pod.running:
            world.pods[number] = replace(pod, ready=ready, ready_since=world.now, message="" if ready else "503")


def test_a_rollout_goes_on_while_readiness_flaps():
    world = healthy()
    world.publish("2.0.0")
    world.lives(120, overloaded)
    assert (code(world), counts(world)) == ("Completed", (5, 0, 0, 0))
    assert set(world.versions.values()) == {"2.0.0"}
    assert condition(world, "Available")["status"] == "True"


def test_a_condition_that_is_false_closes_the_gate():
    world = healthy(5)
    written(world, "False", 3, 4)
    world.publish("2.0.0")
    world.lives(60, probed)
    assert condition(world, "Progressing")["reason"] == "HealthGateWaiting"
    assert set(world.versions.values()) == {"1.0.0"}
    written(world, "True", 3, 4)
    world.lives(120, probed)
    assert code(world) == "Completed"


def test_an_instance_without_the_condition_fails_at_its_deadline_and_is_restored():
    world = healthy(5)
    world.publish("2.0.0")

    def silent(world: World) -> None:
        for number, pod in world.pods.items():
            if pod.version == "1.0.0" and not pod.conditions and pod.running:
                written(world, "True", number)

    world.lives(290, silent)
    assert code(world) == "RollingForward"
    world.lives(60, silent)
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}
    assert f"Condition {KIND} is not set." in rollout(world)["error"]["message"]


def test_a_time_in_the_future_moves_no_deadline():
    world = healthy(5, minReadyTime="PT10S")
    world.publish("2.0.0")

    def forged(world: World) -> None:
        for number, pod in world.pods.items():
            if not pod.conditions and pod.running:
                since = world.now if pod.version == "1.0.0" else world.now + 10**6
                world.pods[number] = replace(pod, conditions=(Reported(KIND, "True", since),))

    world.lives(500, forged)
    assert code(world) == "Faulted"
    assert set(world.versions.values()) == {"1.0.0"}


def test_a_start_by_hand_waits_for_instances_whose_condition_is_not_set_yet():
    world = healthy(2, automatic=False)
    world.change(replicas=3)
    world.publish("2.0.0")
    start(world)
    world.lives(30, lambda _: None)
    assert rollout(world)["waitingFor"]["reason"] == "InstancesInitializing"
