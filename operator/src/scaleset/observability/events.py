"""Events: one per decision, so that `kubectl describe` and `kubectl events` tell the story of a rollout.

Events are best effort. An event is sent in the background, tried once, and its loss changes nothing: events may be
forbidden, or a namespace's quota for them used up. Its sentence is that of the log, cut to the limit of an event.

A repeated event increases the count (`series`) of the first one. The number of different events about one set is
limited in a short time, so that a flapping state cannot fill etcd.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from scaleset.api import names
from scaleset.kube.client import Client
from scaleset.kube.errors import NamespaceTerminating, NotFound
from scaleset.kube.resources import EVENTS
from scaleset.kube.store import Record
from scaleset.planner.plan import Event

log = logging.getLogger(__name__)

NORMAL: Final = "Normal"
WARNING: Final = "Warning"

REASONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "NewVersionAvailable": ((NORMAL,), "`latest` means a higher version now."),
    "RolloutStarted": ((NORMAL,), "A rolling upgrade begins: to what, and who started it."),
    "BatchStarted": ((NORMAL,), "These instances are being replaced."),
    "BatchCompleted": ((NORMAL, WARNING), "All instances of the batch are finished; a Warning if some failed."),
    "RolloutCompleted": ((NORMAL,), "Every instance that could be upgraded was."),
    "RolloutCancelled": (
        (NORMAL,),
        "The rollout ended early: the user cancelled it, a newer model replaced it, or its target was withdrawn.",
    ),
    "RolloutFaulted": (
        (WARNING,),
        "The rollout ended because too many instances were unhealthy, or because the API server refuses the new pods.",
    ),
    "InstanceRestored": ((WARNING,), "Failed instances are healthy again on their previous build."),
    "InstanceRestoreFailed": ((WARNING,), "Failed instances are not healthy on their previous build either."),
    "RollingBack": ((WARNING,), "After a breach, failed instances return to their previous model."),
    "HealthGateWaiting": ((NORMAL,), "A rollout does not start or go on until enough instances are healthy."),
    "Suspended": ((NORMAL,), "spec.suspend of the set or of its policy keeps a rollout from starting or going on."),
    "ApplyingModel": ((NORMAL,), "Instances are replaced at once, without batches."),
    "SurgeRefused": ((WARNING,), "There is no room for more instances: this batch is upgraded without surge."),
    "InPlaceRefused": ((WARNING,), "The API server does not change an image in place: the pod is recreated."),
    "StartRefused": ((WARNING,), "A start, a restart or an apply-model by hand was refused, with the reason."),
    "FailuresForgotten": ((NORMAL,), "At the user's request, the platform may try again what failed here."),
    "InstanceBlocked": ((WARNING,), "Instances are left alone: their name is taken or their data would be lost."),
    "FailedCreate": ((WARNING,), "The API server refuses to create the pods or claims of instances."),
    "PodEnded": ((WARNING,), "Pods ended for good (evicted or rejected by the kubelet) and are created again."),
    "DigestNotPulled": (
        (WARNING,),
        "An image that ran before cannot be pulled or run any more: its tag is tried, which may mean another image.",
    ),
    "InstancesUnhealthy": ((WARNING,), "Instances are not healthy after healthTimeout, while nothing is under way."),
    "ProvisioningFailed": ((WARNING,), "Custom data failed, or an extension whose failure is allowed."),
    "InvalidSpec": ((WARNING,), "The spec cannot be understood or carried out; the event says what to change."),
    "PolicyNotFound": ((WARNING,), "The UpgradePolicy that the set refers to does not exist."),
    "ImageNotFound": ((WARNING,), "No GalleryImageVersion matches the set's image reference."),
    "ImageNotUsed": (
        (WARNING,),
        "The template gives the instance container an image, which is ignored: the version's image runs.",
    ),
    "StatusNotKept": ((WARNING,), "The installed CRDs are older than the operator and drop a part of the status."),
    "ModelRefused": ((WARNING,), "The API server refuses pods of the new model; instances stay on the one before."),
    "ModelNotStored": (
        (WARNING,),
        "The API server refuses the ControllerRevision that keeps the new model; instances stay on the one before.",
    ),
    "UnknownFields": ((WARNING,), "The running model has fields that Kubernetes does not know and drops."),
}
"""Every reason, with its types and meaning: docs/reference/events.md."""

REPORTING_CONTROLLER = f"{names.GROUP}/operator"
MAX_NOTE = 1024
BACKLOG = 1000
"""Most events waiting to be sent."""
REMEMBERED = 2000
"""Most events remembered to recognise repeated ones."""
SERIES_SECONDS = 1800.0
"""Seconds in which a repeated event increases a count. API servers keep events for an hour."""
BURST = 100
"""Different events about one set at once: forty batches with begin and end fit in."""
REFILL_SECONDS = 3.0
"""Seconds until one more event about the set is allowed."""


@dataclass(slots=True)
class _Recorded:
    """An event, and how often it was recorded."""

    namespace: str
    body: dict[str, Any]
    last: float
    count: int = 1
    sent: bool = False
    waits: bool = True
    """Whether the event is in the queue."""

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


@dataclass(slots=True)
class _Allowance:
    """Remaining allowance of events about one set."""

    at: float
    left: float = field(default=float(BURST))

    def take(self, now: float) -> bool:
        self.left = min(float(BURST), self.left + max(0.0, now - self.at) / REFILL_SECONDS)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(eq=False)
class EventRecorder:
    """Sends events in the order in which they were recorded. `now` is the API server's clock; `on_event(type, reason)`
    counts what is recorded.
    """

    client: Client
    _: KW_ONLY
    instance: str
    now: Callable[[], float]
    on_event: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self._waiting: asyncio.Queue[_Recorded] = asyncio.Queue(BACKLOG)
        self._recorded: OrderedDict[tuple[str, str, str, str], _Recorded] = OrderedDict()
        """By uid of the set, type, reason and sentence."""
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._complained = False
        self._latest = 0

    def record(self, regarding: Record, event: Event) -> None:
        """Queue the event. It is dropped if the queue is full, or after too many events about the set."""
        kind, now = WARNING if event.warning else NORMAL, self.now()
        key = (regarding.uid, kind, event.reason, event.message)
        recorded = self._recorded.pop(key, None)
        if recorded is not None and now - recorded.last < SERIES_SECONDS:
            recorded.count += 1
            recorded.last = now
        elif self._may_record(regarding, now):
            recorded = _Recorded(regarding.namespace, self._body(regarding, event, kind=kind, now=now), now)
        else:
            return
        if (recorded.count == 1 or not recorded.waits) and not self._enqueue(recorded):
            return
        self.on_event(kind, event.reason)
        self._recorded[key] = recorded
        while len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)

    def _may_record(self, regarding: Record, now: float) -> bool:
        allowance = self._allowances.pop(regarding.uid, None) or _Allowance(now)
        self._allowances[regarding.uid] = allowance
        while len(self._allowances) > REMEMBERED:
            self._allowances.popitem(last=False)
        if allowance.take(now):
            return True
        self._complain(f"more than {BURST} different events about {regarding.namespace}/{regarding.name} at once")
        return False

    def _enqueue(self, recorded: _Recorded) -> bool:
        try:
            self._waiting.put_nowait(recorded)
        except asyncio.QueueFull:
            self._complain("the backlog is full")
            return False
        recorded.waits = True
        return True

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            recorded = await self._waiting.get()
            recorded.waits = False
            try:
                await self._send(recorded)
                self._complained = False
            except NamespaceTerminating as error:
                log.debug('event_dropped error="%(error)s"', {"error": error})
            except Exception as error:  # noqa: BLE001 - a lost event must not end the process
                self._complain(f"{type(error).__name__}: {error}")
            finally:
                self._waiting.task_done()

    async def _send(self, recorded: _Recorded) -> None:
        if recorded.sent:
            try:
                await self.client.patch(EVENTS, recorded.namespace, recorded.name, {"series": _series(recorded)})
            except NotFound:
                recorded.body["metadata"]["name"] = self._name(recorded.body["regarding"]["name"], recorded.last)
            else:
                return
        body = {**recorded.body, "series": _series(recorded)} if recorded.count > 1 else recorded.body
        await self.client.create(EVENTS, recorded.namespace, body)
        recorded.sent = True

    async def flush(self, seconds: float) -> None:
        """Wait up to that many seconds for queued events to be sent."""
        try:
            await asyncio.wait_for(self._waiting.join(), seconds)
        except TimeoutError:
            self._complain(f"{self._waiting.qsize()} left at the end")

    def _complain(self, why: str) -> None:
        if not self._complained:
            log.warning('event_dropped error="%(error)s"', {"error": why})
            self._complained = True

    def _name(self, of: str, now: float) -> str:
        """A name by time, as in client-go: `kubectl describe` shows events in the order of their names."""
        self._latest = max(self._latest + 1, int(now * 1e9))
        return f"{of[:200]}.{self._latest:016x}"

    def _body(self, regarding: Record, event: Event, *, kind: str, now: float) -> dict[str, Any]:
        note = event.message if len(event.message) <= MAX_NOTE else event.message[: MAX_NOTE - 1] + "…"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": self._name(regarding.name, now), "namespace": regarding.namespace},
            "eventTime": _time(now),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self.instance[:128],
            "action": "Reconcile",
            "reason": event.reason,
            "type": kind,
            "note": note,
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.SCALE_SET_KIND,
                "namespace": regarding.namespace,
                "name": regarding.name,
                "uid": regarding.uid,
                "resourceVersion": regarding.resource_version,
            },
        }


def _series(recorded: _Recorded) -> dict[str, Any]:
    return {"count": recorded.count, "lastObservedTime": _time(recorded.last)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
