"""What is measured, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

from .contenders import DEFAULTS, RAISED, Contender
from .results import Results

SIZES = (100, 500, 1000)
TOGETHER_FROM = 500
SLOW_START = 10.0
BAD_IMAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Step:
    """Rollouts that share what is set up: `limits` one after the other; all of `contenders` at the same time."""

    contenders: tuple[Contender, ...]
    replicas: int
    limits: tuple[str, ...]
    start: float = 1.0

    @property
    def together(self) -> bool:
        return len(self.contenders) > 1

    @property
    def rows(self) -> int:
        return len(self.contenders) * len(self.limits)


def rollouts(contenders: Sequence[Contender], sizes: Sequence[int], *, one_by_one: bool) -> list[Step]:
    """Every rollout. Unless `one_by_one`, those that wait for their own default limits run at the same time: for most
    of a large rollout they do nothing but wait, and one after the other they would take most of the time of a run.
    """
    sizes = sorted(sizes)
    groups = [] if one_by_one else rounds([each for each in contenders if RAISED in each.limits])
    shared = [each for each in groups if len(each) > 1]
    steps: list[Step] = []
    for contender in contenders:
        for size in sizes[:1] if contender.one_by_one else sizes:
            waits = size >= TOGETHER_FROM and any(contender in group for group in shared)
            limits = tuple(each for each in (RAISED, DEFAULTS) if each in contender.limits)
            steps.append(Step((contender,), size, tuple(each for each in limits if each == RAISED or not waits)))
    steps += [Step(group, size, (DEFAULTS,)) for size in sizes if size >= TOGETHER_FROM for group in shared]
    ours = [each for each in contenders if RAISED not in each.limits and not each.one_by_one]
    steps += [Step((each,), sizes[-1], (DEFAULTS,), SLOW_START) for each in ours if sizes[-1] == SIZES[-1]]
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

    def missing(contender: Contender, limits: str) -> bool:
        row = results.rollout(contender.name, limits, step.replicas, step.start)
        return row is None or bool(row.error)

    contenders = tuple(each for each in step.contenders if any(missing(each, limits) for limits in step.limits))
    limits = tuple(each for each in step.limits if any(missing(contender, each) for contender in step.contenders))
    return Step(contenders, step.replicas, limits, step.start) if contenders else None
