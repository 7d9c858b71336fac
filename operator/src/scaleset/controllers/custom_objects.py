"""The custom resources: a store filled by kopf's events and by lists.

kopf delivers events, but not the ones that it missed: after a broken watch it lists again, and does not report objects
that were deleted meanwhile. So all three kinds are listed once at the start, and again every minute.

A list is valid for callers that asked before it was sent. A caller that asks while it is under way might get a state
from before its own last write. So callers that ask meanwhile share the next list (`Rounds`).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any, Generic, TypeVar

from scaleset.api.base import Status
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Gone, NotFound
from scaleset.kube.resources import JSON, Key, Resource, Wake
from scaleset.kube.store import Store, View
from scaleset.records.custom_objects import CustomObject, Projection

log = logging.getLogger(__name__)

RESYNC_SECONDS = 50.0
"""Longest time between two lists. The reaction to a lost event has to be finished within a minute, including the work
itself.
"""
RETRY_SECONDS = 2.0

PAGE = 250
MERGE = 50
"""Objects merged at a time: parsing a new one takes half a millisecond."""
_ALL: tuple[str, ...] = ()

S = TypeVar("S")
K = TypeVar("K", bound=Hashable)

PATIENCE_SECONDS = 1.0
"""Longest wait for the previous run: a run that hangs must not delay later callers."""


class Rounds(Generic[K]):
    """Runs `run(key)` for its callers: one run answers all that asked before it began. Lives in one event loop."""

    def __init__(self, run: Callable[[K], Awaitable[None]], *, patience: float = PATIENCE_SECONDS) -> None:
        self._run = run
        self._patience = patience
        self._next: dict[K, asyncio.Task[None]] = {}
        self._latest: dict[K, asyncio.Task[None]] = {}

    async def ask(self, key: K) -> None:
        """Return when a run that began after this call has ended; raise its error."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._round(key, self._latest.get(key)), name=f"round {key}")
            self._next[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # Other callers may wait for it as well, even if this call is cancelled.
        await asyncio.shield(task)

    async def _round(self, key: K, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before}, timeout=self._patience)
        self._latest[key] = self._next.pop(key)
        await self._run(key)

    def _ended(self, key: K, task: "asyncio.Task[None]") -> None:
        for tasks in (self._next, self._latest):
            if tasks.get(key) is task:
                del tasks[key]
        if not task.cancelled():
            task.exception()  # the caller may be gone; asyncio would complain about an exception never retrieved


class CustomObjects(View[CustomObject[S]]):
    """All objects of one kind in the served namespaces. `group` groups the objects, by default each on its own."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        status: type[Status],
        projection: Projection[S],
        on_change: Wake,
        namespaces: Sequence[str | None] = (None,),
        group: Callable[[CustomObject[S]], Key | None] = lambda record: (record.namespace, record.name),
    ) -> None:
        super().__init__(Store(projection, group), on_change)
        self.resource = resource
        self.status = status
        self.synced = False
        self._client = client
        self._namespaces = tuple(namespaces)
        self._store.follow(projection)
        self._rounds: Rounds[tuple[str, ...]] = Rounds(self._round)
        self._contact = float("-inf")

    def age(self) -> float:
        """Seconds since the last list or event of the API server."""
        return monotonic() - self._contact

    def seen(self, kind: str | None, raw: JSON) -> None:
        """An event as kopf delivers it: DELETED, or anything else for an object that exists."""
        self._contact = monotonic()
        self._changed(self._store.remove(raw) if kind == "DELETED" else self._store.upsert(raw))

    def remember(self, raw: JSON) -> None:
        """Merge the answer to an own write."""
        self._store.believe(raw)

    def forget(self, gone: CustomObject[S]) -> None:
        """Remove an object that the API server reports as missing."""
        self._changed(self._store.forget(gone.namespace, gone.name, gone.uid))

    async def reread(self, outdated: CustomObject[Any]) -> None:
        """Read one object again after a conflict."""
        raw = await self._client.get(self.resource, outdated.namespace, outdated.name)
        self._changed(self._store.upsert(raw))
        if int(raw["metadata"]["resourceVersion"]) < int(outdated.resource_version):
            await self._restored()

    async def list(self) -> None:
        """List everything, after this call, and drop missing objects."""
        await self._rounds.ask(_ALL)

    async def refresh(self, namespace: str) -> None:
        """List that namespace, after this call: batches are admitted on this view. Concurrent callers share a list."""
        if self._serves(namespace):
            await self._rounds.ask((namespace,))

    async def look_up(self, namespace: str, name: str) -> None:
        """Read one object, known or not, after this call. Absence is not believed before a list shows it."""
        if not self._serves(namespace):
            return
        known = self.get(namespace, name)
        try:
            raw = await self._client.get(self.resource, namespace, name)
        except NotFound:
            await self.refresh(namespace)
            return
        self._changed(self._store.upsert(raw))
        if known is not None and int(raw["metadata"]["resourceVersion"]) < int(known.resource_version):
            await self._restored()
        elif self.get(namespace, name) is None:  # the API server reported it as missing before
            await self.refresh(namespace)

    def _serves(self, namespace: str) -> bool:
        return None in self._namespaces or namespace in self._namespaces

    async def _restored(self) -> None:
        log.warning("etcd_restored resource=%s", self.resource)
        await self.list()

    async def _round(self, asked: tuple[str, ...]) -> None:
        restored = False
        for namespace in asked or self._namespaces:
            restored |= await self._list(namespace)
        if not asked:
            self.synced = True
        elif restored:
            await self._restored()
        self._contact = monotonic()

    async def _list(self, namespace: str | None) -> bool:
        """List one namespace, or all of them; returns whether etcd is older than the known state. All pages show one
        state; if the server forgets it on the way, the list starts again once.
        """
        try:
            return await self._pages(namespace)
        except Gone:
            return await self._pages(namespace)

    async def _pages(self, namespace: str | None) -> bool:
        with self._store.listing(self._store.seen_in(namespace)) as listing:
            pages = self._client.pages(self.resource, namespace, limit=PAGE)
            try:
                async with aclosing(pages):
                    async for raws, version in pages:
                        for begin in range(0, len(raws) or 1, MERGE):
                            self._store.add(listing, raws[begin : begin + MERGE], int(version))
                            await asyncio.sleep(0)
                self._store.finish(listing, namespace=namespace)
            finally:
                self._changed(listing.changed)
            return listing.restored

    async def run(self) -> None:
        """List at once, then every minute."""
        complaint = ""
        while True:
            try:
                await self.list()
                wait, complaint = RESYNC_SECONDS * (0.8 + 0.2 * random.random()), ""
            except ApiError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning(
                        'list_failed resource=%(resource)s error="%(error)s"',
                        {"resource": self.resource, "error": complaint},
                    )
                wait = RETRY_SECONDS
            except Exception:
                log.exception("list_failed resource=%(resource)s", {"resource": self.resource})
                wait = RESYNC_SECONDS
            await asyncio.sleep(wait)
