"""The state compared with the pods: which pods to create, to delete and to change in place.

A pod is replaced only where the state authorises it (its instance is in the running batch or in `applying`); a lost pod
is created again with its recorded build. A pod that ended for good (evicted, rejected by the kubelet, node shut down)
is deleted so that it can be created again: at once the first time, then after a growing back-off, as a kubelet restarts
a crashing container. An instance is Blocked, and left alone, if a foreign object has its name or if its data would be
lost.

Replacing is one intent with two methods: the image is changed in the running pod where policy and builds allow it
(`in_place`), otherwise the pod is deleted and created again.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from scaleset.planner import digests, in_place
from scaleset.planner.batches import batch_limit
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build, Instance, Pod
from scaleset.planner.plan import Creation, Deletion, ImageChange
from scaleset.planner.pod_builder import Identity
from scaleset.planner.ranges import abridged
from scaleset.planner.scaling import new_build
from scaleset.planner.state import NOBODY, ROW_SECONDS, Ended, State
from scaleset.planner.step import Step


@dataclass(frozen=True, slots=True)
class Diff:
    """The changes that lead from the pods to the state."""

    deletions: tuple[Deletion, ...] = ()
    changes: tuple[ImageChange, ...] = ()
    creations: tuple[Creation, ...] = ()


def block(facts: Facts) -> Step:
    """Find the instances that must not be touched, before any other decision."""
    fresh_build = new_build(facts)
    dying = any(claim.deleting for claim in facts.snapshot.claims.values())
    blocked = {}
    for number, instance in facts.instances.items():
        if number in facts.snapshot.foreign_pods:
            reason: str | None = facts.snapshot.foreign_pods[number]
        elif instance.pod is None:
            reason = _obstacle(facts, number, instance.build or fresh_build)
        else:
            reason = _dying_claim(facts, number, instance.pod.model) if dying else None
        if reason is not None:
            blocked[number] = reason
    return replace(facts.step(), blocked=blocked)


def diff(facts: Facts) -> tuple[Diff, Step]:
    """Compare the pods with the state. Before a pod is deleted, the state records what only the pod shows: its creation
    time, and how many pods of the instance ended in a row.
    """
    found, ended = _to_be_replaced(facts)
    state = replace(facts.state, ended=ended) if ended != facts.state.ended else facts.state
    found = replace(found, deletions=(*found.deletions, *_superfluous(facts)), creations=tuple(_creations(facts)))
    known = facts.snapshot.state.builds
    # Decide again: the reason that blocked the instance was about its previous build.
    again = any(facts.state.builds.get(number) != known.get(number) for number in facts.blocked)
    step = facts.step(_with_ages(facts, state, found.deletions), again=again)
    return found, in_place.add_refusal_events(facts, found.deletions, _add_ended_event(facts, step))


def _to_be_replaced(facts: Facts) -> tuple[Diff, Mapping[int, Ended]]:
    """Pods that the state authorises to replace, by the method that the policy asks for and the two builds allow; and
    ended pods whose end is recorded.
    """
    replaceable = facts.state.applying | _batch(facts)
    deletions, changes, ended = [], [], dict(facts.state.ended)
    for number, instance in facts.instances.items():
        pod = instance.pod
        if pod is None or pod.deleting or number in facts.blocked:
            continue
        if not (_authorised(instance, replaceable) or (pod.image_errors and _by_dropped_digest(facts, number, pod))):
            made_again = _made_again(facts, number) if pod.ended else None
            if made_again is None:
                continue
            ended[number] = made_again
        build = facts.state.builds.get(number)
        if build is not None and in_place.possible(facts, number, pod, build):
            changes.append(in_place.change(facts, number, pod, build))
        elif pod.ended or not facts.only_in_place(number) or _by_dropped_digest(facts, number, pod):
            deletions.append(_deletion(number, pod))
    return Diff(tuple(deletions), tuple(changes)), ended


def _authorised(instance: Instance, replaceable: frozenset[int]) -> bool:
    """Whether the state authorises replacing the pod of this instance."""
    return instance.id in replaceable and instance.untouched


def _by_dropped_digest(facts: Facts, number: int, pod: Pod) -> bool:
    """Whether the pod asks for an image that cannot be run, while its build has the tag."""
    build = facts.state.builds.get(number)
    return build is not None and digests.given_up(build, pod)


def _superfluous(facts: Facts) -> Iterator[Deletion]:
    """Pods of instances that no longer exist."""
    for number, pod in facts.snapshot.pods.items():
        if number not in facts.instances and not pod.deleting:
            yield _deletion(number, pod)


def _creations(facts: Facts) -> Iterator[Creation]:
    """Missing pods, with the recorded build of their instance."""
    fresh_build = new_build(facts)
    for number, instance in facts.instances.items():
        if instance.pod is not None or instance.queued_behind is not None or number in facts.blocked:
            continue
        build = facts.state.builds.get(number) or fresh_build
        if build is not None and _obstacle(facts, number, build) is None:
            yield _creation(facts, number, build)


def _with_ages(facts: Facts, state: State, deletions: Collection[Deletion]) -> State:
    """Record when an instance was first created before the pod that shows it is deleted."""
    known = {**state.ages, **facts.snapshot.ages}
    going = {deletion.instance for deletion in deletions}
    gone = {n for n, i in facts.instances.items() if i.pod is None or i.pod.deleting}
    ages = {n: known[n] for n in state.builds if n in known and (n in going or n in gone)}
    return replace(state, ages=ages) if ages != state.ages else state


def _add_ended_event(facts: Facts, step: Step) -> Step:
    """Add an event for the first of a row of ended pods. A row is over once a pod has run for ten minutes."""
    before, after = facts.snapshot.state.ended, step.state.ended
    first = [n for n, ended in after.items() if ended.count == 1 and before.get(n) != ended]
    if first:
        why = facts.instances[min(first)].message.rstrip(".")
        step = step.with_event(
            "PodEnded",
            f"The pods of instances {abridged(first)} ended: {why}. They are created again; if new pods "
            "end as well, after 10 s, 20 s and so on up to 5 minutes.",
            warning=True,
        )
    over = {
        n
        for n, ended in after.items()
        if n in facts.instances and facts.instances[n].healthy and facts.now >= ended.time + ROW_SECONDS
    }
    return step.to(replace(step.state, ended={n: e for n, e in after.items() if n not in over})) if over else step


def _batch(facts: Facts) -> frozenset[int]:
    """Instances of the running batch that may be taken down now. If the set shrank since the batch was admitted, only
    as many at a time as its present size allows.
    """
    rollout = facts.rollout
    if rollout is None:
        return NOBODY
    limit = batch_limit(facts.replicas, rollout.policy.rolling.max_batch_instance_percent)
    if len(rollout.in_progress) <= limit:
        return rollout.in_progress
    instances = [facts.instances[number] for number in sorted(rollout.in_progress)]
    waiting = [i.id for i in instances if i.untouched]
    taken = sum(not i.healthy for i in instances if not i.untouched)
    return frozenset(waiting[: max(0, limit - taken)])


def _made_again(facts: Facts, number: int) -> Ended | None:
    """The record of an ended pod once its recreation is due; None before that."""
    known = facts.state.ended.get(number)
    if known is None or facts.now >= known.time + known.delay + ROW_SECONDS:
        return Ended(1, facts.now)
    return Ended(known.count + 1, facts.now) if facts.now >= known.time + known.delay else None


def _deletion(number: int, pod: Pod) -> Deletion:
    return Deletion(number, pod.name, pod.uid)


def _creation(facts: Facts, number: int, build: Build) -> Creation:
    missing = facts.missing_claims(facts.models[build.model], number)
    return Creation(
        number,
        build,
        facts.state.previous.get(number),
        facts.snapshot.ages.get(number, facts.state.ages.get(number, facts.now)),
        missing,
    )


def _obstacle(facts: Facts, number: int, build: Build | None) -> str | None:
    """Why creating the pod of this instance would do harm."""
    if build is None:
        return "There is no image version to create this instance from."
    model = facts.models.get(build.model)
    if model is None:
        return (
            f"ControllerRevision {build.model}, the model of this instance, is gone. "
            f'Bring the instance to the newest model with the annotation scaleset.dev/apply-model: "{number}".'
        )
    owner = facts.snapshot.owner
    for name in model.claim_names:
        claim = facts.snapshot.claims.get(owner.claim(name, number))
        if claim is not None and claim.set_name != owner.name:
            return (
                f"PersistentVolumeClaim {claim.name} exists but is not ours. "
                f"Label it scaleset.dev/name={owner.name} to hand it over with its data; if these are somebody else's, "
                "give the ScaleSet another name."
            )
        if claim is not None and claim.deleting:
            return f"PersistentVolumeClaim {claim.name} is being deleted: a new pod would lose it."
        if claim is not None and claim.goes_with_another(owner.uid):
            return (
                f"PersistentVolumeClaim {claim.name} names another ScaleSet as its owner, an earlier one of this name "
                "perhaps, and is deleted with it. To keep its data remove that entry of its ownerReferences; otherwise "
                "a new claim is created once it is gone."
            )
        if claim is None and _had_claim(facts, number, name):
            missing = owner.claim(name, number)
            return (
                f"PersistentVolumeClaim {missing} of this instance is gone; an empty one in its place would hide "
                f"the loss. "
                f"Create it (restored or empty) with the label scaleset.dev/name={owner.name}."
            )
    return None


def _had_claim(facts: Facts, number: int, name: str) -> bool:
    """Whether the instance ran with that claim before. An instance is recorded once its pod was seen, so its claims
    existed then.
    """
    ran = facts.state.previous.get(number) or facts.state.builds.get(number)
    model = facts.models.get(ran.model) if ran is not None else None
    return model is not None and name in model.claim_names


def _dying_claim(facts: Facts, number: int, model_name: str) -> str | None:
    """A terminating claim that is deleted with its data as soon as this pod is gone."""
    model = facts.models.get(model_name)
    owner: Identity = facts.snapshot.owner
    for name in model.claim_names if model is not None else ():
        claim = facts.snapshot.claims.get(owner.claim(name, number))
        if claim is not None and claim.deleting:
            return (
                f"PersistentVolumeClaim {claim.name} is marked for deletion: replacing the pod would delete its data."
            )
    return None
