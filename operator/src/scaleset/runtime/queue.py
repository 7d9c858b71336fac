"""The work queue: keys to reconcile, each at most once in the queue and with at most one worker.

Semantics of client-go's workqueue, which every controller written in Go relies on: a waiting key that is added again
stays in the queue once. A key added during its reconcile is handed out again after that reconcile, never to a second
worker meanwhile. A delayed key comes at the earliest of its times. So an event during a reconcile is never lost, and a
key is never reconciled twice at the same time.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import KW_ONLY, dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BASE_SECONDS = 0.05
CAP_SECONDS = 30.0


class QueueClosed(Exception):  # noqa: N818 - not an error: the end of work
    """The queue hands out nothing more."""


@dataclass(eq=False)
class WorkQueue(Generic[K]):
    """Keys to work on, in the order in which they came.

    For metrics: `depth`, `adds`, `retries`, `unfinished_work()` and `longest_running()` are workqueue_depth,
    workqueue_adds_total, workqueue_retries_total, workqueue_unfinished_work_seconds and
    workqueue_longest_running_processor_seconds; `on_queue_duration` and `on_work_duration` get each observation of
    workqueue_queue_duration_seconds and workqueue_work_duration_seconds. `jitter` gives numbers from 0 to 1.
    """

    _: KW_ONLY
    base: float = BASE_SECONDS
    cap: float = CAP_SECONDS
    jitter: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    on_queue_duration: Callable[[float], None] = lambda _: None
    on_work_duration: Callable[[float], None] = lambda _: None

    def __post_init__(self) -> None:
        self.adds = 0
        self.retries = 0
        self._ready: deque[K] = deque()
        # Times since which each key waits to be handed out, and since which a worker has it.
        self._dirty: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._something = asyncio.Event()
        self._closed = False

    @property
    def depth(self) -> int:
        """Keys ready to be handed out."""
        return len(self._ready)

    @property
    def processing(self) -> int:
        """Keys that workers have now."""
        return len(self._processing)

    def unfinished_work(self) -> float:
        """Sum of the seconds that the keys in work have taken so far."""
        now = self.monotonic()
        return sum(now - since for since in self._begun())

    def longest_running(self) -> float:
        """Seconds that the slowest key in work has taken so far."""
        now = self.monotonic()
        return now - min(self._begun(), default=now)

    def _begun(self) -> list[float]:
        """A copy: metrics are read in a thread of their own."""
        return list(self._processing.values())

    def add(self, key: K) -> None:
        """Reconcile the key as soon as a worker is free."""
        if self._closed or key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = self.monotonic()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Reconcile the key after that many seconds, or earlier if it is due earlier already."""
        if self._closed:
            return
        self.retries += 1
        if seconds <= 0:
            self.add(key)
        else:
            self._delay(key, seconds)

    def _delay(self, key: K, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._delayed.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._delayed[key] = loop.call_later(seconds, self._due, key)

    def add_within(self, key: K, seconds: float) -> None:
        """Reconcile the key after that many seconds, or earlier if it is due earlier already. Further calls meanwhile
        add no second reconcile.
        """
        if not self._closed and key not in self._dirty:
            self._delay(key, seconds)

    def add_rate_limited(self, key: K, *, at_least: float = 0.0) -> float:
        """Add it after its back-off, which doubles from 50 ms to 30 s with each call until `forget`. Returns the
        seconds until then.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff = min(self.cap, self.base * 2.0 ** min(failures, 64))
        wait = max(backoff * (0.5 + 0.5 * self.jitter()), at_least)
        self.add_after(key, wait)
        return wait

    def forget(self, key: K) -> None:
        """Reset the back-off of the key after a success."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key was added with back-off since its last success."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which the caller alone has until `done`. QueueClosed at the end."""
        while not self._ready and not self._closed:
            self._something.clear()
            await self._something.wait()
        if self._closed:
            raise QueueClosed
        key = self._ready.popleft()
        now = self.monotonic()
        self.on_queue_duration(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: K) -> None:
        """The caller has finished the key; a key added meanwhile is handed out again."""
        self.on_work_duration(self.monotonic() - self._processing.pop(key))
        if key in self._dirty and not self._closed:
            self._push(key)

    def close(self) -> None:
        """Hand out and accept no further keys. Workers keep their keys until `done`."""
        self._closed = True
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        self._ready.clear()
        self._something.set()

    def _due(self, key: K) -> None:
        del self._delayed[key]
        self.add(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._something.set()
