"""What becomes of single instances: which build they run, which pods go, change and come (S1, S4, S5, S7 to S9)."""

from scaleset.planner.instances import Pod
from scaleset.planner.state import State
from tests.exploration import states
from tests.exploration.moves import Decision
from tests.exploration.seeing import number_of, require, untouchable
from tests.exploration.states import TERMINATING, Place


def builds(place: Place, decision: Decision, before: State, after: State) -> None:
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
    old = pod is not None and states.runs(pod, build) and not states.runs(pod, before.builds[number])
    if number in before.applying:
        return old and pod is not None and pod.phase != TERMINATING and number in untouchable(place)
    now = after.rollout
    if before.rollout is None or now is None or number not in before.rollout.in_progress:
        return False
    was = before.builds[number]
    # What ends there is of neither build: that of a run before, which did not end in its time either.
    neither = pod is not None and pod.phase == TERMINATING and not states.runs(pod, was)
    return old or neither if number in now.failed else True


def deletions(place: Place, decision: Decision, before: State, after: State) -> None:
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
        require(not build.same_as(pod), f"S9: {number} is deleted for nothing")
    for creation in decision.plan.creations:
        number = creation.instance
        require(number not in decision.snapshot.pods, f"S5: a second pod for {number}")
        require(after.builds.get(number, creation.build) == creation.build, f"S4: {number} comes back as another")


def changes(place: Place, decision: Decision, after: State) -> None:
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
        require(wanted.build.restart in (None, pod.restart), f"S4: {number} needs a new pod for its restart")
        require(wanted.change.image == states.image_of(seen.runs or seen.version), f"S10: {number} runs another image")
        require(not pod.deleting, f"S7: {number} is changed while it goes")
        require(wanted.previous == after.previous.get(number), f"the way back of {number} is not on its pod")


def order(place: Place, decision: Decision) -> None:
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
