"""The metrics of one operator, in a registry of their own: docs/reference/metrics.md."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from scaleset import __version__
from scaleset.observability import catalogue
from scaleset.observability.events import REASONS
from scaleset.observability.fleet import Fleet
from scaleset.planner.gallery import GalleryVersion
from scaleset.records.custom_objects import ScaleSetObject
from scaleset.runtime.queue import WorkQueue

REVISION_VARIABLE = "SCALESET_REVISION"
"""The commit that an image was built from, set by the image build."""


_OF_QUEUES: tuple[tuple[catalogue.Definition, Callable[[WorkQueue[Any]], float]], ...] = (
    (catalogue.QUEUE_DEPTH, lambda queue: queue.depth),
    (catalogue.QUEUE_UNFINISHED, lambda queue: queue.unfinished_work()),
    (catalogue.QUEUE_LONGEST, lambda queue: queue.longest_running()),
    (catalogue.ACTIVE_WORKERS, lambda queue: queue.processing),
    (catalogue.QUEUE_ADDS, lambda queue: queue.adds),
    (catalogue.QUEUE_RETRIES, lambda queue: queue.retries),
)


class Queues(Collector):
    """Reads the figures of the work queues at a scrape, by the name of their controller."""

    def __init__(self) -> None:
        self.queues: dict[str, WorkQueue[Any]] = {}

    def collect(self) -> Iterator[Metric]:
        queues = sorted(self.queues.items())
        for definition, read in _OF_QUEUES:
            family = definition.family()
            for name, queue in queues:
                family.add_metric([name], read(queue))
            yield family


class Images(Collector):
    """The published versions and their times, by group, as of their last reconcile."""

    def __init__(self) -> None:
        self.leads: Callable[[], bool] = bool
        """Called by the thread of a scrape: only the leader exports versions."""
        self._groups: dict[tuple[str, str], tuple[GalleryVersion, ...]] = {}

    def reconciled(self, group: tuple[str, str], versions: Iterable[GalleryVersion]) -> None:
        """Set the versions of a group, one of each number; an empty group is removed."""
        found = tuple(versions)
        if found:
            self._groups[group] = found
        else:
            self._groups.pop(group, None)

    def collect(self) -> Iterator[Metric]:
        family = catalogue.PUBLISHED.family()
        for versions in list(self._groups.values()) if self.leads() else ():
            for each in versions:
                gallery, publisher, offer, sku = each.definition
                image, excluded = f"{publisher}/{offer}/{sku}", "true" if each.excluded else "false"
                family.add_metric((gallery, image, each.version, excluded), each.created)
        yield family


class Metrics:
    """Metrics that the parts of the operator report to. Collectors read state at a scrape; everything else is counted
    here.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no annotation there
        registry = self.registry = CollectorRegistry()
        self.host = ""
        """Host of the API server, once it is known."""
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.fleet = Fleet(registry)
        self.images = Images()
        registry.register(self.images)
        self.queues = Queues()
        registry.register(self.queues)
        self._results = catalogue.RECONCILES.counter(registry)
        self._errors = catalogue.RECONCILE_ERRORS.counter(registry)
        self._seconds = catalogue.RECONCILE_SECONDS.histogram(registry)
        self._waits = catalogue.QUEUE_WAIT.histogram(registry)
        self._work = catalogue.QUEUE_WORK.histogram(registry)
        self._requests = catalogue.REQUESTS.counter(registry)
        self._request_seconds = catalogue.REQUEST_SECONDS.histogram(registry)
        self._request_waits = catalogue.REQUEST_WAIT.histogram(registry)
        self._lags = catalogue.LOOP_LAG.histogram(registry)
        self._leader = catalogue.LEADER.gauge(registry)
        self._events = catalogue.EVENTS.counter(registry)
        catalogue.BUILD.gauge(registry).labels(
            __version__, os.environ.get(REVISION_VARIABLE) or "unknown", platform.python_version(), version("kopf")
        ).set(1)
        for reason, (types, _) in REASONS.items():
            for kind in types:
                self._events.labels(kind, reason)

    def lead(self, scale_sets: Callable[[], Iterable[ScaleSetObject]], *, leads: Callable[[], bool]) -> None:
        """Export those sets, and the images, while `leads`. The thread of a scrape calls both."""
        self.fleet.watch(scale_sets, leads=leads)
        self.images.leads = leads

    def watch_queue(self, name: str, queue: WorkQueue[Any]) -> None:
        """Export the figures of a queue, and those of its controller from zero on."""
        self.queues.queues[name] = queue
        self._errors.labels(name)
        self._seconds.labels(name)
        self._waits.labels(name)
        self._work.labels(name)
        for result in dict(catalogue.RECONCILES.values)["result"]:
            self._results.labels(name, result)

    def reconciled(self, controller: str, result: str, seconds: float) -> None:
        self._results.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()

    def waited(self, queue: str, seconds: float) -> None:
        self._waits.labels(queue).observe(seconds)

    def worked(self, queue: str, seconds: float) -> None:
        self._work.labels(queue).observe(seconds)

    def requested(self, method: str, code: str, seconds: float) -> None:
        self._requests.labels(code, method, self.host).inc()
        self._request_seconds.labels(method, self.host).observe(seconds)

    def held_back(self, method: str, seconds: float) -> None:
        """Record the time that a request waited for its turn."""
        self._request_waits.labels(method, self.host).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Record the delay of the event loop."""
        self._lags.observe(seconds)

    def event_recorded(self, kind: str, reason: str) -> None:
        """Count an event of that type and reason."""
        self._events.labels(kind, reason).inc()

    def leading(self, name: str, *, leader: bool) -> None:
        self._leader.labels(name).set(1 if leader else 0)
