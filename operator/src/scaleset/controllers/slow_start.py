"""Slow start: how many requests for one set are under way at a time, by how the last ones went.

One at first and after an error, one more for each that succeeds, so 1, 2, 4, 8 with every answer, as StatefulSet and
ReplicaSet create pods. A quota or a webhook that refuses is so met with a few requests and not with a thousand.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from scaleset.kube.rate_limit import CONCURRENCY

V = TypeVar("V")


class Pace:
    """Of one set, for as long as it is remembered."""

    def __init__(self) -> None:
        self.width = 1

    def slow_down(self) -> None:
        """Begin with one again."""
        self.width = 1

    async def run(
        self,
        calls: Sequence[Callable[[], Coroutine[Any, Any, V]]],
        *,
        failed: Callable[[V | Exception], bool],
        stops: Callable[[V | Exception], bool],
    ) -> list[V | Exception]:
        """Make calls in their order and return their results, or errors, in that order. After one whose result `stops`
        none is begun any more, so there may be fewer results than calls; after one that `failed` they are made one by
        one again.
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
