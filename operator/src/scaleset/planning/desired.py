"""What the state says, compared with the pods: what to create, what to delete, what to change in place.

A pod is replaced only where the state authorises it (its instance is in the running batch or in `applying`); a lost
one is created again with the build that is recorded for it. A pod that ended for good (evicted, rejected by the
kubelet, node shut down) is deleted so that it can be created again: at once the first time, then after a growing
while, as a kubelet starts a crashing container. An instance is Blocked, and left alone, when its name is taken by
something that is not ours or its data would be lost.

Replacing is one intent with two methods: the image is changed in the running pod where policy and builds allow it
(`in_place`), otherwise the pod is deleted and created again.
"""

from dataclasses import replace

from scaleset.planning import in_place
from scaleset.planning.batches import batch_limit
from scaleset.planning.draft import Draft
from scaleset.planning.instances import Build, Instance, Pod
from scaleset.planning.pods import Identity
from scaleset.planning.ranges import tell
from scaleset.planning.scaling import new_build
from scaleset.planning.snapshot import Creation, Deletion
from scaleset.planning.state import NOBODY, Ended

_ROW_SECONDS = 600.0
"""So long after the last one a pod that ends begins a new row."""


def block(draft: Draft) -> None:
    """Find the instances that must not be touched, before anything is decided about them."""
    fresh_build = new_build(draft)
    dying = any(claim.deleting for claim in draft.snapshot.claims.values())
    for number, instance in draft.instances.items():
        if number in draft.snapshot.strangers:
            reason: str | None = draft.snapshot.strangers[number]
        elif instance.pod is None:
            reason = _obstacle(draft, number, instance.build or fresh_build)
        else:
            reason = _dying_claim(draft, number, instance.pod.model) if dying else None
        if reason is not None:
            draft.blocked[number] = reason
    draft.look(draft.blocked)


def compare(draft: Draft) -> None:
    """What leads from the pods to the state."""
    fresh_build = new_build(draft)
    replaceable = draft.state.applying | _batch(draft)
    for number, instance in draft.instances.items():
        if instance.pod is not None:
            if _to_be_replaced(draft, instance, instance.pod, replaceable):
                _replace(draft, instance, instance.pod)
        elif number not in draft.blocked:
            build = draft.state.builds.get(number) or fresh_build
            if build is not None and _obstacle(draft, number, build) is None:
                draft.creations.append(_creation(draft, number, build))
    for number, pod in draft.snapshot.pods.items():
        if number not in draft.instances and not pod.deleting:
            draft.deletions.append(_deletion(number, pod))
    known = draft.snapshot.state.builds
    if any(draft.state.builds.get(number) != known.get(number) for number in draft.blocked):
        draft.wake(draft.now)  # What blocks it was said of the build before.
    _keep_ages(draft)
    _tell_ended(draft)
    in_place.tell_refusals(draft)


def _keep_ages(draft: Draft) -> None:
    """Write down when an instance was first created before its pod, which says so, is deleted."""
    known = {**draft.state.ages, **draft.snapshot.ages}
    going = {deletion.instance for deletion in draft.deletions}
    gone = {n for n, i in draft.instances.items() if i.pod is None or i.pod.deleting}
    ages = {n: known[n] for n in draft.state.builds if n in known and (n in going or n in gone)}
    if ages != draft.state.ages:
        draft.state = replace(draft.state, ages=ages)


def _tell_ended(draft: Draft) -> None:
    """The first of a row of pods that end is told; a row is over once a pod has run for ten minutes."""
    before, after = draft.snapshot.state.ended, draft.state.ended
    first = [n for n, ended in after.items() if ended.count == 1 and before.get(n) != ended]
    if first:
        text = draft.instances[min(first)].message
        draft.tell(
            "PodEnded",
            f"The pods of instances {tell(first)} ended: {text} They are made again; if that goes on, after 10 s, "
            "20 s and so on up to 5 minutes.",
            warning=True,
        )
    ends = {
        n: ended.time + _ROW_SECONDS
        for n, ended in after.items()
        if n in draft.instances and draft.instances[n].healthy
    }
    over = {n for n, at in ends.items() if draft.now >= at}
    draft.wake(min((at for n, at in ends.items() if n not in over), default=None))
    if over:
        draft.state = replace(draft.state, ended={n: ended for n, ended in after.items() if n not in over})


def _batch(draft: Draft) -> frozenset[int]:
    """Instances of the running batch that may be taken down now. All of them, unless the set shrank since the batch
    was admitted: then as many at a time as its size allows now.
    """
    rollout = draft.rollout
    if rollout is None:
        return NOBODY
    limit = batch_limit(draft.replicas, rollout.policy.rolling.max_batch_instance_percent)
    if len(rollout.in_progress) <= limit:
        return rollout.in_progress
    instances = [draft.instances[number] for number in sorted(rollout.in_progress)]
    waiting = [i.id for i in instances if i.untouched]
    taken = sum(not i.healthy for i in instances if not i.untouched)
    return frozenset(waiting[: max(0, limit - taken)])


def _to_be_replaced(draft: Draft, instance: Instance, pod: Pod, replaceable: frozenset[int]) -> bool:
    if pod.deleting:
        return False
    if instance.id in draft.blocked:
        return False
    return (instance.id in replaceable and instance.untouched) or (pod.ended and _made_again(draft, instance.id))


def _made_again(draft: Draft, number: int) -> bool:
    """Whether it is time to make an ended pod again; the time is written down with it."""
    known = draft.state.ended.get(number)
    count = 1
    if known is not None and draft.now < known.time + known.delay + _ROW_SECONDS:
        due = known.time + known.delay
        if draft.now < due:
            draft.wake(due)
            return False
        count = known.count + 1
    ended = {**draft.state.ended, number: Ended(count, draft.now)}
    draft.state = replace(draft.state, ended=ended)
    return True


def _replace(draft: Draft, instance: Instance, pod: Pod) -> None:
    """By the method that the policy asks for and the two builds allow."""
    build = draft.state.builds.get(instance.id)
    if build is not None and in_place.possible(draft, instance.id, pod, build):
        draft.changes.append(in_place.change(draft, instance.id, pod, build))
    else:
        draft.deletions.append(_deletion(instance.id, pod))


def _deletion(number: int, pod: Pod) -> Deletion:
    return Deletion(number, pod.name, pod.uid)


def _creation(draft: Draft, number: int, build: Build) -> Creation:
    missing = draft.missing_claims(draft.models[build.model], number)
    return Creation(
        number,
        build,
        draft.state.previous.get(number),
        draft.snapshot.ages.get(number, draft.state.ages.get(number, draft.now)),
        missing,
    )


def _obstacle(draft: Draft, number: int, build: Build | None) -> str | None:
    """Why the pod of this instance cannot be created without harm."""
    if build is None:
        return "There is no image version to create this instance from."
    model = draft.models.get(build.model)
    if model is None:
        return (
            f"ControllerRevision {build.model}, the model of this instance, is gone. "
            f'Bring the instance to the newest model with the annotation scaleset.dev/apply-model: "{number}".'
        )
    owner = draft.snapshot.owner
    for name in model.claim_names:
        claim = draft.snapshot.claims.get(owner.claim(name, number))
        if claim is not None and claim.set_name != owner.name:
            return (
                f"PersistentVolumeClaim {claim.name} exists but is not ours. "
                f"Label it scaleset.dev/name={owner.name} to hand it over with its data; if these are somebody else's, "
                "give the ScaleSet another name."
            )
        if claim is not None and claim.deleting:
            return f"PersistentVolumeClaim {claim.name} is being deleted: a pod would bind a claim that goes."
        if claim is None and _had_claim(draft, number, name):
            missing = owner.claim(name, number)
            return (
                f"PersistentVolumeClaim {missing} of this instance is gone; an empty one in its place would hide "
                f"the loss. "
                f"Create it (restored or empty) with the label scaleset.dev/name={owner.name}."
            )
    return None


def _had_claim(draft: Draft, number: int, name: str) -> bool:
    """Whether the instance ran with that claim before. An instance is recorded only once its pod was seen, so after
    its claims existed.
    """
    ran = draft.state.previous.get(number) or draft.state.builds.get(number)
    model = draft.models.get(ran.model) if ran is not None else None
    return model is not None and name in model.claim_names


def _dying_claim(draft: Draft, number: int, model_name: str) -> str | None:
    """A claim that waits only for this pod to go, to be deleted with its data."""
    model = draft.models.get(model_name)
    owner: Identity = draft.snapshot.owner
    for name in model.claim_names if model is not None else ():
        claim = draft.snapshot.claims.get(owner.claim(name, number))
        if claim is not None and claim.deleting:
            return (
                f"PersistentVolumeClaim {claim.name} is marked for deletion: replacing the pod would delete its data."
            )
    return None
