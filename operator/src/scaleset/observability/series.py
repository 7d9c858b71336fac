"""The series of one ScaleSet: samples from its object, figures and rollout."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from scaleset.kube.resources import Key
from scaleset.observability import catalogue
from scaleset.planner.plan import Figures
from scaleset.planner.state import Rollout
from scaleset.records.custom_objects import ScaleSetObject

Families = Mapping[str, GaugeMetricFamily | CounterMetricFamily]
"""The metric families to fill, by name."""

OF_SETS = tuple(each for each in catalogue.CATALOGUE if each.labels[:2] == catalogue.SET)


def of_object(families: Families, key: Key, seen: ScaleSetObject, *, mode: str) -> None:
    """Samples from the object itself, even if the operator is behind. Its status may be written by anybody."""
    status = seen.status
    families[catalogue.GENERATION.name].add_metric(key, seen.generation)
    families[catalogue.OBSERVED_GENERATION.name].add_metric(key, _number(status.get("observedGeneration")))
    families[catalogue.STATUS_REPLICAS.name].add_metric(key, _number(status.get("replicas")))
    for kind, truth in _conditions(status).items():
        for value in catalogue.TRUTHS:
            families[catalogue.CONDITION.name].add_metric((*key, kind, value), truth == value)
    if seen.spec is not None:
        reference, policy = seen.spec.image_reference, seen.spec.upgrade_policy_ref
        image = f"{reference.publisher}/{reference.offer}/{reference.sku}"
        families[catalogue.INFO.name].add_metric((*key, image, policy.name if policy else "", mode), 1)
        families[catalogue.SPEC_REPLICAS.name].add_metric(key, seen.spec.replicas)


def _conditions(status: Mapping[str, Any]) -> dict[str, str]:
    found = status.get("conditions")
    conditions = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []
    truths = {each.get("type"): str(each.get("status")).lower() for each in conditions}
    return {kind: truths[kind] for kind in catalogue.CONDITIONS if kind in truths}


def _number(value: Any) -> float:
    return value if isinstance(value, int) else 0


def of_figures(families: Families, key: Key, figures: Figures) -> None:
    """Samples from the last decision."""
    for (version, health), count in figures.instances.items():
        families[catalogue.INSTANCES.name].add_metric((*key, version, health), count)
    for reason in catalogue.BLOCKS:
        families[catalogue.BLOCKED.name].add_metric((*key, reason), reason == figures.blocked)
    families[catalogue.BEHIND.name].add_metric(key, figures.behind)
    families[catalogue.BATCH.name].add_metric(key, figures.batch)
    families[catalogue.BATCHES.name].add_metric(key, figures.batches)


def of_rollout(families: Families, key: Key, rollout: Rollout | None, *, from_version: str, moved: float) -> None:
    """Samples about the running or last rollout; zeros without any."""
    families[catalogue.IN_PROGRESS.name].add_metric(key, rollout is not None and rollout.running)
    status = _status(rollout)
    for value in catalogue.STATUSES:
        families[catalogue.ROLLOUT_STATUS.name].add_metric((*key, value), value == status)
    for state, count in _instances(rollout).items():
        families[catalogue.ROLLOUT_INSTANCES.name].add_metric((*key, state), count)
    if rollout is not None:
        to_version = rollout.target.version or from_version
        labels = (from_version, to_version, rollout.started_by.lower())
        families[catalogue.TARGET.name].add_metric((*key, *labels), 1)
        families[catalogue.STARTED.name].add_metric(key, rollout.started)
        families[catalogue.PROGRESSED.name].add_metric(key, moved)


def _status(rollout: Rollout | None) -> str:
    if rollout is None:
        return "Idle"
    waiting = rollout.waiting.reason if rollout.waiting is not None else ""
    return "Paused" if rollout.running and waiting in ("Pause", "Suspended") else rollout.code.value


def _instances(rollout: Rollout | None) -> dict[str, int]:
    if rollout is None:
        return dict.fromkeys(catalogue.STATES, 0)
    return {
        "pending": len(rollout.pending),
        "in_progress": len(rollout.in_progress),
        "succeeded": len(rollout.successful),
        "failed": len(rollout.failed - rollout.restored - rollout.in_progress),
        "restored": len(rollout.restored),
    }


def last_moved(rollout: Rollout) -> float:
    """When a rollout last made progress, according to its status."""
    times = [rollout.started, rollout.completed]
    times += [rollout.batch.started, rollout.batch.restore_started] if rollout.batch is not None else []
    return max(time for time in times if time is not None)
