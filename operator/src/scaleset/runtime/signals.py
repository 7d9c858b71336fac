"""The signals that end the process: SIGTERM and SIGINT."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


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
