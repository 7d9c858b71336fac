"""What is measured, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .contenders import DEFAULTS, RAISED, Contender
from .results import Results

SIZES = (100, 500, 1000)
TOGETHER_FROM = 500
SLOW_START = 10.0
BAD_IMAGE_SIZE = 100


class Entry(NamedTuple):
    """One contender with so many instances."""

    contender: Contender
    replicas: int


@dataclass(frozen=True, slots=True)
class Step:
    """Rollouts that share what is set up: `limits` one after the other, all of `entries` at the same time."""

    entries: tuple[Entry, ...]
    limits: tuple[str, ...]
    start: float = 1.0

    @property
    def together(self) -> bool:
        return len(self.entries) > 1

    @property
    def rows(self) -> int:
        return len(self.entries) * len(self.limits)


def rollouts(contenders: Sequence[Contender], sizes: Sequence[int], *, one_by_one: bool) -> list[Step]:
    """Every rollout, those of the same size one after the other: a machine that is shared is not as fast all the time,
    and what is compared should not lie half an hour apart. Unless `one_by_one`, those that wait for their own default
    limits run at the same time: for most of a large rollout they do nothing but wait, and one after the other they
    would take most of the time of a run. So does who replaces one instance after the other. Slow starts are for those
    without limits, and for the first of the others with its own raised: what is left of its time is that of a rollout
    without batches.
    """
    sizes = sorted(sizes)
    groups = [] if one_by_one else rounds([each for each in contenders if RAISED in each.limits])
    shared = [each for each in groups if len(each) > 1]
    large = [size for size in sizes if size >= TOGETHER_FROM]
    patient = tuple(Entry(each, sizes[0]) for each in contenders if each.one_by_one)
    alone = [each for each in contenders if not each.one_by_one]
    steps: list[Step] = []
    for size in sizes:
        for contender in alone:
            waits = size in large and any(contender in group for group in shared)
            limits = tuple(each for each in (RAISED, DEFAULTS) if each in contender.limits)
            limits = tuple(each for each in limits if each == RAISED or not waits)
            steps.append(Step((Entry(contender, size),), limits))
    waiting = [tuple(Entry(each, size) for each in group) for size in large for group in shared]
    if waiting:
        waiting[0] += patient
    else:
        waiting = [(each,) for each in patient]
    steps += [Step(entries, (DEFAULTS,)) for entries in waiting]
    if sizes[-1] == SIZES[-1]:
        slow = [each for each in alone if RAISED not in each.limits]
        slow += [each for each in alone if RAISED in each.limits][:1]
        steps += [Step((Entry(each, sizes[-1]),), tuple(each.limits[-1:]), SLOW_START) for each in slow]
    return steps


def rounds(contenders: Sequence[Contender]) -> list[tuple[Contender, ...]]:
    """Those that can run at the same time: OpenKruise's manager always serves both of its kinds in all namespaces (its
    flag --namespace ends in a panic with v1.8.0), the ReplicaSets of Argo Rollouts need Kubernetes' own controller.
    """
    found: list[list[Contender]] = []
    for contender in contenders:
        taken = ({one.alone_with for one in each} - {""} for each in found)
        place = next(
            (each for each, names in zip(found, taken, strict=True) if contender.alone_with not in names), None
        )
        if place is None:
            found.append([contender])
        else:
            place.append(contender)
    return [tuple(each) for each in found]


def left(step: Step, results: Results) -> Step | None:
    """What is still to be done of a step; None if nothing is."""

    def missing(entry: Entry, limits: str) -> bool:
        row = results.rollout(entry.contender.name, limits, entry.replicas, step.start)
        return row is None or bool(row.error)

    entries = tuple(each for each in step.entries if any(missing(each, limits) for limits in step.limits))
    limits = tuple(each for each in step.limits if any(missing(entry, each) for entry in step.entries))
    return Step(entries, limits, step.start) if entries else None


def rounds_left(
    contenders: Sequence[Contender], replicas: int, results: Results, *, rounds: int, busy: int
) -> Sequence[int]:
    """The numbers of the rounds that are not there whole: half a round compares nothing."""
    done = [{turn.round for turn in results.turns_of(each.name, replicas=replicas, busy=busy)} for each in contenders]
    return [number for number in range(1, rounds + 1) if not all(number in each for each in done)]
