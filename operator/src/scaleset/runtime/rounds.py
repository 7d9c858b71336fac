"""Shared runs: one run answers all callers that asked before it began.

A list is valid for callers that asked before it was sent. A caller that asks while it is under way might get a state
from before its own last write. So callers that ask meanwhile share the next list.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

PATIENCE_SECONDS = 1.0
"""Longest wait for the previous run: a run that hangs must not delay later callers."""


class Rounds(Generic[K]):
    """Runs `run(key)` for its callers. Lives in one event loop."""

    def __init__(self, run: Callable[[K], Awaitable[None]], *, patience: float = PATIENCE_SECONDS) -> None:
        self._run = run
        self._patience = patience
        self._next: dict[K, asyncio.Task[None]] = {}
        self._latest: dict[K, asyncio.Task[None]] = {}

    async def ask(self, key: K) -> None:
        """Return when a run that began after this call has ended; raise its error."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._round(key, self._latest.get(key)), name=f"round {key}")
            self._next[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # Other callers may wait for it as well, even if this call is cancelled.
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
            task.exception()  # the caller may be gone; asyncio would complain about an exception never retrieved
