"""Measures the delay of the event loop, which a long-running task causes for all others."""

import asyncio
from collections.abc import Callable

INTERVAL_SECONDS = 0.05


async def watch_lag(report: Callable[[float], None], *, interval: float = INTERVAL_SECONDS) -> None:
    """Sleep repeatedly, and report by how many seconds each wake-up was late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        report(max(0.0, loop.time() - due))
