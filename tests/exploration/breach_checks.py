"""What a breach of a limit does: what it takes back, what is remembered, and that it was one (4.2, 4.5, 4.7)."""

from scaleset.planner.instances import Build
from scaleset.planner.state import Kind, Rollout, State
from tests.exploration.moves import Decision
from tests.exploration.seeing import everybody, require, unhealthy, untouchable
from tests.exploration.states import Place


def taken_back(place: Place, decision: Decision, before: State, after: State) -> None:
    """4.5: what a breach takes back, and what becomes of the target."""
    was, now = before.rollout, after.rollout
    if now is None or (was is not None and not was.running):
        return
    pods = dict(place.pods)
    if now.running and now.restores:
        kept = now.successful & after.builds.keys() <= after.previous.keys()
        require(kept, "the way back of an upgraded instance is forgotten before the run has ended")
    # What is still to be created was never healthy: it tells of no outage.
    others = [
        number
        for number, build in after.builds.items()
        if number not in now.upgraded | now.in_progress and not on_target(build, now)
    ]
    down = sum(unhealthy(pods.get(number)) for number in others)
    outage = down * 100 > now.policy.rolling.max_unhealthy_instance_percent * len(others)
    known = was is not None and was.error is not None
    if now.error is not None and now.error.code.startswith("MaxUnhealthyUpgraded") and not known:
        bad = now.failed | {number for number in now.successful if unhealthy(pods.get(number))}
        target = now.target
        key = (target.model, target.version, target.image)
        blameless = outage or bad <= now.never_ran or now.kind is Kind.RESTART
        known_as = [{(f.model, f.version, f.image) for f in state.failed_targets} for state in (before, after)]
        right = known_as[1] <= known_as[0] if blameless else key in known_as[1]
        require(right, "4.7: the target is remembered, or tried again, wrongly")
    earlier = was.in_progress if was is not None else frozenset()
    back = now.restoring - earlier
    if not back:
        return
    require(decision.snapshot.fresh, "S10: taken back on old pods")
    require(now.error is not None, "S10: taken back without a breach")
    limit = max(1, place.replicas * now.policy.rolling.max_batch_instance_percent // 100)
    require(len(back) <= limit, "S1: more is taken back at a time than a batch")
    require(not back & untouchable(place), "1.3: a protected instance is taken back")
    require(all(after.builds[n] == before.previous.get(n) for n in back), "S4: taken back to another build than before")
    if now.restores:
        require(all(unhealthy(pods.get(number)) for number in back), "S10: a healthy instance is taken back")
        require(not outage, "4.5: taken back in an outage of what the run has not touched")
        cured = not known or was is None or was.batch is None or was.batch.instances & now.restored
        require(cured, "4.5: taken back though it made nobody healthy")
    else:
        require(now.rolls_back_on_breach, "S10: taken back in a run that restores nothing")


def on_target(build: Build, rollout: Rollout) -> bool:
    """Whether an instance runs what the run brings, by whatever way it came there: it tells of no outage."""
    target = rollout.target
    return build.version == target.version if target.version is not None else build.model == target.model


def breached(place: Place, after: State, rollout: Rollout) -> None:
    """4.2 and 4.5: a limit is broken by more than its percentage; exactly at it nothing ends."""
    pods, policy = dict(place.pods), rollout.policy.rolling
    code = rollout.error.code if rollout.error is not None else ""
    if code.startswith("MaxUnhealthyUpgraded"):
        upgraded = rollout.successful | rollout.failed
        spoilt = rollout.failed | {number for number in upgraded if unhealthy(pods.get(number))}
        broken = len(spoilt) * 100 > policy.max_unhealthy_upgraded_instance_percent * len(upgraded)
        require(broken, "4.5: it ended with the upgraded instances within their limit")
    elif code.startswith("MaxUnhealthyInstance"):
        bad = sum(unhealthy(pods.get(number)) for number in everybody(place, after))
        broken = bad * 100 > policy.max_unhealthy_instance_percent * place.replicas
        require(broken, "4.2: it ended with the gate open")
