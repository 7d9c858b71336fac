"""Metrics of a simulated set: the operator's own, told of what the planner decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.observability.metrics import Metrics
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from scaleset.records.custom_objects import CustomObject, ScaleSetObject
from tests.simulation.scenes import running
from tests.simulation.world import OWNER, World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def observed(spec: ScaleSetSpec | None, status: Mapping[str, Any] | None = None, **fields: Any) -> ScaleSetObject:
    """A ScaleSet as the operator watches it."""
    known = CustomObject(
        namespace=OWNER.namespace,
        name=OWNER.name,
        uid=OWNER.uid,
        resource_version="1",
        generation=1,
        created=0.0,
        deleting=False,
        annotations={},
        spec=spec,
        problem="",
        status=status or {},
    )
    return replace(known, **fields)


class Metered:
    """Metrics that follow a world from now on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.metrics = Metrics()
        self.fleet = self.metrics.fleet
        self.leads = True
        self.fleet.watch(self._objects, leads=lambda: self.leads)
        self.fleet.added(self.seen)
        world.acted = self.acted

    @property
    def seen(self) -> ScaleSetObject:
        return observed(self.world.spec, self.world.status, generation=self.world.generation)

    def _objects(self) -> Iterator[ScaleSetObject]:
        yield self.seen

    def acted(self, snapshot: Snapshot, plan: Plan) -> None:
        self.fleet.observed(self.seen, snapshot)
        self.fleet.decided(self.seen, snapshot, plan)

    def scrape(self) -> Samples:
        return scrape(self.metrics)

    def value(self, name: str, **labels: str) -> float:
        """The sum over all other labels."""
        return total(self.scrape(), name, **labels)

    def by(self, name: str, label: str) -> dict[str, float]:
        """What is not zero, by the values of a label."""
        found: dict[str, float] = {}
        for (each, labels), value in self.scrape().items():
            if each == name and value:
                key = dict(labels)[label]
                found[key] = found.get(key, 0.0) + value
        return found


def scrape(metrics: Metrics) -> Samples:
    """Every sample by name and labels, in the words of Prometheus' own parser."""
    text = generate_latest(metrics.registry).decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    return sum(v for (each, have), v in found.items() if each == name and labels.items() <= dict(have).items())


def of_sets(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if "scaleset" in dict(key[1])}


def upgraded(version: str = "2.0.0", **changes: object) -> Metered:
    """A set that a rollout to that version has gone over."""
    meter = Metered(running(10))
    meter.world.publish(version, **changes)
    meter.world.run(2000)
    return meter
