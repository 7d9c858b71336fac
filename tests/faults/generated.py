"""Objects made up from our CRD schemas: valid ones, ones at the bounds, ones with something wrong or strange."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.harness.api import Json
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy

STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**31,
    2**63,
    10**30,
    "",
    "20",
    "20%",
    "{0} %s %n ${HOME} {{ .Values }}",
    "\u202eevil\u202c",
    "a\u0301 vs \u00e1",
    "\U0001f4a5" * 40,
    "tab\tnewline\nescape\x1b[31mred",
    "x" * 4000,
    "../../etc/passwd",
    "ns/name",
    "(a+)+$" * 50,
    [],
    {},
    [None],
    {"a": {"b": {"c": {}}}},
    "PT99999999999999999999H",
    "P0D",
    "1.0.0-rc1",
    "1.2.3.4.5",
    "9" * 400,
)
MOST = 20
"""Instances of a set that is accepted. With hundreds in each of several sets, the simulated nodes of a small machine
make no pod of a neighbour ready in time, and that says nothing about the operator. Large sets are the subject of
tests/scale.
"""
VALID: dict[str, Json] = {
    "scalesets": scale_set("made", replicas=2),
    "upgradepolicies": upgrade_policy("made"),
    "galleryimageversions": image_version("7.0.0", sku="made"),  # no neighbour's image
}


def schema(plural: str) -> Json:
    """The schema of a kind's spec, from the committed CRD."""
    path: Path = ROOT / "crds" / f"scaleset.dev_{plural}.yaml"
    found: Json = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: Json = found["properties"]["spec"]
    return spec


def made_up(plural: str, chance: random.Random, number: int) -> Json:
    """One object: a valid one in which up to three fields are set to something that their schema allows, to something
    at its bounds, or to something strange.
    """
    body = deepcopy(VALID[plural])
    body["metadata"] = {"name": f"made-{number}"}
    for _ in range(chance.randint(1, 3)):
        _change(body["spec"], schema(plural), chance)
    if chance.random() < 0.2:
        body["metadata"]["annotations"] = {f"scaleset.dev/{chance.choice(NOTES)}": _strange_text(chance)}
    if chance.random() < 0.1:
        body["status"] = {"rollingUpgrade": chance.choice(STRANGE), "builds": chance.choice(STRANGE)}
    if chance.random() < 0.1:
        body["spec"]["unknownField"] = chance.choice(STRANGE)
    replicas = body["spec"].get("replicas")
    if isinstance(replicas, int) and MOST < replicas <= schema(plural)["properties"]["replicas"]["maximum"]:
        body["spec"]["replicas"] = chance.randint(3, MOST)
    return body


NOTES = ("start-upgrade-at", "cancel-upgrade-at", "apply-model", "previous", "unknown")


def _change(spec: Json, known: Json, chance: random.Random) -> None:
    properties: Json = known.get("properties") or {}
    if not properties:
        return
    key = chance.choice(sorted(properties))
    below: Json = properties[key]
    if below.get("properties") and isinstance(spec.get(key), dict | None) and chance.random() < 0.7:
        child = spec.setdefault(key, {})
        if isinstance(child, dict):
            _change(child, below, chance)
        return
    spec[key] = deepcopy(chance.choice(STRANGE)) if chance.random() < 0.5 else _fitting(below, chance)


def _fitting(known: Json, chance: random.Random, depth: int = 0) -> Any:
    """A value that the schema allows, mostly: CEL rules see to the rest."""
    if "enum" in known:
        return chance.choice(known["enum"])
    kind = known.get("type")
    if kind == "integer":
        low, high = known.get("minimum", 0), known.get("maximum", 2**31 - 1)
        return chance.choice((low, high, low - 1, high + 1, chance.randint(low, max(low, min(high, low + 1000)))))
    if kind == "boolean":
        return chance.random() < 0.5
    if kind == "string":
        return chance.choice(("a", "x" * int(known.get("maxLength", 20)), "x" * (int(known.get("maxLength", 20)) + 1)))
    if kind == "array" and depth < 3:
        count = chance.choice((0, 1, 2, int(known.get("maxItems", 2)) + 1 if known.get("maxItems", 2) < 50 else 2))
        return [_fitting(known.get("items") or {}, chance, depth + 1) for _ in range(count)]
    if kind == "object" and depth < 3:
        below: Json = known.get("properties") or {}
        names = set(known.get("required") or ()) | {name for name in below if chance.random() < 0.3}
        return {name: _fitting(below[name], chance, depth + 1) for name in sorted(names) if name in below}
    return chance.choice(("a", 1))


def _strange_text(chance: random.Random) -> str:
    return str(chance.choice([each for each in STRANGE if isinstance(each, str)]))
