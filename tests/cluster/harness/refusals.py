"""What the API server says of an object: valid ones with one thing changed, sent as a dry run."""

import copy
from typing import Any

import pytest

from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS, Api, ApiError, Json, Kind, _path

ABSENT: Any = object()
"""In place of a value: the field is left out."""

Changes = dict[str, Any]
"""Other values by their paths ("spec.replicas")."""

SCALE_SET: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "ScaleSet",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 5,
        "imageReference": {"publisher": "example", "offer": "web", "sku": "stable", "version": "latest"},
        "template": {"spec": {"containers": [{"name": "web", "image": "example.com/web:1.0.0"}]}},
    },
}
POLICY: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "UpgradePolicy",
    "metadata": {"name": "careful"},
    "spec": {"mode": "Rolling"},
}
IMAGE: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "GalleryImageVersion",
    "metadata": {"name": "web-1.0.0"},
    "spec": {
        "publisher": "example",
        "offer": "web",
        "sku": "stable",
        "version": "1.0.0",
        "image": "example.com/web:1.0.0",
    },
}
BASES = {
    "ScaleSet": (SCALE_SETS, SCALE_SET),
    "UpgradePolicy": (POLICIES, POLICY),
    "GalleryImageVersion": (IMAGES, IMAGE),
}
CONTAINERS = "spec.template.spec.containers"
PROBE = {"tcpSocket": {"port": 80}}


def changed(base: Json, changes: Changes) -> Json:
    """The object with other values at these paths ("spec.replicas"); ABSENT removes."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is ABSENT:
            del at[last]
        else:
            at[last] = value
    return result


def containers(*items: Json) -> list[Json]:
    return [{"image": "example.com/web:1.0.0", **item} for item in items]


def claim(name: str, **metadata: Any) -> Json:
    requests = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    return {"metadata": {"name": name, **metadata}, "spec": requests}


def refused(**tables: list[tuple[Changes, str]]) -> list[tuple[str, Changes, str]]:
    """Rows of all tables, by kind: what is changed, and a part of the sentence that refuses it."""
    return [(name, changes, fragment) for name, table in tables.items() for changes, fragment in table]


def accepted(**tables: list[Changes]) -> list[tuple[str, Changes]]:
    """Rows of all tables, by kind."""
    return [(name, changes) for name, table in tables.items() for changes in table]


def shown(value: Any) -> str | None:
    """Short ASCII names of the rows."""
    if isinstance(value, dict):
        return ascii({path: "absent" if to is ABSENT else to for path, to in value.items()})[1:-1][:70]
    return None


def dry_run(api: Api, kind: Kind, body: Json) -> Json:
    """Creates it for nothing, strictly, as kubectl does."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    answer: Json = api._call("POST", _path(kind, "default"), body=body, query=query)
    return answer


def assert_refused(api: Api, name: str, changes: Changes, *, saying: str) -> None:
    """A valid object of that kind is not accepted any more when it is changed so, and a sentence says why."""
    kind, base = BASES[name]
    with pytest.raises(ApiError) as refusal:
        dry_run(api, kind, changed(base, changes))
    assert refusal.value.status in {400, 422}
    # The words of API servers before 1.32.
    assert saying in refusal.value.message.replace("may not be longer than", "may not be more than")


def assert_accepted(api: Api, name: str, changes: Changes) -> None:
    """A valid object of that kind stays valid when it is changed so."""
    kind, base = BASES[name]
    dry_run(api, kind, changed(base, changes))
