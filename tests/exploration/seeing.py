"""What an explored world shows to its judges: health, who is spared, whose instances there are, how versions compare.

Nothing of the planner's is used but its data.
"""

from itertools import count, islice

from scaleset.planner.state import State
from tests.exploration.states import BROKEN, ENDED, READY, STALE, STARTING, TERMINATING, Place, Seen


class ViolatedError(AssertionError):
    """An invariant does not hold."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise ViolatedError(what)


def healthy(pod: Seen | None) -> bool:
    return pod is not None and pod.phase == READY


def unhealthy(pod: Seen | None) -> bool:
    """Counts in the gates: missing, broken, going, or not ready in its time."""
    return pod is None or pod.phase in (BROKEN, TERMINATING, *ENDED) or (starts(pod) and pod.old)


def starts(pod: Seen) -> bool:
    """On its way to be ready: just created, or changed in place."""
    return pod.phase in (STARTING, STALE)


def untouchable(place: Place) -> set[int]:
    """Instances that set actions pass over."""
    return {number for number, everything in place.protected if everything}


def everybody(place: Place, state: State) -> list[int]:
    """Ids of the set's instances; those that do not exist yet have the lowest free ones. In an ordered set those that
    are created only after another one are left out: they count in no gate.
    """
    free = (number for number in count() if number not in state.builds)
    new = list(islice(free, max(0, place.replicas - len(state.builds))))
    if place.ordered:
        pods = dict(place.pods)
        late = min((n for n in (*state.builds, *new) if not healthy(pods.get(n))), default=None)
        new = [n for n in new if n in pods or late is None or n <= late]
    return [*state.builds, *new]


def number_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
