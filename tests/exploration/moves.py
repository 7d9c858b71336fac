"""What can happen next in a state of the explored world.

`reconcile` decides with the real planner and carries the plan out; an operator that dies stops after any of its
writes. The surroundings move freely: pods end, become ready, time passes once nothing else happens. Faults and user
actions (`disturbances`) are what a path has a budget for.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from scaleset.api import names
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.decide import decide
from scaleset.planner.instances import Pod
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot, Verdict
from scaleset.planner.state import State
from tests.exploration import states
from tests.exploration.states import (
    BROKEN,
    ENDED,
    EVICTED,
    READY,
    REJECTED,
    STALE,
    STARTING,
    TERMINATING,
    Offer,
    Place,
    Pods,
    Seen,
)
from tests.simulation.world import OWNER

ACCEPTED = Verdict(accepted=True)
QUOTA = "exceeded quota: pods"
KEPT = "pods of this namespace are not deleted"
REQUESTS = {
    "restart": names.ANNOTATION_RESTART,
    "retry": names.ANNOTATION_RETRY,
    "model_rollout": names.ANNOTATION_MODEL_ROLLOUT,
}


class Step(NamedTuple):
    """One write of a plan."""

    verb: str
    number: int = 0
    text: str = ""
    model: int = 0
    uid: str = ""
    resource_version: str = ""
    restarted: float | None = None
    handled: frozenset[str] = frozenset()
    """Of a status: the requests that it records."""


class Decision(NamedTuple):
    """A plan, what it was made from, and its writes."""

    before: State
    snapshot: Snapshot
    plan: Plan
    steps: tuple[Step, ...]


def decide_in(place: Place, policy: UpgradePolicySpec) -> Decision:
    """Decide, and observe what the plan asks for until it asks for nothing."""
    before = states.read(place.status)
    real = states.pods_by_id(place.pods)
    seen = real if place.view is None else states.pods_by_id(place.view)
    annotations = dict.fromkeys((REQUESTS[each] for each in place.asked), "now")
    if place.start:
        annotations[names.ANNOTATION_START] = "now"
    if place.cancel:
        annotations[names.ANNOTATION_CANCEL] = "now"
    snapshot = Snapshot(
        owner=OWNER,
        generation=1,
        spec=_spec(place),
        state=before,
        model=states.model_of(place.model),
        now=states.NOW,
        policy=policy.model_copy(update={"suspend": True}) if place.halt else policy,
        annotations=annotations,
        pods=seen,
        models=tuple(states.model_of(index, number) for index, number in place.revisions),
        catalogue=tuple(states.offer(entry) for entry in place.offers),
        refusals=_refused(place, before, seen),
        patch_errors=_fixed(place, seen),
        delete_errors=_kept(place, seen),
    )
    for _ in range(6):
        plan = decide(snapshot)
        needs = plan.needs
        if not needs:
            return Decision(before, snapshot, plan, _steps(place, plan))
        if needs.fresh:
            snapshot = replace(snapshot, pods=real, fresh=True, refusals=_refused(place, before, real))
            snapshot = replace(snapshot, patch_errors=_fixed(place, real), delete_errors=_kept(place, real))
        if needs.verdict is not None:
            snapshot = replace(snapshot, verdicts={needs.verdict.model.name: ACCEPTED})
        if needs.admission is not None:
            asked = needs.admission
            snapshot = replace(
                snapshot, admissions={**snapshot.admissions, asked.about: _admitted(place, asked.instance)}
            )
    raise AssertionError(f"the plan never has what it needs: {place}")


def _spec(place: Place) -> ScaleSetSpec:
    shape = Place("", (), place.replicas, (), place.model, suspend=place.suspend)
    return states.spec_in(
        shape._replace(zones=place.zones, protected=place.protected, ordered=place.ordered, descends=place.descends)
    )


def _admitted(place: Place, number: int) -> Verdict:
    """What a dry run says: the pod that is there already would make room for its successor."""
    if place.quota and place.foreseen and number not in dict(place.pods):
        return Verdict(accepted=False, message=QUOTA, quota=True)
    return ACCEPTED


def _refused(place: Place, state: State, pods: dict[int, Pod]) -> dict[int, str]:
    return {number: QUOTA for number in state.builds if number not in pods} if place.quota else {}


def _fixed(place: Place, pods: dict[int, Pod]) -> dict[str, str]:
    return {pod.uid: "images are fixed" for pod in pods.values()} if place.fixed else {}


def _kept(place: Place, pods: dict[int, Pod]) -> dict[str, str]:
    return {pod.uid: KEPT for pod in pods.values() if not pod.deleting} if place.kept else {}


def _steps(place: Place, plan: Plan) -> tuple[Step, ...]:
    steps = [Step("store", states.index_of(m.name), model=m.number) for m in plan.store]
    steps += [Step("discard", states.index_of(m.name)) for m in plan.discard]
    asked = (*place.asked, *(("start",) if place.start else ()), *(("cancel",) if place.cancel else ()))
    handled = frozenset(each for each in asked if getattr(plan.state, f"handled_{each}") == "now")
    status = states.write(plan.state)
    if status != place.status or handled:
        steps.append(Step("status", text=status, handled=handled))
    steps += [Step("delete", d.instance, uid=d.uid) for d in plan.deletions]
    steps += [
        Step("change", c.instance, c.build.version, states.index_of(c.build.model), c.uid, c.resource_version)
        for c in plan.changes
    ]
    steps += [
        Step(
            "create",
            c.instance,
            c.build.version,
            states.index_of(c.build.model),
            restarted=c.build.restart,
        )
        for c in plan.creations
    ]
    return tuple(steps)


def carry_out(place: Place, decision: Decision, *, writes: int | None = None) -> Place:
    """The state after those writes, or the first few of them. What a fresh LIST showed is in the cache from then on."""
    if decision.snapshot.fresh:
        place = place._replace(view=None)
    for step in decision.steps[:writes]:
        place = _carry_out(place, step)
    return states.tidy(place)


def _carry_out(place: Place, step: Step) -> Place:
    pods = dict(place.pods)
    match step.verb:
        case "store":
            return place._replace(revisions=tuple(sorted({**dict(place.revisions), step.number: step.model}.items())))
        case "discard":
            return place._replace(revisions=tuple(r for r in place.revisions if r[0] != step.number))
        case "status":
            left = tuple(each for each in place.asked if each not in step.handled)
            start, cancel = place.start and "start" not in step.handled, place.cancel and "cancel" not in step.handled
            return place._replace(status=step.text, start=start, cancel=cancel, asked=left)
        case "delete":
            return _delete(place, step)
        case "change":
            return _change(place, step)
        case _:
            if step.number in pods or place.quota:
                return place
            born = Seen(step.model, step.text, STARTING, old=False, uid=2, restarted=step.restarted)
            return place._replace(pods=(*place.pods, (step.number, born)))


def _delete(place: Place, step: Step) -> Place:
    pod = dict(place.pods).get(step.number)
    if pod is None or pod.phase == TERMINATING or f"{step.number}/{pod.uid}" != step.uid or place.kept:
        return place
    if pod.phase in ENDED:
        return place._replace(pods=_without(place.pods, step.number))  # Nothing of it runs: no grace period.
    return place._replace(pods=_going(place.pods, step.number))


def _change(place: Place, step: Step) -> Place:
    """The image of a pod changes in place, if that pod is still as it was seen. It stays Ready until the kubelet has
    started its container again, which it need not do for the image that the container has.
    """
    pod = dict(place.pods).get(step.number)
    if pod is None or place.fixed:
        return place
    known = states.pod_of(step.number, pod)
    if step.uid != known.uid or step.resource_version not in ("", known.resource_version):
        return place
    runs = pod.runs or (pod.version if pod.phase == READY else "")
    stale = bool(runs) and runs != step.text
    phase = STALE if stale else READY if runs else STARTING
    new = pod._replace(
        model=step.model,
        version=step.text,
        phase=phase,
        old=False,
        settled=False,
        changed=True,
        runs=runs if stale else "",
    )
    return place._replace(pods=tuple((n, new if n == step.number else p) for n, p in place.pods))


# --- the surroundings


def natural(place: Place) -> Iterator[tuple[str, Place]]:
    """What pods do by themselves, and faults that end."""
    offers = states.offers_of(place)
    for number, pod in place.pods:
        if pod.phase == TERMINATING:
            yield f"pod {number} is gone", _with(place, _without(place.pods, number))
        elif pod.phase == STARTING and not offers[pod.version].bad:
            yield f"pod {number} is ready", _with(place, states.change(place.pods, number, phase=READY))
        elif pod.phase == STALE:
            again = states.change(place.pods, number, phase=STARTING, runs="")
            yield f"the container of pod {number} is started again", _with(place, again)
        elif pod.phase == BROKEN:
            yield f"pod {number} heals", _with(place, states.change(place.pods, number, phase=READY, settled=False))
    if place.view is not None:
        yield "the cache catches up", states.tidy(place._replace(view=None))
    if place.quota:
        yield "the quota is lifted", place._replace(quota=False)
    if place.fixed:
        yield "images may be changed again", place._replace(fixed=False)
    if place.kept:
        yield "pods may be deleted again", place._replace(kept=False)


def later(place: Place) -> Place:
    """After every deadline."""
    view = None if place.view is None else states.age(place.view)
    return states.tidy(place._replace(status=states.aged(place.status), pods=states.age(place.pods), view=view))


def disturbances(place: Place, decision: Decision, kinds: frozenset[str]) -> Iterator[tuple[str, Place]]:
    """Faults and user actions, each taking one of the budget."""
    if place.left <= 0:
        return
    place = place._replace(left=place.left - 1)
    if "crash" in kinds:
        for count in range(1, len(decision.steps)):
            what = f"killed after {count} of {len(decision.steps)} writes"
            yield what, carry_out(place, decision, writes=count)
    if "stale" in kinds and place.view is None:
        yield "the cache lags", states.tidy(place._replace(view=place.pods))
    if "slow" in kinds:
        yield "time passes", later(place)
    yield from _refusals(place, decision, kinds)
    yield from _pods(place, kinds)
    if "user" in kinds:
        yield from _user(place)
    if "protect" in kinds:
        yield from _protect(place)
    if "requests" in kinds:
        yield from _requests(place)


def _refusals(place: Place, decision: Decision, kinds: frozenset[str]) -> Iterator[tuple[str, Place]]:
    if "quota" in kinds and not place.quota:
        yield "the quota is used up", place._replace(quota=True)
    if "keep" in kinds and not place.kept:
        yield "pods may not be deleted", place._replace(kept=True)
    policy = decision.snapshot.policy
    if "quota" in kinds and policy is not None and policy.changes_in_place and not place.fixed:
        yield "images may not be changed in place", place._replace(fixed=True)


def _pods(place: Place, kinds: frozenset[str]) -> Iterator[tuple[str, Place]]:
    offers = states.offers_of(place)
    for number, pod in place.pods:
        if "flap" in kinds and pod.phase == READY:
            yield f"pod {number} breaks", _with(place, states.change(place.pods, number, phase=BROKEN, settled=False))
        if "lose" in kinds and pod.phase != TERMINATING and pod.phase not in ENDED:
            yield f"pod {number} is deleted by hand", _with(place, _going(place.pods, number))
        if "evict" in kinds and pod.phase != TERMINATING and pod.phase not in ENDED:
            ended = REJECTED if pod.phase == STARTING and not offers[pod.version].bad else EVICTED
            over = states.change(place.pods, number, phase=ended, settled=False, runs="")
            yield f"pod {number} is {ended}", _with(place, over)


def _user(place: Place) -> Iterator[tuple[str, Place]]:
    highest = place.offers[-1]
    following = f"{int(highest.version[0]) + 1}.0.0"
    if len(place.offers) < 4:
        for bad in (False, True):
            what = f"{following} is published, {'bad' if bad else 'good'}"
            yield what, place._replace(offers=(*place.offers, Offer(following, bad=bad)))
    toggled = highest._replace(excluded=not highest.excluded)
    if len(place.offers) > 1:
        yield f"{highest.version} is excluded or included", place._replace(offers=(*place.offers[:-1], toggled))
    if not place.cancel:
        yield "cancel", place._replace(cancel=True)
    if not place.start:
        yield "start by hand", place._replace(start=True, tainted=True)
    yield "scale out", place._replace(replicas=place.replicas + 1, tainted=True)
    if place.replicas:
        yield "scale in", place._replace(replicas=place.replicas - 1)
    yield "suspend or resume", place._replace(suspend=not place.suspend)
    yield "the model changes", place._replace(model=1 - place.model)


def _requests(place: Place) -> Iterator[tuple[str, Place]]:
    """The user asks for a restart, a rollout of the model or another try, and suspends all sets of the policy."""
    for each, annotation in REQUESTS.items():
        if each not in place.asked:
            yield annotation, place._replace(asked=tuple(sorted((*place.asked, each))), tainted=True)
    yield "the policy suspends its sets, or not any more", place._replace(halt=not place.halt)


def _protect(place: Place) -> Iterator[tuple[str, Place]]:
    """The user gives and takes protection of the first and of the last instance."""
    now = dict(place.protected)
    flavours: dict[bool | None, str] = {None: "not protected", False: "protected from scale-in", True: "protected"}
    present = [number for number, _ in place.pods]
    for number in sorted({min(present), max(present)} if present else ()):
        for flavour, what in flavours.items():
            if flavour is now.get(number):
                continue
            others = {n: f for n, f in now.items() if n != number}
            changed = others if flavour is None else {**others, number: flavour}
            yield f"instance {number} is {what}", place._replace(protected=tuple(sorted(changed.items())))


def _with(place: Place, pods: Pods) -> Place:
    return states.tidy(place._replace(pods=pods))


def _going(pods: Pods, number: int) -> Pods:
    """The pod has its grace period from now on."""
    return states.change(pods, number, phase=TERMINATING, old=False, settled=False, runs="")


def _without(pods: Pods, number: int) -> Pods:
    return tuple(entry for entry in pods if entry[0] != number)
