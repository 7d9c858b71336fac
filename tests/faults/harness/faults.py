"""What a proxy can do to a call, or to the events of a watch, instead of passing them on.

A fault counts how often it struck. Some end by themselves after so many times; all end with the block of
`Proxy.inject`, and whoever waits in them then goes on.
"""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event
from typing import Any

from aiohttp import web

from .calls import Call

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


SEED = 8
"""Of every random choice here."""


class CutError(Exception):
    """The connection is to be cut."""


class Exchange(ABC):
    """One call on its way, as a fault sees it."""

    call: Call

    @abstractmethod
    async def forward(self) -> tuple[int, dict[str, str], bytes]:
        """Carries the call out: code, headers and body of the answer."""

    @abstractmethod
    async def reply(self, code: int, headers: dict[str, str], body: bytes) -> web.StreamResponse:
        """What the operator gets."""

    @abstractmethod
    async def relay(self) -> web.StreamResponse:
        """As if nothing were wrong."""


class Fault:
    """Strikes the calls that it `takes`: all of them, each `every`-th or a random `share`; `times` at most. Subclasses
    say how.
    """

    def __init__(self, *, every: int = 1, times: int | None = None, share: float = 1.0) -> None:
        self.count = 0
        self.every, self.times = every, times
        self._share, self._chance = share, random.Random(SEED)
        self.struck = Event()
        self._met = 0
        self._ended = asyncio.Event()

    def takes(self, call: Call) -> bool:  # noqa: ARG002 - some subclasses look at it
        """Whether this call is struck. Asked once for each that fits."""
        self._met += 1
        if self._met % self.every or (self.times is not None and self.count >= self.times):
            return False
        if self._chance.random() >= self._share:
            return False
        self.strike()
        return True

    def strike(self) -> None:
        self.count += 1
        self.struck.set()

    def end(self) -> None:
        """Called in the loop of the proxies."""
        self._ended.set()

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        return await exchange.relay()

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002 - for subclasses
        """What becomes of an event of a watch that is open."""
        return [line]


class Answer(Fault):
    """The API server says no, and nothing happens."""

    def __init__(self, code: int, *, retry_after: int | None = None, every: int = 1, times: int | None = None) -> None:
        super().__init__(every=every, times=times)
        self.code, self.retry_after = code, retry_after

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        headers = {"Content-Type": "application/json"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return await exchange.reply(self.code, headers, status(self.code))


class LoseReply(Fault):
    """The call is carried out, but the operator hears of an error, or of nothing."""

    def __init__(self, code: int = 500, *, every: int = 1, times: int | None = None) -> None:
        super().__init__(every=every, times=times)
        self.code = code

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        if not self.code:
            raise CutError
        return await exchange.reply(self.code, {"Content-Type": "application/json"}, status(self.code))


class Cut(Fault):
    """The connection ends without an answer, and nothing happens."""

    async def treat(self, exchange: Exchange) -> web.StreamResponse:  # noqa: ARG002
        raise CutError


class Truncate(Fault):
    """An answer, or an event, of which only the beginning arrives."""

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        if exchange.call.verb == "watch":
            self.count -= 1  # its events are what is truncated
            return await exchange.relay()
        code, headers, body = await exchange.forward()
        return await exchange.reply(code, headers, body[: len(body) // 2])

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002
        if (self.times is not None and self.count >= self.times) or self._chance.random() >= self._share:
            return [line]
        self.strike()
        return [line[: len(line) // 2]]


class Freeze(Fault):
    """No byte moves, in either direction, until the fault ends."""

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        await self._ended.wait()
        return await exchange.relay()

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002
        if not self._ended.is_set():
            self.strike()
            await self._ended.wait()
        return [line]


class HalfOpen(Fault):
    """Watches that are open stay so, but nothing comes through them any more, ever."""

    def takes(self, call: Call) -> bool:  # noqa: ARG002 - only what is on its way to the operator is struck
        return False

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002
        self.strike()
        await asyncio.Event().wait()
        return []


class Delay(Fault):
    """Every call takes a random time longer, up to `longest` seconds, there and back."""

    def __init__(self, longest: float, *, seed: int) -> None:
        super().__init__()
        self._longest = longest
        self._random = random.Random(seed)

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        there, back = (self._random.uniform(0, self._longest / 2) for _ in range(2))
        await asyncio.sleep(there)
        if exchange.call.verb == "watch":
            return await exchange.relay()
        answer = await exchange.forward()
        await asyncio.sleep(back)
        return await exchange.reply(*answer)


class Swallow(Fault):
    """Each `every`-th event of watches never arrives, from the `first` on."""

    def __init__(self, *, every: int = 1, first: int = 1, times: int | None = None) -> None:
        super().__init__(every=every, times=times)
        self._at = first
        self._events = 0

    def takes(self, call: Call) -> bool:  # noqa: ARG002 - only events are struck
        return False

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002
        if json.loads(line)["type"] == "BOOKMARK":
            return [line]
        self._events += 1
        due = self._events >= self._at and (self._events - self._at) % self.every == 0
        if not due or (self.times is not None and self.count >= self.times):
            return [line]
        self.strike()
        return []


class Shuffle(Fault):
    """Events arrive twice, and in an order that is not theirs."""

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._held: dict[Call, list[bytes]] = {}

    def takes(self, call: Call) -> bool:  # noqa: ARG002
        return False

    async def event(self, call: Call, line: bytes) -> list[bytes]:
        held = self._held.setdefault(call, [])
        if self._ended.is_set():
            return [*self._held.pop(call, []), line]
        held.append(line)
        if len(held) < 2:
            return [line]
        self.strike()
        lines = [*held, held[0]]
        self._random.shuffle(lines)
        held.clear()
        return lines


class GoneInStream(Fault):
    """Watches are told in the stream that their version is too old."""

    def takes(self, call: Call) -> bool:  # noqa: ARG002
        return False

    async def event(self, call: Call, line: bytes) -> list[bytes]:  # noqa: ARG002
        if self.times is not None and self.count >= self.times:
            return [line]
        self.strike()
        return [json.dumps({"type": "ERROR", "object": json.loads(status(410))}).encode() + b"\n", b""]


class Replay(Fault):
    """A LIST of before, again and again: an API server that lags behind. While it is `learning` it remembers the first
    answer to each.
    """

    def __init__(self, *, every: int = 1, times: int | None = None) -> None:
        super().__init__(every=every, times=times)
        self.remembered: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = {}
        self.learning = True

    def takes(self, call: Call) -> bool:
        return self.learning or ((call.path, call.query) in self.remembered and super().takes(call))

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        key = exchange.call.path, exchange.call.query
        if self.learning:
            answer = await exchange.forward()
            self.remembered.setdefault(key, answer)
            return await exchange.reply(*answer)
        code, headers, body = self.remembered[key]
        return await exchange.reply(code, {k: v for k, v in headers.items() if k != "Date"}, body)


class Stop(Fault):
    """The call arrives and stays: `reached` is set before it is carried out, or right after it was. Whatever else the
    operator asks from then on waits as well, so that nothing moves until it is killed.
    """

    def __init__(self, *, carried_out: bool, when: Callable[[Call], bool]) -> None:
        super().__init__()
        self._carried_out, self._when = carried_out, when
        self.done = Event()
        """Set once the moment has come."""

    def takes(self, call: Call) -> bool:
        if self.struck.is_set():
            return call.method != "GET"
        if not self._when(call):
            return False
        self.count += 1
        return True

    async def treat(self, exchange: Exchange) -> web.StreamResponse:
        if not self.struck.is_set():
            self.struck.set()
            if self._carried_out:
                await exchange.forward()
            self.done.set()
        await self._ended.wait()
        raise CutError


def status(code: int) -> bytes:
    """The API server's object for that code."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"injected by the test: {REASONS[code]}",
        "reason": REASONS[code],
        "code": code,
    }
    return json.dumps(body).encode()
