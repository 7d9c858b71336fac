"""Merge patches of the status: what changed, whether it may wait, and whether the API server kept it."""

from collections.abc import Mapping
from typing import Any

from scaleset.api.base import Status
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers.custom_objects import CustomObjects
from scaleset.kube.client import Client
from scaleset.kube.errors import Conflict, NotFound, NotKept
from scaleset.planner import status_codec
from scaleset.planner.state import State
from scaleset.records.custom_objects import CustomObject, ScaleSetObject

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


class StatusWriter:
    """Merge patches of the status subresource."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def write(self, objects: CustomObjects[Any], seen: CustomObject[Any], wanted: Mapping[str, Any]) -> bool:
        """Write what differs, if anything; whether the object's status is as wanted now. As `send`."""
        patch = merge_patch(*compared(objects.status, seen.status, wanted))
        return not patch or await self.send(objects, seen, patch)

    async def send(self, objects: CustomObjects[Any], seen: CustomObject[Any], patch: JSON) -> bool:
        """Write what is known to differ.

        False when the object changed or went away meanwhile: it has been read again, and the decision is to be taken
        again. NotFound when the API server does not find what it shows.
        """
        body = {"metadata": {"resourceVersion": seen.resource_version}, "status": patch}
        try:
            objects.remember(await self._client.patch_status(objects.resource, seen.namespace, seen.name, body))
        except Conflict:
            await objects.reread(seen)
            return False
        except NotFound:
            try:
                await objects.reread(seen)
            except NotFound:
                objects.forget(seen)
                return False
            raise  # It is there, whatever the API server said: a control plane that comes up again may err.
        return True


def check_kept(stored: ScaleSetObject, after: JSON) -> None:
    """Raise `NotKept` if what was to be written ahead, as `compared` gave it, is not what stands there now.

    A CustomResourceDefinition older than this operator drops fields that it does not know, without an error. What
    only shows something may be lost; what decisions go on from may not: a batch that is not written down is begun
    again, beside the one that runs, and a failed version is tried for ever.
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
    """What stands and what is wanted, in the same form, so that what differs is what has to be written.

    The form is the model's: the API server fills in defaults and the model cuts what is too long, so that one
    status can be written in several ways. Keys that are not wanted, or that we do not know, are not ours to change.
    """
    after = _understood(kind, {key: value for key, value in wanted.items() if value is not None})
    return _understood(kind, status), {key: after.get(key) for key in wanted}


def _understood(kind: type[Status], status: Mapping[str, Any]) -> JSON:
    return kind.parse({"status": status}).to_raw()
