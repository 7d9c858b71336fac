"""Changing the image of a running pod instead of replacing the pod.

One PATCH takes an instance from one build to another: the image of the instance container and of containers without an
image of their own, the labels that name the build, and the annotation with the previous build. The pod keeps its uid,
IP, node, volumes and other containers; the kubelet starts the changed ones again. It is possible if the two builds
differ in the image only, and if neither custom data, extensions nor an init container of that image ran first: those
run in new pods only.

With `replacementMethod: InPlaceOnly` that is the one way: what cannot be done in place is not done, and the reason is
reported. Instances that it is impossible for are left out of a rollout, as protected ones are; a PATCH that the API
server refuses is repeated until the instance's time is up, like a refused delete.

The change leaves a note on the pod, since for a while the pod's status is still about the old containers. A kubelet
reports the new generation as observed before it restarts anything, so Ready with that generation proves nothing; new
container ids do. Image names prove nothing either: a runtime may report another name, and one image may have two names.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from scaleset.api import names
from scaleset.api.moments import timestamp
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build, Change, Pod, Ran
from scaleset.planner.plan import Deletion, ImageChange
from scaleset.planner.pod_builder import build_labels, previous_build
from scaleset.planner.ranges import abridged
from scaleset.planner.revisions import Revision
from scaleset.planner.state import Waiting
from scaleset.planner.step import Step

NOT_IN_PLACE = "NotInPlace"


def possible(facts: Facts, number: int, pod: Pod, build: Build) -> bool:
    """Whether the pod can be changed to the build in place."""
    refused = pod.uid in facts.snapshot.patch_errors and not facts.only_in_place(number)
    return not pod.ended and not refused and _wanted(facts, number, pod, build)


def reachable(facts: Facts, moves: Mapping[int, Build]) -> dict[int, Build]:
    """Those of the moves that need no new pod in the place of a running one."""
    return {number: build for number, build in moves.items() if obstacle(facts, number, build) is None}


def refusal(facts: Facts, moves: Mapping[int, Build]) -> Waiting | None:
    """Why the policy forbids moves that cannot be made in place; None if it allows all of them."""
    if not facts.policy.only_in_place:
        return None
    why = {number: found for number, build in moves.items() if (found := obstacle(facts, number, build)) is not None}
    if not why:
        return None
    text = (
        f"Instances {abridged(why)} cannot be changed in place: {why[min(why)]}. The policy's replacementMethod is "
        "InPlaceOnly, so they stay as they are. Take the change back, or set replacementMethod to InPlaceIfPossible."
    )
    return Waiting(NOT_IN_PLACE, text, stalls=True)


def obstacle(facts: Facts, number: int, build: Build) -> str | None:
    """Why the instance cannot get that build by a change of its pod. Without a pod its recorded build counts: a lost
    instance comes back as it was, and is no opportunity for what the policy forbids.
    """
    instance = facts.instances.get(number)
    ran = None if instance is None else instance.pod or instance.build
    if instance is None or ran is None:
        return None
    if instance.pod is not None and build.same_as(instance.pod):
        return None
    if build.restart not in (None, ran.restart):
        return "a restart makes new pods"
    if _other_system(ran, build):
        return f"version {build.version} is for {build.os_type}"
    before, after = facts.models.get(ran.model), facts.models.get(build.model)
    if before is None or after is None:
        return f"ControllerRevision {ran.model if before is None else build.model} is gone"
    return _difference(before, after)


def change(facts: Facts, number: int, pod: Pod, build: Build) -> ImageChange:
    """The change that takes the pod there."""
    first, *others = (_ran(pod, container) for container in facts.models[build.model].image_containers or ("",))
    note = Change(facts.now, first.container, first.image, first.container_id, pod.restarts, tuple(others))
    previous = facts.state.previous.get(number)
    only = facts.only_in_place(number)
    return ImageChange(number, pod.name, pod.uid, pod.resource_version, build, previous, note, only)


def _ran(pod: Pod, container: str) -> Ran:
    """The image that a container runs until the change. If the kubelet has not carried out the last change yet, this is
    the image before that one.
    """
    running = dict(pod.container_ids).get(container, "")
    before = pod.change.ran if pod.change is not None else ()
    untouched = next((ran for ran in before if (ran.container, ran.container_id) == (container, running)), None)
    return untouched or Ran(container, pod.image(container), running)


def add_refusal_events(facts: Facts, deletions: Iterable[Deletion], step: Step) -> Step:
    """The step with an event about the pods that are replaced because the API server would not change them."""
    patch_errors = facts.snapshot.patch_errors
    refused = {each.instance: patch_errors[each.uid] for each in deletions if each.uid in patch_errors}
    if not refused:
        return step
    words = refused[min(refused)]
    text = f"Recreating instances {abridged(refused)}: the API server does not change their image in place: {words}"
    return step.with_event("InPlaceRefused", text, warning=True)


def patch(wanted: ImageChange) -> dict[str, Any]:
    """The change as a strategic merge patch, for that pod in that version only."""
    change = wanted.change
    first, *others = map(_noted, change.ran)
    note = {"at": timestamp(change.at), **first, "restarts": change.restarts}
    if others:
        note["others"] = others
    return {
        "metadata": {
            "uid": wanted.uid,
            "resourceVersion": wanted.resource_version,
            "labels": build_labels(wanted.build),
            "annotations": {
                names.ANNOTATION_IMAGE: wanted.build.image,
                names.ANNOTATION_PREVIOUS: None if wanted.previous is None else previous_build(wanted.previous),
                names.ANNOTATION_CHANGED: json.dumps(note, separators=(",", ":")),
            },
        },
        "spec": {"containers": [{"name": ran.container, "image": wanted.build.reference} for ran in change.ran]},
    }


def _noted(ran: Ran) -> dict[str, Any]:
    return {"container": ran.container, "image": ran.image, "id": ran.container_id}


def _wanted(facts: Facts, number: int, pod: Pod, build: Build) -> bool:
    """The running rollout uses the policy that it started with; everything else uses the current policy. A restart
    makes a new pod.
    """
    if build.restart not in (None, pod.restart):
        return False
    if _other_system(pod, build):
        return False
    rollout = facts.rollout
    in_batch = rollout is not None and number in rollout.in_progress
    if not (rollout.policy.in_place if rollout is not None and in_batch else facts.policy.changes_in_place):
        return False
    before, after = facts.models.get(pod.model), facts.models.get(build.model)
    return before is not None and after is not None and _difference(before, after) is None


def _other_system(ran: Pod | Build, build: Build) -> bool:
    return None not in (ran.os_type, build.os_type) and ran.os_type != build.os_type


def _difference(before: Revision, after: Revision) -> str | None:
    """Why a pod of the one model cannot become one of the other by a change of the image; None if it can."""
    if after.data.get("extensions"):
        return "extensions run in new pods only"
    if after.data.get("customData") and after.data.get("runCustomData"):
        return "custom data runs in new pods only"
    if after.image_init_containers:
        return f"init container {after.image_init_containers[0]} runs the image of the version"
    if before.name == after.name or before.rest == after.rest:
        return None
    return f"model {after.name} differs in more than the image"
