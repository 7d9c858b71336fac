"""The process and its event loop: signals that end it, the loop's delay, and the garbage collector.

The garbage collector stops the event loop, and the operator creates no garbage that needs it. Modules, models of the
Kubernetes API and records of pods live as long as the process, and a full collection walks all of them: 53 ms with
10,000 pods, in the middle of other work. So existing objects are set aside, and collections are rarer, since parsed
JSON has many containers and no cycles.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any

ALLOCATIONS = 10_000
"""Net new containers before a collection of the youngest; Python's default of 700 is ten pods of a list."""
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
    """Make collections rarer; called at the start, after all imports."""
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, middle, old)


def freeze_objects() -> None:
    """Exclude existing objects from collection; called once, after the first lists."""
    gc.collect()
    gc.freeze()
