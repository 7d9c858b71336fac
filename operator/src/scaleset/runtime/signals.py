"""Termination signals: SIGTERM and SIGINT."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def told_to_end() -> "asyncio.Task[str]":
    """A task that ends at the first SIGTERM or SIGINT. Further signals have no effect: the shutdown is bounded."""
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    return asyncio.create_task(signals.get(), name="signal")


async def before(told: "asyncio.Task[str]", work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before the signal; if not, it is cancelled."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return not told.done()
