"""How runs begin, what they count, and how they end (S8, S14)."""

from scaleset.planner.state import Code, Kind, Rollout, StartedBy, State
from tests.exploration import states
from tests.exploration.breach_checks import breached
from tests.exploration.seeing import number_of, require, untouchable
from tests.exploration.states import Place


def started(place: Place, before: State, after: State) -> None:
    """S8: what the platform starts is neither remembered as failed nor withdrawn, and not a downgrade."""
    was, now = before.rollout, after.rollout
    if now is None or (was is not None and was.running):
        return
    if was is not None and not now.running and was.target == now.target and was.code == now.code:
        return
    if now.started_by is StartedBy.USER:
        return
    key = (now.target.model, now.target.version, now.target.image)
    failed = {(f.model, f.version, f.image) for f in before.failed_targets}
    require(key not in failed or "retry" in place.asked, "S8: a failed target is tried again")
    require(not (place.suspend or place.halt), "a rollout starts while suspended")
    if now.target.version is not None:
        require(not states.offers_of(place)[now.target.version].excluded, "S8: an excluded version is started")


def counted(place: Place, before: State, after: State) -> None:
    """S14: every instance is in one count, and Completed means all on the target."""
    rollout = after.rollout
    if rollout is None or (not rollout.running and rollout.completed != states.NOW):
        return
    parts = [rollout.successful, rollout.failed, rollout.verifying, rollout.pending]
    require(sum(map(len, parts)) == len(frozenset().union(*parts)), "S14: an instance is counted twice")
    require(rollout.restored | rollout.restore_failed <= rollout.failed, "S14: restored but not failed")
    if rollout.running:
        require(rollout.waiting is not None, "S14: it waits and does not say why")
        if rollout.error is not None and before.rollout is not None and before.rollout.error is None:
            breached(place, after, rollout)
    elif rollout.code is Code.COMPLETED:
        _complete(place, after, rollout)
    else:
        require(rollout.error is not None and rollout.error.message, "S14: it ended without a reason")
        require(not rollout.in_progress, "it ended in the middle of a batch")
        if before.rollout is None or before.rollout.error is None:
            breached(place, after, rollout)


def _complete(place: Place, after: State, rollout: Rollout) -> None:
    target, pods = rollout.target, dict(place.pods)
    for number, build in after.builds.items():
        if number in rollout.failed or number in untouchable(place):
            continue
        if rollout.kind is Kind.RESTART and (pod := pods.get(number)) is not None:
            was_there = pod.old or pod.changed
            require(pod.restarted is not None or not was_there, f"S14: Completed, and {number} was not restarted")
        if target.version is not None:
            require(number_of(build.version) >= number_of(target.version), f"S14: Completed without instance {number}")
        if rollout.kind is Kind.MODEL:
            require(build.model == target.model, f"S14: Completed without instance {number}")
