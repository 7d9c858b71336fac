"""What is true of every state, and where a set comes to rest when nothing disturbs it any more (S4, L1)."""

from collections import Counter

from tests.exploration import states
from tests.exploration.moves import Decision
from tests.exploration.seeing import ViolatedError, healthy, number_of, require, untouchable
from tests.exploration.states import TERMINATING, Place


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
    require(not place.asked, f"L1: nobody answers to {place.asked}")
    if rollout is not None and rollout.running:
        require(not rollout.in_progress, "L1: a batch never ends")
        reason = rollout.waiting.reason if rollout.waiting is not None else ""
        require(reason in ("Suspended", "ImageNotFound"), f"L1: it runs for ever, waiting for {reason!r}")
    protected = {number for number, _ in place.protected}
    surplus = len(place.pods) > place.replicas and protected.issuperset(number for number, _ in place.pods)
    stuck = place.ordered and place.tainted and not all(healthy(pod) for _, pod in place.pods)
    require(len(place.pods) == place.replicas or surplus or stuck, "L1: not as many pods as wanted")
    offers = states.offers_of(place)
    for number, pod in place.pods:
        if not place.tainted and offers[pod.version].bad:
            raise ViolatedError(f"L1: instance {number} stays on the bad version {pod.version}")
        require(
            states.runs(pod, state.builds[number]),
            f"L1: instance {number} does not run what is written down",
        )
    _shown(place, decision)
    conditions = {c["type"]: c for c in decision.plan.status["conditions"]}
    outdated = conditions["UpToDate"]["status"] != "True"
    progressing = conditions["Progressing"]
    why = {"TargetFailed", "HealthGateWaiting", "Suspended", "RollingForward", "StartRefused", "Cancelled"}
    if decision.snapshot.policy is not None and decision.snapshot.policy.only_in_place:
        why.add("NotInPlace")
    if outdated and _automatic(decision) and _older(place, decision):
        require(progressing["reason"] in why, f"L1: outdated without a reason: {progressing}")


def _shown(place: Place, decision: Decision) -> None:
    """Semantics 2: VERSION is the version of the majority when nothing runs."""
    counts = Counter(pod.version for _, pod in place.pods)
    shown = decision.plan.status["versions"] or ""
    if len(counts) == 1:
        require(shown in counts, f"2: VERSION is {shown}, and all run {set(counts)}")
    elif counts:
        first = shown.split(" (")[0]
        require(counts[first] == max(counts.values()), f"2: VERSION is {shown} first, and there are {dict(counts)}")
        require(all(f"{v} ({n})" in shown for v, n in counts.items()), f"2: VERSION is {shown}, and not {dict(counts)}")


def _automatic(decision: Decision) -> bool:
    policy = decision.snapshot.policy
    return policy is not None and policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade


def _older(place: Place, decision: Decision) -> bool:
    latest = decision.plan.status["latestVersion"]
    upgradable = [pod for number, pod in place.pods if number not in untouchable(place)]
    return latest is not None and any(number_of(pod.version) < number_of(latest) for pod in upgradable)
