"""The health extension as a pod gets it."""

from typing import Any

import pytest

from tests.simulation.rendering import Json, rendered
from tests.simulation.world import spec


def probes(**probe: Any) -> tuple[Json, Json | None]:
    bare = {"spec": {"containers": [{"name": "app"}]}}
    found = rendered(template=bare, health={"probe": probe})["spec"]["containers"][0]
    return found["readinessProbe"], found.get("startupProbe")


@pytest.mark.parametrize(
    ("probe", "check"),
    [
        (
            {"protocol": "http", "requestPath": "/healthz"},
            {"httpGet": {"path": "/healthz", "port": 80, "scheme": "HTTP"}},
        ),
        ({"protocol": "https", "requestPath": "/"}, {"httpGet": {"path": "/", "port": 443, "scheme": "HTTPS"}}),
        (
            {"protocol": "https", "requestPath": "/", "port": 1},
            {"httpGet": {"path": "/", "port": 1, "scheme": "HTTPS"}},
        ),
        ({"protocol": "tcp", "port": 65535}, {"tcpSocket": {"port": 65535}}),
    ],
)
def test_a_health_probe_is_a_readiness_probe(probe, check):
    readiness, startup = probes(**probe)
    assert readiness == {**check, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 1}
    assert startup is None


@pytest.mark.parametrize("interval", [5, 60])
@pytest.mark.parametrize("number", [1, 24])
def test_so_many_probes_in_a_row_change_the_state_in_both_directions(interval, number):
    readiness, _ = probes(protocol="tcp", port=80, intervalInSeconds=interval, numberOfProbes=number)
    assert (readiness["periodSeconds"], readiness["successThreshold"], readiness["failureThreshold"]) == (
        interval,
        number,
        number,
    )


@pytest.mark.parametrize(("grace", "failures"), [(5, 1), (6, 2), (60, 12), (14400, 2880)])
def test_the_grace_period_is_a_startup_probe_of_at_least_that_long(grace, failures):
    _, startup = probes(protocol="tcp", port=80, gracePeriodInSeconds=grace)
    assert startup == {"tcpSocket": {"port": 80}, "periodSeconds": 5, "failureThreshold": failures}


@pytest.mark.parametrize(
    "probe",
    [
        {"protocol": "tcp"},
        {"protocol": "tcp", "port": 80, "requestPath": "/"},
        {"protocol": "http"},
        {"protocol": "udp", "port": 80},
        {"protocol": "tcp", "port": 0},
        {"protocol": "tcp", "port": 65536},
        {"protocol": "tcp", "port": 80, "intervalInSeconds": 4},
        {"protocol": "tcp", "port": 80, "intervalInSeconds": 61},
        {"protocol": "tcp", "port": 80, "numberOfProbes": 0},
        {"protocol": "tcp", "port": 80, "numberOfProbes": 25},
        {"protocol": "tcp", "port": 80, "gracePeriodInSeconds": 14401},
    ],
)
def test_outside_of_azures_ranges_there_is_no_probe(probe):
    with pytest.raises(ValueError, match="health"):
        spec(health={"probe": probe})
