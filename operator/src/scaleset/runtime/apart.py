"""A coroutine in a thread and an event loop of its own.

For a library that takes the loop it runs in for its own: kopf ends by cancelling every task of its loop that is younger
than itself, whoever started it, and installs its signal handlers in the main thread. Here it finds nothing but itself.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

V = TypeVar("V")

STACK_BYTES = 64 * 2**20
"""Room for the JSON of the deepest object that the API server takes; some C libraries give a thread 128 KiB only."""

CANCEL_SECONDS = 10.0
"""What is left of the tasks there gets to end."""
CLOSING_SECONDS = 0.1
"""TLS connections that were closed are gone only some turns of the loop later."""


async def run_apart(name: str, main: Callable[[asyncio.Event], Awaitable[None]], *, grace: float = 3.0) -> None:
    """Run `main` there; its error is raised here. When this is cancelled, the event given to `main` is set, and it gets
    `grace` seconds to return.
    """
    ours = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = ours.create_future()
    ready: asyncio.Future[Callable[[], Any]] = ours.create_future()

    async def inside() -> None:
        stop = asyncio.Event()
        theirs = asyncio.get_running_loop()
        _tell(ours, ready, lambda: theirs.call_soon_threadsafe(stop.set))
        try:
            await main(stop)
        finally:
            await _end_the_others()

    def body() -> None:
        outcome: BaseException | None = None
        # Not asyncio.run, which waits for ever for a task that does not let itself be cancelled.
        theirs = asyncio.new_event_loop()
        try:
            theirs.run_until_complete(inside())
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits for it has to hear of it
            outcome = error
        finally:
            theirs.close()
        _tell(ours, ended, outcome)

    _start(body, name)
    try:
        outcome = await asyncio.shield(ended)
    except asyncio.CancelledError:
        ready.add_done_callback(lambda stop: stop.result()())
        await asyncio.wait({ended}, timeout=grace)
        raise
    if outcome is not None:
        raise outcome


async def _end_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        done, _ = await asyncio.wait(others, timeout=CANCEL_SECONDS)
        # Their errors are looked at here, or each would be a complaint in the log.
        for task in done:
            if not task.cancelled():
                task.exception()
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.sleep(CLOSING_SECONDS)


def _start(body: Callable[[], None], name: str) -> None:
    # A daemon: one that does not end in time must not keep the process.
    before = threading.stack_size(STACK_BYTES)
    try:
        threading.Thread(target=body, name=name, daemon=True).start()
    finally:
        threading.stack_size(before)


def _tell(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[V]", value: V) -> None:
    def settle() -> None:
        if not future.done():
            future.set_result(value)

    with suppress(RuntimeError):  # That loop is closed: nobody listens any more.
        loop.call_soon_threadsafe(settle)
