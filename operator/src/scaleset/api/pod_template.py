"""The part of `spec.template` that we look at.

The template is an open schema: whatever this version of Kubernetes or a later one knows of a pod goes through to the
API server, which judges it when a pod is dry-run from it. Declared are only the fields that a rule walks or that
would not do what the author expects, each with bounds, since the cost of a CEL rule is estimated from them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from scaleset.api.model import cel, list_map, new_rule, rules

MAX_CONTAINERS: Final = 32
MAX_VOLUMES: Final = 128
MAX_DEPTH: Final = 64
"""How deep an open part of a spec may be nested; a Pod is about 12 deep. The API server allows 10,000 levels and its
schema cannot say less, but whoever copies or compares such an object runs out of stack."""
OWN_PREFIX: Final = "scaleset.dev/"
_LABEL_VALUE: Final = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"

_OPEN: Final[dict[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def label_schema(of: str, *, max_items: int) -> dict[str, Any]:
    """Schema of the labels of `of`."""
    schema = _text_map("labels", of, max_items=max_items)
    schema["additionalProperties"] = {"type": "string", "maxLength": 63}
    schema["x-kubernetes-validations"].append(
        cel(
            f"self.all(key, self[key].matches('^({_LABEL_VALUE})?$'))",
            "use letters, digits, '.', '_' and '-' only in the values of labels",
        )
    )
    return schema


def annotation_schema(of: str, *, max_items: int) -> dict[str, Any]:
    """Schema of the annotations of `of`; Kubernetes allows 256 KiB of them."""
    schema = _text_map("annotations", of, max_items=max_items)
    schema["additionalProperties"] = {"type": "string", "maxLength": 2**18}
    return schema


def _text_map(what: str, of: str, *, max_items: int) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"{what.capitalize()} of {of}. Keys that begin with {OWN_PREFIX} are the operator's.",
        "maxProperties": max_items,
        **rules(
            cel(
                f"!self.exists(key, key.startsWith('{OWN_PREFIX}'))",
                f"remove the {what} that begin with {OWN_PREFIX}: the operator sets those",
            )
        ),
    }


def _name(of: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": 63, "minLength": 1, "description": f"Name of the {of}, unique in the pod."}


def _containers(of: str, description: str, *, least: int) -> dict[str, Any]:
    return {
        "type": "array",
        "description": description,
        "minItems": least,
        "maxItems": MAX_CONTAINERS,
        **list_map("name"),
        "items": {
            **_OPEN,
            "description": "A container as in a Pod.",
            "required": ["name"],
            "properties": {
                "name": _name(of),
                "readinessProbe": {
                    **_OPEN,
                    "description": (
                        "Readiness probe as in a Pod. Not together with spec.health.probe in the instance container."
                    ),
                },
                "startupProbe": {
                    **_OPEN,
                    "description": (
                        "Startup probe as in a Pod. Not together with spec.health.probe.gracePeriodInSeconds in the "
                        "instance container."
                    ),
                },
            },
        },
    }


_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "description": (
        "Labels and annotations of each instance's pod. The name is the operator's: <scale set>-<instance id>."
    ),
    "properties": {
        "labels": label_schema("each instance's pod", max_items=128),
        "annotations": annotation_schema("each instance's pod", max_items=256),
        "name": {
            "type": "string",
            "maxLength": 253,
            "description": "Not allowed: each instance is named <scale set>-<instance id>.",
        },
        "creationTimestamp": {
            "type": "string",
            "nullable": True,
            "description": "Ignored. Allowed since tools write a null here.",
        },
    },
    **rules(cel("!has(self.name)", "remove name: each instance is named <scale set>-<instance id>", at=".name")),
}

_POD_SPEC: Final[dict[str, Any]] = {
    **_OPEN,
    "description": (
        "The pod as in a StatefulSet's template; every field of a Pod is allowed, except hostname, subdomain, "
        "activeDeadlineSeconds and a restartPolicy that is not Always."
    ),
    "required": ["containers"],
    "properties": {
        "containers": _containers(
            "container",
            "Containers of each instance. The OS image replaces the image of the instance container.",
            least=1,
        ),
        "initContainers": _containers("init container", "Containers that run before the others.", least=0),
        "volumes": {
            "type": "array",
            "description": "Volumes of each instance besides its volumeClaimTemplates.",
            "maxItems": MAX_VOLUMES,
            **list_map("name"),
            "items": {
                **_OPEN,
                "description": "A volume as in a Pod.",
                "required": ["name"],
                "properties": {"name": _name("volume")},
            },
        },
        "restartPolicy": {
            "type": "string",
            "maxLength": 32,
            "description": "Always (the default); an instance is meant to run for ever.",
        },
        "activeDeadlineSeconds": {
            "type": "integer",
            "format": "int64",
            "nullable": True,
            "description": "Not allowed, as in a StatefulSet: an instance is meant to run for ever.",
        },
        "hostname": {
            "type": "string",
            "maxLength": 253,
            "description": "Not allowed: the host name is <scale set>-<instance id>.",
        },
        "subdomain": {"type": "string", "maxLength": 253, "description": "Not allowed: use spec.serviceName."},
    },
    **rules(
        cel("!has(self.hostname)", "remove hostname: it is <scale set>-<instance id>", at=".hostname"),
        cel("!has(self.subdomain)", "remove subdomain and set spec.serviceName instead", at=".subdomain"),
        cel(
            "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
            "set restartPolicy to Always or remove it",
            at=".restartPolicy",
        ),
        new_rule(
            "!has(self.activeDeadlineSeconds)",
            "activeDeadlineSeconds",
            "remove activeDeadlineSeconds: an instance is meant to run for ever, and all would end at one moment",
            at=".activeDeadlineSeconds",
        ),
        cel(
            "!has(self.initContainers) || self.initContainers.all(first, !self.containers.exists(second, "
            "first.name == second.name))",
            "give every container and init container a name of its own",
            at=".initContainers",
        ),
    ),
}

POD_TEMPLATE_SCHEMA: Final[dict[str, Any]] = {
    **_OPEN,
    "required": ["spec"],
    "properties": {"metadata": _METADATA, "spec": _POD_SPEC},
}


def check_depth(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses what is nested deeper than any object of Kubernetes."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise ValueError(f"nest it less than {MAX_DEPTH} levels deep")


def _children(parent: object) -> Iterable[object]:
    if isinstance(parent, Mapping):
        return parent.values()
    return parent if isinstance(parent, list | tuple) else ()


def check_template(template: dict[str, Any]) -> dict[str, Any]:
    """Judges what the operator itself relies on; the rest is the API server's to judge."""
    check_depth(template)
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(containers, list) or not containers:
        raise ValueError("give template.spec.containers at least one container")
    names = container_names(template)
    if not all(names) or len(set(names)) != len(containers):
        raise ValueError("give every container of the template a name of its own")
    metadata = template.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ValueError("make template.metadata an object with labels and annotations")
    for field in ("labels", "annotations"):
        texts = (metadata or {}).get(field)
        if texts is not None and not (
            isinstance(texts, Mapping) and all(isinstance(text, str) for text in texts.values())
        ):
            raise ValueError(f"make template.metadata.{field} an object whose values are strings")
    return template


def container_names(template: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the containers as listed; an item without a proper name counts as ""."""
    found = (item.get("name") if isinstance(item, Mapping) else "" for item in template["spec"]["containers"])
    return tuple(name if isinstance(name, str) else "" for name in found)
