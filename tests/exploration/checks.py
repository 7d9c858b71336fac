"""The invariants of testing.md, asked of every decision that the explorer takes.

They are worked out here from the real pods and the durable state before and after, with arithmetic of their own:
nothing of the planner's is used but its data.
"""

from itertools import count, islice

from scaleset.planner.gallery import LATEST
from scaleset.planner.instances import Build, Pod
from scaleset.planner.state import Code, Kind, Rollout, StartedBy, State
from tests.exploration import states
from tests.exploration.moves import Decision
from tests.exploration.states import BROKEN, ENDED, READY, STALE, STARTING, TERMINATING, Place, Seen
from tests.simulation import clocks


class ViolatedError(AssertionError):
    """An invariant does not hold."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise ViolatedError(what)


def healthy(pod: Seen | None) -> bool:
    return pod is not None and pod.phase == READY


def unhealthy(pod: Seen | None) -> bool:
    """Counts in the gates: missing, broken, going, or not ready in its time."""
    return pod is None or pod.phase in (BROKEN, TERMINATING, *ENDED) or (starts(pod) and pod.old)


def starts(pod: Seen) -> bool:
    """On its way to be ready: just created, or changed in place."""
    return pod.phase in (STARTING, STALE)


def untouchable(place: Place) -> set[int]:
    """Instances that set actions pass over."""
    return {number for number, everything in place.protected if everything}


def everybody(place: Place, state: State) -> list[int]:
    """Ids of the set's instances; those that do not exist yet have the lowest free ones."""
    free = (number for number in count() if number not in state.builds)
    return [*state.builds, *islice(free, max(0, place.replicas - len(state.builds)))]


def check(place: Place, decision: Decision) -> None:
    """Everything that a single decision must keep to."""
    before, after = decision.before, decision.plan.state
    _batch(place, decision, before, after)
    _settled(place, decision, before, after)
    _clocks(decision, before, after)
    _late(place, decision, before, after)
    _builds(place, decision, before, after)
    _deletions(place, decision, before, after)
    _changes(place, decision, after)
    _start(place, before, after)
    _counts(place, before, after)
    _order(place, decision)
    if decision.plan.wake_at is not None and decision.plan.wake_at <= states.NOW:
        require(decision.steps, "L1: it wakes up at once and has nothing to do")


def _batch(place: Place, decision: Decision, before: State, after: State) -> None:
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
        or rollout.kind is Kind.MODEL
        or rollout.with_model
        or all(left_behind(before, before.builds[number]) for number in reached)
    )
    closed = len(bad) * 100 > policy.max_unhealthy_instance_percent * n
    require(not closed or only_broken, "S2: admitted with the gate closed")
    starting = {number for number in ids if (p := pods.get(number)) and starts(p) and not p.old}
    require(not starting, "S2: admitted while an instance starts")
    require(not place.suspend, "S2: admitted while suspended")
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


def _settled(place: Place, decision: Decision, before: State, after: State) -> None:
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
        works = pod is not None and healthy(pod) and states.build_of(pod) == (build.model, build.version)
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
    old = pod is not None and states.build_of(pod) == (previous.model, previous.version)
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


def _clocks(decision: Decision, before: State, after: State) -> None:
    """4.4: the clock of an instance goes on as it should while it stays in hand with the same build."""
    hands = [state.rollout.in_progress if state.rollout is not None else frozenset() for state in (before, after)]
    for number in hands[0] & hands[1] & before.builds.keys() & after.builds.keys():
        build = before.builds[number]
        if build == after.builds[number]:
            was, now = before.clocks.get(number), after.clocks.get(number)
            right = clocks.goes_on(was, now, build, pod=decision.snapshot.pods.get(number), now=states.NOW)
            require(right, f"S10: the clock of instance {number} goes from {was} to {now}")


def _late(place: Place, decision: Decision, before: State, after: State) -> None:
    """4.5: what a breach takes back, and what becomes of the target."""
    was, now = before.rollout, after.rollout
    if now is None or (was is not None and not was.running):
        return
    pods = dict(place.pods)
    if now.running and now.restores:
        kept = now.successful & after.builds.keys() <= after.previous.keys()
        require(kept, "the way back of an upgraded instance is forgotten before the run has ended")
    # An id that a failed new instance leaves in this very look stands for nobody yet.
    left = was.batch.surge - after.builds.keys() if was is not None and was.batch is not None else frozenset()
    others = [
        number
        for number in everybody(place, after)
        if number not in left | now.upgraded | now.in_progress and not on_target(after.builds.get(number), now)
    ]
    down = sum(unhealthy(pods.get(number)) for number in others)
    outage = down * 100 > now.policy.rolling.max_unhealthy_instance_percent * len(others)
    known = was is not None and was.error is not None
    if now.error is not None and now.error.code.startswith("MaxUnhealthyUpgraded") and not known:
        bad = now.failed | {number for number in now.successful if unhealthy(pods.get(number))}
        target = now.target
        key = (target.model, target.version, target.image)
        blameless = outage or bad <= now.never_ran
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


def on_target(build: Build | None, rollout: Rollout) -> bool:
    """Whether an instance runs what the run brings, by whatever way it came there: it tells of no outage."""
    target = rollout.target
    if build is None:
        return False
    return build.version == target.version if target.version is not None else build.model == target.model


def _builds(place: Place, decision: Decision, before: State, after: State) -> None:
    """S4, S8: a build changes to the target, or back to the previous one; never down by itself."""
    rollout = after.rollout
    busy = after.applying | (rollout.in_progress if rollout is not None else frozenset())
    was, now = (s.rollout.batch if s.rollout is not None else None for s in (before, after))
    # Who went at the end of a surging batch may have left its id to a new instance of the next one.
    reborn = was.replaces & now.surge if was is not None and now is not None else frozenset()
    for number in (before.builds.keys() & after.builds.keys()) - reborn:
        old, new = before.builds[number], after.builds[number]
        if old == new:
            continue
        if number not in busy:
            require(_keeps(place, before, after, number), f"S1: instance {number} moves outside batch and request")
            continue
        if number in after.applying:
            require(number in after.previous, f"the way back of instance {number} is not written down")
            continue
        if new == before.previous.get(number):
            require(rollout is not None and number in rollout.failed, f"S10: {number} goes back and did not fail")
            continue
        require(number_of(new.version) >= number_of(old.version), f"S8: instance {number} goes down")
        require(number in after.previous, f"the way back of instance {number} is not written down")


def _keeps(place: Place, before: State, after: State, number: int) -> bool:
    """Whether an instance that is in no hand any more gets the build before, since it has the pod of that still, or
    (`_put_back` says when) none.
    """
    if after.builds[number] != before.previous.get(number):
        return False
    pod, build = dict(place.pods).get(number), after.builds[number]
    old = pod is not None and states.build_of(pod) == (build.model, build.version)
    if number in before.applying:
        return old and pod is not None and pod.phase != TERMINATING and number in untouchable(place)
    now = after.rollout
    if before.rollout is None or now is None or number not in before.rollout.in_progress:
        return False
    was = before.builds[number]
    # What ends there is of neither build: that of a run before, which did not end in its time either.
    neither = pod is not None and pod.phase == TERMINATING and states.build_of(pod) != (was.model, was.version)
    return old or neither if number in now.failed else True


def number_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _deletions(place: Place, decision: Decision, before: State, after: State) -> None:
    """S1, S7: only pods of instances that the written state hands over, and this very pod."""
    was, rollout = before.rollout, after.rollout
    # Of two instances side by side one goes (feature_checks say which), however many there are to be by now.
    side_by_side = was.batch.surge | was.batch.replaces if was is not None and was.batch is not None else frozenset()
    busy = after.applying | (rollout.in_progress if rollout is not None and rollout.running else frozenset())
    for deletion in decision.plan.deletions:
        number = deletion.instance
        pod: Pod = decision.snapshot.pods[number]
        require(deletion.uid == pod.uid and deletion.uid, "S7: a deletion without the pod's uid")
        build = after.builds.get(number)
        if build is None:
            surplus = len(after.builds) >= place.replicas or number in side_by_side
            require(surplus, f"S1: instance {number} is deleted and not surplus")
            continue
        if pod.ended and (number not in busy or build.same_as(pod)):
            again, last = after.ended.get(number), before.ended.get(number)
            told = again is not None and again.time == states.NOW
            require(told, f"4.4: the pod of {number} ended and is made again, and nothing is written down")
            require(last is None or last.time == states.OLD, f"4.4: ended pods of {number} are made again at once")
            continue
        require(number in busy, f"S1: instance {number} is deleted outside batch and request")
        require((pod.model, pod.version) != (build.model, build.version), f"S9: {number} is deleted for nothing")
    for creation in decision.plan.creations:
        number = creation.instance
        require(number not in decision.snapshot.pods, f"S5: a second pod for {number}")
        require(after.builds.get(number, creation.build) == creation.build, f"S4: {number} comes back as another")


def _changes(place: Place, decision: Decision, after: State) -> None:
    """S1, S4, S7: what is changed in place was handed over, is this very pod as it was seen, and needs no new one."""
    rollout = after.rollout
    busy = after.applying | (rollout.in_progress if rollout is not None and rollout.running else frozenset())
    shown = dict(place.pods if place.view is None or decision.snapshot.fresh else place.view)
    for wanted in decision.plan.changes:
        number, pod = wanted.instance, decision.snapshot.pods[wanted.instance]
        seen = shown[number]
        require(wanted.uid == pod.uid and wanted.uid, "S7: a change without the pod's uid")
        require(wanted.resource_version == pod.resource_version, "S7: a change without the pod's resourceVersion")
        require(number in busy, f"S1: instance {number} is changed outside batch and request")
        require(wanted.build == after.builds[number], f"S4: {number} is changed to what is not written down for it")
        require(
            (pod.model, pod.version) != (wanted.build.model, wanted.build.version), f"S9: {number} changed for nothing"
        )
        require(wanted.build.model == pod.model, f"S4: {number} needs a new pod for its model")
        require(wanted.change.image == states.image_of(seen.runs or seen.version), f"S10: {number} runs another image")
        require(not pod.deleting, f"S7: {number} is changed while it goes")
        require(wanted.previous == after.previous.get(number), f"the way back of {number} is not on its pod")


def _order(place: Place, decision: Decision) -> None:
    """Write-ahead: whenever the operator dies, what it deleted so far was handed over by the status as it stands."""
    state = states.read(place.status)
    for step in decision.steps:
        if step.verb == "status":
            state = states.read(step.text)
        elif step.verb in ("delete", "change"):
            rollout = state.rollout
            busy = rollout.in_progress if rollout is not None and rollout.running else frozenset()
            given = step.number in busy | state.applying | state.ended.keys() or step.number not in state.builds
            require(given, f"S1: instance {step.number} is taken down before the status says so")


def _start(place: Place, before: State, after: State) -> None:
    """S8: what the platform starts is neither remembered as failed nor withdrawn, and not a downgrade."""
    was, now = before.rollout, after.rollout
    if now is None or (was is not None and was.running):
        return
    if was is not None and not now.running and was.target == now.target and was.code == now.code:
        return
    if now.started_by is StartedBy.USER:
        return
    key = (now.target.model, now.target.version, now.target.image)
    require(
        key not in {(f.model, f.version, f.image) for f in before.failed_targets}, "S8: a failed target is tried again"
    )
    require(not place.suspend, "a rollout starts while suspended")
    if now.target.version is not None:
        require(not states.offers_of(place)[now.target.version].excluded, "S8: an excluded version is started")


def _counts(place: Place, before: State, after: State) -> None:
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
            _breach(place, after, rollout)
    elif rollout.code is Code.COMPLETED:
        _complete(place, after, rollout)
    else:
        require(rollout.error is not None and rollout.error.message, "S14: it ended without a reason")
        require(not rollout.in_progress, "it ended in the middle of a batch")
        if before.rollout is None or before.rollout.error is None:
            _breach(place, after, rollout)


def _breach(place: Place, after: State, rollout: Rollout) -> None:
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


def _complete(place: Place, after: State, rollout: Rollout) -> None:
    target = rollout.target
    for number, build in after.builds.items():
        if number in rollout.failed or number in untouchable(place):
            continue
        if target.version is not None:
            require(number_of(build.version) >= number_of(target.version), f"S14: Completed without instance {number}")
        if rollout.kind is Kind.MODEL:
            require(build.model == target.model, f"S14: Completed without instance {number}")


def check_state(place: Place) -> None:
    """S4: every pod runs what is written down for it, or what it ran before or is on its way to."""
    state = states.read(place.status)
    rollout = state.rollout
    busy = state.applying | (rollout.in_progress if rollout is not None and rollout.running else frozenset())
    if rollout is not None and rollout.running:
        limit = max(1, place.replicas * rollout.policy.rolling.max_batch_instance_percent // 100)
        require(
            len(rollout.in_progress) <= limit or (rollout.batch and rollout.batch.instances >= rollout.in_progress),
            "S1: too many in progress",
        )
    for number, pod in place.pods:
        build = state.builds.get(number)
        if build is None or pod.phase == TERMINATING or number in state.applying:
            continue
        runs = states.build_of(pod)
        known = {(build.model, build.version)}
        if number in busy:
            if number in state.previous:
                known.add((state.previous[number].model, state.previous[number].version))
            if rollout is not None and rollout.running and number in rollout.failed:
                heading = rollout.target.build_for(build)
                known.add((heading.model, heading.version))
        require(runs in known, f"S4: instance {number} runs {runs}, known are {sorted(known)}")


def check_end(place: Place, decision: Decision) -> None:
    """L1: all on the target, or halted with a reason and the failed ones on their previous build."""
    state = decision.plan.state
    rollout = state.rollout
    require(not state.applying, "L1: instances are being replaced for ever")
    if rollout is not None and rollout.running:
        require(not rollout.in_progress, "L1: a batch never ends")
        reason = rollout.waiting.reason if rollout.waiting is not None else ""
        require(reason in ("Suspended", "ImageNotFound"), f"L1: it runs for ever, waiting for {reason!r}")
    protected = {number for number, _ in place.protected}
    surplus = len(place.pods) > place.replicas and protected.issuperset(number for number, _ in place.pods)
    require(len(place.pods) == place.replicas or surplus, "L1: not as many pods as wanted")
    offers = states.offers_of(place)
    for number, pod in place.pods:
        if not place.tainted and offers[pod.version].bad:
            raise ViolatedError(f"L1: instance {number} stays on the bad version {pod.version}")
        require(
            (state.builds[number].model, state.builds[number].version) == states.build_of(pod),
            f"L1: instance {number} does not run what is written down",
        )
    conditions = {c["type"]: c for c in decision.plan.status["conditions"]}
    outdated = conditions["UpToDate"]["status"] != "True"
    progressing = conditions["Progressing"]
    why = {"TargetFailed", "HealthGateWaiting", "Suspended", "RollingForward", "StartRefused", "Cancelled"}
    if outdated and _automatic(decision) and _older(place, decision):
        require(progressing["reason"] in why, f"L1: outdated without a reason: {progressing}")


def _automatic(decision: Decision) -> bool:
    policy = decision.snapshot.policy
    return policy is not None and policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade


def _older(place: Place, decision: Decision) -> bool:
    latest = decision.plan.status["latestVersion"]
    upgradable = [pod for number, pod in place.pods if number not in untouchable(place)]
    return latest is not None and any(number_of(pod.version) < number_of(latest) for pod in upgradable)
