"""Events: one per decision, so that `kubectl describe` and `kubectl events` tell the story of a rollout.

An event is a courtesy. It is sent in the background, tried once, and its loss changes nothing: events may be
forbidden, or a namespace's quota for them used up. Its sentence is the log's, cut to what an event may hold.

What is said again is the same event, with a count (`series`); and about one set only so many different ones are told in
a short time, so that nothing that goes back and forth fills etcd.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scaleset.api import names
from scaleset.kube.client import Client
from scaleset.kube.errors import NamespaceTerminating, NotFound
from scaleset.kube.resources import EVENTS
from scaleset.kube.store import Record
from scaleset.observability.reasons import NORMAL, WARNING
from scaleset.planner.snapshot import Event

log = logging.getLogger(__name__)

REPORTING_CONTROLLER = f"{names.GROUP}/operator"
MAX_NOTE = 1024
BACKLOG = 1000
"""Events that wait to be sent, at most."""
REMEMBERED = 2000
"""Events that are known again, at most."""
SERIES_SECONDS = 1800.0
"""How long after it was last told an event is told again by its count. API servers keep events for an hour."""
BURST = 100
"""Different events about one set at once: forty batches with begin and end fit in."""
REFILL_SECONDS = 3.0
"""One more of them may be told in this time."""


Key = tuple[str, str, str, str]
"""Uid of the set, type, reason and sentence."""


@dataclass(slots=True)
class _Told:
    """An event, and how often it was told."""

    namespace: str
    body: dict[str, Any]
    last: float
    count: int = 1
    sent: bool = False
    waits: bool = True
    """Whether it is in the queue already."""

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


@dataclass(slots=True)
class _Allowance:
    """What may still be told about one set."""

    at: float
    left: float = field(default=float(BURST))

    def take(self, now: float) -> bool:
        self.left = min(float(BURST), self.left + max(0.0, now - self.at) / REFILL_SECONDS)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class EventRecorder:
    """Sends events in the order in which they were recorded. `now` is the API server's clock; `on_event(type, reason)`
    counts what is told.
    """

    def __init__(
        self, client: Client, *, instance: str, now: Callable[[], float], on_event: Callable[[str, str], None]
    ) -> None:
        self._client = client
        self._instance = instance[:128]
        self._now = now
        self._on_event = on_event
        self._waiting: asyncio.Queue[_Told] = asyncio.Queue(BACKLOG)
        self._told: OrderedDict[Key, _Told] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._complained = False
        self._latest = 0

    def record(self, regarding: Record, event: Event) -> None:
        """Put it into the queue; when that is full, or too much was told about the set, it is dropped."""
        kind, now = WARNING if event.warning else NORMAL, self._now()
        key = (regarding.uid, kind, event.reason, event.message)
        told = self._told.pop(key, None)
        if told is not None and now - told.last < SERIES_SECONDS:
            told.count += 1
            told.last = now
        elif self._may_tell(regarding, now):
            told = _Told(regarding.namespace, self._body(regarding, event, kind=kind, now=now), now)
        else:
            return
        if (told.count == 1 or not told.waits) and not self._enqueue(told):
            return
        self._on_event(kind, event.reason)
        self._told[key] = told
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _may_tell(self, regarding: Record, now: float) -> bool:
        allowance = self._allowances.pop(regarding.uid, None) or _Allowance(now)
        self._allowances[regarding.uid] = allowance
        while len(self._allowances) > REMEMBERED:
            self._allowances.popitem(last=False)
        if allowance.take(now):
            return True
        self._complain(f"more than {BURST} different events about {regarding.namespace}/{regarding.name} at once")
        return False

    def _enqueue(self, told: _Told) -> bool:
        try:
            self._waiting.put_nowait(told)
        except asyncio.QueueFull:
            self._complain("the backlog is full")
            return False
        told.waits = True
        return True

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            told = await self._waiting.get()
            told.waits = False
            try:
                await self._send(told)
                self._complained = False
            except NamespaceTerminating as error:
                log.debug('event_dropped error="%(error)s"', {"error": error})
            except Exception as error:  # noqa: BLE001 - a courtesy must not end the process
                self._complain(f"{type(error).__name__}: {error}")
            finally:
                self._waiting.task_done()

    async def _send(self, told: _Told) -> None:
        if told.sent:
            try:
                await self._client.patch(EVENTS, told.namespace, told.name, {"series": _series(told)})
            except NotFound:
                told.body["metadata"]["name"] = self._name(told.body["regarding"]["name"], told.last)
            else:
                return
        body = {**told.body, "series": _series(told)} if told.count > 1 else told.body
        await self._client.create(EVENTS, told.namespace, body)
        told.sent = True

    async def flush(self, seconds: float) -> None:
        """Give what is waiting that long to leave."""
        try:
            await asyncio.wait_for(self._waiting.join(), seconds)
        except TimeoutError:
            self._complain(f"{self._waiting.qsize()} left at the end")

    def _complain(self, why: str) -> None:
        if not self._complained:
            log.warning('event_dropped error="%(error)s"', {"error": why})
            self._complained = True

    def _name(self, of: str, now: float) -> str:
        """By time, as client-go names events: `kubectl describe` shows them in the order of their names."""
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
            "reportingInstance": self._instance,
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


def _series(told: _Told) -> dict[str, Any]:
    return {"count": told.count, "lastObservedTime": _time(told.last)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
