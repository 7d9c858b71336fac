"""Merge patches of the status: the changes, whether they may wait, and whether the API server kept them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scaleset.api.base import Condition, Status, set_condition
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.kube.client import Client
from scaleset.kube.errors import Conflict, NotFound, NotKept
from scaleset.kube.resources import JSON
from scaleset.planner import status_codec
from scaleset.planner.state import State
from scaleset.records.custom_objects import CustomObject, ScaleSetObject

_COUNTS = ("replicas", "healthyReplicas", "updatedReplicas", "versions", "instances", "ages")


def condition(seen: CustomObject[Any], kind: str, reason: str, message: str, *, holds: bool) -> Condition:
    """A condition of the object's present spec."""
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        observed_generation=seen.generation,
    )


def conditions(existing: tuple[Condition, ...], *found: Condition, now: float) -> list[JSON]:
    """The conditions of a status with the found ones. The time of a transition is that of its write."""
    for each in found:
        existing = set_condition(existing, each, datetime.fromtimestamp(now, UTC))
    return [each.to_raw() for each in existing]


def merge_patch(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> JSON:
    """The merge patch from `known` to `wanted`. A None in `wanted`, and below the top level a missing key, removes a
    field.

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
    """Whether more than counts and sentences changed. Other changes may wait and be written together."""
    return bool(merge_patch(_essence(known), _essence(wanted)))


def _essence(status: Mapping[str, Any]) -> JSON:
    essence = {key: value for key, value in status.items() if key not in _COUNTS}
    essence["clocks"] = [[c.get("instances"), c["lost"]] for c in status.get("clocks") or [] if c.get("lost")]
    for builds in ("builds", "previousBuilds"):
        rows = status.get(builds) or []
        essence[builds] = [{key: row[key] for key in row if key != "digests"} for row in rows]
    essence["conditions"] = [
        [c.get("type"), c.get("status"), c.get("reason"), c.get("observedGeneration")]
        for c in status.get("conditions") or []
    ]
    rollout = status.get("rollingUpgrade")
    if isinstance(rollout, Mapping) and isinstance(rollout.get("waitingFor"), Mapping):
        essence["rollingUpgrade"] = {**rollout, "waitingFor": rollout["waitingFor"].get("reason")}
    return essence


@dataclass(eq=False)
class StatusWriter:
    """Merge patches of the status subresource."""

    client: Client

    async def write(self, objects: CustomObjects[Any], seen: CustomObject[Any], wanted: Mapping[str, Any]) -> bool:
        """Write the differences, if any; returns whether the object's status is as wanted now. As `send`."""
        patch = merge_patch(*compared(objects.status, seen.status, wanted))
        return not patch or await self.send(objects, seen, patch)

    async def send(self, objects: CustomObjects[Any], seen: CustomObject[Any], patch: JSON) -> bool:
        """Write known differences.

        False if the object changed or was deleted meanwhile: it was read again, and the decision must be taken again.
        NotFound if the API server does not find an object that it shows.
        """
        body = {"metadata": {"resourceVersion": seen.resource_version}, "status": patch}
        try:
            objects.remember(await self.client.patch_status(objects.resource, seen.namespace, seen.name, body))
        except Conflict:
            await objects.reread(seen)
            return False
        except NotFound:
            try:
                await objects.reread(seen)
            except NotFound:
                objects.forget(seen)
                return False
            raise  # The object exists: a control plane that is starting may give a wrong answer.
        return True


def check_kept(stored: ScaleSetObject, after: JSON) -> None:
    """Raise `NotKept` if the status does not contain the state that was written ahead, as given by `compared`.

    A CustomResourceDefinition older than this operator silently drops unknown fields. Fields that are only shown may be
    lost. Fields that decisions depend on must not: an unrecorded batch would begin again, beside the running one, and a
    failed version would be tried for ever.
    """
    lost = sorted(merge_patch(_understood(ScaleSetStatus, stored.status), after))
    if lost and _remembered(stored.status) != _remembered({**stored.status, **after}):
        fields = ", ".join(f"status.{key}" for key in lost)
        message = (
            f"the API server did not keep all of {fields} of ScaleSet {stored.namespace}/{stored.name}: its "
            "CustomResourceDefinition is older than this operator. Apply the crds/ of this version; until then "
            "nothing is done that depends on it."
        )
        raise NotKept(200, "Pruned", message)


def _remembered(status: Mapping[str, Any]) -> State:
    return status_codec.read(ScaleSetStatus.parse({"status": {k: v for k, v in status.items() if v is not None}}))


def compared(kind: type[Status], status: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[JSON, JSON]:
    """The present and the wanted status in the same form, so that each difference has to be written.

    The form is the model's, since one status can be written in several ways: the API server fills in defaults, and the
    model cuts long values. Keys that are not wanted, or unknown, are left as they are.
    """
    after = _understood(kind, {key: value for key, value in wanted.items() if value is not None})
    return _understood(kind, status), {key: after.get(key) for key in wanted}


def _understood(kind: type[Status], status: Mapping[str, Any]) -> JSON:
    return kind.parse({"status": status}).to_raw()
