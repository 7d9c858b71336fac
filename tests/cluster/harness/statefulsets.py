"""StatefulSets as other people write them, the ScaleSets that are made of them, and in what their pods differ."""

import copy
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from .api import BUDGETS, SERVICE_ACCOUNTS, SERVICES, STATEFUL_SETS, Json, Kind, with_each_text

FOLDER = Path(__file__).parents[1] / "statefulsets"
APPLICATIONS = (
    "cassandra",
    "elasticsearch",
    "etcd",
    "kafka",
    "mongodb",
    "mysql",
    "nats",
    "postgres",
    "rabbitmq",
    "redis-cluster",
    "vault",
    "zookeeper",
)
SIDES = ("statefulset", "scaleset")
NONE = "none"
_KINDS = {
    "PodDisruptionBudget": BUDGETS,
    "Service": SERVICES,
    "ServiceAccount": SERVICE_ACCOUNTS,
    "StatefulSet": STATEFUL_SETS,
}
_WORDS = ("without",)
"""Values of rows that are told, not compared."""
_TOKEN = re.compile(r"kube-api-access-[a-z0-9]{5}")
_OF_ITSELF = ("creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "uid")
_REVISION = "controller-revision-hash"


def documents(name: str) -> list[Json]:
    """The objects of a file."""
    return [body for body in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()) if body]


def kind_of(body: Json) -> Kind:
    return _KINDS[body["kind"]]


def main_container(body: Json) -> Json:
    found: Json = body["spec"]["template"]["spec"]["containers"][0]
    return found


def as_scale_set(body: Json) -> Json:
    """The same template and claim templates, not changed in anything; the image of its first container is a version."""
    spec = copy.deepcopy(body["spec"])
    kept = {key: spec[key] for key in ("replicas", "serviceName", "template", "volumeClaimTemplates") if key in spec}
    name = body["metadata"]["name"]
    reference = {"publisher": "example", "offer": "apps", "sku": name, "version": "latest"}
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "ScaleSet",
        "metadata": {"name": name},
        "spec": {**kept, "imageReference": reference, "upgradePolicyRef": {"name": "policy"}},
    }


def version_of(body: Json, version: str, image: str) -> Json:
    """A published version of what a StatefulSet runs."""
    name = body["metadata"]["name"]
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "GalleryImageVersion",
        "metadata": {"name": f"{name}-{version}"},
        "spec": {"publisher": "example", "offer": "apps", "sku": name, "version": version, "image": image},
    }


class Differences:
    """The rows of differences.yaml, and which of them were seen."""

    def __init__(self) -> None:
        self.rows: dict[str, Json] = {row["field"]: row for row in _rows()}
        self.seen: set[str] = set()

    def unlisted(self, of_statefulset: Json, of_scaleset: Json) -> list[str]:
        """What differs between two pods and is no row; and rows whose values are others."""
        name, _, number = of_statefulset["metadata"]["name"].rpartition("-")
        found = []
        for field, one, other in compared(of_statefulset, of_scaleset):
            row = self.rows.get(field)
            if row is None:
                found.append(f"{name}-{number} {field}: {one!r}, {other!r}")
                continue
            self.seen.add(field)
            expected = [str(row[side]).replace("{set}", name).replace("{id}", number) for side in SIDES]
            for what, value, side in zip(expected, (one, other), SIDES, strict=True):
                if "`" not in what and what not in _WORDS and not fnmatchcase(_text(value), what):
                    found.append(f"{name}-{number} {field} of the {side} is {value!r}, not {what}")
        return found


def _rows() -> list[Json]:
    rows: list[Json] = yaml.safe_load((FOLDER / "differences.yaml").read_text())
    return rows


def _text(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, list):
        return ", ".join(f"{each['kind']} {each['name']}" for each in value)
    return str(value)


def compared(one: Json, other: Json) -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two pods differ, with both values; None where there is none."""
    first, second = _settled(one), _settled(other)
    for key in sorted(first["metadata"].keys() | second["metadata"].keys()):
        mine, theirs = first["metadata"].get(key), second["metadata"].get(key)
        if key in ("labels", "annotations"):
            for each in sorted((mine or {}).keys() | (theirs or {}).keys()):
                values = (mine or {}).get(each), (theirs or {}).get(each)
                if values[0] != values[1]:
                    yield f"metadata.{key}[{each}]", *values
        elif mine != theirs:
            yield f"metadata.{key}", mine, theirs
    for field in _REVISION_SELECTORS:
        mine, theirs = _at(first, field), _at(second, field)
        if mine != theirs:
            yield f"{field} labelSelector", mine, theirs
            _without_revision(mine)
            _without_revision(theirs)
    yield from _differences(first["spec"], second["spec"], "spec")


_REVISION_SELECTORS = ("spec.affinity.podAntiAffinity", "spec.topologySpreadConstraints")
"""What the API server writes the value of the label controller-revision-hash into, because of matchLabelKeys."""


def _at(pod: Json, path: str) -> Any:
    found: Any = pod
    for key in path.split("."):
        found = (found or {}).get(key)
    return found


def _without_revision(value: Any) -> None:
    if isinstance(value, dict):
        expressions = value.get("matchExpressions")
        if isinstance(expressions, list):
            value["matchExpressions"] = [each for each in expressions if each["key"] != _REVISION]
            if not value["matchExpressions"]:
                del value["matchExpressions"]
        for child in value.values():
            _without_revision(child)
    if isinstance(value, list):
        for child in value:
            _without_revision(child)


def _differences(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differences(mine, theirs, f"{path}[{index}]")
    elif one != other:
        yield path, one, other


def _settled(pod: Json) -> Json:
    """A pod without what each has for itself: its uid and times, its node, the name of its token's volume. The order of
    volumes says nothing.
    """
    mine = copy.deepcopy({"metadata": pod["metadata"], "spec": pod["spec"]})
    found: Json = with_each_text(mine, lambda text: "kube-api-access" if _TOKEN.fullmatch(text) else text)
    for key in _OF_ITSELF:
        found["metadata"].pop(key, None)
    found["spec"].pop("nodeName", None)
    for key in ("nodeSelector", "os"):  # so that what is in them has a path of its own
        found["spec"].setdefault(key, {})
    found["spec"].get("volumes", []).sort(key=lambda volume: str(volume["name"]))
    return found
