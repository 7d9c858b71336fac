"""The API server's clock: every deadline is a time that it wrote, so every deadline is judged by it.

Each response's Date header says, to the second, what the server's time was at some moment between sending the request
and receiving the response. In terms of our monotonic clock that is an interval for the offset between the two:

    date - received  <=  offset  <  date + 1 - sent

Intersecting the intervals narrows it to well below a second. Between responses the monotonic clock counts on, so that a
jump of this machine's wall clock changes nothing; the interval widens by the most that two clocks drift apart.
Invariant: `now()` never goes back, but for a step of the server's own clock, which is believed only when several
responses in a row agree on it: one odd server among several replicas changes no deadline.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

DRIFT = 500e-6
"""Seconds per second that two clocks drift apart at most; the kernel slews no faster."""
CONFIRMATIONS = 3
"""Responses in a row that must contradict what we know before it is given up."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Bounds, in seconds, of what to add to our monotonic clock to get the server's time; true at the monotonic time
    `at`.
    """

    low: float
    high: float
    at: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def drifted(self, until: float) -> "Offset":
        """The same knowledge at a later monotonic time: a little less certain."""
        spread = max(0.0, until - self.at) * DRIFT
        return Offset(self.low - spread, self.high + spread, max(self.at, until))

    def intersect(self, other: "Offset") -> "Offset | None":
        """What both say, or None if they contradict each other."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Offset(low, high, max(self.at, other.at)) if low < high else None


class ServerClock:
    """The API server's time, in seconds since 1970. Feed it with `Transport.on_date`.

    Until the first response it is this machine's wall clock, which nothing can be decided on yet anyway.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset: Offset | None = None
        self._contrary: Offset | None = None
        self._contradictions = 0
        self._latest = 0.0
        self.steps = 0
        """How often the server's clock was found to have jumped."""

    @property
    def known(self) -> bool:
        """Whether the server has told its time yet."""
        return self._offset is not None

    @property
    def uncertainty(self) -> float:
        """Seconds that `now()` may be wrong by, in either direction. Infinite before the first response."""
        if self._offset is None:
            return float("inf")
        offset = self._offset.drifted(self._monotonic())
        return (offset.high - offset.low) / 2

    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        if self._offset is None:
            return self._wall()
        # A narrower interval may lie a little earlier: wait there until time has caught up.
        self._latest = max(self._latest, self._monotonic() + self._offset.middle)
        return self._latest

    def observe(self, date_header: str, sent_monotonic: float, received_monotonic: float) -> None:
        """Learn from one response. A header that is no date is ignored."""
        try:
            date = parsedate_to_datetime(date_header).timestamp()
        except ValueError:
            return
        seen = Offset(date - received_monotonic, date + 1.0 - sent_monotonic, received_monotonic)
        if self._offset is None:
            self._offset = seen
            return
        narrowed = self._offset.drifted(received_monotonic).intersect(seen)
        if narrowed is not None:
            self._offset = narrowed
            self._contrary, self._contradictions = None, 0
        else:
            self._contradicted(seen)

    def _contradicted(self, seen: Offset) -> None:
        agreed = self._contrary.drifted(seen.at).intersect(seen) if self._contrary is not None else None
        self._contrary = agreed or seen
        self._contradictions = self._contradictions + 1 if agreed is not None else 1
        if self._contradictions >= CONFIRMATIONS:
            self._offset = self._contrary
            self._contrary, self._contradictions = None, 0
            self._latest = 0.0
            self.steps += 1
