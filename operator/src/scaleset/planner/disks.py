"""Allowed changes of the claim templates of a set.

A claim is created once, and later edits of its template never reach it. An edit that replaced instances would restart a
fleet and change no disk. So the spec of a claim template cannot change while a template of that name exists; another
spelling of the same value is allowed, and so is adding or removing templates. Labels, annotations and the order of the
templates do not make a new model: new claims bear the labels and annotations that the stored model has.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from scaleset.planner.revisions import Revision

_TEMPLATES = "volumeClaimTemplates"
_AMOUNT = re.compile(r"([0-9]{1,30}(?:[.][0-9]{1,30})?)([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?")
_LARGE = {unit: 1000**power for power, unit in enumerate("kMGTPE", start=1)}
_BINARY = {f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", start=1)}
_SMALL = {"m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "n": Fraction(1, 10**9)}
_UNITS: Mapping[str, int | Fraction] = {"": 1, **_LARGE, **_BINARY, **_SMALL}
WAY_OUT = (
    "no disk would change. Restore it. To grow a disk edit its PersistentVolumeClaim; for other disks add a claim "
    "template with another name, or create another ScaleSet."
)


def changed(asked: Revision, before: Revision) -> str | None:
    """Why the claim templates of a model cannot follow those of the one before; None when they can."""
    known = _by_name(before)
    names = [n for n, t in _by_name(asked).items() if n in known and _meaning(t["spec"]) != _meaning(known[n]["spec"])]
    if not names:
        return None
    listed = ", ".join(names)
    return f"The spec of claim template {listed} in spec.volumeClaimTemplates cannot be changed: {WAY_OUT}"


def aligned(asked: Revision, before: Revision) -> Revision:
    """The model with the labels, annotations and order of the claim templates taken from a stored model."""
    mine, known = _by_name(asked), _by_name(before)
    order = [*(name for name in known if name in mine), *(name for name in mine if name not in known)]
    templates = [{**mine[n], "metadata": known[n]["metadata"]} if n in known else mine[n] for n in order]
    if templates == list(asked.data.get(_TEMPLATES) or ()):
        return asked
    return replace(asked, data={**asked.data, _TEMPLATES: templates})


def _by_name(model: Revision) -> dict[str, Mapping[str, Any]]:
    return {str(template["metadata"]["name"]): template for template in model.data.get(_TEMPLATES) or ()}


def _meaning(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec without insignificant parts: empty fields, the default mode, and other spellings of a size."""
    found = {key: value for key, value in spec.items() if key != "resources" and value not in ({}, [])}
    found.setdefault("volumeMode", "Filesystem")
    if isinstance(found.get("accessModes"), list):
        found["accessModes"] = sorted(map(str, found["accessModes"]))
    resources = spec.get("resources")
    for kind, amounts in resources.items() if isinstance(resources, Mapping) else ():
        for name, amount in amounts.items() if isinstance(amounts, Mapping) else ():
            found[f"resources.{kind}.{name}"] = _amount(amount)
    return found


def _amount(value: Any) -> Any:
    """A quantity as a number; anything else as it is."""
    found = _AMOUNT.fullmatch(str(value))
    if found is None or isinstance(value, bool):
        return value
    number, unit = found[1], found[2] or ""
    return Fraction(number) * (_UNITS[unit] if unit in _UNITS else 10 ** int(unit[1:]))
