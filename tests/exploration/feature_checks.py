"""What zones, max surge, protection and order add to the invariants.

As in `checks`, everything is worked out from the real pods and the durable state before and after.
"""

from scaleset.planner.state import Batch, State
from tests.exploration import states
from tests.exploration.moves import QUOTA, Decision
from tests.exploration.seeing import healthy, require, untouchable
from tests.exploration.states import TERMINATING, Place


def check(place: Place, decision: Decision) -> None:
    """Everything that a single decision must keep to."""
    before, after = decision.before, decision.plan.state
    _admitted(place, before, after)
    _pairs(place, after)
    _let_go(place, decision, before, after)
    _in_place(decision, after)
    _protected(place, decision, before, after)
    _ordered(place, decision, before, after)


def _batch(state: State) -> Batch | None:
    return state.rollout.batch if state.rollout is not None and state.rollout.running else None


def _busy(state: State) -> frozenset[int]:
    """Instances that a batch or a request has in hand, the old ones of a surging batch among them."""
    batch = _batch(state)
    mine = frozenset() if batch is None else batch.instances | batch.replaces
    return state.applying | mine


def _reached(batch: Batch) -> frozenset[int]:
    """The instances that a batch upgrades: in place, or by one beside them."""
    return (batch.instances - batch.surge) | batch.replaces


def _admitted(place: Place, before: State, after: State) -> None:
    """4.3, 4.6: whom a batch may hold."""
    was, batch = _batch(before), _batch(after)
    if batch is None or after.rollout is None:
        return
    reached = _reached(batch)
    if not reached or (was is not None and _reached(was) & reached) or reached <= after.rollout.failed:
        return  # No new batch: two that follow each other share no instance. Or it takes back (`breach_checks`).
    rolling = after.rollout.policy.rolling
    require(not reached & untouchable(place), "4.3: a protected instance is in a batch")
    if place.zones and not rolling.enable_cross_zone_upgrade:
        require(len({number % place.zones for number in reached}) <= 1, "4.3: a batch mixes zones")
    if place.descends and not place.zones:
        left = {number for number in after.rollout.pending if healthy(dict(place.pods).get(number))}
        require(not left or max(left) < max(reached), "order: a lower id goes before a higher one")
    if not rolling.max_surge:
        require(not batch.surge, "4.6: surges without being asked to")
    elif not (place.quota and place.foreseen):
        require(batch.surge, "4.6: there is room, and it does not surge")
    else:
        require(not batch.surge, "4.6: surges though there is no room")


def _pairs(place: Place, after: State) -> None:
    """4.6: each new instance belongs to one old one and lives in its zone."""
    batch = _batch(after)
    if batch is None:
        return
    require(len(batch.surge) == len(batch.replaces), "4.6: new and old instances are not one for one")
    require(batch.surge <= batch.instances, "4.6: a new instance outside the batch")
    for new, old in batch.pairs.items():
        require(new % max(1, place.zones) == old % max(1, place.zones), f"1.3: {new} replaces {old} of another zone")


def _let_go(place: Place, decision: Decision, before: State, after: State) -> None:
    """4.6: of two that are side by side the old one goes once the new one is healthy, the new one when it failed."""
    was, now = _batch(before), after.rollout
    if was is None or now is None:
        return
    pods = dict(place.pods)
    pairs = {new: old for new, old in was.pairs.items() if {new, old} <= before.builds.keys()}
    shrinking = len(before.builds) - len(pairs) > place.replicas
    for new, old in was.pairs.items():
        alone = new in before.builds and old not in before.builds and new not in now.failed
        # One that may not be deleted is taken up again, and the new one goes for it.
        require(not alone or after.builds.keys() & {new, old} or shrinking, f"4.6: {new} goes though {old} is gone")
    for new, old in pairs.items():
        new_stays, old_stays = new in after.builds, old in after.builds
        require(new_stays or old_stays or shrinking, f"4.6: {old} and {new} both go")
        judged = before.rollout is not None and new not in before.rollout.in_progress
        if not old_stays and new_stays:
            require(new in now.successful, f"4.6: {old} goes and {new} is not upgraded")
            require(old not in untouchable(place), f"1.3: {old} is protected and goes")
            require(judged or healthy(pods.get(new)), f"4.6: {old} goes before {new} is healthy")
        elif old_stays and not new_stays and QUOTA not in decision.snapshot.refusals.get(new, ""):
            if old in untouchable(place):
                continue
            require(new in now.failed or old in now.failed, f"4.6: {new} goes and did not fail")
            pod = pods.get(new)
            late = pod.old if pod is not None and pod.phase != TERMINATING else was.started == states.OLD
            require(judged or late, f"4.6: {new} goes before its time is over")


def _in_place(decision: Decision, after: State) -> None:
    """4.6: nobody waits for room that a quota does not give."""
    batch = _batch(after)
    if batch is None or after.rollout is None:
        return
    for new in batch.surge & after.rollout.in_progress:
        missing = new not in decision.snapshot.pods
        refused = QUOTA in decision.snapshot.refusals.get(new, "")
        require(not (missing and refused), f"4.6: {new} waits for room beside the others")


def _protected(place: Place, decision: Decision, before: State, after: State) -> None:
    """1.3: who is protected is neither scaled in nor, from all actions, replaced; a batch under way still ends."""
    spared = {number for number, _ in place.protected}
    in_hand = _busy(before)
    for number in (before.builds.keys() - after.builds.keys()) & spared:
        require(number in in_hand, f"1.3: {number} is protected and scaled in")
    new = after.applying - before.applying
    require(not new & untouchable(place), "1.3: a protected instance is replaced at once")
    taken = {wanted.instance for wanted in decision.plan.deletions} | {c.instance for c in decision.plan.changes}
    for number in taken & untouchable(place) & after.builds.keys():
        pod, previous = decision.snapshot.pods[number], before.previous.get(number)
        had = previous is not None and previous.same_as(pod) and not pod.ended
        require(not had, "1.3: a protected instance loses its pod")
    for deletion in decision.plan.deletions:
        if deletion.instance in spared:
            surplus = deletion.instance not in before.builds
            require(
                deletion.instance in _busy(after) | in_hand
                or surplus
                or decision.snapshot.pods[deletion.instance].ended,
                "1.3: a protected pod is deleted",
            )
    if after.rollout is not None and after.rollout.running:
        require(not after.rollout.pending & untouchable(place), "S14: a protected instance counts as pending")


def _ordered(place: Place, decision: Decision, before: State, after: State) -> None:
    """One that does not exist yet is created once all with a lower id are healthy; what existed comes back at once."""
    if not place.ordered:
        return
    coming = {creation.instance for creation in decision.plan.creations}
    pods = decision.snapshot.pods
    for number in coming - before.builds.keys():
        lower = {n for n in after.builds.keys() | coming if n < number}
        late = sorted(n for n in lower if n not in pods or not pods[n].ready or not pods[n].current)
        require(not late, f"order: {number} is created before {late} are healthy")
    gone = before.builds.keys() - after.builds.keys()
    together = [deletion.instance for deletion in decision.plan.deletions if deletion.instance in gone]
    pairs = _batch(before)
    surging = pairs is not None and bool(pairs.surge)
    require(len(together) <= 1 or surging, f"order: {together} go together")
