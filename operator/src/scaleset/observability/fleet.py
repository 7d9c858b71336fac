"""Metrics of ScaleSets: gauges of their last observed state, and counters that start at zero.

The series of a set exist as long as the set: a scrape reads them from the watched sets and from one record per set,
which is removed with it.

Counters count the difference of two states, the second of which was written (planner.changes). After a lost reply the
difference is counted at the next reconcile. A process that is killed between a write and its count loses that count:
its successor finds the state written and does not count it again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from time import monotonic

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from scaleset.kube.resources import Key
from scaleset.observability import catalogue, series
from scaleset.observability.series import Families
from scaleset.planner.changes import ROLLOUT_RESULTS, STARTED_BY, Changes, changes
from scaleset.planner.plan import Figures, Plan
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.state import Rollout
from scaleset.records.custom_objects import ScaleSetObject


@dataclass(slots=True)
class _Record:
    """The record of one set."""

    uid: str
    figures: Figures | None = None
    rollout: Rollout | None = None
    mode: str = ""
    came_from: str = ""
    """Version that the rollout started from: after its end the status does not show it any more."""
    known: bool = False
    """Whether `rollout` was ever read; before that nothing is counted."""
    progressed: float = 0.0
    waiting: tuple[str, float] | None = None
    """Why no batch of the running rollout runs, and since when by the monotonic clock."""
    rollouts: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: dict[str, float] = field(default_factory=dict)
    upgrades: Counter[str] = field(default_factory=Counter)
    restores: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)


class Fleet(Collector):
    """Collects the metrics of all sets; histograms over all sets are in the registry itself."""

    def __init__(self, registry: CollectorRegistry, *, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._records: dict[Key, _Record] = {}
        self._objects: Callable[[], Iterable[ScaleSetObject]] = tuple
        self._leads: Callable[[], bool] = bool
        self._durations = catalogue.ROLLOUT_DURATION.histogram(registry)
        self._batches = catalogue.BATCH_DURATION.histogram(registry)
        self._instances = catalogue.UPGRADE_DURATION.histogram(registry)
        registry.register(self)

    def watch(self, objects: Callable[[], Iterable[ScaleSetObject]], *, leads: Callable[[], bool]) -> None:
        """Export those sets while `leads`. The thread of a scrape calls both."""
        self._objects, self._leads = objects, leads

    # Notifications

    def added(self, seen: ScaleSetObject) -> None:
        """A set was added: its counters begin at zero."""
        self._record(seen)

    def gone(self, key: Key) -> None:
        """The set was removed."""
        self._records.pop(key, None)

    def refused(self, seen: ScaleSetObject) -> None:
        """The set's spec cannot be parsed, so its instances are not evaluated: their figures are removed."""
        record = self._record(seen)
        record.figures = None
        self._wait(record)

    def observed(self, seen: ScaleSetObject, snapshot: Snapshot) -> None:
        """The status before a decision, including a write whose answer was lost."""
        self._advance(self._record(seen), snapshot.state.rollout, snapshot)

    def decided(self, seen: ScaleSetObject, snapshot: Snapshot, plan: Plan) -> None:
        """The decision was written to the status."""
        record = self._record(seen)
        self._advance(record, plan.state.rollout, snapshot)
        record.figures = plan.figures
        record.came_from = plan.figures.from_version or record.came_from
        record.mode = snapshot.policy.mode if snapshot.policy is not None else ""
        if snapshot.fresh:
            for (_, health), number in plan.figures.instances.items():
                record.checks[health.lower()] += number
        self._wait(record)

    def _record(self, seen: ScaleSetObject) -> _Record:
        key = (seen.namespace, seen.name)
        record = self._records.get(key)
        if record is None or record.uid != seen.uid:
            record = self._records[key] = _Record(seen.uid)
        return record

    def _advance(self, record: _Record, rollout: Rollout | None, snapshot: Snapshot) -> None:
        if record.known:
            found = changes(record.rollout, rollout, snapshot)
            self._count(record, found)
            if found.progress:
                record.progressed = snapshot.now
        elif rollout is not None:
            record.progressed = series.last_moved(rollout)
        if rollout is None or record.rollout is None or rollout.id != record.rollout.id:
            record.came_from = ""
        record.rollout, record.known = rollout, True

    def _count(self, record: _Record, found: Changes) -> None:
        if found.ended is not None:
            record.rollouts[found.ended.result, found.ended.started_by] += 1
            self._durations.labels(found.ended.result).observe(found.ended.seconds)
        if found.batch is not None and found.batch.seconds is not None:
            self._batches.labels(found.batch.result).observe(found.batch.seconds)
        for instance in found.instances:
            record.upgrades[instance.result] += 1
            if instance.seconds is not None:
                self._instances.labels(instance.result).observe(instance.seconds)
        record.restores.update(found.restores)

    def _wait(self, record: _Record) -> None:
        """Add the time waited so far, and restart the measurement."""
        now = self._now()
        if record.waiting is not None:
            reason, since = record.waiting
            record.waits[reason] = record.waits.get(reason, 0.0) + now - since
        rollout, figures = record.rollout, record.figures
        waits = rollout is not None and rollout.running and rollout.batch is None
        record.waiting = (figures.blocked, now) if waits and figures is not None and figures.blocked else None

    # Scrapes

    def collect(self) -> Iterator[Metric]:
        families = {each.name: each.family() for each in series.OF_SETS}
        for seen in self._objects() if self._leads() else ():
            if not seen.deleting:
                self._collect(families, seen)
        yield from families.values()

    def _collect(self, families: Families, seen: ScaleSetObject) -> None:
        key = (seen.namespace, seen.name)
        record = self._records.get(key)
        if record is None or record.uid != seen.uid:
            series.of_object(families, key, seen, mode="")
            return
        series.of_object(families, key, seen, mode=record.mode)
        figures = record.figures
        if figures is not None:
            series.of_figures(families, key, figures)
            series.of_rollout(families, key, record.rollout, from_version=record.came_from, moved=record.progressed)
        self._counts(families, key, record)

    def _counts(self, families: Families, key: Key, record: _Record) -> None:
        waits, waiting = record.waits.copy(), record.waiting
        if waiting is not None:
            waits[waiting[0]] = waits.get(waiting[0], 0.0) + self._now() - waiting[1]
        for by in product(ROLLOUT_RESULTS, STARTED_BY):
            families[catalogue.ROLLOUTS.name].add_metric((*key, *by), record.rollouts[by])
        for reason in catalogue.WAITS:
            families[catalogue.ROLLOUT_WAIT.name].add_metric((*key, reason), waits.get(reason, 0.0))
        for definition, counts in (
            (catalogue.UPGRADES, record.upgrades),
            (catalogue.RESTORES, record.restores),
            (catalogue.HEALTH_CHECKS, record.checks),
        ):
            ((_, values),) = definition.values
            for value in values:
                families[definition.name].add_metric((*key, value), counts[value])
