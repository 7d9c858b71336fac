"""OpenAPI definitions with nothing but what a strategic merge patch reads: which lists have a key, and how they merge.

kustomize merges lists by the merge keys of an OpenAPI document. It has that of Kubernetes built in, and drops it when
it is given another, so a file for our kinds has to hold the Kubernetes kinds too.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

JSON = dict[str, Any]

PREFIX: Final = "#/definitions/"
GROUP_VERSION_KIND: Final = "x-kubernetes-group-version-kind"
_STRATEGY: Final = "x-kubernetes-patch-strategy"
_MERGE_KEY: Final = "x-kubernetes-patch-merge-key"
_LIST_KEYS: Final = "x-kubernetes-list-map-keys"
_OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_CONTAINER: Final = "io.k8s.api.core.v1.Container"
_AS_IN_A_CONTAINER: Final = ("env", "volumeMounts")
_POD_TEMPLATE: Final = "io.k8s.api.core.v1.PodTemplateSpec"
_KEPT: Final = (_STRATEGY, _MERGE_KEY, _LIST_KEYS, "x-kubernetes-list-type")


def of_kubernetes(document: Mapping[str, Any]) -> dict[str, JSON]:
    """The definitions of an API server's /openapi/v2 that a patch can need: those of whole objects, and what they refer
    to, as far as a merge key or strategy lies behind it. Statuses are left out: nobody applies one.
    """
    every: Mapping[str, JSON] = {
        name: node for name, node in document["definitions"].items() if name.startswith("io.k8s.")
    }
    useful = _useful(every)
    roots = [name for name in useful if _is_object(every[name])]
    kept: dict[str, JSON] = {}
    while roots:
        name = roots.pop()
        if name not in kept:
            kept[name] = _reduced(every[name], useful)
            roots += _references(kept[name])
    return {name: kept[name] for name in sorted(kept)}


def _useful(every: Mapping[str, JSON]) -> set[str]:
    """Names of the definitions with a strategy or merge key anywhere in them."""
    useful = {name for name, node in every.items() if any(_STRATEGY in child for _, child in _fields(node))}
    while True:
        more = {
            name
            for name, node in every.items()
            if name not in useful and any(useful & set(_references(child)) for _, child in _fields(node))
        }
        if not more:
            return useful
        useful |= more


def _is_object(node: JSON) -> bool:
    meta = node.get("properties", {}).get("metadata", {})
    return GROUP_VERSION_KIND in node and _OBJECT_META in _references(meta)


def _fields(node: JSON) -> Iterator[tuple[str, JSON]]:
    yield from ((name, child) for name, child in node.get("properties", {}).items() if name != "status")


def _references(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(PREFIX)
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _reduced(node: JSON, useful: set[str]) -> JSON:
    fields = {
        name: _field(child)
        for name, child in sorted(_fields(node))
        if _STRATEGY in child or useful & set(_references(child))
    }
    kind = {GROUP_VERSION_KIND: node[GROUP_VERSION_KIND]} if _is_object(node) else {}
    return {"type": "object", "properties": fields, **kind}


def _field(child: JSON) -> JSON:
    if "$ref" in child or "allOf" in child:
        (target,) = _references(child)
        return {"$ref": f"{PREFIX}{target}"} | {key: child[key] for key in _KEPT if key in child}
    out = {"type": child["type"]} | {key: child[key] for key in _KEPT if key in child}
    if "items" in child:
        out["items"] = _field(child["items"])
    if "additionalProperties" in child:
        out["additionalProperties"] = _field(child["additionalProperties"])
    return out


def of_definition(crd: Mapping[str, Any], kubernetes: Mapping[str, JSON]) -> dict[str, JSON]:
    """The definition of a custom resource: a list that is a map has the key that server-side apply merges it by, the
    pod template is the one of Kubernetes, and lists named as those of a container merge as there.
    """
    names, group, (version,) = crd["spec"]["names"], crd["spec"]["group"], crd["spec"]["versions"]
    container = kubernetes[_CONTAINER]["properties"]
    spec = _own(version["schema"]["openAPIV3Schema"]["properties"]["spec"], container)
    if names["kind"] == "ScaleSet":
        spec["properties"]["template"] = {"$ref": f"{PREFIX}{_POD_TEMPLATE}"}
    return {
        f"{'.'.join(reversed(group.split('.')))}.{version['name']}.{names['kind']}": {
            "type": "object",
            "properties": {"metadata": {"$ref": f"{PREFIX}{_OBJECT_META}"}, "spec": spec},
            GROUP_VERSION_KIND: [{"group": group, "kind": names["kind"], "version": version["name"]}],
        }
    }


def _own(node: JSON, container: Mapping[str, JSON]) -> JSON:
    """A part of a CRD's schema, without the fields behind which no list has a key."""
    out: JSON = {"type": node.get("type", "object")}
    keys = node.get(_LIST_KEYS)
    if keys is not None:
        out |= {name: node[name] for name in _KEPT if name in node} | {_STRATEGY: "merge", _MERGE_KEY: keys[0]}
    if "items" in node:
        out["items"] = _own(node["items"], container)
    fields = {
        name: container[name] if name in _AS_IN_A_CONTAINER else _own(child, container)
        for name, child in sorted(node.get("properties", {}).items())
        if _has_key(child) or name in _AS_IN_A_CONTAINER
    }
    return {**out, "properties": fields} if fields else out


def _has_key(node: JSON) -> bool:
    children = [*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])]
    names = node.get("properties", {}).keys()
    return _LIST_KEYS in node or any(name in _AS_IN_A_CONTAINER for name in names) or any(map(_has_key, children))
