"""Is an instance healthy?"""

from dataclasses import replace

import pytest

from scaleset.planner.health import INSTANCE_STATE, READINESS, healthy_since, source, state
from scaleset.planner.instances import HealthState, Pod
from scaleset.planner.revisions import describe
from tests.simulation.scenes import running
from tests.simulation.world import EPOCH, spec

POD = Pod("shop", "web-0", "u", "1", "uid-web", "web", "m", "1.0.0", created=EPOCH, started=EPOCH)
READY = replace(POD, ready=True, ready_since=EPOCH + 10, running=True, running_since=EPOCH + 1)
PROBE = {"readinessProbe": {"httpGet": {"path": "/", "port": 80}}}


def health(pod: Pod, *, after: float = 60.0, by: str = READINESS) -> HealthState:
    return state(pod, by=by, now=EPOCH + after, timeout=300.0)


@pytest.mark.parametrize(
    ("changes", "after", "expected"),
    [
        ({}, 0, HealthState.INITIALIZING),
        ({}, 299, HealthState.INITIALIZING),
        ({}, 300, HealthState.UNHEALTHY),
        ({"ready_since": EPOCH}, 60, HealthState.INITIALIZING),
        ({"ready_since": EPOCH + 2}, 60, HealthState.INITIALIZING),
        ({"ready_since": EPOCH + 30}, 60, HealthState.UNHEALTHY),
        ({"started": None, "ready_since": EPOCH + 30}, 60, HealthState.INITIALIZING),
        ({"ready": True, "ready_since": EPOCH + 10}, 60, HealthState.HEALTHY),
        ({"ready": True, "ready_since": EPOCH + 10}, 9999, HealthState.HEALTHY),
        ({"ready": True, "ready_since": EPOCH + 10, "deleting": True}, 60, HealthState.UNHEALTHY),
        ({"ready": True, "ready_since": EPOCH + 10, "ended": True}, 60, HealthState.UNHEALTHY),
        ({"ready": True, "ready_since": EPOCH + 10, "reporting": False}, 60, HealthState.UNKNOWN),
        ({"reporting": False}, 60, HealthState.UNKNOWN),
        ({"deleting": True}, 10, HealthState.UNHEALTHY),
    ],
    ids=[
        "just created",
        "never ready, a second before its time",
        "never ready, its time is over",
        "not ready since the start",
        "the two clocks of the kubelet differ by their cut",
        "was ready and is not any more, whatever its age",
        "not started, so it was never ready",
        "ready",
        "ready for long",
        "ready and going",
        "ready and at its end",
        "its node does not report",
        "never ready and its node does not report",
        "going",
    ],
)
def test_health_of_a_pod_by_readiness(changes, after, expected):
    assert health(replace(POD, **changes), after=after) is expected


def test_by_instance_state_healthy_is_what_runs():
    """Azure's default without an application signal: readiness does not matter."""
    running = replace(POD, running=True, running_since=EPOCH + 1)
    assert health(running, by=INSTANCE_STATE) is HealthState.HEALTHY
    assert health(running) is HealthState.INITIALIZING
    assert health(POD, by=INSTANCE_STATE) is HealthState.INITIALIZING
    ran = replace(running, running=False)
    assert health(ran, by=INSTANCE_STATE) is HealthState.INITIALIZING, "a container of it has ended"


@pytest.mark.parametrize(("by", "since"), [(READINESS, EPOCH + 10), (INSTANCE_STATE, EPOCH + 1)])
def test_healthy_since(by, since):
    assert healthy_since(READY, by=by) == since


@pytest.mark.parametrize("changes", [{"deleting": True}, {"ended": True}, {"reporting": False}])
def test_a_pod_that_goes_or_is_silent_is_healthy_by_no_source(changes):
    assert healthy_since(replace(READY, **changes), by=READINESS) is None
    assert healthy_since(replace(READY, **changes), by=INSTANCE_STATE) is None


@pytest.mark.parametrize(
    ("template", "health_", "expected"),
    [
        ({"containers": [{"name": "app"}]}, {}, INSTANCE_STATE),
        ({"containers": [{"name": "app", **PROBE}]}, {}, READINESS),
        ({"containers": [{"name": "app"}, {"name": "side", **PROBE}]}, {}, READINESS),
        ({"containers": [{"name": "app"}], "readinessGates": [{"conditionType": "x/y"}]}, {}, READINESS),
        ({"containers": [{"name": "app"}]}, {"probe": {"protocol": "tcp", "port": 80}}, READINESS),
        ({"containers": [{"name": "app", **PROBE}]}, {"source": "InstanceState"}, INSTANCE_STATE),
        ({"containers": [{"name": "app"}]}, {"source": "ReadinessProbe"}, READINESS),
    ],
)
def test_the_source_is_as_asked_for_else_readiness_where_something_signals_it(template, health_, expected):
    assert source(describe("web", spec(template={"spec": template}, health=health_))) == expected


def test_a_set_by_instance_state_waits_for_no_readiness():
    world = running(3, health={"source": "InstanceState"}, template={"spec": {"containers": [{"name": "app"}]}})
    for number, pod in world.pods.items():
        world.pods[number] = replace(pod, ready=False, ready_since=None)
    world.settle()
    assert world.status["healthyReplicas"] == 3
