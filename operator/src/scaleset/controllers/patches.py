"""Status writes: only what changed, as a JSON merge patch that is valid for one resourceVersion.

A key that we do not know (a newer operator wrote it) is never part of a patch, so going back to an older version
loses nothing.
"""

from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]

_COUNTS = ("replicas", "healthyReplicas", "updatedReplicas", "versions", "instances", "ages")


def merge_patch(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> JSON:
    """What to send so that `known` becomes `wanted`; a None in `wanted`, and below the top level a missing key,
    removes.

    Lists are replaced whole.
    """
    patch: JSON = {}
    for key, value in wanted.items():
        before = known.get(key)
        if value is None:
            if before is not None:
                patch[key] = None
        elif isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = merge_patch(before, {**dict.fromkeys(before), **value})
            if inner:
                patch[key] = inner
        elif value != before:
            patch[key] = value
    return patch


def urgent(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether more than counts and sentences changed. What is not urgent may wait and be written together."""
    return bool(merge_patch(_essence(known), _essence(wanted)))


def _essence(status: Mapping[str, Any]) -> JSON:
    essence = {key: value for key, value in status.items() if key not in _COUNTS}
    essence["clocks"] = [[c.get("instances"), c["lost"]] for c in status.get("clocks") or [] if c.get("lost")]
    essence["conditions"] = [
        [c.get("type"), c.get("status"), c.get("reason"), c.get("observedGeneration")]
        for c in status.get("conditions") or []
    ]
    rollout = status.get("rollingUpgrade")
    if isinstance(rollout, Mapping) and isinstance(rollout.get("waitingFor"), Mapping):
        essence["rollingUpgrade"] = {**rollout, "waitingFor": rollout["waitingFor"].get("reason")}
    return essence
