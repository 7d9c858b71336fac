"""The invariants, asked of every decision that the explorer takes.

They are worked out here from the real pods and the durable state before and after, with arithmetic of their own:
nothing of the planner's is used but its data.
"""

from tests.exploration import batch_checks, breach_checks, instance_checks, run_checks, states
from tests.exploration.moves import Decision
from tests.exploration.seeing import require
from tests.exploration.states import Place


def check(place: Place, decision: Decision) -> None:
    """Everything that a single decision must keep to."""
    before, after = decision.before, decision.plan.state
    batch_checks.admitted(place, decision, before, after)
    batch_checks.settled(place, decision, before, after)
    batch_checks.wound(decision, before, after)
    breach_checks.taken_back(place, decision, before, after)
    instance_checks.builds(place, decision, before, after)
    instance_checks.deletions(place, decision, before, after)
    instance_checks.changes(place, decision, after)
    run_checks.started(place, before, after)
    run_checks.counted(place, before, after)
    instance_checks.order(place, decision)
    if decision.plan.wake_at is not None and decision.plan.wake_at <= states.NOW:
        require(decision.steps, "L1: it wakes up at once and has nothing to do")
