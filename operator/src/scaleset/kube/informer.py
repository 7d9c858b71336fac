"""A local view of one kind of object that follows the API server: LIST in pages, then WATCH with bookmarks, for ever.

Whatever breaks, it goes on from where it was, and lists again only when it has to: when the server has forgotten our
version (410), when etcd went back in time, when one watch after the other fails, and every ten minutes, because an
event that got lost on the way leaves no trace. Before each watch one object is listed just for the list's
resourceVersion: a watch that starts at a version which the server has not reached yet, as after a restored backup,
would be silent without an error. Its answer counts as news, too: where nothing of that kind changes, a server whose
etcd does not tell it of its progress sends no bookmarks for ten minutes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from math import inf
from time import monotonic
from typing import Generic

from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Gone, Unavailable
from scaleset.kube.resources import Resource
from scaleset.kube.store import JSON, Key, Store, T, differ

log = logging.getLogger(__name__)

PAGE = 250
"""Objects that are parsed and merged in one go, 10 ms of pods; a list of a whole cluster must not hold the loop."""
LIST_TIMEOUT_SECONDS = 30.0
"""For one page."""
WATCH_SECONDS = (240.0, 330.0)
"""How long one watch lasts before the server ends it: spread, so that all do not come back at once."""
RESYNC_SECONDS = 600.0
GOOD_WATCH_SECONDS = 5.0
"""A watch that lasted so long was no failure, even if nothing happened in it."""
HOPELESS_WATCHES = 4
"""So many failures in a row, without an event, and we list before we watch again."""
BACKOFF_SECONDS = (0.2, 10.0)
"""First and longest wait between tries. After an outage we are back within 10 s plus the time of a list."""


class _Stream:
    """What is followed: one namespace, or all of them."""

    __slots__ = ("complaint", "contact", "failures", "limit", "namespace", "relist", "resync_at", "synced", "version")

    def __init__(self, namespace: str | None) -> None:
        self.namespace = namespace
        self.version = 0
        self.relist = True
        self.synced = False
        self.contact = -inf
        self.resync_at = -inf
        """By the event loop's clock: however many watches end before, they are of one list."""
        self.failures = 0
        self.complaint = ""
        self.limit: asyncio.Timeout | None = None

    def heard(self) -> None:
        self.contact = monotonic()
        if self.complaint:
            log.info("informer_recovered namespace=%(namespace)s", {"namespace": self.namespace or "*"})
            self.complaint = ""


class Informer(Generic[T]):
    """Records of one kind of object, projected from raw JSON, by object and by what they belong to.

    `project` makes a record of an object and `key` tells what it belongs to, None for nothing of ours; `on_change` is
    called once for every key whose records changed, but for changes that are none to `same`. `namespaces` are watched
    one by one, `[None]` is all of them with one watch; with `label` only what has a label of that name. `jitter` gives
    numbers from 0 to 1.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        project: Callable[[JSON], T],
        key: Callable[[T], Key | None],
        on_change: Callable[[Key], None],
        namespaces: Sequence[str | None] = (None,),
        label: str | None = None,
        same: Callable[[T, T], bool] = differ,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self._client = client
        self._label = label
        self._on_change = on_change
        self._jitter = jitter
        self._store = Store(project, key, same=same)
        self._streams = [_Stream(namespace) for namespace in namespaces]
        self.relists = 0
        """Lists taken so far, the first ones included."""

    # What is known

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed completely once. Before that, an absent object means nothing."""
        return all(stream.synced for stream in self._streams)

    def age(self) -> float:
        """Seconds since the server last told us anything, in the worst namespace; a quiet one has a bookmark a minute,
        or a new watch. Infinite at first.
        """
        return monotonic() - min(stream.contact for stream in self._streams)

    def __len__(self) -> int:
        return len(self._store)

    def get(self, namespace: str, name: str) -> T | None:
        """The record of one object."""
        return self._store.get(namespace, name)

    def of(self, key: Key) -> list[T]:
        """The records of all objects that belong to the key, in no order."""
        return self._store.of(key)

    def number(self, key: Key) -> int:
        """How many objects belong to the key."""
        return self._store.number(key)

    def all(self) -> list[T]:
        """All records, also of objects that belong to no key."""
        return self._store.all()

    # What others found out

    def remember(self, raw: JSON) -> None:
        """The answer to one of our own writes: seen at once, and no older event takes it back. What a delete may be
        answered with is ignored: a Status, or an object of no version where somebody else's delete was first. An object
        that has lost the label is none of these any more, as a watch would say.
        """
        if raw.get("kind") == "Status" or not raw["metadata"].get("resourceVersion"):
            return
        if self._label is None or self._label in (raw["metadata"].get("labels") or {}):
            self._changed(self._store.remember(raw))
        else:
            self._changed(self._store.remove(raw))

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """The server answered that this object does not exist any more: no older event brings it back."""
        self._changed(self._store.forget(namespace, name, uid))

    async def refresh(self, key: Key, *, label_selector: str) -> list[T]:
        """List what belongs to the key from the API server, merge it and return its records: the view that a batch is
        admitted on.

        Unavailable, like any failed call, when the server's state turns out to be older than what we had seen:
        everything is listed again then.
        """
        with self._store.listing(self._store.seen) as listing:
            pages = self._client.pages(self.resource, key[0], label_selector=label_selector, limit=PAGE)
            try:
                async with aclosing(pages):
                    async for raws, version in pages:
                        listing.version = int(version)
                        if listing.restored:
                            self._restart(listing.version)
                            text = f"{self.resource} went back in time; listing all of them again"
                            raise Unavailable(0, "EtcdRestored", text)
                        self._store.add(listing, raws, int(version))
                self._store.finish(listing, key=key)
            finally:
                self._changed(listing.changed)
        return self.of(key)

    # Following

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for stream in self._streams:
                group.create_task(self._follow(stream), name=f"informer {self.resource} {stream.namespace or '*'}")

    async def _follow(self, stream: _Stream) -> None:
        while True:
            try:
                await self._step(stream)
            except Gone:
                stream.relist = True
                await self._pause(stream)
            except ApiError as error:
                self._complain(stream, error)
                # Where lists work and watches never do, behind a proxy that breaks streams, lists are all there is.
                stream.relist |= stream.failures >= HOPELESS_WATCHES
                await self._pause(stream, at_least=error.retry_after)
            except Exception:
                log.exception(
                    "informer_failed resource=%(resource)s namespace=%(namespace)s",
                    {"resource": self.resource, "namespace": stream.namespace or "*"},
                )
                await self._pause(stream)

    async def _step(self, stream: _Stream) -> None:
        """One list if needed, and one watch."""
        if not stream.relist:
            await self._check_not_restored(stream)
        while stream.relist:
            await self._list(stream)
        began = monotonic()
        version = stream.version
        try:
            async with asyncio.timeout_at(stream.resync_at) as stream.limit:
                await self._watch(stream)
        except TimeoutError:
            stream.relist = True
        finally:
            stream.limit = None
            if monotonic() - began > GOOD_WATCH_SECONDS:
                stream.failures = 0
        if stream.version == version and not stream.relist and monotonic() - began < 1.0:
            raise Unavailable(0, "WatchEnded", f"the watch of {self.resource} ended at once")

    async def _check_not_restored(self, stream: _Stream) -> None:
        seen = self._store.seen
        pages = self._client.pages(self.resource, stream.namespace, label_selector=self._label, limit=1)
        async with aclosing(pages):
            async for _, version in pages:
                stream.contact = monotonic()
                if int(version) < seen:
                    self._restart(int(version))
                return

    def _restart(self, version: int, *, but: _Stream | None = None) -> None:
        """List everything again: etcd is at `version` now, less than what we had seen."""
        log.warning("etcd_restored resource=%(resource)s now=%(now)d", {"resource": self.resource, "now": version})
        for stream in self._streams:
            stream.relist |= stream is not but
            if stream is not but and stream.limit is not None and not stream.limit.expired():
                stream.limit.reschedule(0.0)

    async def _list(self, stream: _Stream) -> None:
        stream.relist = False
        self.relists += 1
        with self._store.listing(self._store.seen_in(stream.namespace)) as listing:
            pages = self._client.pages(
                self.resource,
                stream.namespace,
                label_selector=self._label,
                limit=PAGE,
                timeout=LIST_TIMEOUT_SECONDS,
            )
            try:
                async with aclosing(pages):
                    async for raws, version in pages:
                        self._store.add(listing, raws, int(version))
                self._changed(self._store.finish(listing, namespace=stream.namespace))
            except BaseException:
                stream.relist = True
                self._changed(listing.changed)
                raise
        stream.version = listing.version
        stream.resync_at = asyncio.get_running_loop().time() + RESYNC_SECONDS * (0.9 + 0.2 * self._jitter())
        stream.synced = True
        if listing.restored:
            self._restart(listing.version, but=stream)
        # No reset of the back-off: a list that succeeds and a watch that fails each time would be a storm of lists.
        stream.heard()

    async def _watch(self, stream: _Stream) -> None:
        shortest, longest = WATCH_SECONDS
        events = self._client.watch(
            self.resource,
            stream.namespace,
            resource_version=str(stream.version),
            label_selector=self._label,
            timeout=shortest + (longest - shortest) * self._jitter(),
        )
        async with aclosing(events):
            async for event in events:
                self._handle(stream, event)

    def _handle(self, stream: _Stream, event: JSON) -> None:
        raw = event["object"]
        kind = event["type"]
        if kind == "BOOKMARK":
            self._store.saw(int(raw["metadata"]["resourceVersion"]))
        else:
            self._changed(self._store.remove(raw) if kind == "DELETED" else self._store.upsert(raw))
        stream.version = max(stream.version, int(raw["metadata"]["resourceVersion"]))
        stream.failures = 0
        stream.heard()

    def _changed(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._on_change(key)

    def _complain(self, stream: _Stream, error: ApiError) -> None:
        """Say once what is wrong, not once a try, and nothing of a connection that was cut and is back at once."""
        complaint = str(error)
        if complaint != stream.complaint and stream.failures >= 2:
            log.warning(
                'informer_unavailable resource=%(resource)s namespace=%(namespace)s error="%(error)s"',
                {"resource": self.resource, "namespace": stream.namespace or "*", "error": complaint},
            )
            stream.complaint = complaint

    async def _pause(self, stream: _Stream, *, at_least: float | None = None) -> None:
        first, longest = BACKOFF_SECONDS
        wait = min(longest, first * 2.0 ** min(stream.failures, 16))
        stream.failures += 1
        await asyncio.sleep(max(wait * (0.5 + 0.5 * self._jitter()), at_least or 0.0))
