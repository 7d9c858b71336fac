"""The order and rate of requests: a bound on requests at a time, a token bucket for writes, turns by set.

Every request takes a turn, except lists, watches and the lease. There are `concurrency` turns at a time. A write also
costs a token; there are `qps` new tokens a second and `burst` at most, as in client-go. Turns alternate between sets
(`on_behalf_of`), regardless of which request came first: a set with two hundred writes and a set with two writes
alternate until the small one is finished. Invariant: between two writes of a waiting set there is at most one write of
each other set.

If the API server protects itself (`pause`), all requests wait for as long as it asks, and continue at `qps` afterwards.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import inf
from time import monotonic

QPS = 200.0
BURST = 500
"""A set of a thousand that is replaced in batches of 200 writes 400 times a batch, and a batch takes some seconds."""
CONCURRENCY = 24
"""Requests at a time. The connection pool has additional room for lists, watches and the lease."""
LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause: a server that asks for more is tried again once a minute."""
ROUNDING = 1e-6
"""Tolerance of a token: a sum of floats may be slightly below 1."""

_FLOW: ContextVar[Hashable] = ContextVar("flow", default="")


@dataclass(frozen=True, slots=True)
class Limits:
    """`qps` sustained writes a second (infinite for no limit), `burst` writes at once after a quiet time, and
    `concurrency` requests at a time.
    """

    qps: float = QPS
    burst: int = BURST
    concurrency: int = CONCURRENCY


@contextmanager
def on_behalf_of(flow: Hashable) -> Iterator[None]:
    """Requests sent inside, also by tasks started there, are for that set; others are for the operator itself."""
    token = _FLOW.set(flow)
    try:
        yield
    finally:
        _FLOW.reset(token)


@dataclass(eq=False, slots=True)
class _Waiter:
    write: bool
    since: float
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FlowControl:
    """Grants turns. Lives in one event loop."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._free = self._limits.concurrency
        self._tokens = float(self._limits.burst)
        self._counted = clock()
        self._paused_until = -inf
        # Flows in the order of their turns.
        self._waiting: dict[Hashable, deque[_Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, *, write: bool, on_wait: Callable[[float], None] = lambda _: None) -> AsyncIterator[None]:
        """Wait for a turn of the present set and hold it inside; `on_wait` gets the seconds waited."""
        waiter = await self._acquire(write=write)
        try:
            on_wait(self._clock() - waiter.since)
            yield
        finally:
            self._free += 1
            self._dispatch()

    def pause(self, seconds: float) -> None:
        """Grant no turn for that many seconds, and no burst right afterwards."""
        until = self._clock() + min(seconds, LONGEST_PAUSE_SECONDS)
        if until > self._paused_until:
            self._paused_until = until
            self._tokens = 0.0
            self._counted = until
            self._dispatch()

    async def after_pause(self) -> None:
        """Wait for the end of a pause: for requests that take no turn but also load the server."""
        if (left := self._paused_until - self._clock()) > 0:
            await asyncio.sleep(left)

    async def _acquire(self, *, write: bool) -> _Waiter:
        flow = _FLOW.get()
        waiter = _Waiter(write=write, since=self._clock())
        self._waiting.setdefault(flow, deque()).append(waiter)
        self._dispatch()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            # A cancelled request is skipped when its turn comes.
            if not waiter.granted.cancelled():
                self._free += 1
            self._dispatch()
            raise
        return waiter

    def _dispatch(self) -> None:
        """Grant all turns that are available; schedule the next call for when there are more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        if now >= self._paused_until:
            self._refill(now)
            while self._free and (flow := self._next()) is not None:
                self._grant(flow)
        if self._waiting and self._free:
            wait = max(self._paused_until - now, (1 - self._tokens) / self._limits.qps, 0.001)
            self._timer = asyncio.get_running_loop().call_later(wait, self._dispatch)

    def _refill(self, now: float) -> None:
        if now > self._counted:
            self._tokens = min(float(self._limits.burst), self._tokens + (now - self._counted) * self._limits.qps)
            self._counted = now

    def _next(self) -> Hashable | None:
        """The next flow; without a token only flows with a read."""
        writes = self._tokens > 1 - ROUNDING or self._limits.qps == inf
        return next((flow for flow, queue in self._waiting.items() if writes or not queue[0].write), None)

    def _grant(self, flow: Hashable) -> None:
        queue = self._waiting.pop(flow)
        waiter = queue.popleft()
        if queue:  # to the end of the line
            self._waiting[flow] = queue
        if waiter.granted.cancelled():
            return
        self._free -= 1
        if waiter.write:
            self._tokens -= 1
        waiter.granted.set_result(None)
