"""Converts the durable state to and from a ScaleSet's status.

Reading forgives: a user can write a status, and one that makes no sense must not stop the operator. Parts that do not
fit together are left out, and decided again from the pods.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from scaleset.api import scale_set_status as api
from scaleset.api.moments import format_duration, seconds, timestamp
from scaleset.api.upgrade_policy import RollingUpgradePolicy
from scaleset.planner import history, ranges
from scaleset.planner.gallery import is_number
from scaleset.planner.instances import Build
from scaleset.planner.state import (
    NOBODY,
    Batch,
    Checked,
    Clock,
    Code,
    Detail,
    Ended,
    Ending,
    FailedTarget,
    Kind,
    Policy,
    Retry,
    Rollout,
    ScaleIn,
    StartedBy,
    State,
    Target,
    UpgradeError,
    Waiting,
)


class _OfInstances(Protocol):
    """An entry about instances."""

    @property
    def instances(self) -> str: ...


E = TypeVar("E", bound=_OfInstances)
V = TypeVar("V")
K = TypeVar("K", bound=Hashable)

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

# --- status -> state


def read(status: api.ScaleSetStatus) -> State:
    """The state recorded in a status."""
    builds = _read_builds(status.builds)
    previous = {n: b for n, b in _read_builds(status.previous_builds).items() if n in builds}
    rollout = _read_rollout(status.rolling_upgrade) if status.rolling_upgrade is not None else None
    if rollout is not None and rollout.running:
        batch = rollout.batch.instances if rollout.batch is not None else NOBODY
        rollout = replace(rollout, in_progress=rollout.in_progress & batch & builds.keys())
    known = status.current_image and status.current_version and is_number(status.current_version)
    return State(
        replicas=status.accepted_replicas,
        current_version=status.current_version if known else None,
        current_image=status.current_image if known else None,
        proven=seconds(status.proven_time),
        waiting_since=seconds(status.waiting_since),
        handled_start=status.last_handled_start,
        handled_cancel=status.last_handled_cancel,
        handled_apply=status.last_handled_apply,
        handled_restart=status.last_handled_restart,
        handled_retry=status.last_handled_retry,
        handled_model_rollout=status.last_handled_model_rollout,
        handled_rollback=status.last_handled_rollback,
        builds=builds,
        previous=previous,
        applying=ranges.parse(status.applying) & builds.keys(),
        clocks=_each(status.clocks, builds, lambda entry: Clock(seconds(entry.since), entry.lost)),
        ended=_each(status.ended_pods, builds, lambda entry: Ended(entry.count, seconds(entry.time) or 0.0)),
        ages={n: at for n, at in _each(status.ages, builds, lambda entry: seconds(entry.time)).items() if at},
        scale_in=_read_scale_in(status.scale_in),
        failed_targets=tuple(
            FailedTarget(f.model, f.version, f.policy or "", f.reason or "", seconds(f.time) or 0.0, f.image)
            for f in status.failed_targets
            if f.model
        ),
        retry=_read_retry(status.retry),
        rollout=rollout,
        checked=_read_checked(status.checked_model),
        history=tuple(
            entry.to_raw()
            for entry in status.os_upgrade_history
            if entry.properties.running_status.code != "RollingForward"
        ),
        rollouts=tuple(entry.to_raw() for entry in status.rollout_history),
    )


def _read_builds(recorded: tuple[api.RecordedBuild, ...]) -> dict[int, Build]:
    builds: dict[int, Build] = {}
    for entry in recorded:
        if entry.version and entry.image and is_number(entry.version):
            build = Build(entry.model, entry.version, entry.image, seconds(entry.restart_time))
            builds.update(dict.fromkeys(ranges.parse(entry.instances), build))
    return dict(sorted(builds.items()))


def _each(entries: Iterable[E], builds: Mapping[int, Build], read: Callable[[E], V]) -> dict[int, V]:
    """The values of the entries, for each existing instance."""
    return {number: read(entry) for entry in entries for number in ranges.parse(entry.instances) & builds.keys()}


def _read_scale_in(seen: api.ScaleInStatus | None) -> ScaleIn | None:
    if seen is None or seen.size is None:
        return None
    return ScaleIn(seen.size, seconds(seen.start_time) or 0.0, seconds(seen.waiting_since))


def _read_retry(retry: api.Retry | None) -> Retry | None:
    if retry is None or not retry.model:
        return None
    return Retry(retry.model, retry.version, max(1, retry.attempts), seconds(retry.time) or 0.0)


def _read_checked(checked: api.CheckedModel | None) -> Checked | None:
    if checked is None or not checked.asked or not checked.model:
        return None
    return Checked(checked.asked, checked.model, checked.warning or "")


def _read_rollout(seen: api.RollingUpgradeStatus) -> Rollout | None:
    image, status = seen.target_image_reference, seen.running_status
    if not seen.target_model or (image.exact_version and not (is_number(image.exact_version) and image.image)):
        return None
    return Rollout(
        id=seen.id,
        kind=Kind(seen.kind),
        started_by=StartedBy(seen.started_by),
        target=Target(
            seen.target_model,
            image.publisher or "",
            image.offer or "",
            image.sku or "",
            image.version or "",
            image.exact_version,
            image.image if image.exact_version else None,
        ),
        policy=_read_policy(seen.policy),
        started=seconds(status.start_time) or 0.0,
        code=Code(status.code),
        completed=seconds(status.completed_time),
        last_action=status.last_action or "Start",
        last_action_time=seconds(status.last_action_time) or 0.0,
        batch=_read_batch(seen.batch),
        batches_done=seen.batches_done,
        next_batch=seconds(seen.next_batch_time),
        successful=ranges.parse(seen.successful),
        failed=ranges.parse(seen.failed),
        restored=ranges.parse(seen.restored),
        restore_failed=ranges.parse(seen.restore_failed),
        in_progress=ranges.parse(seen.in_progress) | ranges.parse(seen.restoring),
        pending=ranges.parse(seen.pending),
        with_model=seen.with_model,
        from_version=seen.from_version,
        from_model=seen.from_model,
        version_only=seen.version_only,
        never_ran=ranges.parse(seen.never_ran),
        without_surge=seen.without_surge,
        messages={entry.id: entry.message for entry in seen.messages},
        waiting=Waiting(seen.waiting_for.reason, seen.waiting_for.message) if seen.waiting_for else None,
        ending=Ending(seen.ending.reason, seen.ending.message) if seen.ending else None,
        error=_read_error(seen.error),
    )


def _read_policy(seen: api.PolicySnapshot) -> Policy:
    return Policy(
        rolling=RollingUpgradePolicy.model_construct(
            max_batch_instance_percent=seen.max_batch_instance_percent,
            max_unhealthy_instance_percent=seen.max_unhealthy_instance_percent,
            max_unhealthy_upgraded_instance_percent=seen.max_unhealthy_upgraded_instance_percent,
            pause_time_between_batches=seen.pause_time_between_batches or timedelta(),
            prioritize_unhealthy_instances=seen.prioritize_unhealthy_instances,
            enable_cross_zone_upgrade=seen.enable_cross_zone_upgrade,
            rollback_failed_instances_on_policy_breach=seen.rollback_failed_instances_on_policy_breach,
            max_surge=seen.max_surge,
        ),
        health_timeout=300.0 if seen.health_timeout is None else seen.health_timeout.total_seconds(),
        min_ready_time=0.0 if seen.min_ready_time is None else seen.min_ready_time.total_seconds(),
        disable_automatic_rollback=seen.disable_automatic_rollback,
        in_place=seen.replacement_method == "InPlaceIfPossible",
    )


def _read_batch(seen: api.BatchStatus | None) -> Batch | None:
    if seen is None:
        return None
    return Batch(
        seen.number,
        seen.of or seen.number,
        ranges.parse(seen.instances),
        seconds(seen.start_time) or 0.0,
        restore_started=seconds(seen.restore_start_time),
        surge=ranges.parse(seen.surge),
        replaces=ranges.parse(seen.replaces),
    )


def _read_error(seen: api.UpgradeError | None) -> UpgradeError | None:
    if seen is None:
        return None
    details = tuple(Detail(d.code, d.target or "", d.message) for d in seen.details)
    return UpgradeError(seen.code, seen.message, seen.target or "", details)


# --- state -> status


def write(state: State, *, location: str) -> dict[str, Any]:
    """The part of the status that `read` understands; absent values are None, so that a merge patch removes them."""
    rollout = state.rollout
    entries = state.history
    if rollout is not None and rollout.running and rollout.kind is Kind.IMAGE:
        entries = (history.attempt(rollout, location=location), *entries)[: history.KEPT]
    return {
        "acceptedReplicas": state.replicas,
        "currentVersion": state.current_version,
        "currentImage": state.current_image,
        "provenTime": _time(state.proven),
        "waitingSince": _time(state.waiting_since),
        "lastHandledStart": state.handled_start,
        "lastHandledCancel": state.handled_cancel,
        "lastHandledApply": state.handled_apply,
        "lastHandledRestart": state.handled_restart,
        "lastHandledRetry": state.handled_retry,
        "lastHandledModelRollout": state.handled_model_rollout,
        "lastHandledRollback": state.handled_rollback,
        "builds": _write_builds(state.builds),
        "previousBuilds": _write_builds(state.previous) or None,
        "applying": ranges.render(state.applying) or None,
        "clocks": _rows(state.clocks, lambda clock: {"since": _upwards(clock.since), "lost": clock.lost or None}),
        "endedPods": _rows(state.ended, lambda ended: {"count": ended.count, "time": timestamp(ended.time)}),
        "ages": _rows(state.ages, lambda at: {"time": timestamp(at)}),
        "scaleIn": _write_scale_in(state.scale_in),
        "failedTargets": [
            _present(
                version=f.version,
                image=f.image,
                model=f.model,
                policy=f.policy,
                reason=f.reason,
                time=timestamp(f.time),
            )
            for f in state.failed_targets
        ]
        or None,
        "retry": _write_retry(state.retry),
        "checkedModel": _write_checked(state.checked),
        "rollingUpgrade": None if rollout is None else _write_rollout(rollout),
        "osUpgradeHistory": [dict(entry) for entry in entries],
        "rolloutHistory": [dict(entry) for entry in state.rollouts] or None,
    }


def _write_builds(builds: Mapping[int, Build]) -> list[dict[str, str]]:
    groups: defaultdict[Build, list[int]] = defaultdict(list)
    for number, build in builds.items():
        groups[build].append(number)
    ranked = sorted(groups.items(), key=lambda item: (item[0].model, item[0].version, item[0].image, min(item[1])))
    return [
        _present(
            model=build.model,
            version=build.version,
            image=build.image,
            restartTime=_time(build.restart),
            instances=ranges.render(ids),
        )
        for build, ids in ranked
    ]


def _rows(known: Mapping[int, K], write: Callable[[K], dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Entries about instances, grouped by equal values; None without instances."""
    groups: defaultdict[K, list[int]] = defaultdict(list)
    for number, value in known.items():
        groups[value].append(number)
    rows = [_present(instances=ranges.render(ids), **write(value)) for value, ids in groups.items()]
    return sorted(rows, key=lambda row: str(row["instances"])) or None


def _upwards(seconds: float | None) -> str | None:
    """A time from which a deadline counts, rounded up so that no deadline comes early."""
    return None if seconds is None else timestamp(math.ceil(seconds))


def _write_scale_in(scale_in: ScaleIn | None) -> dict[str, Any] | None:
    if scale_in is None:
        return None
    return {
        "from": scale_in.size,
        "startTime": _upwards(scale_in.started),
        "waitingSince": _upwards(scale_in.waiting),
    }


def _write_retry(retry: Retry | None) -> dict[str, Any] | None:
    if retry is None:
        return None
    return _present(model=retry.model, version=retry.version, attempts=retry.attempts, time=timestamp(retry.time))


def _write_checked(checked: Checked | None) -> dict[str, Any] | None:
    if checked is None:
        return None
    return _present(asked=checked.asked, model=checked.model, warning=checked.warning or None)


def _write_rollout(rollout: Rollout) -> dict[str, Any]:
    target, policy = rollout.target, rollout.policy
    return _present(
        id=rollout.id,
        kind=str(rollout.kind),
        startedBy=str(rollout.started_by),
        policy={
            "maxBatchInstancePercent": policy.rolling.max_batch_instance_percent,
            "maxUnhealthyInstancePercent": policy.rolling.max_unhealthy_instance_percent,
            "maxUnhealthyUpgradedInstancePercent": policy.rolling.max_unhealthy_upgraded_instance_percent,
            "pauseTimeBetweenBatches": format_duration(policy.rolling.pause_time_between_batches),
            "prioritizeUnhealthyInstances": policy.rolling.prioritize_unhealthy_instances,
            "enableCrossZoneUpgrade": policy.rolling.enable_cross_zone_upgrade,
            "rollbackFailedInstancesOnPolicyBreach": policy.rolling.rollback_failed_instances_on_policy_breach,
            "maxSurge": policy.rolling.max_surge,
            "replacementMethod": "InPlaceIfPossible" if policy.in_place else "Recreate",
            "healthTimeout": format_duration(timedelta(seconds=policy.health_timeout)),
            "minReadyTime": format_duration(timedelta(seconds=policy.min_ready_time)),
            "disableAutomaticRollback": policy.disable_automatic_rollback,
        },
        targetImageReference=_present(
            publisher=target.publisher,
            offer=target.offer,
            sku=target.sku,
            version=target.reference,
            exactVersion=target.version,
            image=target.image,
        ),
        targetModel=target.model,
        runningStatus=_present(
            code=str(rollout.code),
            startTime=timestamp(rollout.started),
            completedTime=_time(rollout.completed),
            lastAction=rollout.last_action,
            lastActionTime=timestamp(rollout.last_action_time),
        ),
        progress=history.progress(rollout),
        batch=None if rollout.batch is None else _write_batch(rollout.batch),
        batchesDone=rollout.batches_done,
        nextBatchTime=None if rollout.next_batch is None else timestamp(math.ceil(rollout.next_batch)),
        successful=ranges.render(rollout.successful),
        failed=ranges.render(rollout.failed),
        restored=ranges.render(rollout.restored),
        restoreFailed=ranges.render(rollout.restore_failed),
        inProgress=ranges.render(rollout.verifying),
        restoring=ranges.render(rollout.restoring) or None,
        pending=ranges.render(rollout.pending),
        withModel=rollout.with_model or None,
        fromVersion=rollout.from_version,
        fromModel=rollout.from_model,
        versionOnly=rollout.version_only or None,
        neverRan=ranges.render(rollout.never_ran) or None,
        withoutSurge=rollout.without_surge or None,
        messages=[{"id": n, "message": text} for n, text in sorted(rollout.messages.items())[:50]] or None,
        waitingFor=None
        if rollout.waiting is None
        else {"reason": rollout.waiting.reason, "message": rollout.waiting.message},
        ending=None
        if rollout.ending is None
        else {"code": "Cancelled", "reason": rollout.ending.reason, "message": rollout.ending.message},
        rollbackInfo=history.rollback(rollout),
        error=None if rollout.error is None else history.error(rollout.error),
    )


def _write_batch(batch: Batch) -> dict[str, Any]:
    return _present(
        number=batch.number,
        of=batch.of,
        instances=ranges.render(batch.instances),
        startTime=timestamp(batch.started),
        restoreStartTime=_time(batch.restore_started),
        surge=ranges.render(batch.surge) or None,
        replaces=ranges.render(batch.replaces) or None,
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
