"""The lag of an event loop is what something held it for, and the garbage collector holds it but once for an object."""

import asyncio
import gc
import time

import pytest

from scaleset.runtime.process import collect_less, watch_lag


@pytest.fixture
def collecting_less():
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    collect_less()
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_a_long_collection_found_alive_is_not_walked_again(collecting_less):
    aside = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() == aside, "a short one sets nothing aside"
    kept = [[number] for number in range(2_000_000)]
    gc.collect()
    assert gc.get_freeze_count() > aside + len(kept) // 2, "what came after the last long one may be left"
    began = time.thread_time()
    gc.collect()
    assert time.thread_time() - began < 0.2


async def test_what_holds_the_loop_is_seen():
    lags: list[float] = []
    watching = asyncio.create_task(watch_lag(lags.append, interval=0.01))
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what is measured
    await asyncio.sleep(0.05)
    watching.cancel()
    assert max(lags) >= 0.28
    assert min(lags) >= 0
