"""Converts the durable state to and from a ScaleSet's status.

`_STATE` names every field of the state once, with its form: how it is read, how it is written, and where the status has
it. Reading forgives: a user can write a status, and one that makes no sense must not stop the operator. Parts that do
not fit together are left out, and decided again from the pods.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import reduce
from typing import Any, get_type_hints

from scaleset.api import scale_set_status as api
from scaleset.api.base import JSON, wire_name
from scaleset.api.moments import format_duration, seconds, timestamp
from scaleset.api.upgrade_policy import RollingUpgradePolicy
from scaleset.planner import digests, operating_system, ranges
from scaleset.planner.gallery import is_number
from scaleset.planner.instances import Build
from scaleset.planner.state import (
    NOBODY,
    Batch,
    Checked,
    Clock,
    Code,
    Ended,
    Ending,
    Kind,
    Policy,
    Rollout,
    ScaleIn,
    StartedBy,
    State,
    UpgradeError,
    Waiting,
)
from scaleset.planner.targets import FailedTarget, Retry, Target

KEPT_FOR = timedelta(days=61)
TYPE = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"
_ORDER = ("model", "version", "image", "instances")
"""Order of entries about instances."""

ONLY_SHOWN = frozenset(
    (
        "conditions",
        "healthyReplicas",
        "instances",
        "latestVersion",
        "observedGeneration",
        "replicas",
        "rollingUpgrade.ending.code",
        "rollingUpgrade.progress",
        "rollingUpgrade.rollbackInfo",
        "selector",
        "targetVersion",
        "updatedReplicas",
        "versions",
    )
)
"""Fields that `read` does not use: decisions do not depend on them, even if the API server drops them. A field of the
top level includes all fields below it.
"""


def read(status: api.ScaleSetStatus) -> State:
    """The state recorded in a status."""
    state: State = _STATE.read(status)
    builds = state.builds
    known = state.current_image and state.current_version and is_number(state.current_version)
    rollout = state.rollout
    if rollout is not None and rollout.running:
        batch = rollout.batch.instances if rollout.batch is not None else NOBODY
        rollout = replace(rollout, in_progress=rollout.in_progress & batch & builds.keys())
    return replace(
        state,
        current_version=state.current_version if known else None,
        current_image=state.current_image if known else None,
        previous=_of(builds, state.previous),
        applying=state.applying & builds.keys(),
        clocks=_of(builds, state.clocks),
        ended=_of(builds, state.ended),
        ages=_of(builds, state.ages),
        rollout=rollout,
    )


def write(state: State, *, location: str) -> JSON:
    """The part of the status that `read` understands, without absent values."""
    status: JSON = _STATE.write(state)
    rollout = state.rollout
    if rollout is not None and rollout.running and rollout.kind is Kind.IMAGE:
        history = (attempt(rollout, location=location), *status["osUpgradeHistory"])
        status["osUpgradeHistory"] = list(history[: api.MAX_HISTORY])
    return status


def attempt(rollout: Rollout, *, location: str) -> JSON:
    """One entry of the history, as `az vmss get-os-upgrade-history` shows it."""
    shown, target = _write_rollout(rollout), rollout.target
    status = shown["runningStatus"]
    properties: JSON = {
        "runningStatus": {name: status[name] for name in ("code", "startTime", "completedTime") if name in status},
        "targetImageReference": {
            "publisher": target.publisher,
            "offer": target.offer,
            "sku": target.sku,
            "version": target.version,
        },
        **{name: shown[name] for name in ("progress", "startedBy", "rollbackInfo", "error") if name in shown},
    }
    return {"properties": properties, "type": TYPE, "location": location}


def prune(history: Iterable[Mapping[str, Any]], *, now: float) -> tuple[Mapping[str, Any], ...]:
    """The newest five entries of the last two months."""
    oldest = timestamp(now - KEPT_FOR.total_seconds())
    recent = [e for e in history if e["properties"]["runningStatus"].get("startTime", "") >= oldest]
    return tuple(recent[: api.MAX_HISTORY])


def past(rollout: Rollout) -> JSON:
    """One entry of the history of all rollouts."""
    shown = _write_rollout(rollout)
    status = shown["runningStatus"]
    entry = {
        **{name: shown.get(name) for name in ("kind", "startedBy", "fromVersion", "fromModel", "progress")},
        **{name: status.get(name) for name in ("code", "startTime", "completedTime")},
        "toVersion": rollout.target.version,
        "toModel": rollout.target.model,
        "restored": len(rollout.restored),
        "errorCode": rollout.error.code if rollout.error is not None else None,
    }
    return {name: value for name, value in entry.items() if value is not None}


def prune_rollouts(history: Iterable[Mapping[str, Any]], *, now: float) -> tuple[Mapping[str, Any], ...]:
    """The newest ten entries of the last two months."""
    oldest = timestamp(now - KEPT_FOR.total_seconds())
    return tuple([entry for entry in history if entry["startTime"] >= oldest][: api.MAX_ROLLOUTS])


def _of(builds: Mapping[int, Build], values: Mapping[int, Any]) -> dict[int, Any]:
    """The values of existing instances."""
    return {number: value for number, value in values.items() if number in builds}


# --- forms


@dataclass(frozen=True, slots=True)
class _Form:
    """How a value stands in the status. `read` gets the value of the status, None for an absent one. `write` gets the
    value of the state unless that is None, and returns None for a value to leave out.
    """

    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value
    path: str | None = None
    """The field of the status. None: it has the name of the field of the state. "": it is the whole object.
    """

    def at(self, path: str | None) -> "_Form":
        """The same form with another path."""
        return replace(self, path=path)


def _upwards(moment: float) -> str:
    """A time from which a deadline counts, rounded up so that no deadline comes early."""
    return timestamp(math.ceil(moment))


_SAME = _Form()
_DEADLINE = _Form(seconds, _upwards)
_BY_TYPE: Mapping[Any, _Form] = {
    str: _Form(lambda text: text or ""),
    bool: _Form(write=lambda flag: flag or None),
    float: _Form(lambda time: seconds(time) or 0.0, timestamp),
    float | None: _Form(seconds, timestamp),
    frozenset[int]: _Form(ranges.parse, lambda ids: ranges.render(ids) or None),
    **{kind: _Form(kind, str) for kind in (Kind, Code, StartedBy)},
}
"""Forms of fields for which a record names none; a float is a time."""


def _record(kind: type, *needs: str, **changed: _Form | str | None) -> _Form:
    """The form of a record: an object with a field for each of its fields, in the form of its type. `changed` has other
    forms, other paths, and None for fields that are not recorded. A record that lacks one of its `needs` is none.
    """
    forms = {}
    for name, hint in get_type_hints(kind).items():
        form = changed.get(name, name)
        if form is not None:
            forms[name] = form if isinstance(form, _Form) else _BY_TYPE.get(hint, _SAME).at(form)
    paths = {name: _parts(name if form.path is None else form.path) for name, form in forms.items()}
    wire = {name: [wire_name(part) for part in path] for name, path in paths.items()}

    def read(seen: Any) -> Any:
        if seen is None:
            return None
        values = {name: form.read(reduce(getattr, paths[name], seen)) for name, form in forms.items()}
        return kind(**values) if all(values[name] for name in needs) else None

    def write(record: Any) -> JSON:
        written: JSON = {}
        for name, form in forms.items():
            value = getattr(record, name)
            value = None if value is None else form.write(value)
            if value is not None:
                _put(written, wire[name], value)
        return written

    return _Form(read, write)


def _parts(path: str) -> list[str]:
    return path.split(".") if path else []


def _put(written: JSON, path: list[str], value: Any) -> None:
    *above, last = path or [""]
    for part in above:
        written = written.setdefault(part, {})
    written.update({last: value} if path else value)


def _each(form: _Form) -> _Form:
    """The form of a list of records."""
    return _Form(
        lambda entries: tuple(found for entry in entries if (found := form.read(entry)) is not None),
        lambda records: [form.write(record) for record in records],
    )


def _by_id(form: _Form) -> _Form:
    """The form of values of instances: one entry for all instances with equal values."""

    def read(entries: Iterable[Any]) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for entry in entries:
            if (value := form.read(entry)) is not None:
                found.update(dict.fromkeys(ranges.parse(entry.instances), value))
        return dict(sorted(found.items()))

    def write(values: Mapping[int, Any]) -> list[JSON]:
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for number, value in values.items():
            groups[value].append(number)
        return _in_order([{**form.write(value), "instances": ranges.render(ids)} for value, ids in groups.items()])

    return _Form(read, write)


def _in_order(rows: list[JSON]) -> list[JSON]:
    return sorted(rows, key=lambda row: [str(row.get(name)) for name in _ORDER])


# --- records


def _duration(absent: float | None) -> _Form:
    return _Form(
        lambda length: absent if length is None else length.total_seconds(),
        lambda length: format_duration(timedelta(seconds=length)),
    )


_WARNING = _Form(lambda text: text or "", lambda text: text or None)
_VERSION = _Form(lambda version: version if version and is_number(version) else None)
_OS_TYPE = _Form(operating_system.known)
_BUILD = _record(Build, "version", "image", version=_VERSION, restart="restart_time", os_type=_OS_TYPE, digest=None)
_BUILDS = _Form(
    lambda entries: digests.read(entries, _BUILD.read),
    lambda builds: _in_order(digests.write(builds, _BUILD.write)),
)
_SCALE_IN = _record(
    ScaleIn,
    "size",
    size="from_",
    started=replace(_BY_TYPE[float], write=_upwards, path="start_time"),
    waiting=_DEADLINE.at("waiting_since"),
)
_TARGET = _record(
    Target,
    "model",
    model="target_model",
    reference="target_image_reference.version",
    version="target_image_reference.exact_version",
    **{name: f"target_image_reference.{name}" for name in ("publisher", "offer", "sku", "image")},
    os_type=_OS_TYPE.at("target_image_reference.os_type"),
)
_ROLLING = RollingUpgradePolicy.model_fields.keys() & api.PolicySnapshot.model_fields.keys()
_POLICY = _record(
    Policy,
    rolling=_Form(
        lambda seen: RollingUpgradePolicy.model_construct(
            **{name: value for name in _ROLLING if (value := getattr(seen, name)) is not None}
        ),
        lambda rolling: rolling.model_dump(mode="json", by_alias=True, include=_ROLLING),
        "",
    ),
    health_timeout=_duration(300.0),
    min_ready_time=_duration(0.0),
    upgrade_timeout=_duration(None),
    method=_SAME.at("replacement_method"),
)
_MESSAGES = _Form(
    lambda entries: {entry.id: entry.message for entry in entries},
    lambda texts: [{"id": number, "message": text} for number, text in sorted(texts.items())[: api.MAX_INSTANCES]],
)
_ROLLOUT = _record(
    Rollout,
    "target",
    target=_TARGET.at(""),
    policy=_POLICY,
    started="running_status.start_time",
    code="running_status.code",
    completed="running_status.completed_time",
    last_action=_Form(lambda action: action or "Start", path="running_status.last_action"),
    last_action_time="running_status.last_action_time",
    batch=_record(Batch, started="start_time", restore_started="restore_start_time"),
    next_batch=_DEADLINE.at("next_batch_time"),
    deadline=_DEADLINE,
    messages=_MESSAGES,
    waiting=_record(Waiting, stalls=None).at("waiting_for"),
    ending=_record(Ending),
    error=_record(UpgradeError, details=_each(_record(UpgradeError, details=None))),
)


def _read_rollout(seen: Any) -> Rollout | None:
    rollout: Rollout | None = _ROLLOUT.read(seen)
    if rollout is None:
        return None
    target, batch = rollout.target, rollout.batch
    if not target.version:
        target = replace(target, version=None, image=None, os_type=None)
    elif not (is_number(target.version) and target.image):
        return None
    if batch is not None:
        batch = replace(batch, of=batch.of or batch.number)
    undecided = rollout.in_progress | ranges.parse(seen.restoring)
    return replace(rollout, target=target, batch=batch, in_progress=undecided)


def _write_rollout(rollout: Rollout) -> JSON:
    """The rollout as Azure shows it: an instance that is being restored counts as failed already."""
    status: JSON = _ROLLOUT.write(rollout)
    if rollout.ending is not None:
        status["ending"]["code"] = str(Code.CANCELLED)
    return status | {
        "inProgress": ranges.render(rollout.verifying),
        "restoring": ranges.render(rollout.restoring),
        "progress": {
            "successfulInstanceCount": len(rollout.successful),
            "failedInstanceCount": len(rollout.failed),
            "inProgressInstanceCount": len(rollout.verifying),
            "pendingInstanceCount": len(rollout.pending),
        },
        "rollbackInfo": _rollback(rollout),
    }


def _rollback(rollout: Rollout) -> JSON:
    """The results of instances that got their previous build back."""
    info: JSON = {
        "successfullyRolledbackInstanceCount": len(rollout.restored),
        "failedRolledbackInstanceCount": len(rollout.restore_failed),
    }
    if rollout.restore_failed:
        first = min(rollout.restore_failed)
        text = f"Instance {first} is not healthy on its previous build either. {rollout.messages.get(first, '')}"
        info["rollbackError"] = {"code": "RollingUpgradeInstanceUnhealthyError", "message": text.strip()}
    return info


_STATE = _record(
    State,
    replicas="accepted_replicas",
    proven="proven_time",
    **{each.name: f"last_{each.name}" for each in fields(State) if each.name.startswith("handled_")},
    builds=_BUILDS,
    previous=_BUILDS.at("previous_builds"),
    clocks=_by_id(_record(Clock, since=_DEADLINE)),
    ended=_by_id(_record(Ended)).at("ended_pods"),
    ages=_by_id(_Form(lambda entry: seconds(entry.time) or None, lambda created: {"time": timestamp(created)})),
    scale_in=_SCALE_IN,
    failed_targets=_each(_record(FailedTarget, "model")),
    retry=_record(Retry, "model", attempts=_Form(lambda count: max(1, count))),
    rollout=_Form(_read_rollout, _write_rollout, "rolling_upgrade"),
    checked=_record(Checked, "asked", "model", warning=_WARNING).at("checked_model"),
    history=_Form(
        lambda entries: tuple(
            entry.to_raw() for entry in entries if entry.properties.running_status.code != Code.ROLLING_FORWARD
        ),
        lambda entries: [dict(entry) for entry in entries],
        "os_upgrade_history",
    ),
    rollouts=_Form(
        lambda entries: tuple(entry.to_raw() for entry in entries),
        lambda entries: [dict(entry) for entry in entries],
        "rollout_history",
    ),
)
