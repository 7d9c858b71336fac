"""Do two models produce the same instances?

One pod can be written in many ways: with an explicit default, with an empty map, with 500m for 0.5. Only the API server
knows which spellings are equal, and this changes with its version. So a pod of each model is dry-run at the same
moment, and the answers are compared, except values generated for every pod. An injected sidecar and the defaults of a
newer Kubernetes are in both answers. This module also compares the parts of a model that are in no pod.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from scaleset.kube.resources import JSON
from scaleset.planner import gallery, health, pod_builder
from scaleset.planner.instances import Build
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import UPDATE_DOMAINS, Revision

Path = tuple[str | int, ...]

_MADE_UP = frozenset(("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "selfLink"))
"""Metadata that differs for every object."""
_TOKEN_VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")
"""The volume of the service account's token, with a new name in every pod."""

_QUANTITIES = (("resources", "requests", ""), ("resources", "limits", ""), ("emptyDir", "sizeLimit"), ("overhead", ""))
"""Paths of quantities in a pod or claim; an empty word is any name. The API server does not normalise 2Gi and
2147483648.
"""


def bodies(owner: Identity, model: Revision, build: Build, number: int, *, now: float) -> list[JSON]:
    """The objects of one instance: its pod, then its claims in the order of their templates."""
    made = [pod_builder.pod(owner, model, build, number, previous=None, created_at=now)]
    made += [pod_builder.claim(owner, model, name, number) for name in model.claim_names]
    return made


def outside(owner: Identity, model: Revision) -> tuple[Any, ...]:
    """The parts of a model that are in no pod and no claim, in a canonical form. A container may have the image of the
    version by chance: no pod shows whether it follows the next version.
    """
    reference, data = model.reference, model.data
    version = gallery.usual(reference.version)
    tags = sorted((str(e.get("name")), str(e.get("forceUpdateTag"))) for e in data.get("extensions") or ())
    return (
        reference._replace(gallery=reference.gallery or owner.namespace, version=""),
        version,
        model.instance_container,
        sorted(model.image_containers),
        sorted(model.image_init_containers),
        health.source(model),
        list(data.get("zones") or ()),
        data.get("updateDomains", UPDATE_DOMAINS),
        model.claim_names,
        tags,
    )


def settled(answer: Mapping[str, Any]) -> JSON:
    """The API server's answer without values generated for every object."""
    metadata = {key: value for key, value in answer["metadata"].items() if key not in _MADE_UP}
    found: JSON = _without_token_names({"metadata": metadata, "spec": answer.get("spec")})
    return found


def _without_token_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_token_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_token_names(item) for item in value]
    return "kube-api-access" if isinstance(value, str) and _TOKEN_VOLUME.fullmatch(value) else value


def same(asked: JSON, known: JSON, *, again: JSON | None = None) -> bool:
    """Whether two answers are equal. `known` and a second answer to the same request show which differences to ignore:
    a webhook may add a time or a random word, and may be switched on at this very moment.
    """
    made_up = set(differences(settled(known), settled(again))) if again is not None else set()
    return all(_within(path, made_up) for path in differences(settled(asked), settled(known)))


def _within(path: Path, places: set[Path]) -> bool:
    return any(path[:length] in places for length in range(len(path) + 1))


def differences(one: Any, other: Any, path: Path = ()) -> Iterator[Path]:
    """Paths where two JSON values differ. The order of a list counts, as in Kubernetes."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            if key in one and key in other:
                yield from differences(one[key], other[key], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from differences(first, second, (*path, index))
    elif one != other and not (_is_quantity(path) and _amount(one) == _amount(other) is not None):
        yield path


def _is_quantity(path: Path) -> bool:
    return path[:1] == ("spec",) and any(
        len(path) > len(place) and all(word in ("", key) for word, key in zip(place, path[-len(place) :], strict=True))
        for place in _QUANTITIES
    )


def _amount(value: Any) -> Any:
    try:
        return parse_quantity(value)
    except (ValueError, TypeError):
        return None
