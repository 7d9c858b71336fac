"""The decision: from everything observed about one ScaleSet to the plan for it.

Pure and level-triggered. It is taken again after every event, from the whole observed state. Of earlier decisions it
knows only what the status records. The caller carries out a plan in this order: store the model, write the status,
delete, change in place and create, record events. If it is killed in between, the next decision goes on from there.

Invariants, whatever the snapshot (tests/exploration explores them):
- at most max(1, floor(N * maxBatchInstancePercent / 100)) instances are in progress;
- a plan that admits a batch or judges an instance at its deadline was made from a fresh LIST;
- every deletion names a pod's uid, every change in place its resourceVersion too, and no claim is ever deleted;
- deciding again after a plan was carried out, with nothing new observed, changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner import (
    acceptance,
    by_hand,
    deadlines,
    digests,
    news,
    pod_diff,
    revisions,
    rollout,
    run_deadline,
    scaling,
    shrinking,
    status,
    status_codec,
    triggers,
    wakes,
)
from scaleset.planner.facts import Facts, in_order
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.step import Step


def decide(snapshot: Snapshot) -> Plan:
    """The plan for that snapshot. If the plan has needs, observe what they name and decide again."""
    accepted = acceptance.accept(observed(snapshot))
    facts, step = in_order(accepted.facts, *PARTS)
    if facts.needs:
        return Plan(state=snapshot.state, needs=facts.needs)
    diff, last = pod_diff.diff(facts)
    facts, step = facts.after(last), accepted.step.then(step).then(last)
    return Plan(
        state=facts.state,
        status=status.status(facts, diff),
        store=accepted.store,
        discard=revisions.expendable(tuple(facts.models.values()), _used(facts)),
        deletions=diff.deletions,
        changes=diff.changes,
        creations=diff.creations,
        events=(*news.news(facts), *step.events),
        wake_at=facts.now if step.again else wakes.next_look(facts),
        figures=status.figures(facts),
    )


def observed(snapshot: Snapshot) -> Facts:
    """The facts before the decision."""
    return Facts(
        snapshot=snapshot,
        state=snapshot.state,
        models={model.name: model for model in snapshot.models},
        policy=snapshot.policy or UpgradePolicySpec(),
    )


def _forget_old_history(facts: Facts) -> Step:
    """The history reaches back two months. Old entries are removed even if no new entry is added."""
    before = facts.state
    kept = status_codec.prune(before.history, now=facts.now)
    rollouts = status_codec.prune_rollouts(before.rollouts, now=facts.now)
    fewer = len(kept) < len(before.history) or len(rollouts) < len(before.rollouts)
    return facts.step(replace(before, history=kept, rollouts=rollouts) if fewer else None)


def _start(facts: Facts) -> Step:
    """Start a rollout, unless one has just ended: the end is written down before anything new starts."""
    before = facts.snapshot.state.rollout
    if before is not None and before.running and facts.rollout is None:
        return facts.step(again=True)
    after, step = in_order(facts, by_hand.start, triggers.start_by_platform)
    ended_at_once = after.state.rollout is not before and after.rollout is None
    return step.then(after.step(again=True)) if ended_at_once else step


PARTS = (
    _forget_old_history,
    scaling.adopt,
    scaling.scale,
    digests.learn,
    pod_diff.block,
    shrinking.shrink,
    deadlines.wind,
    triggers.asked,
    rollout.advance,
    triggers.replace_at_once,
    _start,
    rollout.queue,
    run_deadline.keep,
    deadlines.forget,
)
"""The parts of a decision, in order."""


def _used(facts: Facts) -> frozenset[str]:
    """Models that an instance, a restore or the rollout may still need."""
    state = facts.state
    named: list[Iterable[str]] = [
        (build.model for build in state.builds.values()),
        (build.model for build in state.previous.values()),
        (pod.model for pod in facts.snapshot.pods.values()),
        () if state.rollout is None else (state.rollout.target.model,),
        () if facts.wanted is None else (facts.wanted.model.name,),
        (facts.snapshot.model.name,),
    ]
    used: set[str] = set()
    for group in named:
        used.update(group)
    return frozenset(used)
