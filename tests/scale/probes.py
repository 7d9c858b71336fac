"""What is measured of a running operator: its own metrics, what the kernel counts of it, and its event loop."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Self

import urllib3

from tests.cluster.harness.operator import Operator
from tests.cluster.test_endpoints import Samples, samples, total
from tests.cluster.test_figures import memory, processor

WRITES = ("POST", "PUT", "PATCH", "DELETE")
SCRAPE_SECONDS = 2.0


class Reading(NamedTuple):
    """The operator's counters at one moment."""

    at: float
    cpu: float
    memory: float
    metrics: Samples

    @property
    def writes(self) -> float:
        """Requests that write, those of the lease included."""
        return sum(total(self.metrics, "rest_client_requests_total", method=method) for method in WRITES)

    @property
    def waited(self) -> float:
        """Seconds that writes waited for their turn, in sum."""
        return sum(total(self.metrics, "rest_client_rate_limiter_duration_seconds_sum", verb=verb) for verb in WRITES)

    @property
    def reconciles(self) -> float:
        return total(self.metrics, "controller_runtime_reconcile_total", controller="scaleset")

    @property
    def depth(self) -> float:
        return total(self.metrics, "workqueue_depth", name="scaleset")


def read(operator: Operator) -> Reading:
    return Reading(monotonic(), processor(operator.pid), memory(operator.pid), samples(operator))


class Series:
    """`with Series(operator) as series:` reads it every two seconds meanwhile."""

    def __init__(self, operator: Operator) -> None:
        self.readings: list[Reading] = []
        self._operator = operator
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.readings.append(read(self._operator))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.readings.append(read(self._operator))

    def _run(self) -> None:
        while not self._end.wait(SCRAPE_SECONDS):
            try:
                self.readings.append(read(self._operator))
            except (urllib3.exceptions.HTTPError, OSError):
                continue  # busy; that shows in the other figures

    def over(self, figure: Callable[[Reading], float]) -> float:
        """By how much a counter grew."""
        return figure(self.readings[-1]) - figure(self.readings[0])

    @property
    def seconds(self) -> float:
        return self.over(lambda reading: reading.at)

    @property
    def most_memory(self) -> float:
        return max(reading.memory for reading in self.readings)

    def answer(self) -> float:
        """Seconds that the API server took to answer a write, on average: how busy everybody else was."""
        name = "rest_client_request_duration_seconds"
        first, last = self.readings[0].metrics, self.readings[-1].metrics
        took, count = (
            sum(total(last, each, method=verb) - total(first, each, method=verb) for verb in WRITES)
            for each in (f"{name}_sum", f"{name}_count")
        )
        return took / max(1.0, count)

    def depths(self, parts: int = 5) -> list[float]:
        """The deepest that the queue was in each fifth of the time."""
        size = max(1, -(-len(self.readings) // parts))
        found = [reading.depth for reading in self.readings]
        return [max(found[n : n + size]) for n in range(0, len(found), size)]


@dataclass(frozen=True, slots=True)
class Block:
    """What held the event loop for more than 20 ms of processor time."""

    cpu: float
    wall: float
    what: str


def blocks(path: Path, *, since: float, until: float) -> list[Block]:
    """The longest first."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = [Block(line["cpu"], line["wall"], line["what"]) for line in lines if since <= line["at"] <= until]
    return sorted(found, key=lambda block: -block.cpu)
