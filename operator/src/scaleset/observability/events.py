"""Events: one per decision, so that `kubectl describe` and `kubectl events` tell the story of a rollout.

An event is a courtesy. It is sent in the background, tried once, and its loss changes nothing: events may be
forbidden, or a namespace's quota for them used up.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from scaleset.api import names
from scaleset.kube.client import Client
from scaleset.kube.resources import EVENTS
from scaleset.kube.store import Record
from scaleset.planning.snapshot import Event

log = logging.getLogger(__name__)

REPORTING_CONTROLLER = f"{names.GROUP}/operator"
MAX_NOTE = 1024
BACKLOG = 1000


class EventRecorder:
    """Sends events in the order in which they were recorded. `now` is the API server's clock."""

    def __init__(self, client: Client, *, instance: str, now: Callable[[], float]) -> None:
        self._client = client
        self._instance = instance[:128]
        self._now = now
        self._waiting: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(BACKLOG)
        self._complained = False

    def record(self, regarding: Record, event: Event) -> None:
        """Put an event about that ScaleSet into the queue; when that is full the event is dropped."""
        body = self._body(regarding, event)
        try:
            self._waiting.put_nowait((regarding.namespace, body))
        except asyncio.QueueFull:
            self._complain("the backlog is full")

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            namespace, body = await self._waiting.get()
            try:
                await self._client.create(EVENTS, namespace, body)
                self._complained = False
            except Exception as error:  # noqa: BLE001 - a courtesy must not end the process
                self._complain(f"{type(error).__name__}: {error}")
            finally:
                self._waiting.task_done()

    async def flush(self, seconds: float) -> None:
        """Give what is waiting that long to leave."""
        try:
            await asyncio.wait_for(self._waiting.join(), seconds)
        except TimeoutError:
            self._complain(f"{self._waiting.qsize()} left at the end")

    def _complain(self, why: str) -> None:
        if not self._complained:
            log.warning('event_dropped why="%s"', why)
            self._complained = True

    def _body(self, regarding: Record, event: Event) -> dict[str, Any]:
        note = event.message if len(event.message) <= MAX_NOTE else event.message[: MAX_NOTE - 1] + "…"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{regarding.name}.{secrets.token_hex(8)}", "namespace": regarding.namespace},
            "eventTime": datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": event.reason,
            "type": "Warning" if event.warning else "Normal",
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
