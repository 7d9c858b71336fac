"""Changing the image of a running pod instead of replacing the pod.

One PATCH takes an instance from one build to another: the image of the instance container and of containers without an
image of their own, the labels that name the build, and the annotation with the previous build. The pod keeps its uid,
IP, node, volumes and other containers; the kubelet starts the changed ones again. It is possible if the two builds
differ in the image only, and if neither custom data, extensions nor an init container of that image ran first: those
run in new pods only.

The change leaves a note on the pod, since for a while the pod's status is still about the old containers. A kubelet
reports the new generation as observed before it restarts anything, so Ready with that generation proves nothing; new
container ids do. Image names prove nothing either: a runtime may report another name, and one image may have two names.
"""

import json
from collections.abc import Iterable
from typing import Any

from scaleset.api import names
from scaleset.api.moments import timestamp
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build, Change, Pod, Ran
from scaleset.planner.plan import Deletion, ImageChange
from scaleset.planner.pod_builder import build_labels, previous_build
from scaleset.planner.ranges import abridged
from scaleset.planner.revisions import Revision
from scaleset.planner.step import Step


def possible(facts: Facts, number: int, pod: Pod, build: Build) -> bool:
    """Whether the pod can be changed to the build in place."""
    return not pod.ended and pod.uid not in facts.snapshot.patch_errors and _wanted(facts, number, pod, build)


def change(facts: Facts, number: int, pod: Pod, build: Build) -> ImageChange:
    """The change that takes the pod there."""
    first, *others = (_ran(pod, container) for container in facts.models[build.model].image_containers or ("",))
    note = Change(facts.now, first.container, first.image, first.container_id, pod.restarts, tuple(others))
    previous = facts.state.previous.get(number)
    return ImageChange(number, pod.name, pod.uid, pod.resource_version, build, previous, note)


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
        "spec": {"containers": [{"name": ran.container, "image": wanted.build.image} for ran in change.ran]},
    }


def _noted(ran: Ran) -> dict[str, Any]:
    return {"container": ran.container, "image": ran.image, "id": ran.container_id}


def _wanted(facts: Facts, number: int, pod: Pod, build: Build) -> bool:
    """The running rollout uses the policy that it started with; everything else uses the current policy. A restart
    makes a new pod.
    """
    if build.restart not in (None, pod.restart):
        return False
    if None not in (pod.os_type, build.os_type) and pod.os_type != build.os_type:
        return False
    rollout = facts.rollout
    in_batch = rollout is not None and number in rollout.in_progress
    if not (rollout.policy.in_place if rollout is not None and in_batch else facts.policy.changes_in_place):
        return False
    before, after = facts.models.get(pod.model), facts.models.get(build.model)
    return before is not None and after is not None and _differ_by_image(before, after)


def _differ_by_image(before: Revision, after: Revision) -> bool:
    """Whether pods of the two models differ in the image only, and no custom data or extension has to run again."""
    if after.data.get("extensions") or (after.data.get("customData") and after.data.get("runCustomData")):
        return False
    if after.image_init_containers:
        return False
    return before.name == after.name or before.rest == after.rest
