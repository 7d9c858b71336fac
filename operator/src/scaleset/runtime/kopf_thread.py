"""The thread and the event loop that kopf has to itself.

kopf takes the loop that it runs in for its own: it installs signal handlers, it cancels tasks that others started, and
after a failed watch it waits for ever for tasks that swallow their cancellation. docs/architecture.md, "Why kopf runs
in a thread of its own", shows each of them. In a loop of its own it finds only itself, and the loop is closed in time.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any

NAME = "kopf"
"""Of the thread. Lines of the log that come from there are found by it."""

STACK_BYTES = 64 * 2**20
"""Room for the JSON of the deepest object that the API server takes; some C libraries give a thread 128 KiB only."""

CANCEL_SECONDS = 10.0
"""Time for the tasks in that loop to end after they are cancelled. Those that do not are left where they are."""
CLOSING_SECONDS = 0.1
"""TLS connections that were closed are gone only some turns of the loop later."""

Main = Callable[[], Coroutine[Any, Any, None]]


async def run_in_kopf_thread(main: Main, *, last: Main | None = None, grace: float = 3.0) -> None:
    """Run `main` in the thread until it returns; its error is raised here. When this is cancelled, so is `main`, and
    the thread has `grace` seconds to end. `last` closes what all tasks used: it runs when they have ended.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(_with_all_tasks(main, last))
    outcome: Future[None] = Future()
    _start(lambda: _run(loop, task, outcome))
    ended = asyncio.wrap_future(outcome)
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        with suppress(RuntimeError):  # The loop is closed, so the thread has ended.
            loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait({ended}, timeout=grace)
        ended.cancel()
        raise


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]", outcome: "Future[None]") -> None:
    """The body of the thread. Not asyncio.run, which waits for ever for a task that swallows its cancellation."""
    outcome.set_running_or_notify_cancel()
    try:
        with closing(loop):
            loop.run_until_complete(task)
    except BaseException as error:  # noqa: BLE001 - the caller decides what to do about it
        outcome.set_exception(error)
    else:
        outcome.set_result(None)


async def _with_all_tasks(main: Main, last: Main | None) -> None:
    try:
        await main()
    finally:
        await _end_the_others()
        if last is not None:
            await last()
        await asyncio.sleep(CLOSING_SECONDS)


async def _end_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        done, _ = await asyncio.wait(others, timeout=CANCEL_SECONDS)
        # An error that nobody asks for would be a complaint in the log.
        for task in done:
            if not task.cancelled():
                task.exception()
    await asyncio.get_running_loop().shutdown_asyncgens()


def _start(body: Callable[[], None]) -> None:
    # A daemon: the process must not wait for it.
    before = threading.stack_size(STACK_BYTES)
    try:
        threading.Thread(target=body, name=NAME, daemon=True).start()
    finally:
        threading.stack_size(before)
