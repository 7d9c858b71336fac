"""By when a rolling upgrade has to be over (`upgradeTimeout`).

The deadline is counted from the start of the run. Time in which the run waits for something that is not its own does
not count: for its turn (`maxConcurrentScaleSets`), and for the end of a suspension. The state records since when such a
wait lasts; once it is over, the deadline moves by its length. So neither a killed operator nor an edited policy changes
what is left.

A batch that runs is never cut short. The run ends between two batches, as Faulted, and its target is remembered like
one that failed. A run that has nothing left to do completes, however late.
"""

from dataclasses import replace

from scaleset.planner import outdated, rollout_end
from scaleset.planner.facts import Facts
from scaleset.planner.state import Rollout
from scaleset.planner.step import Step

NOT_COUNTED = frozenset(("ConcurrencyLimit",))
"""Reasons of waits that do not count, beside a suspension."""


def with_deadline(rollout: Rollout) -> Rollout:
    """A run that begins, with its deadline, if its policy has one."""
    timeout = rollout.policy.upgrade_timeout
    return rollout if timeout is None else replace(rollout, deadline=rollout.started + timeout)


def keep(facts: Facts) -> Step:
    """Record the begin of a wait that does not count, or move the deadline by a wait that is over."""
    rollout = facts.rollout
    if rollout is None or rollout.deadline is None:
        return facts.step()
    held, since = _held(facts, rollout), rollout.held_since
    if held == (since is not None):
        return facts.step()
    moved = replace(rollout, deadline=_deadline(facts, rollout), held_since=facts.now if held else None)
    return facts.roll(moved)


def end(facts: Facts, rollout: Rollout) -> Step | None:
    """The phase between batches that ends a run whose time is up."""
    deadline = _deadline(facts, rollout)
    if deadline is None or facts.now < deadline or _held(facts, rollout):
        return None
    if not facts.fresh:
        return facts.need_fresh()
    return rollout_end.timed_out(facts, outdated.remember(facts, rollout, rollout_end.TIMEOUT), rollout)


def _deadline(facts: Facts, rollout: Rollout) -> float | None:
    """The deadline, moved by the wait that is under way or has just ended."""
    if rollout.deadline is None or rollout.held_since is None:
        return rollout.deadline
    return rollout.deadline + max(0.0, facts.now - rollout.held_since)


def _held(facts: Facts, rollout: Rollout) -> bool:
    """Whether the run waits for something that is not its own. A suspension counts from its begin, although the batch
    that runs is finished.
    """
    waiting = rollout.waiting
    return facts.snapshot.suspension is not None or (waiting is not None and waiting.reason in NOT_COUNTED)
