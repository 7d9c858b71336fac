"""A local view of one kind of object that follows the API server: LIST in pages, then WATCH with bookmarks.

After a failure it continues from its last version. It lists again if the server has forgotten that version (410), if
etcd went back in time, or if several watches fail in a row. It also lists every ten minutes, because a lost event
leaves no trace. Before each watch one object is listed just for the list's resourceVersion: a watch that starts at a
version which the server has not reached yet, as after a restored backup, would be silent without an error. Its answer
also counts as contact: if no object of the kind changes, a server whose etcd reports no progress sends no bookmarks for
ten minutes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from time import monotonic

from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Gone, Unavailable
from scaleset.kube.resources import JSON, Key, Resource, Wake
from scaleset.kube.store import Listing, Store, T, View, differ

log = logging.getLogger(__name__)

PAGE = 250
"""Objects parsed and merged at a time, 10 ms of pods; a list of a whole cluster must not block the loop."""
WALK = 10_000
"""Objects looked up at a time, 10 ms."""
LIST_TIMEOUT_SECONDS = 30.0
"""For one page."""
WATCH_SECONDS = (240.0, 330.0)
"""Length of one watch before the server ends it: spread, so that watches do not all return at once."""
RESYNC_SECONDS = 600.0
GOOD_WATCH_SECONDS = 5.0
"""A watch of this length was no failure, even without an event."""
HOPELESS_WATCHES = 4
"""Failures in a row, without an event, after which a list comes before the next watch."""
BACKOFF_SECONDS = (0.2, 10.0)
"""First and longest wait between tries. After an outage the view is current within 10 s plus the time of a list."""


@dataclass(eq=False, slots=True)
class _Stream:
    """One followed namespace, or all of them."""

    namespace: str | None
    version: int = 0
    relist: bool = True
    synced: bool = False
    contact: float = -inf
    resync_at: float = -inf
    """When to list again, by the event loop's clock; ended watches do not change it."""
    failures: int = 0
    complaint: str = ""
    limit: asyncio.Timeout | None = None

    def __str__(self) -> str:
        return self.namespace or "*"

    def contacted(self) -> None:
        self.contact = monotonic()
        if self.complaint:
            log.info("informer_recovered namespace=%(namespace)s", {"namespace": str(self)})
            self.complaint = ""


class Informer(View[T]):
    """Records of one kind of object, projected from raw JSON, by object and by what they belong to.

    `project` makes a record of an object. `group` names the owner of a record, None for a foreign object. Changes that
    `same` ignores do not call `on_change`. `namespaces` are watched one by one; `[None]` is one watch for all of
    them. With `label`, only objects with a label of that name are watched. `jitter` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        project: Callable[[JSON], T],
        group: Callable[[T], Key | None],
        on_change: Wake,
        namespaces: Sequence[str | None] = (None,),
        label: str | None = None,
        same: Callable[[T, T], bool] = differ,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(Store(project, group, same=same), on_change)
        self.resource = resource
        self._client = client
        self._label = label
        self._jitter = jitter
        self._streams = [_Stream(namespace) for namespace in namespaces]
        self.relists = 0
        """Number of lists so far, including the first ones."""

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed completely once. Before that, a missing record does not mean that the
        object is missing.
        """
        return all(stream.synced for stream in self._streams)

    def age(self) -> float:
        """Seconds since the last answer or event of the server, in the worst namespace. A quiet namespace has a
        bookmark a minute, or a new watch. Infinite at first.
        """
        return monotonic() - min(stream.contact for stream in self._streams)

    # Knowledge from other calls

    def remember(self, raw: JSON) -> None:
        """Merge the answer to an own write: it is visible at once, and no older event reverts it. Some answers to a
        delete are ignored: a Status, or an object without a version if another delete came first. An object that has
        lost the label is removed, as by a watch.
        """
        if raw.get("kind") == "Status" or not raw["metadata"].get("resourceVersion"):
            return
        if self._label is None or self._label in (raw["metadata"].get("labels") or {}):
            self._changed(self._store.remember(raw))
        else:
            self._changed(self._store.remove(raw))

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """Remove an object that the server reports as missing: no older event brings it back."""
        self._changed(self._store.forget(namespace, name, uid))

    async def refresh(self, group: Key, *, label_selector: str) -> list[T]:
        """List the objects of the group, merge them and return their records. Batches are admitted on this view.

        Unavailable, like any failed call, if the server's state is older than the known one: then everything is listed
        again.
        """
        with self._store.listing(self._store.seen) as listing:
            pages = self._client.pages(self.resource, group[0], label_selector=label_selector, limit=PAGE)
            try:
                async with aclosing(pages):
                    async for raws, version in pages:
                        listing.version = int(version)
                        if listing.restored:
                            self._restart(listing.version)
                            text = f"{self.resource} went back in time; listing all of them again"
                            raise Unavailable(0, "EtcdRestored", text)
                        self._store.add(listing, raws, int(version))
                self._store.finish(listing, group=group)
            finally:
                self._changed(listing.changed)
        return self.of(group)

    # Following

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for stream in self._streams:
                group.create_task(self._follow(stream), name=f"informer {self.resource} {stream}")

    async def _follow(self, stream: _Stream) -> None:
        while True:
            try:
                await self._step(stream)
            except Gone:
                stream.relist = True
                await self._pause(stream)
            except ApiError as error:
                self._complain(stream, error)
                # Behind a proxy that breaks streams, lists work and watches never do: then lists must suffice.
                stream.relist |= stream.failures >= HOPELESS_WATCHES
                await self._pause(stream, at_least=error.retry_after)
            except Exception:
                log.exception(
                    "informer_failed resource=%(resource)s namespace=%(namespace)s",
                    {"resource": self.resource, "namespace": str(stream)},
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
        _, version = await self._client.peek(self.resource, stream.namespace, label_selector=self._label)
        stream.contact = monotonic()
        if int(version) < seen:
            self._restart(int(version))

    def _restart(self, version: int, *, but: _Stream | None = None) -> None:
        """List everything again: etcd is at `version` now, which is older than the known state."""
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
                self.resource, stream.namespace, label_selector=self._label, limit=PAGE, timeout=LIST_TIMEOUT_SECONDS
            )
            try:
                async with aclosing(pages):
                    async for raws, version in pages:
                        self._store.add(listing, raws, int(version))
                self._changed(self._store.settle(listing, await self._missing(stream, listing)))
            except BaseException:
                stream.relist = True
                self._changed(listing.changed)
                raise
        stream.version = listing.version
        stream.resync_at = asyncio.get_running_loop().time() + RESYNC_SECONDS * (0.9 + 0.2 * self._jitter())
        stream.synced = True
        if listing.restored:
            self._restart(listing.version, but=stream)
        # The back-off is not reset: a successful list and a failing watch in turn would cause a storm of lists.
        stream.contacted()

    async def _missing(self, stream: _Stream, listing: Listing) -> list[Key]:
        """What the list does not contain. All that is known is walked, so others get their turn in between."""
        known, missing = self._store.known(stream.namespace), []
        for begin in range(0, len(known), WALK):
            await asyncio.sleep(0)
            missing += listing.missing(known[begin : begin + WALK])
        await asyncio.sleep(0)
        return missing

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
            self._store.observe_version(int(raw["metadata"]["resourceVersion"]))
        else:
            self._changed(self._store.remove(raw) if kind == "DELETED" else self._store.upsert(raw))
        stream.version = max(stream.version, int(raw["metadata"]["resourceVersion"]))
        stream.failures = 0
        stream.contacted()

    def _complain(self, stream: _Stream, error: ApiError) -> None:
        """Log a failure once, not once a try. A cut connection that is back at once is not logged."""
        complaint = str(error)
        if complaint != stream.complaint and stream.failures >= 2:
            log.warning(
                'informer_unavailable resource=%(resource)s namespace=%(namespace)s error="%(error)s"',
                {"resource": self.resource, "namespace": str(stream), "error": complaint},
            )
            stream.complaint = complaint

    async def _pause(self, stream: _Stream, *, at_least: float | None = None) -> None:
        first, longest = BACKOFF_SECONDS
        wait = min(longest, first * 2.0 ** min(stream.failures, 16))
        stream.failures += 1
        await asyncio.sleep(max(wait * (0.5 + 0.5 * self._jitter()), at_least or 0.0))
