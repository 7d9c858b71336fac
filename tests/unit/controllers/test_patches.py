"""What is sent of a status, and what of it may wait."""

from typing import Any

import pytest

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.status_writer import compared, merge_patch, urgent


@pytest.mark.parametrize(
    ("known", "wanted", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3, "d": 2}}}, {"a": {"b": {"c": 3}}}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
        ({"a": 0}, {"a": False}, {}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 3}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_a_patch_holds_what_differs(known, wanted, patch):
    assert merge_patch(known, wanted) == patch


def status(**changes: Any) -> Any:
    condition = {"type": "Ready", "status": "True", "reason": "Healthy", "message": "5 of 5", "observedGeneration": 1}
    return {"replicas": 5, "healthyReplicas": 5, "currentVersion": "1.0.0", "conditions": [condition], **changes}


def with_condition(**changes: Any) -> Any:
    return status(conditions=[{**status()["conditions"][0], **changes}])


def waiting(reason: str, message: str) -> Any:
    return status(rollingUpgrade={"id": "1", "waitingFor": {"reason": reason, "message": message}})


@pytest.mark.parametrize(
    ("known", "wanted", "is_urgent"),
    [
        (status(), status(), False),
        (status(), status(healthyReplicas=4), False),
        (status(), status(instances=[{"id": 3}]), False),
        (status(), with_condition(message="4 of 5"), False),
        (status(), with_condition(status="False"), True),
        (status(), with_condition(reason="Unhealthy"), True),
        (status(), with_condition(observedGeneration=2), True),
        (status(), status(currentVersion="2.0.0"), True),
        (status(), status(builds=[{"instances": "0"}]), True),
        (waiting("Pause", "10 s"), waiting("Pause", "9 s"), False),
        (waiting("Pause", "10 s"), waiting("Suspended", "10 s"), True),
    ],
)
def test_counts_and_sentences_may_wait(known, wanted, is_urgent):
    assert urgent(known, wanted) is is_urgent


def difference(known: Any, wanted: Any) -> Any:
    return merge_patch(*compared(ScaleSetStatus, known, wanted))


def test_the_same_status_written_in_another_way_is_no_difference():
    """The API server fills in the defaults of the CRD, and times may be written in several ways."""
    assert difference({"applying": "", "previousBuilds": []}, {"applying": None, "previousBuilds": None}) == {}
    assert difference({}, {"applying": "", "osUpgradeHistory": []}) == {}
    assert difference({"provenTime": "2026-01-01T01:00:00+01:00"}, {"provenTime": "2026-01-01T00:00:00Z"}) == {}


def test_what_is_cut_is_not_written_again():
    long = [{"type": "Ready", "status": "True", "reason": "R", "message": "x" * 100_000, "observedGeneration": 1}]
    patch = difference({}, {"conditions": long})
    assert len(patch["conditions"][0]["message"]) < 50_000
    assert difference(patch, {"conditions": long}) == {}


def test_what_goes_away_goes_back_to_its_default():
    assert difference({"applying": "0-3"}, {"applying": None}) == {"applying": ""}
    assert difference({"currentVersion": "1.0.0"}, {"currentVersion": None}) == {"currentVersion": None}


def test_what_is_not_wanted_or_not_known_is_left_alone():
    """A newer operator may have written it, and may come back."""
    assert difference({"replicas": 3, "fromTheFuture": {"a": 1}}, {"healthyReplicas": 2}) == {"healthyReplicas": 2}
