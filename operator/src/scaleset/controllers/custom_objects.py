"""The custom resources: a store filled by kopf's events and by lists.

kopf delivers events, but not the ones that it missed: after a broken watch it lists again, and does not report objects
that were deleted meanwhile. So all three kinds are listed once at the start, and again every minute.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any, Generic, TypeVar

from scaleset.api.base import Status
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Gone, NotFound
from scaleset.kube.index import Follower
from scaleset.kube.resources import Resource
from scaleset.kube.store import Store
from scaleset.records.custom_objects import CustomObject, Projection
from scaleset.records.projections import JSON, Key
from scaleset.runtime.rounds import Rounds

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


class CustomObjects(Generic[S]):
    """All objects of one kind in the served namespaces.

    `key` groups the objects, by default each on its own; `on_change` gets the key of every changed group.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        status: type[Status],
        projection: Projection[S],
        on_change: Callable[[Key], None],
        namespaces: Sequence[str | None] = (None,),
        key: Callable[[CustomObject[S]], Key | None] | None = None,
    ) -> None:
        self.resource = resource
        self.status = status
        self.synced = False
        self._client = client
        self._on_change = on_change
        self._namespaces = tuple(namespaces)
        self._store: Store[CustomObject[S]] = Store(projection, key or (lambda record: (record.namespace, record.name)))
        self._store.follow(projection)
        self._rounds: Rounds[tuple[str, ...]] = Rounds(self._round)
        self._contact = float("-inf")

    def follow(self, follower: Follower[CustomObject[S]]) -> None:
        """Notify the follower of every object that is added, changed or removed."""
        self._store.follow(follower)

    def get(self, namespace: str, name: str) -> CustomObject[S] | None:
        return self._store.get(namespace, name)

    def of(self, key: Key) -> list[CustomObject[S]]:
        """The objects of one group."""
        return self._store.of(key)

    def all(self) -> list[CustomObject[S]]:
        return self._store.all()

    def age(self) -> float:
        """Seconds since the last list or event of the API server."""
        return monotonic() - self._contact

    def seen(self, kind: str | None, raw: JSON) -> None:
        """An event as kopf delivers it: DELETED, or anything else for an object that exists."""
        self._contact = monotonic()
        if kind == "DELETED":
            self._changed(self._store.remove(raw))
        else:
            self._changed(self._store.upsert(raw))

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
                self._changed(frozenset(listing.changed))
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

    def _changed(self, keys: frozenset[Key]) -> None:
        for key in keys:
            self._on_change(key)
