"""values.schema.json: types from the defaults, bounds from the comments; a key unknown to values.yaml is refused."""

import json
from collections.abc import Iterable
from typing import Any

from hack.chart.values import Value

_DURATION = r"^([0-9]+(ms|s|m|h|d))+$"
_NAMESPACE = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
_QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i|[MGTPE])?$", "minimum": 0}
_SECONDS = {"type": "integer", "minimum": 1}
_ALERT = {
    "enabled": {"type": "boolean"},
    "severity": {"type": "string", "minLength": 1},
    "for": {"type": "string", "pattern": _DURATION},
}
DEFINITIONS: dict[str, Any] = {
    "duration": {"type": "string", "pattern": _DURATION},
    "namespace": {"type": "string", "maxLength": 63, "pattern": _NAMESPACE},
    "resourceBounds": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"cpu": _QUANTITY, "memory": _QUANTITY},
    },
    "alert": {"type": "object", "additionalProperties": False, "properties": _ALERT},
    "alertWithThreshold": {
        "type": "object",
        "additionalProperties": False,
        "properties": {**_ALERT, "threshold": {"type": "number", "minimum": 0}},
    },
    "probe": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "initialDelaySeconds": {"type": "integer", "minimum": 0},
            "periodSeconds": _SECONDS,
            "timeoutSeconds": _SECONDS,
            "successThreshold": _SECONDS,
            "failureThreshold": _SECONDS,
            "terminationGracePeriodSeconds": _SECONDS,
        },
    },
}
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


def schema(values: Iterable[Value]) -> str:
    """The file."""
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart scaleset-operator",
        **_object(values),
        "definitions": DEFINITIONS,
    }
    # A parent chart hands its own values down under this name, beside those that are ours.
    whole["properties"].setdefault("global", {"type": "object"})["additionalProperties"] = True
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _object(values: Iterable[Value]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.path[-1]: _property(value) for value in values},
    }


def _property(value: Value) -> dict[str, Any]:
    if value.children:
        return _object(value.children)
    described = {"description": value.text, "default": value.default}
    if "$ref" in value.schema:
        return {"description": value.text, "allOf": [value.schema]}
    types = [name for kind, name in _TYPES if isinstance(value.default, kind)]
    return {**described, "type": types[0], **value.schema}
