"""values.schema.json: types from the defaults, bounds from the comments; a key unknown to values.yaml is refused."""

import json
from collections.abc import Iterable
from typing import Any

from hack.chart.values import Value

_DURATION = r"^([0-9]+(ms|s|m|h|d))+$"
_SECONDS = {"type": "integer", "minimum": 1}
DEFINITIONS: dict[str, Any] = {
    "duration": {"type": "string", "pattern": _DURATION},
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
    # Helm hands the values of a parent chart down under this name.
    whole["properties"]["global"] = {"type": "object", "description": "Not used; what a parent chart hands down."}
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
