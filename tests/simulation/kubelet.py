"""What pods of a simulated world do by themselves.

By the end of the tag of their image: `-bad` never becomes ready; `-late` is ready for a moment and then not any more;
`-crash` runs, ends after a moment and is started again; `-evict` ends for good before it is ready. The sets of a
world say which instances behave otherwise whatever they run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaleset.planner.instances import Pod, Reported

if TYPE_CHECKING:
    from tests.simulation.world import World

LATER = 5.0
"""Seconds that a `-late` or a `-crash` image is well."""
_MOMENT = 0.01


def report(world: World, pod: Pod) -> Pod:
    """Who watches the application writes what it finds as soon as it changes: it is well while the pod is ready."""
    kind = world.spec.health.condition_type
    if not world.reports or kind is None or pod.deleting or not pod.running or not pod.current:
        return pod
    known, status = pod.reported(kind), "True" if pod.ready else "False"
    if known is not None and known.status == status:
        return pod
    return replace(pod, conditions=(Reported(kind, status, world.now),))


def happen(world: World, number: int, pod: Pod) -> None:
    """The pod does what its time has come for."""
    if pod.deleting:
        if number not in world.held:
            del world.pods[number]
    elif pod.ended:
        return
    elif not pod.current:
        if number not in world.deaf and world.now > pod.begun:
            world.pods[number] = _restarted(world, pod)
    else:
        world.pods[number] = _lives(world, number, pod)


def _lives(world: World, number: int, pod: Pod) -> Pod:
    """What has become of the pod by now."""
    if _ends(world, number, pod):
        return _ended(world, number, pod) if world.now >= _end(world, number, pod) else pod
    if not pod.running and _digest(pod) in world.gone:
        return replace(pod, image_errors=(pod.images[0][1],), message="container app: ImagePullBackOff: not found")
    if not pod.ready:
        if world.now < pod.begun + world.start or not world.works(number, pod):
            return pod
        well = replace(pod, ready=True, ready_since=world.now, running=True, running_since=pod.begun, message="")
        return replace(well, image_ids=_image_ids(world, pod))
    at = _breaks(pod)
    return pod if at is None or world.now < at else _broken(world, pod)


def _digest(pod: Pod) -> str:
    return pod.images[0][1].partition("@")[2]


def _image_ids(world: World, pod: Pod) -> tuple[tuple[str, str], ...]:
    """What the runtime says of each container: the repository and what the tag means now, or what was asked for."""
    shown = []
    for name, image in pod.images:
        tag, _, asked = image.partition("@")
        digest = asked or world.bits.get(tag, "")
        shown.append((name, f"{tag.rpartition(':')[0]}@{digest}" if digest else "sha256:0123"))
    return tuple(shown)


def _ended(world: World, number: int, pod: Pod) -> Pod:
    """Evicted, or rejected before any of its containers was looked at."""
    rejected = number in world.rejects and pod.ready_since is None
    text = "rejected by the kubelet" if rejected else "evicted: low on memory"
    return replace(pod, ended=True, ready=False, running=False, reached=not rejected, message=text)


def next_moment(world: World, number: int, pod: Pod) -> float | None:
    """When the pod does something next, or somebody writes about it; None when it waits for others."""
    if report(world, pod) is not pod:
        return world.now + _MOMENT
    if pod.deleting:
        return None if number in world.held else world.now + _MOMENT
    if pod.ended:
        return None
    if not pod.current:
        return None if number in world.deaf else world.now + _MOMENT
    if _ends(world, number, pod):
        return max(_end(world, number, pod), world.now + _MOMENT)
    if not pod.running and _digest(pod) in world.gone and not pod.image_errors:
        return world.now + _MOMENT
    if not pod.ready:
        return max(pod.begun + world.start, world.now + _MOMENT) if world.works(number, pod) else None
    at = _breaks(pod)
    return None if at is None else max(at, world.now + _MOMENT)


def _tag(pod: Pod) -> str:
    return pod.images[0][1].partition("@")[0]


def works(pod: Pod) -> bool:
    """Whether its image lets the pod become ready."""
    if _tag(pod).endswith("-bad"):
        return False
    return not (_tag(pod).endswith("-late") and _was_well(pod))


def _was_well(pod: Pod) -> bool:
    return pod.ready_since is not None and pod.ready_since > pod.begun


def _ends(world: World, number: int, pod: Pod) -> bool:
    if pod.ready or number in world.broken:
        return False
    return number in world.leaves or number in world.rejects or _tag(pod).endswith("-evict")


def _end(world: World, number: int, pod: Pod) -> float:
    return pod.begun + (0.0 if number in world.rejects else world.start / 2)


def _breaks(pod: Pod) -> float | None:
    if pod.ready_since is None or not _tag(pod).endswith(("-late", "-crash")):
        return None
    return None if pod.restarts else pod.ready_since + LATER


def _broken(world: World, pod: Pod) -> Pod:
    """Readiness goes, or the container ends and is started again, which shows in its count."""
    if _tag(pod).endswith("-late"):
        return replace(pod, ready=False, ready_since=world.now, message="readiness probe failed: 503")
    restarts = pod.restarts + (1 if pod.change is None else 2)
    return replace(pod, restarts=restarts, running_since=world.now, ready_since=world.now, message="exit code 1")


def _restarted(world: World, pod: Pod) -> Pod:
    """The kubelet starts the container again, with the image that the pod has now."""
    return replace(
        pod,
        current=True,
        ready=False,
        ready_since=pod.begun,
        started=world.now,
        running=False,
        message=world.says,
        resource_version=str(next(world.uids)),
        container_ids=(("app", f"container-{next(world.uids)}"),),
    )
