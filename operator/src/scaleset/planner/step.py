"""What one part of a decision comes to.

A part of a decision is a function of the facts that returns a `Step`. It changes nothing that it is given, so a part
that says "not now" has to say so in what it returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scaleset.planner.snapshot import Event, Needs
from scaleset.planner.state import Rollout, State, Waiting

NO_NEEDS = Needs()


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one part of a decision, and what else comes of it. A part that finds nothing to do returns the
    state as it was.
    """

    state: State
    now: float
    events: tuple[Event, ...] = ()
    needs: Needs = NO_NEEDS
    """What has to be observed before the state may change; nothing else of the decision is carried out then."""
    again: bool = False
    """Whether to decide again as soon as this is carried out."""
    waiting: Waiting | None = None
    """Why no rollout starts."""
    shrinking: Waiting | None = None
    """How far scaling in is, and what it waits for."""
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
        """This step and the one that was taken on what it led to."""
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
    """The event with the rollout and the batch that it is about: a rollout that runs, or ends in this decision."""
    if rollout is None or not (rollout.running or rollout.completed == now):
        return replace(event, rollout=None, batch=None)
    return replace(event, rollout=rollout.id, batch=rollout.batch.number if rollout.batch is not None else None)
