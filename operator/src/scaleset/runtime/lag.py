"""How late the event loop is: what one task may not do to all the others, seen from outside."""

import asyncio
from collections.abc import Callable

INTERVAL_SECONDS = 0.05


async def watch_lag(tell: Callable[[float], None], *, interval: float = INTERVAL_SECONDS) -> None:
    """Sleep again and again and tell by how many seconds it came back late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        tell(max(0.0, loop.time() - due))
