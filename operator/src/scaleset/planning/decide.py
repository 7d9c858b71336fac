"""The decision: what is to be done about one ScaleSet, given all that was observed.

Pure and level-triggered. It is taken again after every event, from the whole observed state; it looks at no earlier
decision but what the status records. The caller carries out a plan in this order: store the model, write the status,
delete, change in place and create, tell. If it is killed in between, the next decision goes on from there.

Invariants, whatever the snapshot (tests/model explores them):
- at most max(1, floor(N * maxBatchInstancePercent / 100)) instances are in progress;
- a plan that admits a batch or judges an instance at its deadline was made from a fresh LIST;
- every deletion names a pod's uid, every change in place its resourceVersion too, and no claim is ever deleted;
- deciding again about what a plan led to, with nothing new, changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planning import (
    acceptance,
    deadlines,
    desired,
    history,
    models,
    news,
    report,
    rollout,
    scaling,
    shrinking,
    starts,
)
from scaleset.planning.draft import Acceptance, Draft
from scaleset.planning.figures import figures
from scaleset.planning.snapshot import Plan, Snapshot


def decide(snapshot: Snapshot) -> Plan:
    """The plan for that snapshot. When it has needs, observe what they name and decide again."""
    draft = Draft(
        snapshot=snapshot,
        state=snapshot.state,
        models={model.name: model for model in snapshot.models},
        policy=snapshot.policy or UpgradePolicySpec(),
        acceptance=Acceptance("Pending", "not looked at yet"),
        reported=report.reported(snapshot),
    )
    _age(draft)
    acceptance.accept(draft)
    scaling.adopt(draft)
    scaling.scale(draft)
    desired.block(draft)
    shrinking.shrink(draft)
    deadlines.wind(draft)
    starts.requests(draft)
    ran = draft.rollout is not None
    rollout.advance(draft)
    starts.replace_at_once(draft)
    if ran and draft.rollout is None:
        draft.wake(snapshot.now)  # The end is written down before anything new starts.
    else:
        starts.start_by_hand(draft)
        starts.start_by_platform(draft)
    rollout.leave_queue(draft)
    if draft.needs:
        return Plan(state=snapshot.state, needs=draft.needs)
    deadlines.forget(draft)
    desired.compare(draft)
    news.announce(draft)
    return Plan(
        state=draft.state,
        status=report.status(draft),
        store=tuple(draft.store),
        discard=models.expendable(tuple(draft.models.values()), _used(draft)),
        deletions=tuple(draft.deletions),
        changes=tuple(draft.changes),
        creations=tuple(draft.creations),
        events=tuple(draft.events),
        wake_at=min(draft.wakes, default=None),
        figures=figures(draft),
    )


def _age(draft: Draft) -> None:
    """The history reaches back two months, whether or not anything is added to it."""
    kept = history.prune(draft.state.history, now=draft.now)
    if len(kept) < len(draft.state.history):
        draft.state = replace(draft.state, history=kept)


def _used(draft: Draft) -> frozenset[str]:
    """Models that an instance, a restore or the rollout may need."""
    state = draft.state
    named: list[Iterable[str]] = [
        (build.model for build in state.builds.values()),
        (build.model for build in state.previous.values()),
        (pod.model for pod in draft.snapshot.pods.values()),
        () if state.rollout is None else (state.rollout.target.model,),
        () if draft.wanted is None else (draft.wanted.model.name,),
        (draft.snapshot.model.name,),
    ]
    used: set[str] = set()
    for group in named:
        used.update(group)
    return frozenset(used)
