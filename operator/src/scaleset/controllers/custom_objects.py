"""The custom resources as they are: the store that kopf's events and our own lists fill.

kopf tells what happens, but not what it missed: after a broken watch it lists again and says nothing about objects
that went away meanwhile. So all three kinds are listed once at the start, and again every minute.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, TypeVar

from scaleset.api.model import Status
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError
from scaleset.kube.resources import Resource
from scaleset.kube.store import Store
from scaleset.records.custom_objects import CustomObject, Projection
from scaleset.records.projections import JSON, Key

log = logging.getLogger(__name__)

RESYNC_SECONDS = 50.0
"""At most: within a minute of a lost event what it would have led to is to be done, and that takes time, too."""
RETRY_SECONDS = 2.0

S = TypeVar("S")


class CustomObjects(Generic[S]):
    """All objects of one kind in the namespaces that are served.

    `key` groups them, each object for itself by default; `on_change` gets the key of every group that changed.
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
        self._projection = projection
        self._on_change = on_change
        self._namespaces = tuple(namespaces)
        self._store: Store[CustomObject[S]] = Store(projection, key or (lambda record: (record.namespace, record.name)))
        self._contact = float("-inf")

    def get(self, namespace: str, name: str) -> CustomObject[S] | None:
        return self._store.get(namespace, name)

    def of(self, key: Key) -> list[CustomObject[S]]:
        """The objects of one group."""
        return self._store.of(key)

    def all(self) -> list[CustomObject[S]]:
        return self._store.all()

    def age(self) -> float:
        """Seconds since the API server last listed or told us something."""
        return monotonic() - self._contact

    def seen(self, kind: str | None, raw: JSON) -> None:
        """An event as kopf delivers it: DELETED, or anything else for an object that exists."""
        self._contact = monotonic()
        if kind == "DELETED":
            self._projection.forget(raw["metadata"]["uid"])
            self._changed(self._store.remove(raw))
        else:
            self._changed(self._store.upsert(raw))

    def remember(self, raw: JSON) -> None:
        """The answer to our own write."""
        self._store.believe(raw)

    def forget(self, gone: CustomObject[S]) -> None:
        """The API server answered that this object does not exist any more."""
        self._changed(self._store.forget(gone.namespace, gone.name, gone.uid))

    async def reread(self, outdated: CustomObject[Any]) -> None:
        """Read one object again, because a write said that ours is outdated."""
        raw = await self._client.get(self.resource, outdated.namespace, outdated.name)
        self._changed(self._store.upsert(raw))
        if int(raw["metadata"]["resourceVersion"]) < int(outdated.resource_version):
            log.warning("etcd_restored resource=%s", self.resource)
            await self.list()

    async def list(self) -> None:
        """List everything and drop what is not there any more."""
        for namespace in self._namespaces:
            with self._store.listing(self._store.seen_in(namespace)) as listing:
                raws, version = await self._client.list(self.resource, namespace)
                self._store.add(listing, raws, int(version))
                self._changed(self._store.finish(listing, namespace=namespace))
        self.synced = True
        self._contact = monotonic()

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
