"""The workers: they take keys from the queue and reconcile them, several at a time, and survive every error of a
reconcile.

A reconcile returns the seconds until its next call, or None for "at the next change". A failed reconcile is called
again after the back-off of its key, or at the time that the server asked for. Its requests take turns with those of
other keys (`kube.rate_limit`). A failure is logged once, not once a try, and again when it is over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from time import monotonic
from typing import Generic

from scaleset.kube.errors import ApiError, NotLeader
from scaleset.kube.rate_limit import on_behalf_of
from scaleset.runtime.queue import K, QueueClosed, WorkQueue

log = logging.getLogger(__name__)


class ReconcileCancelledError(Exception):
    """A call inside a reconcile was cancelled, and not by the workers."""


@dataclass(eq=False)
class Workers(Generic[K]):
    """`concurrency` tasks that call `reconcile` for the keys of `queue`, never twice at a time for the same one.

    For metrics: `active` is controller_runtime_active_workers; `on_result` is called with `success`, `requeue_after` or
    `error` and the seconds it took.
    """

    queue: WorkQueue[K]
    reconcile: Callable[[K], Awaitable[float | None]]
    _: KW_ONLY
    concurrency: int = 8
    on_result: Callable[[str, float], None] = lambda _result, _seconds: None

    def __post_init__(self) -> None:
        self._errors: dict[K, str] = {}
        self._resting: dict[K, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> int:
        """Reconciles that run now."""
        return self.queue.processing

    async def run(self) -> None:
        """Work until `stop`, or until cancelled. If one worker dies, all end: with fewer and fewer workers the process
        would only look alive.
        """
        self._tasks = {asyncio.create_task(self._work(), name=f"worker {n}") for n in range(self.concurrency)}
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()
        finally:
            await self._end(self._tasks)

    async def stop(self, grace: float) -> None:
        """Start no further reconcile, give running ones `grace` seconds, cancel the rest and wait for their end. No
        worker writes afterwards.
        """
        self.queue.close()
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=grace)
            if running:
                log.warning(
                    "workers_cancelled running=%(running)d grace=%(grace)gs", {"running": len(running), "grace": grace}
                )
            await self._end(running)

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._once(key)
            finally:
                self.queue.done(key)
            # Reconciles that never await would run one after the other, and a hundred of them block the loop.
            await asyncio.sleep(0)

    async def _once(self, key: K) -> None:
        clock = asyncio.get_running_loop().time
        rest = self._resting.pop(key, 0.0) - clock()
        if rest > 0:
            # An event is no reason to come back earlier than the server asked.
            self._resting[key] = clock() + rest
            self.queue.add_after(key, rest)
            return
        began = monotonic()
        try:
            again = await self._call(key)
        except Exception as error:  # noqa: BLE001 - after any error this key is tried again, and the others are not delayed
            self.on_result("error", monotonic() - began)
            asked = getattr(error, "retry_after", None) or 0.0
            if asked:
                self._resting[key] = clock() + asked
            wait = self.queue.add_rate_limited(key, at_least=asked)
            self._failed(key, error, wait=wait)
            return
        self.queue.forget(key)
        if again is not None:
            self.queue.add_after(key, again)
        self.on_result("success" if again is None else "requeue_after", monotonic() - began)
        if self._errors.pop(key, None) is not None:
            log.info("reconcile_recovered key=%(key)s", {"key": _text(key)})

    async def _call(self, key: K) -> float | None:
        try:
            with on_behalf_of(key):
                return await self.reconcile(key)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ReconcileCancelledError("a part of the reconcile was cancelled") from None

    def _failed(self, key: K, error: Exception, *, wait: float) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._errors.get(key) == text:
            return
        self._errors[key] = text
        # A refusal by the API server explains itself; any other error is a bug, and its traceback is needed.
        known = isinstance(error, (ApiError, NotLeader))
        log.error(
            'reconcile_failed key=%(key)s error="%(error)s" retry_in=%(retry_in).2fs',
            {"key": _text(key), "error": text, "retry_in": wait},
            exc_info=not known,
        )


def _text(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
