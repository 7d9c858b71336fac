"""The figures of the work queues at a scrape."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from scaleset.observability import catalogue


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


_GAUGES: tuple[tuple[catalogue.Definition, Callable[[Queue], float]], ...] = (
    (catalogue.QUEUE_DEPTH, lambda queue: queue.depth),
    (catalogue.QUEUE_UNFINISHED, lambda queue: queue.unfinished_work()),
    (catalogue.QUEUE_LONGEST, lambda queue: queue.longest_running()),
    (catalogue.ACTIVE_WORKERS, lambda queue: queue.processing),
)
_COUNTERS: tuple[tuple[catalogue.Definition, Callable[[Queue], float]], ...] = (
    (catalogue.QUEUE_ADDS, lambda queue: queue.adds),
    (catalogue.QUEUE_RETRIES, lambda queue: queue.retries),
)


class QueueCollector(Collector):
    """Reads the figures of the queues, by the name of their controller."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}

    def collect(self) -> Iterator[Metric]:
        queues = sorted(self.queues.items())
        for definition, read in _GAUGES:
            gauge = definition.gauges()
            for name, queue in queues:
                gauge.add_metric([name], read(queue))
            yield gauge
        for definition, read in _COUNTERS:
            counter = definition.counters()
            for name, queue in queues:
                counter.add_metric([name], read(queue))
            yield counter
