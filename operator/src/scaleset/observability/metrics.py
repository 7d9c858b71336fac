"""The metrics of one operator, in a registry of their own: docs/reference/metrics.md."""

import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from scaleset import __version__
from scaleset.observability import catalogue
from scaleset.observability.fleet import Fleet
from scaleset.observability.images import Images
from scaleset.observability.queues import Queue, QueueCollector
from scaleset.observability.reasons import REASONS
from scaleset.observability.series import Seen

REVISION_VARIABLE = "SCALESET_REVISION"
"""The commit that an image was built from, set by the image build."""


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
        self.queues = QueueCollector()
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
            __version__,
            os.environ.get(REVISION_VARIABLE) or "unknown",
            platform.python_version(),
            version("kopf"),
        ).set(1)
        for reason, (types, _) in REASONS.items():
            for kind in types:
                self._events.labels(kind, reason)

    def lead(self, scale_sets: Callable[[], Iterable[Seen]], *, leads: Callable[[], bool]) -> None:
        """Export those sets, and the images, while `leads`. The thread of a scrape calls both."""
        self.fleet.watch(scale_sets, leads=leads)
        self.images.leads = leads

    def watch_queue(self, name: str, queue: Queue) -> None:
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

    def told(self, kind: str, reason: str) -> None:
        """Count an event of that type and reason."""
        self._events.labels(kind, reason).inc()

    def leading(self, name: str, *, leader: bool) -> None:
        self._leader.labels(name).set(1 if leader else 0)
