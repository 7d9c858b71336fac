"""Rollouts in turns: each contender once a round, again and again, so that what is compared lies a minute apart.

A machine that is shared is not as fast all the time. The ratio of two rollouts of the same round says more than either
of them, and the spread of the ratios says what such a row is worth.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from .contenders import RAISED, Contender


@dataclass(frozen=True, slots=True)
class Turn:
    """One rollout of a round, beside `busy` loops that do nothing but use a processor each.

    `seconds` from publishing to all Ready; `cpu` seconds of processor time of the contender's controllers; `code` is
    the version of this project that was measured.
    """

    contender: str
    limits: str
    replicas: int
    busy: int
    round: int
    code: str
    seconds: float
    cpu: float

    @property
    def key(self) -> tuple[str, int, int, int]:
        return self.contender, self.replicas, self.busy, self.round


@dataclass(frozen=True, slots=True)
class Ratios:
    """What one contender took of what another took in the same round: the median, the least and the most."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


def limits_of(contender: Contender) -> str:
    """The highest that there are."""
    return RAISED if RAISED in contender.limits else contender.limits[-1]


def compared(ours: Sequence[Turn], theirs: Sequence[Turn]) -> tuple[Ratios, Ratios] | None:
    """Seconds, and processor time, of the rounds that both have; None if there is none."""
    other = {turn.round: turn for turn in theirs}
    both = [(turn, other[turn.round]) for turn in ours if turn.round in other]
    if not both:
        return None
    return (
        _ratios([one.seconds / two.seconds for one, two in both]),
        _ratios([one.cpu / max(two.cpu, 0.01) for one, two in both]),
    )


def _ratios(found: Sequence[float]) -> Ratios:
    return Ratios(median(found), min(found), max(found))


@contextmanager
def busy(number: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """So many processes beside, each of which takes what it can get of a processor."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
