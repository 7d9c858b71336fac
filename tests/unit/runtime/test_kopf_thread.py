"""The thread of kopf: what runs there cannot reach our loop, and its end takes a bounded time."""

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from scaleset.runtime.kopf_thread import NAME, run_in_kopf_thread


async def test_it_has_a_loop_and_a_thread_of_its_own():
    found: dict[str, Any] = {}

    async def inside() -> None:
        found["loop"], found["thread"] = asyncio.get_running_loop(), threading.current_thread().name

    await run_in_kopf_thread(inside)
    assert found["loop"] is not asyncio.get_running_loop()
    assert found["thread"] == NAME


async def test_cancelling_all_tasks_there_leaves_ours_alone():
    """Which is what kopf does when it ends."""
    ours = asyncio.create_task(asyncio.sleep(60))

    async def inside() -> None:
        asyncio.create_task(asyncio.sleep(60))  # noqa: RUF006 - cancelled right below
        mine = asyncio.current_task()
        for task in asyncio.all_tasks() - {mine}:
            task.cancel()

    await run_in_kopf_thread(inside)
    assert not ours.done()
    ours.cancel()


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemExit(3)])
async def test_its_error_is_raised_here(error):
    async def inside() -> None:
        raise error

    with pytest.raises(type(error)):
        await run_in_kopf_thread(inside)


async def test_cancelled_it_is_cancelled_and_waited_for():
    began, ended = threading.Event(), threading.Event()

    async def inside() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    task = asyncio.create_task(run_in_kopf_thread(inside))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_what_all_tasks_used_is_closed_last():
    ends: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ends.append("other")

    async def inside() -> None:
        asyncio.create_task(other())  # noqa: RUF006 - cancelled when this has failed
        await asyncio.sleep(0)
        raise ValueError("ended")

    async def last() -> None:
        ends.append("last")

    with pytest.raises(ValueError, match="ended"):
        await run_in_kopf_thread(inside, last=last)
    assert ends == ["other", "last"]


async def test_cancelled_before_it_runs():
    async def inside() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(run_in_kopf_thread(inside))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_a_task_that_swallows_its_cancellation_holds_nobody_up(monkeypatch):
    """kopf's watches wait for new credentials and swallow being cancelled."""
    monkeypatch.setattr("scaleset.runtime.kopf_thread.CANCEL_SECONDS", 0.1)
    tasks: list[Any] = []

    async def stubborn() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def inside() -> None:
        tasks.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)
        raise ValueError("ended")

    with pytest.raises(ValueError, match="ended"):
        await asyncio.wait_for(run_in_kopf_thread(inside), 5)
    tasks[0]._log_destroy_pending = False


async def test_a_thread_that_is_blocked_is_left_behind():
    released = threading.Event()

    async def inside() -> None:
        released.wait()

    task = asyncio.create_task(run_in_kopf_thread(inside, grace=0.1))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
    released.set()
    for thread in threading.enumerate():
        if thread.name == NAME:
            await asyncio.to_thread(thread.join, 5)
