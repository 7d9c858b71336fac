"""The lag of an event loop is what something held it for."""

import asyncio
import time

from scaleset.runtime.process import watch_lag


async def test_what_holds_the_loop_is_seen():
    lags: list[float] = []
    watching = asyncio.create_task(watch_lag(lags.append, interval=0.01))
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what is measured
    await asyncio.sleep(0.05)
    watching.cancel()
    assert max(lags) >= 0.28
    assert min(lags) >= 0
