"""Projections of watched objects: the few fields that decisions need, in slotted records.

A set of 1000 instances as raw JSON is 10 MB; as records it is well below 1 MB.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any

from scaleset.api import names
from scaleset.api.moments import seconds as since_epoch
from scaleset.kube.resources import JSON, Key
from scaleset.planner.instances import Build, Change, Claim, Observed, Pod, Ran, Reported

if TYPE_CHECKING:  # the plugin shows pods without the models
    from scaleset.planner.revisions import Revision

MAX_MESSAGE = 512
_NOT_RESTARTED = "The image was changed in place; the kubelet has not started the container again yet."
_ENDED = ("Failed", "Succeeded")
_NOT_BEGUN = ("PodInitializing", "ContainerCreating")
_PULL_ERRORS = frozenset(("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"))
_WRONG_PLATFORM = ("exec format error", "no match for platform")
_LOST = ("NodeLost", "NodeStatusUnknown")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class StoredRevision(Observed):
    """A ControllerRevision that holds a model."""

    owner: str | None
    """Uid of the ScaleSet that controls it."""
    set_name: str
    model: "Revision"


def seconds(time: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None for anything else, and for a time that cannot be formatted
    again.
    """
    if not time:
        return None
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return since_epoch(moment)


def object_meta(metadata: JSON) -> JSON:
    """The fields of `Observed`."""
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resource_version": metadata["resourceVersion"],
    }


def plain(text: str) -> str:
    """One line without control or direction characters: foreign texts appear in the status, events and logs."""
    return CONTROL.sub(" ", text).strip()[:MAX_MESSAGE]


def listed(words: Sequence[str], *, most: int = 5) -> str:
    """Words in a sentence, the first of them if they are many: more make a condition unreadable."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def pod(raw: JSON) -> Pod:
    """Record of a pod."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    owner = _controller(metadata)
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    containers = _lasting(raw.get("spec") or {}, status)
    running_since = [(c.get("name", ""), _running_since(c)) for c in containers]
    known = [at for _, at in running_since if at is not None]
    images = {c.get("name", ""): c.get("image", "") for c in (raw.get("spec") or {}).get("containers") or []}
    ids = {c.get("name", ""): c.get("containerID") or "" for c in containers}
    change = _change(annotations.get(names.ANNOTATION_CHANGED))
    current = change is None or (_observed(ready, metadata) and _restarted(change, images, ids))
    ready_since, started = seconds(ready.get("lastTransitionTime")), seconds(status.get("startTime"))
    if change is not None:
        started = _first_start(change, containers) if current else None
        if ready.get("status") == "True":
            ready_since = max((at for at in (ready_since, started) if at is not None), default=None)
    return Pod(
        **object_meta(metadata),
        owner=owner.get("uid"),
        set_name=owner.get("name") or labels.get(names.LABEL_NAME, ""),
        model=labels.get(names.LABEL_MODEL, ""),
        version=labels.get(names.LABEL_VERSION, ""),
        created=seconds(metadata.get("creationTimestamp")) or 0.0,
        deleting=bool(metadata.get("deletionTimestamp")),
        ended=status.get("phase") in _ENDED,
        ready=ready.get("status") == "True" and _observed(ready, metadata),
        ready_since=ready_since,
        started=started,
        running=bool(status.get("containerStatuses")) and len(known) == len(containers),
        running_since=max(known, default=None),
        reporting=status.get("phase") != "Unknown"
        and status.get("reason") not in _LOST
        and ready.get("status") != "Unknown",
        message=plain(explain(status, conditions)) or ("" if current else _NOT_RESTARTED),
        previous=_previous(annotations.get(names.ANNOTATION_PREVIOUS)),
        instance_created=seconds(annotations.get(names.ANNOTATION_CREATED_AT)),
        note=plain(_note(status)),
        images=tuple(images.items()),
        container_ids=tuple(ids.items()),
        image_ids=tuple(
            (c.get("name", ""), intern(str(c["imageID"]))) for c in containers if c.get("imageID") and _running_since(c)
        ),
        image_errors=_image_errors(raw.get("spec") or {}, status),
        change=change,
        current=current,
        asked_image=annotations.get(names.ANNOTATION_IMAGE),
        reached=_reached(status),
        unschedulable=(conditions.get("PodScheduled") or {}).get("reason") == "Unschedulable",
        deletion_due=seconds(metadata.get("deletionTimestamp")),
        restarts=sum(int(container.get("restartCount") or 0) for container in containers),
        restart=seconds(annotations.get(names.ANNOTATION_RESTARTED)),
        conditions=_reported(conditions, metadata, changed=change.at if change is not None else None, started=started),
        os_type=_os_type(((raw.get("spec") or {}).get("os") or {}).get("name")),
    )


def _reported(
    conditions: Mapping[Any, Mapping[str, Any]],
    metadata: Mapping[str, Any],
    *,
    changed: float | None,
    started: float | None,
) -> tuple[Reported, ...]:
    """The conditions that are not Kubernetes' own. Times of probes are not kept: they change all the time."""
    return tuple(
        Reported(
            str(kind),
            status := str(condition.get("status")),
            seconds(condition.get("lastTransitionTime")),
            "" if status == "True" else plain(_both(condition.get("reason"), condition.get("message"))),
            changed is not None and not _written_since(condition, metadata, max(changed, started or changed)),
        )
        for kind, condition in conditions.items()
        if "/" in str(kind)
    )


def _written_since(condition: Mapping[str, Any], metadata: Mapping[str, Any], changed: float) -> bool:
    """Whether a condition was written after the image was changed and its container started again: by the generation
    that its writer saw, or else by one of its times. Times have whole seconds, so the same second proves nothing.
    """
    if condition.get("observedGeneration") is not None:
        return _observed(condition, metadata)
    written = (seconds(condition.get(name)) for name in ("lastProbeTime", "lastTransitionTime"))
    return any(at is not None and at >= int(changed) + 1 for at in written)


def _os_type(name: object) -> str | None:
    """Linux or Windows, however it is written; None for anything else."""
    return {"linux": "Linux", "windows": "Windows"}.get(str(name).lower())


def _lasting(spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Statuses of the containers that run as long as the pod: containers and native sidecars."""
    init = spec.get("initContainers") or ()
    sidecars = {container.get("name") for container in init if container.get("restartPolicy") == "Always"}
    beside = [each for each in status.get("initContainerStatuses") or () if each.get("name") in sidecars]
    return [*(status.get("containerStatuses") or ()), *beside]


def _reached(status: Mapping[str, Any]) -> bool:
    """Whether the kubelet tried to run a container of the pod: one runs, has ended or cannot be started."""
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        waits = (state.get("waiting") or {}).get("reason")
        if state.get("running") or state.get("terminated") or (container.get("lastState") or {}).get("terminated"):
            return True
        if waits not in (None, *_NOT_BEGUN):
            return True
    return False


def _image_errors(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[str, ...]:
    """Images that the kubelet cannot pull, or that are not for its node."""
    statuses = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    failing = {each.get("name") for each in statuses if _has_image_error(each)}
    if not failing:
        return ()
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return tuple(dict.fromkeys(str(each.get("image")) for each in containers if each.get("name") in failing))


def _has_image_error(container: Mapping[str, Any]) -> bool:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    if state.get("running"):
        return False
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in _PULL_ERRORS:
        return True
    said = (waiting, state.get("terminated") or {}, last.get("terminated") or {})
    return any(word in str(each.get("message") or "") for each in said for word in _WRONG_PLATFORM)


def _running_since(container: Mapping[str, Any]) -> float | None:
    return seconds(((container.get("state") or {}).get("running") or {}).get("startedAt"))


def _first_start(change: Change, containers: Iterable[Mapping[str, Any]]) -> float | None:
    """When the new image began to run in all changed containers. A container that ended after the change counts like a
    running one.
    """
    statuses = {each.get("name"): each for each in containers}
    starts = [_start(ran, statuses.get(ran.container, {})) for ran in change.ran]
    known = [start for start in starts if start is not None]
    return max(known) if len(known) == len(starts) else None


def _start(ran: Ran, container: Mapping[str, Any]) -> float | None:
    last = (container.get("lastState") or {}).get("terminated") or {}
    if last.get("containerID") and last["containerID"] != ran.container_id:
        return seconds(last.get("startedAt"))
    return _running_since(container)


def _change(text: str | None) -> Change | None:
    """The note of a change in place. A note that makes no sense is ignored."""
    if text is None:
        return None
    try:
        raw = json.loads(text)
        at = seconds(raw["at"])
        if at is None:
            return None
        restarts = raw.get("restarts")
        known = restarts if isinstance(restarts, int) else None
        first, *others = (
            Ran(str(each["container"]), str(each["image"]), str(each["id"])) for each in (raw, *raw.get("others", ()))
        )
        return Change(at, first.container, first.image, first.container_id, known, tuple(others))
    except (ValueError, KeyError, TypeError):
        return None


def _restarted(change: Change, images: Mapping[str, str], ids: Mapping[str, str]) -> bool:
    """Whether the status is about the pod's present image: its containers are new since the change, or the change left
    their image as it was.
    """
    return all(
        images.get(ran.container) == ran.image or ids.get(ran.container, "") != ran.container_id for ran in change.ran
    )


def _observed(condition: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether the condition is about the present generation of the pod. Kubernetes before 1.34 does not report this."""
    observed = condition.get("observedGeneration")
    return observed is None or int(observed) >= int(metadata.get("generation") or 0)


def explain(status: Mapping[str, Any], conditions: Mapping[Any, Mapping[str, Any]]) -> str:
    """Why a pod is not ready, in Kubernetes' own words: from the container that waits or ended, else from the
    condition.
    """
    if (conditions.get("Ready") or {}).get("status") == "True":
        return ""
    if status.get("phase") in _ENDED and status.get("reason"):
        return _both(status.get("reason"), status.get("message"))
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if text := _container(container):
            return f"container {container.get('name')}: {text}"
    for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        condition = conditions.get(kind) or {}
        if condition.get("status") == "False" and (condition.get("reason") or condition.get("message")):
            return _both(condition.get("reason"), condition.get("message"))
    return _both(status.get("reason"), status.get("message"))


def _container(container: Mapping[str, Any]) -> str:
    state = container.get("state") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason") and waiting["reason"] not in _NOT_BEGUN:
        text = _both(waiting["reason"], waiting.get("message"))
        if "exitCode" not in last:
            return text
        words = str(last.get("message") or "").strip()
        return f"{text} (last exit code {last['exitCode']}{f': {words}' if words else ''})"
    if ended.get("exitCode"):
        return _both(f"{ended.get('reason') or 'Error'}, exit code {ended['exitCode']}", ended.get("message"))
    if last.get("exitCode") and not container.get("ready"):  # the container runs for a moment between two crashes
        return _both(f"restarted after exit code {last['exitCode']}", last.get("message"))
    return ""


def _note(status: Mapping[str, Any]) -> str:
    """The note of custom data, or of an extension that may fail: its container succeeded and left a termination
    message.
    """
    for container in status.get("initContainerStatuses") or []:
        name = str(container.get("name", ""))
        ended = (container.get("state") or {}).get("terminated") or {}
        ours = name == names.CONTAINER_CUSTOM_DATA or name.startswith(names.CONTAINER_EXTENSION)
        if ours and ended.get("exitCode") == 0 and str(ended.get("message", "")).startswith("exit code "):
            return f"{name} failed: {ended['message']}"
    return ""


def _both(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)


def _previous(text: str | None) -> Build | None:
    try:
        raw = json.loads(text or "")
        build = Build(str(raw["model"]), str(raw["version"]), str(raw["image"]), os_type=_os_type(raw.get("osType")))
        digest = raw.get("digest")
        return build if digest is None else replace(build, digest=str(digest))
    except (ValueError, KeyError, TypeError):
        return None


def claim(raw: JSON) -> Claim:
    """Record of a persistent volume claim."""
    metadata = raw["metadata"]
    return Claim(
        **object_meta(metadata),
        set_name=(metadata.get("labels") or {}).get(names.LABEL_NAME, ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        lost=(raw.get("status") or {}).get("phase") == "Lost",
        owners=owning_sets(metadata),
    )


def revision(raw: JSON) -> StoredRevision:
    """Record of a ControllerRevision."""
    from scaleset.planner.revisions import Revision

    metadata = raw["metadata"]
    owner = _controller(metadata)
    return StoredRevision(
        **object_meta(metadata),
        owner=owner.get("uid"),
        set_name=owner.get("name") or (metadata.get("labels") or {}).get(names.LABEL_NAME, ""),
        model=Revision(metadata["name"], int(raw.get("revision") or 0), raw.get("data") or {}, metadata["uid"]),
    )


def _controller(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ScaleSet that controls the object."""
    return next((reference for reference in _scale_sets(metadata) if reference.get("controller")), {})


def owning_sets(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The uids of the ScaleSets that an object names as its owners."""
    return tuple(str(reference.get("uid")) for reference in _scale_sets(metadata))


def _scale_sets(metadata: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The owners that are ScaleSets."""
    for reference in metadata.get("ownerReferences") or []:
        kind = str(reference.get("apiVersion", "")).partition("/")[0], reference.get("kind")
        if kind == (names.GROUP, names.SCALE_SET_KIND):
            yield reference


def unchanged(known: Pod | Claim | StoredRevision, new: Pod | Claim | StoredRevision) -> bool:
    """Whether the change does not affect decisions: a foreign annotation, the time of a probe."""
    return replace(known, resource_version=new.resource_version) == new


def belongs_to(record: Pod | Claim | StoredRevision) -> Key | None:
    """The ScaleSet that a record belongs to, by namespace and name."""
    return (record.namespace, record.set_name) if record.set_name else None


def instance_number(set_name: str, pod_name: str) -> int | None:
    """The id in an instance's name; None for any other name."""
    prefix, _, number = pod_name.rpartition("-")
    if prefix != set_name or not number.isascii() or not number.isdecimal() or len(number) > 4:
        return None
    return int(number) if number == str(int(number)) else None
