"""Whose request is sent next, and when: a bound on requests at a time, a token bucket for writes, turns by set.

Every request but lists, watches and the lease's takes a turn. A turn is one of `concurrency` that can be had at a time;
that of a write also costs a token, of which there are `qps` new ones a second and `burst` at most, as in client-go.
Turns go round by whom a request is for (`on_behalf_of`), not by who asked first: a set with two hundred writes to do
and one with two get every other turn until the small one is through. Invariant: between two writes of a set that waits
there is at most one of every other.

An API server that protects itself (`pause`) is left alone by all for as long as it says, and met at `qps` afterwards.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from time import monotonic

QPS = 200.0
BURST = 500
"""A set of a thousand that is replaced in batches of 200 writes 400 times a batch, and a batch takes some seconds."""
CONCURRENCY = 24
"""The pool has room for lists, watches and the lease beside them."""
LONGEST_PAUSE_SECONDS = 60.0
"""Of all requests: whoever asks for more is asked again once a minute."""
ROUNDING = 1e-6
"""Of a token: sums of floats that should be 1 are a little less at times."""

_FLOW: ContextVar[Hashable] = ContextVar("flow", default="")


@dataclass(frozen=True, slots=True)
class Limits:
    """`qps` writes a second in the long run, infinite for no such limit, `burst` at once after a quiet time, and
    `concurrency` requests at a time.
    """

    qps: float = QPS
    burst: int = BURST
    concurrency: int = CONCURRENCY


@contextmanager
def on_behalf_of(flow: Hashable) -> Iterator[None]:
    """What is sent inside, also by tasks that are started there, is for that set; outside, for the operator itself."""
    token = _FLOW.set(flow)
    try:
        yield
    finally:
        _FLOW.reset(token)


class _Waiter:
    __slots__ = ("granted", "since", "write")

    def __init__(self, *, write: bool, since: float) -> None:
        self.write = write
        self.since = since
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _ignore(_: float) -> None:
    pass


class FlowControl:
    """Gives out turns. Lives in one event loop."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._free = self._limits.concurrency
        self._tokens = float(self._limits.burst)
        self._counted = clock()
        self._paused_until = -inf
        # In the order of their turns.
        self._waiting: dict[Hashable, deque[_Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, *, write: bool, on_wait: Callable[[float], None] = _ignore) -> AsyncIterator[None]:
        """Wait for a turn of the present set and have it inside; `on_wait` gets the seconds that it took."""
        waiter = await self._acquire(write=write)
        try:
            on_wait(self._clock() - waiter.since)
            yield
        finally:
            self._free += 1
            self._dispatch()

    def pause(self, seconds: float) -> None:
        """Give no turn for so long, and no burst right afterwards."""
        until = self._clock() + min(seconds, LONGEST_PAUSE_SECONDS)
        if until > self._paused_until:
            self._paused_until = until
            self._tokens = 0.0
            self._counted = until
            self._dispatch()

    async def after_pause(self) -> None:
        """Return when there is no pause: for what takes no turn but is no less work for the server."""
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
            # One that was not granted yet is passed over when its turn comes.
            if not waiter.granted.cancelled():
                self._free += 1
            self._dispatch()
            raise
        return waiter

    def _dispatch(self) -> None:
        """Give out what can be had now; come back when there is more."""
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
        if self._limits.qps == inf:
            self._tokens = float(self._limits.burst)
        elif now > self._counted:
            self._tokens = min(float(self._limits.burst), self._tokens + (now - self._counted) * self._limits.qps)
        self._counted = max(now, self._counted)

    def _next(self) -> Hashable | None:
        """The flow whose turn it is; without a token only those that want to read."""
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
