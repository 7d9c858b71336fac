"""Metrics of the process: reconciles, queues, calls to the API server, leadership.

The names are those of controller-runtime and client-go where they have one, so that dashboards made for operators in
Go work.
"""

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scaleset import __version__

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Queue(Protocol):
    """The figures of a work queue."""

    adds: int
    retries: int

    @property
    def depth(self) -> int: ...
    @property
    def processing(self) -> int: ...
    def unfinished_work(self) -> float: ...
    def longest_running(self) -> float: ...


class QueueCollector(Collector):
    """Reads the figures of the queues when it is scraped."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}

    def collect(self) -> Iterator[Metric]:
        yield self._gauge("workqueue_depth", "Keys that wait to be reconciled.", [(n, q.depth) for n, q in self._all()])
        for name, text, values in (
            ("workqueue_adds", "Keys added since the start.", [(n, q.adds) for n, q in self._all()]),
            ("workqueue_retries", "Keys added again after an error.", [(n, q.retries) for n, q in self._all()]),
        ):
            counter = CounterMetricFamily(name, text, labels=["name"])
            for label, value in values:
                counter.add_metric([label], value)
            yield counter
        yield self._gauge(
            "workqueue_unfinished_work_seconds",
            "Seconds that the reconciles running now have taken so far, in sum.",
            [(n, q.unfinished_work()) for n, q in self._all()],
        )
        yield self._gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the longest of the reconciles running now has taken so far.",
            [(n, q.longest_running()) for n, q in self._all()],
        )
        workers = GaugeMetricFamily(
            "controller_runtime_active_workers", "Reconciles that run now.", labels=["controller"]
        )
        for name, queue in self._all():
            workers.add_metric([name], queue.processing)
        yield workers

    def _all(self) -> Iterable[tuple[str, Queue]]:
        return sorted(self.queues.items())

    @staticmethod
    def _gauge(name: str, text: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(name, text, labels=["name"])
        for queue, value in values:
            gauge.add_metric([queue], value)
        return gauge


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self, *, host: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no annotation there
        self.registry = CollectorRegistry()
        self.host = host
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.queues = QueueCollector()
        self.registry.register(self.queues)
        self._results = Counter(
            "controller_runtime_reconcile",
            "Reconciles by result: success, requeue_after or error.",
            ["controller", "result"],
            registry=self.registry,
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed.", ["controller"], registry=self.registry
        )
        self._seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Seconds that a reconcile takes.",
            ["controller"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._waits = Histogram(
            "workqueue_queue_duration_seconds",
            "Seconds that a key waits to be reconciled.",
            ["name"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._work = Histogram(
            "workqueue_work_duration_seconds",
            "Seconds that a key is worked on.",
            ["name"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "rest_client_requests",
            "Requests to the API server by method and status code; <error> is one without a response.",
            ["code", "method", "host"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Seconds until the API server's response.",
            ["method", "host"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._leader = Gauge(
            "leader_election_master_status", "1 while this process holds the lease.", ["name"], registry=self.registry
        )
        Gauge(
            "scaleset_operator_build_info",
            "Always 1; what is running.",
            ["version", "python_version", "kopf_version"],
            registry=self.registry,
        ).labels(__version__, platform.python_version(), version("kopf")).set(1)

    def watch_queue(self, name: str, queue: Queue) -> None:
        """Export the figures of a queue, and its controller's from zero on."""
        self.queues.queues[name] = queue
        self._errors.labels(name)
        for result in ("success", "requeue_after", "error"):
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

    def leading(self, name: str, *, leader: bool) -> None:
        self._leader.labels(name).set(1 if leader else 0)
