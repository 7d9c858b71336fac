"""Do two models make the same instances?

One pod can be written in many ways: a default that is spelled out, an empty map, 500m for 0.5. Which of them are the
same is known to the API server alone, and changes with its version, so it is asked for a pod of each model at the same
moment, and the answers are compared: everything but what it makes up for every pod. An injected sidecar and the
defaults of a newer Kubernetes are in both answers. What is in no pod is compared here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from scaleset.planner import gallery, health, pod_builder
from scaleset.planner.instances import Build
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import UPDATE_DOMAINS, Revision

JSON = dict[str, Any]
Path = tuple[str | int, ...]

_MADE_UP = frozenset(("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "selfLink"))
"""Metadata that each object has for itself."""
_TOKEN_VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")
"""The volume of the service account's token, which is named anew for every pod."""

_QUANTITIES = (("resources", "requests", ""), ("resources", "limits", ""), ("emptyDir", "sizeLimit"), ("overhead", ""))
"""Where a pod or a claim has quantities; an empty word is any name. The API server leaves 2Gi and 2147483648 as they
are.
"""


def bodies(owner: Identity, model: Revision, build: Build, number: int, *, now: float) -> list[JSON]:
    """The objects of one instance: its pod, then its claims in the order of their templates."""
    made = [pod_builder.pod(owner, model, build, number, previous=None, created_at=now)]
    made += [pod_builder.claim(owner, template, number) for template in model.data.get("volumeClaimTemplates") or ()]
    return made


def outside(owner: Identity, model: Revision) -> tuple[Any, ...]:
    """What of a model is in no pod and no claim, in a form in which equal means the same. A container may have the
    image of the version by chance: that it follows the next one, too, is in no pod.
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
    """What the API server makes of an object, without what it makes up for every single one."""
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
    """Whether two answers differ in nothing; with another answer to the question that `known` answers, in nothing but
    what these two differ in, too: a webhook may add a time or a random word, and may be switched on at this very
    moment.
    """
    made_up = set(differences(settled(known), settled(again))) if again is not None else set()
    return all(_within(path, made_up) for path in differences(settled(asked), settled(known)))


def _within(path: Path, places: set[Path]) -> bool:
    return any(path[:length] in places for length in range(len(path) + 1))


def differences(one: Any, other: Any, path: Path = ()) -> Iterator[Path]:
    """Where two JSON values differ. The order of a list counts, as it does for Kubernetes."""
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
