"""The result of one part of a decision.

A part of a decision is a function of the facts that returns a `Step`. It never changes its arguments, so a part that
says "not now" has to return that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scaleset.planner.plan import Event, Needs
from scaleset.planner.state import Rollout, State, Waiting

NO_NEEDS = Needs()


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one part of a decision, with events, needs and reasons to wait. A part without work returns the
    state unchanged.
    """

    state: State
    now: float
    events: tuple[Event, ...] = ()
    needs: Needs = NO_NEEDS
    """Observations needed before the state may change; the rest of the decision is not carried out then."""
    again: bool = False
    """Whether to decide again as soon as this is carried out."""
    waiting: Waiting | None = None
    """Why no rollout starts."""
    shrinking: Waiting | None = None
    """Progress of scaling in, and its reason to wait."""
    blocked: Mapping[int, str] = field(default_factory=dict)
    """Instances that must not be touched, with the reason."""

    def to(self, state: State) -> "Step":
        """The same step to another state."""
        return replace(self, state=state)

    def with_event(self, reason: str, message: str, *, warning: bool = False) -> "Step":
        """The step with an event. The event names the rollout that runs in the state, or has just ended."""
        event = about(Event(reason, message, warning), self.state.rollout, now=self.now)
        return replace(self, events=(*self.events, event))

    def then(self, other: "Step") -> "Step":
        """This step followed by the next one."""
        return Step(
            other.state,
            other.now,
            events=self.events + other.events,
            needs=self.needs.and_of(other.needs),
            again=self.again or other.again,
            waiting=other.waiting or self.waiting,
            shrinking=other.shrinking or self.shrinking,
            blocked={**self.blocked, **other.blocked} if other.blocked else self.blocked,
        )


def about(event: Event, rollout: Rollout | None, *, now: float) -> Event:
    """The event with its rollout and batch: a rollout that runs, or ends in this decision."""
    if rollout is None or not (rollout.running or rollout.completed == now):
        return replace(event, rollout=None, batch=None)
    return replace(event, rollout=rollout.id, batch=rollout.batch.number if rollout.batch is not None else None)
