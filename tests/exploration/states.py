"""The states of the explored world, small enough to visit all of them.

Only what a decision can depend on is kept. Time has two values: `NOW`, and `OLD`, before every deadline that counts
from now. What is old stays old, so that letting time pass is one move and the number of states is finite. Everything
that only a reader of the status sees (messages, times of the past, history, conditions) is left out; what is kept of
the planner's state goes through the JSON of the status at every step.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planner import revisions as model_rules
from scaleset.planner import status_codec
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Build, Change, Pod
from scaleset.planner.revisions import Revision
from scaleset.planner.state import NOBODY, Clock, Ended, Kind, Rollout, ScaleIn, State, UpgradeError
from tests.simulation.world import EPOCH, OWNER, spec, version

OLD = EPOCH
NOW = EPOCH + 1_000_000.0
LATER = NOW + 3600.0
"""When the time of a run is up, if it has a limit."""

STARTING, READY, BROKEN, TERMINATING = "starting", "ready", "broken", "terminating"
STALE = "stale"
"""The image was changed in place, and the status is still about the container before: Ready."""
EVICTED, REJECTED = "evicted", "rejected"
"""Ended for good: with a container that ran, or before the kubelet came to that."""
ENDED = (EVICTED, REJECTED)


class Seen(NamedTuple):
    """A pod. `uid` tells it from an earlier one of the same name that a stale view may still show."""

    model: int
    version: str
    phase: str
    old: bool
    """Created, or changed in place, before every deadline that counts from now; of a terminating pod: its grace period
    ended then.
    """
    settled: bool = False
    """Ready for longer than any delay."""
    uid: int = 0
    changed: bool = False
    """Whether its image was changed in place."""
    runs: str = ""
    """Of a stale pod: the version of its container."""
    restarted: float | None = None
    """When the restart of the set began that made it."""


Pods = tuple[tuple[int, Seen], ...]


class Offer(NamedTuple):
    """A published version; a bad one never becomes ready."""

    version: str
    bad: bool
    excluded: bool = False


class Place(NamedTuple):
    """One state of the world."""

    status: str
    pods: Pods
    replicas: int
    offers: tuple[Offer, ...]
    model: int = 0
    revisions: tuple[tuple[int, int], ...] = ()
    """Stored models: index and revision number."""
    suspend: bool = False
    start: bool = False
    """The user asked for a start and nobody has looked yet."""
    cancel: bool = False
    asked: tuple[str, ...] = ()
    """Other annotations that the user wrote and nobody has handled yet."""
    halt: bool = False
    """Whether the policy suspends its sets."""
    fixed: bool = False
    """The API server refuses to change an image in place."""
    quota: bool = False
    """The API server refuses every new pod."""
    kept: bool = False
    """The API server refuses to delete any pod."""
    foreseen: bool = False
    """Whether a dry run tells of the quota; otherwise only the pod that does not fit does."""
    zones: int = 0
    protected: tuple[tuple[int, bool], ...] = ()
    """Protected instances; True protects from all actions of the set, False from scale-in only."""
    ordered: bool = False
    """Whether instances are created and removed one after the other."""
    descends: bool = False
    """Whether the instances with the highest ids are upgraded first."""
    view: Pods | None = None
    """What the cache shows while it lags behind."""
    tainted: bool = False
    """A user started by hand or scaled out: an instance may stay on a bad image."""
    left: int = 0
    """Faults and user actions that may still happen."""


@cache
def spec_of(replicas: int, model: int, *, suspend: bool) -> ScaleSetSpec:
    container = {"name": "app", "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}
    template = {"metadata": {"labels": {"revision": str(model)}}, "spec": {"containers": [container]}}
    return spec(replicas=replicas, suspend=suspend, template=template)


@cache
def spec_in(place: Place) -> ScaleSetSpec:
    """The spec as it stands. The model goes without zones and protection: it is about what instances are, and these
    are about which.
    """
    flag = {False: "protectFromScaleIn", True: "protectFromScaleSetActions"}
    changes = {
        "zones": [f"z{number}" for number in range(place.zones)],
        "protectedInstances": [{"id": number, flag[everything]: True} for number, everything in place.protected],
        **({"podManagementPolicy": "OrderedReady"} if place.ordered else {}),
        **({"rollingUpgradeOrder": {"direction": "Descending"}} if place.descends else {}),
    }
    base = spec_of(place.replicas, place.model, suspend=place.suspend)
    raw = base.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return ScaleSetSpec.model_validate({**raw, **changes})


@cache
def model_of(index: int, number: int = 0) -> Revision:
    return replace(model_rules.describe(OWNER.name, spec_of(1, index, suspend=False)), number=number)


@cache
def index_of(name: str) -> int:
    return next(index for index in range(8) if model_of(index).name == name)


@cache
def offer(entry: Offer) -> GalleryVersion:
    return version(entry.version, suffix="-bad" if entry.bad else "", excluded=entry.excluded)


@cache
def pod_of(number: int, seen: Seen) -> Pod:
    """The pod as the planner sees it."""
    begun = OLD if seen.old else NOW
    since = {READY: OLD if seen.settled else NOW, BROKEN: begun + 10, STALE: OLD}.get(seen.phase)
    created = OLD if seen.changed else begun
    return Pod(
        namespace=OWNER.namespace,
        name=OWNER.instance(number),
        uid=f"{number}/{seen.uid}",
        resource_version=f"{seen.uid}/{seen.model}/{seen.version}/{seen.phase}",
        owner=OWNER.uid,
        set_name=OWNER.name,
        model=model_of(seen.model).name,
        version=seen.version,
        created=created,
        started=begun,
        deleting=seen.phase == TERMINATING,
        ready=seen.phase in (READY, STALE),
        ready_since=since,
        images=(("app", image_of(seen.version)),),
        container_ids=(("app", seen.runs),),
        change=Change(begun, "app", image_of(seen.runs), seen.runs or "before") if seen.changed else None,
        current=seen.phase != STALE,
        ended=seen.phase in ENDED,
        reached=seen.phase != REJECTED,
        deletion_due=(OLD if seen.old else NOW + 30) if seen.phase == TERMINATING else None,
        restart=seen.restarted,
        os_type="Linux",
    )


def image_of(number: str) -> str:
    return f"example.com/web:{number}"


def build_of(seen: Seen) -> tuple[str, str]:
    return model_of(seen.model).name, seen.version


def runs(seen: Seen, build: Build) -> bool:
    """Whether that is the pod of the build: of a restarted one, a pod that the restart made."""
    return build_of(seen) == (build.model, build.version) and build.restart in (None, seen.restarted)


@cache
def read(status: str) -> State:
    return status_codec.read(ScaleSetStatus.parse({"status": json.loads(status)}))


def write(state: State) -> str:
    """The state as a status, without what no decision depends on."""
    retry, scale_in = state.retry, state.scale_in
    forgetful = replace(
        state,
        proven=None if state.proven is None else OLD,
        handled_start=None,
        handled_cancel=None,
        handled_restart=None,
        handled_retry=None,
        handled_model_rollout=None,
        builds=_builds(state.builds, _moment),
        previous=_builds(state.previous, _moment),
        failed_targets=tuple(replace(f, time=OLD) for f in sorted(state.failed_targets, key=str)),
        retry=None if retry is None else replace(retry, attempts=min(2, retry.attempts), time=_moment(retry.time)),
        rollout=None if state.rollout is None else _rollout(state.rollout),
        scale_in=None if scale_in is None else _scale_in(scale_in, _moment),
        history=(),
        rollouts=(),
        clocks={number: _clock(clock, _moment) for number, clock in state.clocks.items()},
        ended={n: Ended(min(2, ended.count), _moment(ended.time)) for n, ended in state.ended.items()},
        ages={},
    )
    raw = {key: value for key, value in status_codec.write(forgetful, location="default").items() if value}
    raw.pop("osUpgradeHistory", None)
    raw.pop("rolloutHistory", None)
    raw.pop("acceptedReplicas", None)  # Here every spec is accepted.
    if "rollingUpgrade" in raw:
        for name in ("progress", "rollbackInfo"):
            del raw["rollingUpgrade"][name]
    return json.dumps(raw, sort_keys=True)


def _builds(builds: Mapping[int, Build], moment: Callable[[float], float]) -> Mapping[int, Build]:
    return {n: b if b.restart is None else replace(b, restart=moment(b.restart)) for n, b in builds.items()}


def _rollout(rollout: Rollout) -> Rollout:
    same = replace(
        rollout,
        id="1",
        started=_moment(rollout.started) if rollout.kind is Kind.RESTART and rollout.running else OLD,
        completed=None if rollout.completed is None else OLD,
        last_action="Start",
        last_action_time=OLD,
        from_version=None,
        from_model=None,
        messages={},
        waiting=None,
        error=None if rollout.error is None or not rollout.running else UpgradeError(rollout.error.code, "why"),
    )
    if not same.running:
        return replace(
            same,
            batch=None,
            batches_done=0,
            successful=NOBODY,
            failed=NOBODY,
            restored=NOBODY,
            restore_failed=NOBODY,
            pending=NOBODY,
            never_ran=NOBODY,
        )
    batch, pause = same.batch, same.next_batch
    if batch is not None:
        restore = None if batch.restore_started is None else _moment(batch.restore_started)
        batch = replace(batch, number=1, of=1, started=_moment(batch.started), restore_started=restore)
    return replace(
        same,
        batch=batch,
        batches_done=min(1, same.batches_done),
        next_batch=None if pause is None else NOW + same.policy.pause if pause > NOW else OLD,
        deadline=None if same.deadline is None else LATER if same.deadline > NOW else OLD,
        held_since=None if same.held_since is None else _moment(same.held_since),
    )


def _scale_in(scale_in: ScaleIn, moment: Callable[[float], float]) -> ScaleIn:
    waiting = None if scale_in.waiting is None else moment(scale_in.waiting)
    return replace(scale_in, started=moment(scale_in.started), waiting=waiting)


def _moment(time: float) -> float:
    return NOW if time > OLD else OLD


def _clock(clock: Clock, moment: Callable[[float], float]) -> Clock:
    return clock if clock.since is None else replace(clock, since=moment(clock.since))


@cache
def aged(status: str) -> str:
    """The status after every deadline."""
    state = read(status)
    rollout, retry = state.rollout, state.retry
    if retry is not None:
        retry = replace(retry, time=OLD)
    if rollout is not None:
        batch = rollout.batch
        if batch is not None:
            restore = None if batch.restore_started is None else OLD
            batch = replace(batch, started=OLD, restore_started=restore)
        rollout = replace(rollout, batch=batch, started=OLD, next_batch=None if rollout.next_batch is None else OLD)
        if rollout.held_since is not None:
            rollout = replace(rollout, held_since=OLD)
        elif rollout.deadline is not None:
            rollout = replace(rollout, deadline=OLD)
    scale_in = None if state.scale_in is None else _scale_in(state.scale_in, lambda _: OLD)
    clocks = {number: _clock(clock, lambda _: OLD) for number, clock in state.clocks.items()}
    ended = {number: replace(ended, time=OLD) for number, ended in state.ended.items()}
    builds, previous = _builds(state.builds, lambda _: OLD), _builds(state.previous, lambda _: OLD)
    later = replace(state, builds=builds, previous=previous, clocks=clocks, ended=ended, scale_in=scale_in)
    return write(replace(later, retry=retry, rollout=rollout))


def age(pods: Pods) -> Pods:
    return tuple((n, _aged(pod)) for n, pod in pods)


def _aged(pod: Seen) -> Seen:
    restarted = None if pod.restarted is None else OLD
    return pod._replace(old=True, settled=pod.phase == READY, changed=pod.phase == STALE, restarted=restarted)


def pods_by_id(pods: Pods) -> dict[int, Pod]:
    return {number: pod_of(number, seen) for number, seen in pods}


def tidy(place: Place) -> Place:
    """The same state under its one name: uids count from nothing."""
    pods = tuple(sorted((n, p if p.uid == 0 else p._replace(uid=0)) for n, p in place.pods))
    if place.view is None:
        return place._replace(pods=pods)
    real = {n: p.uid for n, p in place.pods}
    view = tuple(sorted((n, p._replace(uid=0 if real.get(n) == p.uid else 1)) for n, p in place.view))
    return place._replace(pods=pods, view=view)


def steady(replicas: int) -> Place:
    """A healthy set on 1.0.0."""
    build = Build(model_of(0).name, "1.0.0", "example.com/web:1.0.0", os_type="Linux")
    state = State(
        current_version=build.version,
        current_image=build.image,
        proven=OLD,
        builds=dict.fromkeys(range(replicas), build),
    )
    pods = tuple((n, Seen(0, "1.0.0", READY, old=True, settled=True)) for n in range(replicas))
    return Place(write(state), pods, replicas, (Offer("1.0.0", bad=False),), revisions=((0, 1),))


def newborn(replicas: int, *, bad: bool) -> Place:
    """A set that was just created."""
    return Place("{}", (), replicas, (Offer("1.0.0", bad=bad),))


def change(pods: Pods, number: int, **fields: Any) -> Pods:
    return tuple((n, p._replace(**fields) if n == number else p) for n, p in pods)


def offers_of(place: Place) -> Mapping[str, Offer]:
    return {entry.version: entry for entry in place.offers}
