"""One run of something for all who asked for it before it began.

A list of an API server answers whoever asked before it was sent; to somebody who asks while it is under way it may
show what was, from before their last write. So those who ask meanwhile share the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

PATIENCE_SECONDS = 1.0
"""So long the next run waits for the one before: one that hangs must not hold up those who have nothing to do with
it.
"""


class Rounds(Generic[K]):
    """Runs `run(key)` for those who ask. Lives in one event loop."""

    def __init__(self, run: Callable[[K], Awaitable[None]], *, patience: float = PATIENCE_SECONDS) -> None:
        self._run = run
        self._patience = patience
        self._next: dict[K, asyncio.Task[None]] = {}
        self._latest: dict[K, asyncio.Task[None]] = {}

    async def ask(self, key: K) -> None:
        """Return when a run that began after this call has ended; raise what it raised."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._round(key, self._latest.get(key)), name=f"round {key}")
            self._next[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # Others wait for it, too, whatever becomes of this one.
        await asyncio.shield(task)

    async def _round(self, key: K, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before}, timeout=self._patience)
        self._latest[key] = self._next.pop(key)
        await self._run(key)

    def _ended(self, key: K, task: "asyncio.Task[None]") -> None:
        for tasks in (self._next, self._latest):
            if tasks.get(key) is task:
                del tasks[key]
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; asyncio would complain that nobody looked at it
