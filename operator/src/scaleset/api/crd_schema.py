"""Converts a pydantic model to a structural schema, as a CRD requires.

Kubernetes allows a subset of JSON Schema: no references, no `anyOf` of types, no null as a type, and exclusive bounds
as booleans. The result is sorted and small. A null default means that the field is optional, and says nothing in a CRD:
an absent field and a null are the same to the API server.
"""

from typing import Final

from pydantic import BaseModel

from scaleset.api.base import JSON, NO_DEFAULTS

_KEPT: Final = (
    "type",
    "format",
    "description",
    "enum",
    "default",
    "nullable",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
_DROPPED: Final = frozenset({"title", "examples", "deprecated", "$defs", "discriminator"})
_STRUCTURE: Final = frozenset(
    {"properties", "items", "additionalProperties", "anyOf", "allOf", "oneOf", "const", "$ref"}
)


class UnsupportedSchema(ValueError):  # noqa: N818 - the name describes the schema
    """A model uses something that a CRD cannot express; the message names the path."""


def structural(model: type[BaseModel]) -> JSON:
    """The structural schema of a model, as its JSON is written by users: optional fields with defaults."""
    document = model.model_json_schema(mode="validation", by_alias=True)
    return _convert(document, document.get("$defs", {}), model.__name__)


def _convert(node: JSON, definitions: dict[str, JSON], path: str) -> JSON:
    node = _resolved(node, definitions, path)
    if node.get(NO_DEFAULTS):
        bare = {key: value for key, value in node.items() if key != NO_DEFAULTS}
        return _without_defaults(_convert(bare, definitions, path))
    unknown = {key for key in node if not key.startswith("x-kubernetes-")} - set(_KEPT) - _DROPPED - _STRUCTURE
    if unknown:
        raise UnsupportedSchema(f"{path}: a CRD has no {', '.join(sorted(unknown))}; express it as a CEL rule")
    out: JSON = {key: node[key] for key in _KEPT if key in node and not (key == "default" and node[key] is None)}
    if "const" in node:
        out["enum"] = [node["const"]]
    if "properties" in node:
        out["properties"] = {
            name: _convert(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
    if "items" in node:
        out["items"] = _convert(node["items"], definitions, f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(node["additionalProperties"], definitions, f"{path}.*")
    out |= {key: node[key] for key in node if key.startswith("x-kubernetes-")}
    if out.get("type") == "array":
        out.setdefault("x-kubernetes-list-type", "atomic")
    return _with_boolean_bounds(_with_small_default(out))


def _without_defaults(schema: JSON) -> JSON:
    """The schema without defaults of its fields."""
    bare = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(child) for name, child in bare["properties"].items()}
    return bare


def _resolved(node: JSON, definitions: dict[str, JSON], path: str) -> JSON:
    """The node without references and alternatives. Keys beside a reference override the referenced ones."""
    beside = {key: value for key, value in node.items() if key not in {"$ref", "anyOf", "allOf"}}
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        return {**_resolved(target, definitions, path), **beside}
    choices = [choice for choice in (*node.get("anyOf", ()), *node.get("allOf", ())) if choice != {"type": "null"}]
    if not choices:
        return node
    if len(choices) == 1:
        return {**_resolved(choices[0], definitions, path), **beside}
    if {choice.get("type") for choice in choices} == {"integer", "string"}:
        return {**beside, "x-kubernetes-int-or-string": True}
    raise UnsupportedSchema(f"{path}: a CRD has no union; make it one type")


def _with_small_default(schema: JSON) -> JSON:
    """An object with defaults gets the default {}, and its fields default themselves. An empty list as default is
    dropped: it equals an absent field.
    """
    default = schema.get("default")
    if default == []:
        return {key: value for key, value in schema.items() if key != "default"}
    if isinstance(default, dict):
        if any("default" in child for child in schema.get("properties", {}).values()):
            return {**schema, "default": {}}
        return {key: value for key, value in schema.items() if key != "default"}
    return schema


def _with_boolean_bounds(schema: JSON) -> JSON:
    """JSON Schema's later drafts give an exclusive bound as a number; Kubernetes keeps to draft 4: a bound, and
    whether it is excluded.
    """
    out = dict(schema)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        value = out.get(exclusive)
        if value is not None and not isinstance(value, bool):
            out[bound], out[exclusive] = value, True
    return out
