"""The part of `spec.template` that the operator reads.

The template is an open schema: every field of a pod, of this Kubernetes version or a later one, is passed on to the API
server, which validates it in a dry run of a pod. Only fields used by a rule, or fields with a surprising effect, are
declared, each with bounds, since the cost of a CEL rule is estimated from them.

Lists are maps where core/v1 has them as maps and refuses what breaks the key: containers, init containers, volumes and
volume mounts. Several field managers then own items of one list. `env` and `ports` are whole lists here: a Pod may have
the same variable or port twice, which a map refuses.

Fields that a StatefulSet ignores in its template are ignored here as well, and are not part of the model
(`what_counts`): the metadata of a stored object, hostname and subdomain. The image of the instance container is ignored
because the version defines it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from scaleset.api.base import OPEN, cel, list_map, new_rule, rules

MAX_CONTAINERS: Final = 32
MAX_VOLUMES: Final = 128
MAX_MOUNTS: Final = 1024
MAX_DEPTH: Final = 64
"""How deep an open part of a spec may be nested; a Pod is about 12 deep. The API server allows 10,000 levels and its
schema cannot say less, but copying or comparing such an object exhausts the stack.
"""
OWN_PREFIX: Final = "scaleset.dev/"
_LABEL_VALUE: Final = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"

_IGNORED_IN_SPEC: Final = ("hostname", "subdomain")


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


MOUNT_SCHEMA: Final[dict[str, Any]] = {
    **OPEN,
    "description": "A volume mount as in a Pod.",
    "required": ["mountPath"],
    "properties": {
        "mountPath": {"type": "string", "maxLength": 4096, "description": "Path in the container, unique there."}
    },
}


def _mounts(of: str) -> dict[str, Any]:
    """Schema of the volume mounts of `of`. A list that is null, as some tools write it, is none."""
    return {
        "type": "array",
        "nullable": True,
        "description": f"Volume mounts of {of}, each mountPath once.",
        "maxItems": MAX_MOUNTS,
        **list_map("mountPath"),
        "items": MOUNT_SCHEMA,
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
            **OPEN,
            "description": "A container as in a Pod.",
            "required": ["name"],
            "properties": {
                "name": _name(of),
                "readinessProbe": {
                    **OPEN,
                    "description": (
                        "Readiness probe as in a Pod. Not together with spec.health.probe in the instance container."
                    ),
                },
                "startupProbe": {
                    **OPEN,
                    "description": (
                        "Startup probe as in a Pod. Not together with spec.health.probe.gracePeriodInSeconds in the "
                        "instance container."
                    ),
                },
                "volumeMounts": _mounts("the container"),
            },
        },
    }


def _text(max_length: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": max_length, "description": "Ignored."}


IGNORED_METADATA: Final[dict[str, Any]] = {
    "creationTimestamp": {**_text(64), "nullable": True, "description": "Ignored. Tools write a null here."},
    **{
        name: _text(1024)
        for name in (
            "deletionTimestamp",
            "generateName",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        )
    },
    **{
        name: {"type": "integer", "format": "int64", "description": "Ignored."}
        for name in ("deletionGracePeriodSeconds", "generation")
    },
    **{
        name: {"type": "array", "maxItems": 64, "description": "Ignored.", "items": OPEN}
        for name in ("managedFields", "ownerReferences")
    },
}
"""Other metadata that a template may hold, as in a StatefulSet: the printed output of a tool may be applied unchanged.
"""


def finalizer_schema(of: str) -> dict[str, Any]:
    """Schema of the finalizers of `of`."""
    return {
        "type": "array",
        "description": f"Finalizers of {of}. Default: none.",
        "maxItems": 32,
        "items": {"type": "string", "maxLength": 317},
    }


_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "description": (
        "Labels, annotations and finalizers of each instance's pod. The name is the operator's: <scale set>-<instance "
        "id>. All else is ignored, as in a StatefulSet."
    ),
    "properties": {
        **IGNORED_METADATA,
        "labels": label_schema("each instance's pod", max_items=128),
        "annotations": annotation_schema("each instance's pod", max_items=256),
        "finalizers": finalizer_schema("each instance's pod"),
    },
}

_POD_SPEC: Final[dict[str, Any]] = {
    **OPEN,
    "description": (
        "The pod as in a StatefulSet's template; every field of a Pod is allowed, except activeDeadlineSeconds and a "
        "restartPolicy that is not Always."
    ),
    "required": ["containers"],
    "properties": {
        "containers": _containers(
            "container",
            "Containers of each instance. The instance container runs the image of the version, whatever image is "
            "written here, and so does every container without an image.",
            least=1,
        ),
        "initContainers": _containers(
            "init container",
            "Containers that run before the others. Those without an image run the image of the version.",
            least=0,
        ),
        "volumes": {
            "type": "array",
            "description": "Volumes of each instance besides its volumeClaimTemplates.",
            "maxItems": MAX_VOLUMES,
            **list_map("name"),
            "items": {
                **OPEN,
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
            "description": "Ignored, as in a StatefulSet: the host name is <scale set>-<instance id>.",
        },
        "subdomain": {
            "type": "string",
            "maxLength": 253,
            "description": "Ignored, as in a StatefulSet: use spec.serviceName.",
        },
    },
    **rules(
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
    **OPEN,
    "required": ["spec"],
    "properties": {"metadata": _METADATA, "spec": _POD_SPEC},
}


def check_depth(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses a value nested deeper than any object of Kubernetes."""
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
    """Validates the fields that the operator relies on; the API server validates the rest."""
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


def what_counts(template: Mapping[str, Any], instance_container: str | None) -> dict[str, Any]:
    """The template without ignored fields. `instance_container` is the configured name; None is the first container."""
    kept = dict(template)
    if isinstance(metadata := kept.get("metadata"), Mapping):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in IGNORED_METADATA}
    if isinstance(spec := kept.get("spec"), Mapping):
        kept["spec"] = {key: value for key, value in spec.items() if key not in _IGNORED_IN_SPEC}
        containers = kept["spec"].get("containers")
        if isinstance(containers, list | tuple):
            kept["spec"]["containers"] = [
                _without_image(each) if _is_named(each, instance_container, first=index == 0) else each
                for index, each in enumerate(containers)
            ]
    return kept


def _is_named(container: object, name: str | None, *, first: bool) -> bool:
    return isinstance(container, Mapping) and (first if name is None else container.get("name") == name)


def _without_image(container: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key != "image"}


def container_names(template: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the containers as listed; an item without a proper name counts as ""."""
    found = (item.get("name") if isinstance(item, Mapping) else "" for item in template["spec"]["containers"])
    return tuple(name if isinstance(name, str) else "" for name in found)
