"""Statuses are read leniently: what is not understood is dropped, and nothing is ever raised."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.api.base import Condition, find_condition, set_condition
from scaleset.api.gallery_image_version import GalleryImageVersionStatus
from scaleset.api.scale_set_status import (
    InstanceStatus,
    RecordedBuild,
    RollingUpgradeStatus,
    RunningStatus,
    ScaleSetStatus,
    handled,
)
from scaleset.api.upgrade_policy import UpgradePolicyStatus

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
fields = st.sampled_from(
    [field.validation_alias or field.alias or name for name, field in ScaleSetStatus.model_fields.items()]
)
keys = st.text() | fields.map(str) | st.sampled_from(["id", "model", "instances", "properties", "code", "type"])
json_values = st.recursive(
    scalars, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(keys, inside, max_size=5), max_leaves=20
)


@pytest.mark.parametrize("model", [ScaleSetStatus, UpgradePolicyStatus, GalleryImageVersionStatus])
@given(raw=json_values)
def test_no_status_raises(model, raw):
    for body in (raw, {"status": raw}):
        parsed = model.parse(body)
        assert model.parse({"status": parsed.to_raw()}) == parsed


@given(st.dictionaries(fields.map(str), json_values))
def test_no_forged_field_raises(status):
    ScaleSetStatus.parse({"status": status})


def status(**fields: Any) -> ScaleSetStatus:
    return ScaleSetStatus.parse({"status": fields})


def test_only_what_is_forged_is_dropped():
    good = {"model": "web-1", "version": "1.0.0", "instances": "0-2"}
    parsed = status(
        replicas=3,
        currentVersion=7,
        builds=[good, {"model": "web-2", "instances": "0-99999999999"}, "nonsense", {"instances": "1"}],
        rollingUpgrade={"id": "x", "kind": "Sideways"},
        osUpgradeHistory="none",
    )
    assert parsed == ScaleSetStatus(
        replicas=3, builds=(RecordedBuild(model="web-1", version="1.0.0", instances="0-2"),)
    )


def test_a_rollout_round_trips():
    raw = {
        "id": "a1",
        "kind": "Image",
        "startedBy": "Platform",
        "policy": {"maxBatchInstancePercent": 20, "pauseTimeBetweenBatches": "PT30S", "healthTimeout": "PT5M"},
        "targetImageReference": {
            "publisher": "a",
            "offer": "b",
            "sku": "c",
            "version": "latest",
            "exactVersion": "1.1.0",
        },
        "runningStatus": {"code": "RollingForward", "startTime": "2027-01-31T12:00:00Z", "lastAction": "Start"},
        "progress": {"successfulInstanceCount": 1},
        "batch": {
            "number": 2,
            "of": 5,
            "instances": "1,10",
            "startTime": "2027-01-31T12:00:01Z",
            "surge": "10",
            "replaces": "0",
        },
        "rollbackInfo": {"successfullyRolledbackInstanceCount": 1, "rollbackError": {"code": "x", "message": "y"}},
        "error": {"code": "x", "message": "y", "details": [{"code": "z", "target": "web/instances/0", "message": "m"}]},
        "successful": "0",
        "pending": "2-4",
    }
    written = RollingUpgradeStatus.model_validate(raw).to_raw()
    assert {key: written[key] for key in ("id", "runningStatus", "batch", "successful", "pending")} == {
        key: raw[key] for key in ("id", "runningStatus", "batch", "successful", "pending")
    }
    assert written["rollbackInfo"]["successfullyRolledbackInstanceCount"] == 1
    assert written["policy"]["pauseTimeBetweenBatches"] == "PT30S"


def test_what_is_too_long_is_cut_rather_than_refused():
    instance = InstanceStatus(id=0, version="1" * 9999, message="m" * 99999)
    assert len(instance.version or "") == 512
    assert len(instance.message or "") == 320
    many = tuple(InstanceStatus(id=number) for number in range(80))
    assert len(ScaleSetStatus(instances=many).instances) == 50


def test_times_are_written_in_utc():
    local = datetime.fromisoformat("2027-01-31T13:00:00+01:00")
    assert RunningStatus(code="Completed", start_time=local).to_raw()["startTime"] == "2027-01-31T12:00:00Z"


def condition(value: str, message: str = "") -> Condition:
    return Condition.model_validate({"type": "Ready", "status": value, "reason": "Because", "message": message})


def test_the_transition_time_is_kept_while_the_status_is():
    later = NOON + timedelta(minutes=1, microseconds=5)
    first = set_condition((), condition("False"), NOON)
    same = set_condition(first, condition("False", "still"), later)
    other = set_condition(same, condition("True"), later)
    assert [each.last_transition_time for each in (first[0], same[0])] == [NOON, NOON]
    assert same[0].message == "still"
    assert other[0].last_transition_time == NOON + timedelta(minutes=1)


def test_a_condition_keeps_its_place_among_the_others():
    others = (
        Condition(type="Accepted", status="True", reason="Fine"),
        Condition(type="Available", status="True", reason="Fine"),
    )
    conditions = set_condition((others[0], condition("False"), others[1]), condition("True"), NOON)
    assert [each.type for each in conditions] == ["Accepted", "Ready", "Available"]
    assert find_condition(conditions, "Ready") == conditions[1]
    assert find_condition(conditions, "Stalled") is None


def test_a_full_status_is_below_100_kb():
    """At 1000 instances, with every list at its bound and sentences of every day's length."""
    every_other = ",".join(str(number) for number in range(0, 1000, 2))
    failures: dict[str, Any] = {
        "code": "RollingUpgradeInstanceUnhealthyError",
        "target": "web/instances/999",
        "message": "m" * 320,
    }
    error: dict[str, Any] = {"code": "x" * 60, "message": "m" * 2048, "details": [failures] * 50}
    running = {"code": "Faulted", "startTime": NOON, "completedTime": NOON}
    target = dict.fromkeys(("publisher", "offer", "sku", "version"), "w" * 63)
    rollout: dict[str, Any] = {
        "id": "x",
        "kind": "Image",
        "startedBy": "User",
        "runningStatus": running,
        "error": error,
    }
    rollout |= dict.fromkeys(("successful", "failed", "restored", "pending"), every_other)
    rollout |= {"messages": [{"id": number, "message": "m" * 320} for number in range(50)]}
    history = {"startedBy": "User", "runningStatus": running, "error": error, "targetImageReference": target}
    full = status(
        builds=[{"model": "m" * 63, "version": "1.0.0", "image": "i" * 120, "instances": every_other}] * 2,
        previousBuilds=[{"model": "m" * 63, "version": "1.0.0", "image": "i" * 120, "instances": every_other}],
        rollingUpgrade=rollout,
        osUpgradeHistory=[{"properties": history}] * 6,
        instances=[{"id": number, "state": "Unhealthy", "message": "m" * 320} for number in range(60)],
        conditions=[
            {"type": f"C{number}", "status": "True", "reason": "R", "message": "m" * 500} for number in range(7)
        ],
    )
    assert full.rolling_upgrade is not None
    assert (len(full.instances), len(full.os_upgrade_history), len(full.builds)) == (50, 5, 2)
    assert len(json.dumps(full.to_raw())) < 100_000


@pytest.mark.parametrize("value", ["", "2027-01-31T12:00:00Z", "x" * 253, "x" * 262144, "\ud800" * 300])
def test_a_handled_request_is_known_again(value):
    kept = handled(value)
    assert len(kept) <= 253
    assert handled(value) == kept
    assert handled(value + "y") != kept
    if value.isascii():
        assert status(lastHandledStart=kept).last_handled_start == kept
