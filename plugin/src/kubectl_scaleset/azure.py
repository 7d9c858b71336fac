"""Rolling upgrades in the format of `az`, for scripts written for it.

`az vmss get-os-upgrade-history` prints the list of the REST answer's `value`; `az vmss rolling-upgrade get-latest`
prints the resource with its `properties` on the top level. Both omit empty values, and az writes JSON with sorted keys
and two spaces. Values without a key in Azure are omitted here: restored instances, batches, the reason to wait.
"""

import json
from collections.abc import Mapping
from typing import Any

JSON = Mapping[str, Any]

TYPE = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"

_POLICY = (
    "enableCrossZoneUpgrade",
    "maxBatchInstancePercent",
    "maxSurge",
    "maxUnhealthyInstancePercent",
    "maxUnhealthyUpgradedInstancePercent",
    "pauseTimeBetweenBatches",
    "prioritizeUnhealthyInstances",
    "rollbackFailedInstancesOnPolicyBreach",
)
_PROGRESS = ("failedInstanceCount", "inProgressInstanceCount", "pendingInstanceCount", "successfulInstanceCount")
_ROLLBACK = ("failedRolledbackInstanceCount", "successfullyRolledbackInstanceCount")
_IMAGE = ("exactVersion", "offer", "publisher", "sku", "version")


def history(status: JSON, *, location: str) -> list[dict[str, Any]]:
    """`az vmss get-os-upgrade-history`: newest first."""
    return [_attempt(entry, location) for entry in status.get("osUpgradeHistory") or ()]


def latest(status: JSON, *, location: str) -> dict[str, Any] | None:
    """`az vmss rolling-upgrade get-latest`: the running or last rolling upgrade, None before the first."""
    rollout = status.get("rollingUpgrade")
    if not rollout:
        return None
    return _present(
        {
            "error": _error(rollout.get("error")),
            "location": location,
            "policy": _some(rollout.get("policy"), _POLICY),
            "progress": _some(rollout.get("progress"), _PROGRESS),
            "runningStatus": _some(
                rollout.get("runningStatus"), ("code", "lastAction", "lastActionTime", "startTime"), times=True
            ),
            "type": TYPE,
        }
    )


def dump(document: object) -> str:
    """As az prints it."""
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _attempt(entry: JSON, location: str) -> dict[str, Any]:
    seen = entry.get("properties") or {}
    running = dict(seen.get("runningStatus") or {})
    running["endTime"] = running.pop(
        "completedTime", None
    )  # the API's name since 2018; its documentation still has the old one
    rollback = _some(seen.get("rollbackInfo"), _ROLLBACK)
    if rollback is not None:
        rollback |= _present({"rollbackError": _error((seen.get("rollbackInfo") or {}).get("rollbackError"))})
    properties = {
        "error": _error(seen.get("error")),
        "progress": _some(seen.get("progress"), _PROGRESS),
        "rollbackInfo": rollback,
        "runningStatus": _some(running, ("code", "endTime", "startTime"), times=True),
        "startedBy": seen.get("startedBy"),
        "targetImageReference": _some(seen.get("targetImageReference"), _IMAGE),
    }
    where = entry.get("location") or location
    return {"location": where, "properties": _present(properties), "type": entry.get("type") or TYPE}


def _error(seen: JSON | None) -> dict[str, Any] | None:
    """Azure's ApiError."""
    if not seen:
        return None
    details = [
        _present({key: each.get(key) for key in ("code", "message", "target")}) for each in seen.get("details") or ()
    ]
    error = _present({key: seen.get(key) for key in ("code", "message", "target")})
    return {**error, **({"details": details} if details else {})}


def _some(seen: JSON | None, keys: tuple[str, ...], *, times: bool = False) -> dict[str, Any] | None:
    if seen is None:
        return None
    found = _present({key: seen.get(key) for key in keys})
    if times:
        # As Azure writes it: an offset instead of Z.
        found = {
            key: f"{value[:-1]}+00:00" if key.endswith("Time") and value.endswith("Z") else value
            for key, value in found.items()
        }
    return found


def _present(fields: JSON) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None and value != ""}
