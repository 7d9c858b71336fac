"""-o az-json: what az prints, and Azure's own client reads it without losing anything."""

import json
from typing import Any

import pytest
from azure.mgmt.compute.models import RollingUpgradeStatusInfo, UpgradeOperationHistoricalStatusInfo

from kubectl_scaleset import azure
from tests.unit.plugin.golden import recorded

SCENES = ["rolling", "completed", "faulted"]


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = recorded(name)["scaleSet"]["status"]
    return found


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value that is no object, by its path."""
    if isinstance(value, dict):
        return {p: v for key, item in value.items() for p, v in leaves(item, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {p: v for n, item in enumerate(value) for p, v in leaves(item, f"{path}[{n}]").items()}
    return {path: value}


def typed(model: Any) -> Any:
    """What the model knows by its own attributes, under the names of the wire; unknown keys would be missing."""
    if isinstance(model, list):
        return [typed(item) for item in model]
    fields = getattr(type(model), "_attr_to_rest_field", None)
    if fields is None:
        return model
    found = {}
    for attribute, field in fields.items():
        value = getattr(model, attribute)
        if value is not None:
            found[field._rest_name] = typed(value)
    return found


def same(one: Any, other: Any) -> bool:
    """Times are datetimes in the model, durations timedeltas, enumerations strings."""
    if hasattr(other, "isoformat"):
        return bool(other.isoformat() == one)
    return str(getattr(other, "value", other)) == str(one)


@pytest.mark.parametrize("name", SCENES)
def test_azures_client_reads_the_history_without_loss(name):
    document = json.loads(azure.dump(azure.history(status(name), location="default")))
    assert document
    for entry in document:
        read = leaves(typed(UpgradeOperationHistoricalStatusInfo(entry)))
        expected = leaves(entry)
        assert read.keys() == expected.keys()
        assert all(same(expected[path], read[path]) for path in expected)


@pytest.mark.parametrize("name", SCENES)
def test_azures_client_reads_the_latest_without_loss(name):
    """az shows the members of `properties` on the top level; the client reads what the REST API sends."""
    document = json.loads(azure.dump(azure.latest(status(name), location="default")))
    flat = {"error", "policy", "progress", "runningStatus"}
    rest = {key: value for key, value in document.items() if key not in flat}
    rest["properties"] = {key: value for key, value in document.items() if key in flat}
    read = leaves(typed(RollingUpgradeStatusInfo(rest)))
    expected = leaves(rest)
    assert read.keys() == expected.keys()
    assert all(same(expected[path], read[path]) for path in expected)


def test_a_key_that_azure_does_not_know_would_be_noticed():
    entry = azure.history(status("completed"), location="default")[0]
    entry["properties"]["runningStatus"]["completedTime"] = "2026-01-01T00:00:00+00:00"
    read = leaves(typed(UpgradeOperationHistoricalStatusInfo(entry)))
    assert ".properties.runningStatus.completedTime" not in read


def test_an_end_has_the_name_that_the_api_gives_it():
    running = azure.history(status("completed"), location="default")[0]["properties"]["runningStatus"]
    assert set(running) == {"code", "startTime", "endTime"}
    assert running["endTime"].endswith("+00:00")


def test_it_is_written_as_az_writes_it():
    text = azure.dump(azure.history(status("faulted"), location="westeurope"))
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert text.startswith(
        '[\n  {\n    "location": "default",\n    "properties": {\n      "error": {\n        "code": '
    )


def test_without_any_rollout():
    assert azure.dump(azure.history({}, location="default")) == "[]\n"
    assert azure.latest({}, location="default") is None
