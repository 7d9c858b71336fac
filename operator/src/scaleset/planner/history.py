"""A rollout as Azure shows it: progress, rollback info, and the entries of `status.osUpgradeHistory`."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from scaleset.api.moments import timestamp
from scaleset.planner.state import Rollout, UpgradeError

KEPT = 5
KEPT_ROLLOUTS = 10
KEPT_FOR = timedelta(days=61)
TYPE = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"


def progress(rollout: Rollout) -> dict[str, int]:
    """Azure's four counts. An instance that is being restored counts as failed already."""
    return {
        "successfulInstanceCount": len(rollout.successful),
        "failedInstanceCount": len(rollout.failed),
        "inProgressInstanceCount": len(rollout.verifying),
        "pendingInstanceCount": len(rollout.pending),
    }


def rollback(rollout: Rollout) -> dict[str, Any]:
    """The results of instances that got their previous build back."""
    info: dict[str, Any] = {
        "successfullyRolledbackInstanceCount": len(rollout.restored),
        "failedRolledbackInstanceCount": len(rollout.restore_failed),
    }
    if rollout.restore_failed:
        first = min(rollout.restore_failed)
        info["rollbackError"] = {
            "code": "RollingUpgradeInstanceUnhealthyError",
            "message": (
                f"Instance {first} is not healthy on its previous build either. {rollout.messages.get(first, '')}"
            ).strip(),
        }
    return info


def error(failure: UpgradeError) -> dict[str, Any]:
    """Azure's ApiError."""
    return {
        "code": failure.code,
        "message": failure.message,
        "target": failure.target,
        "details": [{"code": d.code, "target": d.target, "message": d.message} for d in failure.details],
    }


def attempt(rollout: Rollout, *, location: str) -> dict[str, Any]:
    """One entry of the history."""
    target = rollout.target
    status = {"code": str(rollout.code), "startTime": timestamp(rollout.started)}
    if rollout.completed is not None:
        status["completedTime"] = timestamp(rollout.completed)
    properties: dict[str, Any] = {
        "runningStatus": status,
        "progress": progress(rollout),
        "startedBy": str(rollout.started_by),
        "targetImageReference": {
            "publisher": target.publisher,
            "offer": target.offer,
            "sku": target.sku,
            "version": target.version,
        },
        "rollbackInfo": rollback(rollout),
    }
    if rollout.error is not None:
        properties["error"] = error(rollout.error)
    return {"properties": properties, "type": TYPE, "location": location}


def past(rollout: Rollout) -> dict[str, Any]:
    """One entry of the history of all rollouts."""
    entry = {
        "kind": str(rollout.kind),
        "startedBy": str(rollout.started_by),
        "code": str(rollout.code),
        "startTime": timestamp(rollout.started),
        "completedTime": timestamp(rollout.completed) if rollout.completed is not None else None,
        "fromVersion": rollout.from_version,
        "fromModel": rollout.from_model,
        "toVersion": rollout.target.version,
        "toModel": rollout.target.model,
        "progress": progress(rollout),
        "restored": len(rollout.restored),
        "errorCode": rollout.error.code if rollout.error is not None else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def prune_rollouts(entries: Iterable[Mapping[str, Any]], *, now: float) -> tuple[Mapping[str, Any], ...]:
    """The newest ten of the last two months."""
    oldest = timestamp(now - KEPT_FOR.total_seconds())
    return tuple([entry for entry in entries if entry["startTime"] >= oldest][:KEPT_ROLLOUTS])


def prune(entries: Iterable[Mapping[str, Any]], *, now: float) -> tuple[Mapping[str, Any], ...]:
    """The newest five of the last two months."""
    oldest = timestamp(now - KEPT_FOR.total_seconds())
    recent = [e for e in entries if e["properties"]["runningStatus"].get("startTime", "") >= oldest]
    return tuple(recent[:KEPT])
