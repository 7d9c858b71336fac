"""The user's requests by annotation: each value is handled once, and the state records it together with its result.

A request may be any text that was not there before. A set that is seen for the first time has nothing to restart, to
forget or to leave: what its manifest brings along of these is an old request of another set, and only recorded.
`apply-model`, the oldest ones and the starts are carried out in `triggers` and `by_hand`.
"""

from dataclasses import dataclass, replace
from typing import Any

from scaleset.api import names
from scaleset.api.scale_set_status import handled as kept
from scaleset.planner.facts import Facts
from scaleset.planner.state import Ending, State
from scaleset.planner.step import Step


@dataclass(frozen=True, slots=True)
class Request:
    """One annotation, and the field of the state that has the value that was handled last."""

    annotation: str
    field: str

    def unlike(self, facts: Facts) -> bool:
        """Whether it was handled in this decision."""
        return bool(getattr(facts.state, self.field) != getattr(facts.snapshot.state, self.field))


START = Request(names.ANNOTATION_START, "handled_start")
CANCEL = Request(names.ANNOTATION_CANCEL, "handled_cancel")
APPLY = Request(names.ANNOTATION_APPLY, "handled_apply")
RESTART = Request(names.ANNOTATION_RESTART, "handled_restart")
RETRY = Request(names.ANNOTATION_RETRY, "handled_retry")
MODEL_ROLLOUT = Request(names.ANNOTATION_MODEL_ROLLOUT, "handled_model_rollout")
ROLLBACK = Request(names.ANNOTATION_ROLLBACK, "handled_rollback")

OF_A_LIFE = (RESTART, RETRY, MODEL_ROLLOUT, ROLLBACK)
"""Requests about what the set has been through."""


def new(facts: Facts, request: Request) -> str | None:
    """The value of a request that was not handled yet."""
    value = facts.snapshot.annotations.get(request.annotation)
    return value if value is not None and kept(value) != getattr(facts.state, request.field) else None


def handled(facts: Facts, request: Request, value: str) -> State:
    """The state that records the request."""
    field: dict[str, Any] = {request.field: kept(value)}
    return replace(facts.state, **field)


def model_rollout_asked(facts: Facts) -> bool:
    """Whether the user has asked for a rollout of the model that has not begun yet."""
    return any(new(facts, request) is not None for request in (MODEL_ROLLOUT, ROLLBACK))


def inherited(facts: Facts) -> Step:
    """Record the requests that a new set was created with."""
    before = facts.snapshot.state
    if before.builds or before.replicas is not None:
        return facts.step()
    step = facts.step()
    for request in OF_A_LIFE:
        if (value := new(facts, request)) is not None:
            step = step.to(handled(facts.after(step), request, value))
    return step


def cancel(facts: Facts) -> Step:
    """Decide to end the running rollout."""
    value = new(facts, CANCEL)
    if value is None:
        return facts.step()
    state, rollout = handled(facts, CANCEL, value), facts.rollout
    if rollout is not None:
        ending = Ending("Cancelled", "Cancelled by the user.")
        rollout = replace(rollout, ending=ending, last_action="Cancel", last_action_time=facts.now)
        state = replace(state, rollout=rollout)
    return facts.step(state)


def retry(facts: Facts) -> Step:
    """Forget what failed in this set, and the back-off of what did not complete."""
    value = new(facts, RETRY)
    if value is None:
        return facts.step()
    failed = facts.state.failed_targets
    step = facts.step(replace(handled(facts, RETRY, value), failed_targets=(), retry=None))
    if not failed:
        return step
    what = ", ".join(dict.fromkeys(f"version {f.version}" if f.version else f"model {f.model}" for f in failed))
    return step.with_event("FailuresForgotten", f"The platform may try again what failed here: {what}.")
