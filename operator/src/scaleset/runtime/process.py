"""The process and its event loop: signals that end it, the loop's delay, and the garbage collector.

The garbage collector stops the event loop, and the operator creates no garbage that needs it. Modules, models of the
Kubernetes API and records of pods live as long as the process, and a full collection walks all of them: 0.3 s with
19,000 pods, half a microsecond an object. So a full collection comes after few new objects, and what a long one has
found alive is set aside: no later one walks it. While objects are listed there is no collection (`kube.client`).
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Mapping
from time import thread_time
from typing import Any

THRESHOLDS = (10_000, 2, 2)
"""Net new containers before a collection of the youngest, and collections before one of the next generation: a full one
walks some 90,000. Python's default of 700 is two pods of a list.
"""
FULL = 2
"""The generation that a full collection is about."""
LONG_COLLECTION_SECONDS = 0.03
LAG_INTERVAL_SECONDS = 0.05


def stop_signal() -> "asyncio.Task[str]":
    """A task that ends with the first SIGTERM or SIGINT. Further ones change nothing: the end is bounded anyway."""
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    return asyncio.create_task(signals.get(), name="signal")


async def unless_stopped(stopped: "asyncio.Task[str]", work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work ended before the signal. If not, it is cancelled."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return not stopped.done()


async def watch_lag(report: Callable[[float], None], *, interval: float = LAG_INTERVAL_SECONDS) -> None:
    """Sleep repeatedly, and report by how many seconds each wake-up was late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        report(max(0.0, loop.time() - due))


def collect_less() -> None:
    """Make collections shorter; called at the start, after all imports."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.collect()  # of nothing: a full one waits for a quarter of what the last one has left
    gc.callbacks.append(_Collections().notified)


class _Collections:
    """Sets aside what a long full collection has found alive. A short one costs nothing that matters, and what is set
    aside can never be collected as part of a cycle.
    """

    def __init__(self) -> None:
        self._began = 0.0

    def notified(self, phase: str, details: Mapping[str, int]) -> None:
        if details["generation"] < FULL:
            return
        if phase == "start":
            self._began = thread_time()
        elif thread_time() - self._began > LONG_COLLECTION_SECONDS:
            gc.freeze()
