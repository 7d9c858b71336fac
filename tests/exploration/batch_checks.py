"""When a batch may be admitted and how large it may be, and when its instances may leave it (S1 to S3, S10, S14)."""

from scaleset.planner.gallery import LATEST
from scaleset.planner.instances import Build
from scaleset.planner.state import Kind, Rollout, State
from tests.exploration import states
from tests.exploration.moves import Decision
from tests.exploration.seeing import (
    ViolatedError,
    everybody,
    healthy,
    number_of,
    require,
    starts,
    unhealthy,
    untouchable,
)
from tests.exploration.states import TERMINATING, Place
from tests.simulation import clocks


def admitted(place: Place, decision: Decision, before: State, after: State) -> None:
    """S1, S2, S3: when a batch may be admitted, and how large it may be."""
    rollout = after.rollout
    if rollout is None or not rollout.running:
        return
    was = before.rollout if before.rollout is not None and before.rollout.running else None
    earlier = was.in_progress if was is not None else frozenset()
    # A new instance that there is no room for gives its place in the batch to the old one beside it.
    beside = was.batch.replaces if was is not None and was.batch is not None else frozenset()
    admitted = rollout.verifying - earlier - beside
    if not admitted:
        return
    batch = rollout.batch
    if batch is None or not batch.instances >= rollout.in_progress:
        raise ViolatedError("S1: in progress outside the batch")
    require(not earlier & rollout.in_progress, "S1: a batch while another is in progress")
    policy = rollout.policy.rolling
    n = place.replicas
    require(len(admitted) <= max(1, n * policy.max_batch_instance_percent // 100), "S1: the batch is too large")
    require(decision.snapshot.fresh, "S2: admitted on old pods")
    pods = dict(place.pods)
    ids = [number for number in everybody(place, after) if number not in batch.surge]
    bad = {number for number in ids if unhealthy(pods.get(number))}
    reached = batch.replaces or admitted
    only_broken = reached <= bad and (
        policy.prioritize_unhealthy_instances
        or rollout.kind is not Kind.IMAGE
        or rollout.with_model
        or all(left_behind(before, before.builds[number]) for number in reached)
    )
    closed = len(bad) * 100 > policy.max_unhealthy_instance_percent * n
    require(not closed or only_broken, "S2: admitted with the gate closed")
    starting = {number for number in ids if (p := pods.get(number)) and starts(p) and not p.old}
    require(not starting, "S2: admitted while an instance starts")
    require(not (place.suspend or place.halt), "S2: admitted while suspended")
    require(rollout.ending is None, "S3: admitted after a decision to end")
    upgraded = rollout.successful | rollout.failed
    spoilt = rollout.failed | {number for number in upgraded if unhealthy(pods.get(number))}
    breach = len(spoilt) * 100 > policy.max_unhealthy_upgraded_instance_percent * len(upgraded)
    require(not breach, "S3: admitted after a breach of the upgraded-unhealthy limit")
    target = rollout.target
    if target.version is not None and target.reference == LATEST:
        require(not states.offers_of(place)[target.version].excluded, "S8: admitted an excluded version")
    require(bool(decision.snapshot.admissions), "a batch without a dry run")


def left_behind(state: State, build: Build) -> bool:
    """Whether that version failed here, or is higher than any that completed: who fixes it passes a closed gate."""
    if any(failed.version == build.version and failed.image in (None, build.image) for failed in state.failed_targets):
        return True
    return state.current_version is not None and number_of(build.version) > number_of(state.current_version)


def settled(place: Place, decision: Decision, before: State, after: State) -> None:
    """S10: who leaves the batch is healthy, or late on fresh pods; a restore is never premature."""
    was, now = before.rollout, after.rollout
    if was is None or not was.running or was.batch is None or now is None:
        return
    pods = dict(place.pods)
    same = now.started == was.started and now.target == was.target
    still = now.in_progress - now.failed if same and now.running else frozenset()
    for number in (was.in_progress - was.failed) - still:
        if number not in after.builds:
            continue
        require(decision.snapshot.fresh, "S10: judged on old pods")
        pod = pods.get(number)
        build = before.builds[number]
        works = pod is not None and healthy(pod) and states.runs(pod, build)
        known = decision.snapshot.pods.get(number)
        since = clocks.counts_from(
            build, known, before.clocks.get(number), started=was.batch.started, refused=place.kept and pod is not None
        )
        late = since is not None and since + was.policy.health_timeout <= states.NOW
        if number in now.successful:
            require(works, f"S14: instance {number} counts as upgraded and is not")
        elif number not in now.failed and _put_back(place, decision, before, after, number):
            continue
        else:
            require(late and not works, f"S10: instance {number} failed too early")
            require(number in now.failed, f"S14: instance {number} is in no count")
            ran = known is not None and build.same_as(known) and known.reached
            require((number in now.never_ran) != ran, f"4.7: instance {number} failed, and its image is misjudged")
    for number in was.in_progress & was.failed & after.builds.keys() - (now.in_progress if same else frozenset()):
        require(decision.snapshot.fresh, "S10: a restored instance judged on old pods")
        pod = pods.get(number)
        if number in now.restored:
            require(healthy(pod), f"S14: instance {number} counts as restored and is not healthy")


def _put_back(place: Place, decision: Decision, before: State, after: State, number: int) -> bool:
    """Whether an instance may leave its batch without a verdict: it keeps the pod that it has, since it was protected
    before that was touched, or waits for what others keep from it while the run is to end.
    """
    was, now, pod = before.rollout, after.rollout, dict(place.pods).get(number)
    previous = before.previous.get(number)
    if was is None or now is None or previous is None or after.builds[number] != previous:
        return False
    old = pod is not None and states.runs(pod, previous) and not states.runs(pod, before.builds[number])
    if pod is not None and old and pod.phase != TERMINATING and number in untouchable(place):
        return True
    if not (was.ending or now.ending or _is_to_end(place, now)):
        return False
    if pod is None:
        return number in decision.snapshot.refusals
    return old and (pod.old if pod.phase == TERMINATING else place.kept)


def _is_to_end(place: Place, rollout: Rollout) -> bool:
    """Whether this very look found that the run is to end, and ended it."""
    target = rollout.target
    superseded = states.model_of(place.model).name != target.model
    withdrawn = target.version is not None and states.offers_of(place)[target.version].excluded
    return not rollout.running and (place.cancel or superseded or withdrawn)


def wound(decision: Decision, before: State, after: State) -> None:
    """4.4: the clock of an instance goes on as it should while it stays in hand with the same build."""
    hands = [state.rollout.in_progress if state.rollout is not None else frozenset() for state in (before, after)]
    for number in hands[0] & hands[1] & before.builds.keys() & after.builds.keys():
        build = before.builds[number]
        if build == after.builds[number]:
            was, now = before.clocks.get(number), after.clocks.get(number)
            right = clocks.goes_on(was, now, build, pod=decision.snapshot.pods.get(number), now=states.NOW)
            require(right, f"S10: the clock of instance {number} goes from {was} to {now}")
