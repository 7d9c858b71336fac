"""The work queue keeps client-go's promises."""

import asyncio

import pytest

from scaleset.runtime.queue import QueueClosed, WorkQueue
from tests.unit.virtual_time import in_virtual_time, now


def new(**options) -> WorkQueue[str]:
    return WorkQueue(jitter=lambda: 1.0, monotonic=now, **options)


@in_virtual_time
async def test_a_key_that_waits_is_there_once_and_in_order():
    queue = new()
    for key in "abacb":
        queue.add(key)
    assert queue.depth == 3
    assert queue.adds == 3
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


@in_virtual_time
async def test_a_key_added_while_it_is_processed_comes_again_when_done_and_to_nobody_before():
    queue = new()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b"
    assert queue.depth == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    queue.done("b")
    assert queue.depth == 0


@in_virtual_time
async def test_get_waits():
    queue = new()
    getters = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(1)
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(0.01)
    assert sorted(getter.result() for getter in getters if getter.done()) == ["a", "b"]
    queue.close()
    results = await asyncio.gather(*getters, return_exceptions=True)
    assert sum(isinstance(result, QueueClosed) for result in results) == 1


@in_virtual_time
async def test_a_getter_that_is_cancelled_loses_no_key():
    queue = new()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    getter.cancel()
    await asyncio.gather(getter, return_exceptions=True)
    assert await queue.get() == "a"


@in_virtual_time
async def test_a_delayed_key_comes_at_the_earliest_of_its_times():
    queue = new()
    began = now()
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 7)
    queue.add_after("b", 5)
    queue.add_after("c", 0)
    assert [(await queue.get(), round(now() - began, 3)) for _ in range(3)] == [("c", 0), ("a", 3), ("b", 5)]
    queue.done("a")
    await asyncio.sleep(60)
    assert queue.depth == 0, "the later times are not a second and a third call"


@in_virtual_time
async def test_back_off_doubles_until_its_cap_and_forget_ends_it():
    queue = new()
    waits = [queue.add_rate_limited("a") for _ in range(12)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert queue.failures("a") == 12
    assert queue.add_rate_limited("b") == 0.05, "each key has its own"
    queue.forget("a")
    assert queue.add_rate_limited("a") == 0.05
    assert queue.add_rate_limited("a", at_least=5.0) == 5.0
    assert queue.retries == 15
    for _ in range(2000):
        assert queue.add_rate_limited("c") <= 30


@in_virtual_time
async def test_jitter_takes_off_up_to_a_half():
    queue: WorkQueue[str] = WorkQueue(jitter=lambda: 0.0)
    assert queue.add_rate_limited("a") == 0.025


@in_virtual_time
async def test_closed_takes_nothing_in_and_hands_nothing_out():
    queue = new()
    queue.add("a")
    queue.add("b")
    queue.add_after("c", 1)
    assert await queue.get() == "a"
    queue.add("a")
    queue.close()
    queue.add("d")
    queue.add_after("d", 1)
    with pytest.raises(QueueClosed):
        await queue.get()
    queue.done("a")
    await asyncio.sleep(5)
    assert queue.depth == 0


@in_virtual_time
async def test_what_metrics_need():
    queued: list[float] = []
    worked: list[float] = []
    queue = new(on_queue_duration=queued.append, on_work_duration=worked.append)
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(2)
    assert queue.depth == 2
    await queue.get()
    await asyncio.sleep(3)
    await queue.get()
    await asyncio.sleep(1)
    assert (queue.processing, queue.unfinished_work(), queue.longest_running()) == (2, 5.0, 4.0)
    queue.done("a")
    queue.done("b")
    assert (queue.processing, queue.unfinished_work(), queue.longest_running()) == (0, 0.0, 0.0)
    assert (queued, worked) == ([2.0, 5.0], [4.0, 1.0])


@in_virtual_time
async def test_what_is_added_within_a_time_is_one_look_at_its_end():
    queue = new()
    began = now()
    for _ in range(10):
        queue.add_within("a", 1)
        await asyncio.sleep(0.05)
    assert await queue.get() == "a"
    assert now() == began + 1
    assert (queue.adds, queue.retries) == (1, 0)


@in_virtual_time
async def test_one_that_waits_already_or_is_due_earlier_is_not_put_off():
    queue = new()
    queue.add("a")
    queue.add_within("a", 1)
    assert await queue.get() == "a"
    queue.done("a")
    queue.add_after("a", 0.5)
    queue.add_within("a", 1)
    began = now()
    assert await queue.get() == "a"
    assert now() == began + 0.5
    queue.done("a")
    await asyncio.sleep(2)
    assert queue.depth == 0


@in_virtual_time
async def test_an_event_in_the_middle_of_a_look_is_looked_at_when_its_time_has_come():
    queue = new()
    queue.add_after("a", 60)
    queue.add("a")
    assert await queue.get() == "a"
    began = now()
    queue.add_within("a", 1)
    queue.done("a")
    assert await queue.get() == "a"
    assert now() == began + 1


@in_virtual_time
async def test_a_closed_queue_takes_nothing_in():
    queue = new()
    queue.close()
    queue.add_within("a", 1)
    with pytest.raises(QueueClosed):
        await queue.get()
