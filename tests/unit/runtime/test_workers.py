"""Workers: one per key, back-off per key, and nothing kills them."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from scaleset.kube.errors import Conflict, TooManyRequests, Unavailable
from scaleset.runtime.queue import WorkQueue
from scaleset.runtime.workers import Workers
from tests.unit.virtual_time import in_virtual_time, now


@asynccontextmanager
async def working(reconcile: Callable[[str], Awaitable[float | None]], *, concurrency: int = 4, on_result=None):
    queue: WorkQueue[str] = WorkQueue(jitter=lambda: 1.0, monotonic=now)
    workers = Workers(queue, reconcile, concurrency=concurrency, on_result=on_result or (lambda *_: None))
    task = asyncio.create_task(workers.run())
    try:
        yield queue, workers
    finally:
        await workers.stop(0)
        await task


@in_virtual_time
async def test_a_reconcile_is_called_again_when_it_asked_for():
    calls = []

    async def reconcile(key):
        calls.append((key, round(now() - began, 3)))
        return 5.0 if len(calls) < 3 else None

    async with working(reconcile) as (queue, _):
        began = now()
        queue.add("a")
        await asyncio.sleep(100)
    assert calls == [("a", 0), ("a", 5), ("a", 10)]


async def test_looks_that_wait_for_nothing_let_others_have_their_turn():
    looks: list[int] = []

    async def reconcile(key):
        looks[-1] += 1

    async with working(reconcile, concurrency=1) as (queue, _):
        for number in range(100):
            queue.add(str(number))
        while sum(looks) < 100:
            looks.append(0)
            await asyncio.sleep(0)
    assert max(looks) <= 2, "looks in one turn of the loop"


@in_virtual_time
async def test_keys_run_at_the_same_time_but_one_key_never_twice():
    running: Counter[str] = Counter()
    most, total = 0, 0
    chance = random.Random(5)

    async def reconcile(key):
        nonlocal most, total
        running[key] += 1
        total += 1
        assert running[key] == 1
        most = max(most, running.total())
        await asyncio.sleep(chance.random())
        running[key] -= 1

    async with working(reconcile, concurrency=3) as (queue, workers):
        for _ in range(300):
            queue.add(chance.choice("abcdefgh"))
            await asyncio.sleep(chance.random() / 10)
        await asyncio.sleep(10)
        assert workers.active == 0
    assert most == 3
    assert total > 50


@in_virtual_time
async def test_failures_back_off_by_key_and_success_forgets_them():
    calls = []

    async def reconcile(key):
        calls.append((key, round(now() - began, 3)))
        if key == "bad" and len(calls) < 5:
            raise Conflict(409, "Conflict", "changed")

    async with working(reconcile) as (queue, _):
        began = now()
        queue.add("bad")
        queue.add("good")
        await asyncio.sleep(10)
        assert queue.failures("bad") == 0
    assert calls == [("bad", 0), ("good", 0), ("bad", 0.05), ("bad", 0.15), ("bad", 0.35)]


@in_virtual_time
async def test_retry_after_is_honoured():
    calls = []

    async def reconcile(key):
        calls.append(round(now() - began, 3))
        if len(calls) == 1:
            raise TooManyRequests(429, "TooManyRequests", "slow down", retry_after=7.0)
        if len(calls) == 2:
            raise Unavailable(503, "ServiceUnavailable", "starting")

    async with working(reconcile) as (queue, _):
        began = now()
        queue.add("a")
        await asyncio.sleep(60)
    assert calls == [0, 7, 7.1]


@in_virtual_time
async def test_an_event_does_not_shorten_retry_after():
    """A server that asks to be left alone is left alone, however much happens meanwhile."""
    times = []

    async def reconcile(key):
        times.append(now() - began)
        if len(times) == 1:
            raise TooManyRequests(429, "TooManyRequests", "busy", retry_after=7.0)

    async with working(reconcile) as (queue, _):
        began = now()
        queue.add("a")
        for _ in range(20):
            await asyncio.sleep(0.5)
            queue.add("a")
        await asyncio.sleep(100)
    assert [round(at, 3) for at in times[:2]] == [0, 7]


@in_virtual_time
async def test_an_outage_of_an_hour_is_over_within_thirty_seconds_of_its_end():
    calls = []

    async def reconcile(_):
        calls.append(now())
        if now() < end:
            raise Unavailable(0, "ClientConnectorError", "refused")

    async with working(reconcile) as (queue, _):
        end = now() + 3600
        queue.add("a")
        await asyncio.sleep(3700)
    assert end <= calls[-1] <= end + 30
    assert len(calls) < 150


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError(), KeyError("k"), asyncio.CancelledError()])
def test_nothing_kills_a_worker(error, caplog):
    calls = []

    @in_virtual_time
    async def scenario():
        async def reconcile(key):
            calls.append(key)
            if len(calls) < 4:
                raise error

        async with working(reconcile, concurrency=1) as (queue, _):
            queue.add("a")
            await asyncio.sleep(10)
            queue.add("b")
            await asyncio.sleep(10)

    scenario()
    assert calls == ["a", "a", "a", "a", "b"]
    failed = [record for record in caplog.records if "reconcile_failed key=a" in record.message]
    assert len(failed) == 1, "one line for one error"
    assert failed[0].exc_info, "a mistake of ours shows where it is"


def test_errors_are_logged_once_each_and_so_is_the_recovery(caplog):
    caplog.set_level("INFO")
    answers = [Conflict(409, "Conflict", "one"), Conflict(409, "Conflict", "one"), Conflict(409, "Conflict", "two")]

    @in_virtual_time
    async def scenario():
        async def reconcile(_):
            if answers:
                raise answers.pop(0)

        async with working(reconcile) as (queue, _):
            queue.add("a")
            await asyncio.sleep(10)

    scenario()
    assert [record.message.partition(" retry_in")[0] for record in caplog.records] == [
        'reconcile_failed key=a error="Conflict: Conflict: one"',
        'reconcile_failed key=a error="Conflict: Conflict: two"',
        "reconcile_recovered key=a",
    ]
    assert not any(record.exc_info for record in caplog.records)


@in_virtual_time
async def test_results_are_counted():
    results = []
    answers = iter([Conflict(409, "Conflict", "x"), 3.0, None])

    async def reconcile(_):
        await asyncio.sleep(0.1)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with working(reconcile, on_result=lambda result, _: results.append(result)) as (queue, _):
        queue.add("a")
        await asyncio.sleep(10)
    assert results == ["error", "requeue_after", "success"]


@in_virtual_time
async def test_stop_lets_the_running_ones_finish_and_starts_no_other():
    finished = []

    async def reconcile(key):
        await asyncio.sleep(3)
        finished.append(key)

    async with working(reconcile, concurrency=2) as (queue, workers):
        for key in "abcd":
            queue.add(key)
        await asyncio.sleep(1)
        began = now()
        await workers.stop(10)
        assert now() - began == pytest.approx(2)
    assert finished == ["a", "b"]


@in_virtual_time
async def test_stop_cancels_what_takes_too_long_and_waits_for_its_end():
    """Row 6: nothing of ours writes after stop has returned."""
    writes = []

    async def reconcile(key):
        try:
            await asyncio.sleep(1000)
            writes.append(key)
        finally:
            await asyncio.sleep(0.5)
            writes.append(f"{key} cleaned up")

    async with working(reconcile, concurrency=2) as (queue, workers):
        queue.add("a")
        await asyncio.sleep(1)
        began = now()
        await workers.stop(5)
        assert now() - began == pytest.approx(5.5)
        assert writes == ["a cleaned up"]
        assert workers.active == 0
