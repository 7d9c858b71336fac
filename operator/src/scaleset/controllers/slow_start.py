"""Slow start: the number of concurrent requests for one set depends on the results of the last ones.

It is one at first and after an error, and one more for each success, so 1, 2, 4, 8 with every round, as StatefulSet and
ReplicaSet create pods. So a quota or a webhook that refuses gets a few requests and not a thousand.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from scaleset.kube.rate_limit import CONCURRENCY

V = TypeVar("V")


class Pace:
    """The pace of one set, kept with its memory."""

    def __init__(self) -> None:
        self.width = 1

    def slow_down(self) -> None:
        """Start again with one request."""
        self.width = 1

    async def run(
        self,
        calls: Sequence[Callable[[], Coroutine[Any, Any, V]]],
        *,
        failed: Callable[[V | Exception], bool],
        stops: Callable[[V | Exception], bool],
    ) -> list[V | Exception]:
        """Make calls in order and return their results, or errors, in order. After a result that `stops`, no call is
        begun any more, so there may be fewer results than calls. After a result that `failed`, the next calls are made
        one by one again.
        """
        begun: list[asyncio.Task[V]] = []
        running: set[asyncio.Task[V]] = set()
        stopped = False
        try:
            while True:
                while not stopped and len(running) < self.width and len(begun) < len(calls):
                    begun.append(asyncio.create_task(calls[len(begun)]()))
                    running.add(begun[-1])
                if not running:
                    return [_result(task) for task in begun]
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                results = list(map(_result, done))
                stopped |= any(map(stops, results))
                bad = stopped or any(map(failed, results))
                self.width = 1 if bad else min(self.width + len(results), CONCURRENCY)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)


def _result(task: "asyncio.Task[V]") -> V | Exception:
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, Exception):
        raise error
    return error
