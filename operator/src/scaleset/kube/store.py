"""The records of an informer: one per object, whatever the source and order of the news about it.

There are three sources about the same objects: the watch, lists, and the answers to own writes. These rules make one
view of them:

- The higher resourceVersion wins; an equal or lower one changes nothing (but see `Store.believe`). So duplicates and
  late messages are harmless.
- A list removes the objects that it does not contain, unless the known version is newer than the list.
- A deleted object stays deleted: its uid leaves a tombstone, which only a version newer than the deletion overrides (an
  object whose labels stop matching the selector is "deleted" as well, and may come back).
- A list older than the state known before it was requested means that etcd was restored from a backup. Then the list
  replaces everything, except for own writes since it began.
- A list that is not older, but shows an older version of an object, means the same for that object: etcd has counted on
  since.

Each method returns the keys whose records changed.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from scaleset.kube.index import Follower, Index

log = logging.getLogger(__name__)

JSON = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name: of an object, or of what it belongs to."""

TOMBSTONE_SECONDS = 600.0
"""Lifetime of a tombstone. No watch lags behind for longer: a silent watch is given up after 70 s."""

_NOTHING: frozenset[Key] = frozenset()


class Record(Protocol):
    """The least fields that a projection keeps of an object: its identity and version."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


T = TypeVar("T", bound=Record)


class Listing:
    """A list that is merged page by page. Created by `Store.listing`."""

    def __init__(self, *, seen_before: int) -> None:
        self.seen_before = seen_before
        self.version = 0
        self.found: set[Key] = set()
        self.written: set[Key] = set()
        self.forgotten: set[str] = set()
        self.changed: set[Key] = set()

    @property
    def restored(self) -> bool:
        """Whether the list is older than the state known before it was requested."""
        return self.version < self.seen_before


def differ(_: object, __: object) -> bool:
    """Never treat a newer record as unchanged."""
    return False


class Store(Generic[T]):
    """Records by object and by what they belong to. Not thread-safe; it lives in one event loop.

    `same` decides whether the newer of two records of an object needs no notification. Followers, such as an `Index`,
    keep other views of the records.
    """

    def __init__(
        self,
        project: Callable[[JSON], T],
        key: Callable[[T], Key | None],
        *,
        same: Callable[[T, T], bool] = differ,
    ) -> None:
        self._project = project
        self._key = key
        self._same = same
        self._records: dict[Key, T] = {}
        self._members: Index[T] = Index(key)
        self._namespaces: Index[T] = Index(lambda record: (record.namespace, ""))
        self._followers: list[Follower[T]] = [self._members, self._namespaces]
        self._tombstones: dict[str, tuple[float, float]] = {}
        self._listings: list[Listing] = []
        self.seen = 0
        """The highest resourceVersion observed."""

    def __len__(self) -> int:
        return len(self._records)

    def get(self, namespace: str, name: str) -> T | None:
        return self._records.get((namespace, name))

    def of(self, key: Key) -> list[T]:
        return self._members.of(key)

    def number(self, key: Key) -> int:
        return self._members.number(key)

    def all(self) -> list[T]:
        return list(self._records.values())

    def follow(self, follower: Follower[T]) -> None:
        """Notify the follower of every known record, and of every change from now on."""
        self._followers.append(follower)
        for place, record in self._records.items():
            follower.follow(place, None, record)

    def observe_version(self, version: int) -> None:
        self.seen = max(self.seen, version)

    def upsert(self, raw: JSON) -> frozenset[Key]:
        """Merge an object as of its resourceVersion."""
        metadata = raw["metadata"]
        version = int(metadata["resourceVersion"])
        self.observe_version(version)
        place = (metadata.get("namespace", ""), metadata["name"])
        known = self._records.get(place)
        if known is not None and int(known.resource_version) >= version:
            return _NOTHING
        buried = self._tombstones.get(metadata["uid"])
        if buried is not None and buried[0] >= version:
            return _NOTHING
        return self._put(place, raw)

    def remove(self, raw: JSON) -> frozenset[Key]:
        """Remove an object that the watch reports as deleted, given its last state."""
        metadata = raw["metadata"]
        version = int(metadata["resourceVersion"])
        self.observe_version(version)
        self._bury(metadata["uid"], version)
        place = (metadata.get("namespace", ""), metadata["name"])
        known = self._records.get(place)
        # Another uid under the same name: an older object is gone as well, a newer one was created after this deletion.
        if known is None or (known.uid != metadata["uid"] and int(known.resource_version) > version):
            return _NOTHING
        return self._drop(place)

    def remember(self, raw: JSON) -> frozenset[Key]:
        """Merge the answer to an own write."""
        metadata = raw["metadata"]
        for listing in self._listings:
            listing.written.add((metadata.get("namespace", ""), metadata["name"]))
        return self.upsert(raw)

    def believe(self, raw: JSON) -> frozenset[Key]:
        """As `remember`, for a kind whose schema may be replaced: the answer counts even if the version is known. A
        watch from before the replacement shows the same version without the fields of the new schema.
        """
        metadata = raw["metadata"]
        place = (metadata.get("namespace", ""), metadata["name"])
        known = self._records.get(place)
        reported = (metadata["uid"], metadata["resourceVersion"])
        again = known is not None and (known.uid, known.resource_version) == reported
        changed = self._put(place, raw) if again else _NOTHING
        return changed | self.remember(raw)

    def forget(self, namespace: str, name: str, uid: str) -> frozenset[Key]:
        """Remove an object that the server reports as missing. A list requested later overrides this."""
        for listing in self._listings:
            listing.forgotten.add(uid)
        self._bury(uid, inf)
        known = self._records.get((namespace, name))
        return self._drop((namespace, name)) if known is not None and known.uid == uid else _NOTHING

    def seen_in(self, namespace: str | None) -> int:
        """The highest resourceVersion observed, including that namespace's records: they outlive a restore that other
        namespaces noticed first.
        """
        records = self._records.values() if namespace is None else self._namespaces.of((namespace, ""))
        return max(self.seen, *(int(record.resource_version) for record in records), 0)

    @contextmanager
    def listing(self, seen_before: int) -> Iterator[Listing]:
        """Begin a list before it is requested, with the state known until now; then `add` its pages and `finish`."""
        listing = Listing(seen_before=seen_before)
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def add(self, listing: Listing, raws: list[JSON], version: int) -> None:
        """One page of a list; `version` is that of the whole list."""
        if not listing.version:
            listing.version = version
            if listing.restored:
                self._tombstones.clear()
                self.seen = version
        for raw in raws:
            metadata = raw["metadata"]
            place = (metadata.get("namespace", ""), metadata["name"])
            listing.found.add(place)
            self._dig_up(metadata["uid"], listing)
            undone = self._undone(place, raw, version)
            if undone or (listing.restored and place not in listing.written):
                listing.changed |= self._put(place, raw)
            else:
                listing.changed |= self.upsert(raw)

    def _dig_up(self, uid: str, listing: Listing) -> None:
        """Drop a tombstone that a list contradicts: a server that has lost its etcd for a moment may report existing
        objects as missing.
        """
        buried = self._tombstones.get(uid)
        if buried is not None and buried[0] == inf and uid not in listing.forgotten:
            del self._tombstones[uid]

    def _undone(self, place: Key, raw: JSON, version: int) -> bool:
        """Whether the known version of that object is from a past that a restored etcd has undone: a list of that
        version would have shown it. This works even if etcd has counted beyond every version observed before.
        """
        known, buried = self._records.get(place), self._tombstones.get(raw["metadata"]["uid"])
        versions = [int(known.resource_version)] if known is not None else []
        versions += [int(buried[0])] if buried is not None and buried[0] != inf else []
        undone = any(int(raw["metadata"]["resourceVersion"]) < each <= version for each in versions)
        if undone:
            self._tombstones.pop(raw["metadata"]["uid"], None)
        return undone

    def finish(self, listing: Listing, *, namespace: str | None = None, key: Key | None = None) -> frozenset[Key]:
        """Remove the objects of that namespace, or of that key, that the list does not contain."""
        self.observe_version(listing.version)
        missing = [place for place in self._asked_for(namespace, key) if place not in listing.found]
        for place in missing:
            record = self._records[place]
            restored = listing.restored and place not in listing.written
            if restored or int(record.resource_version) <= listing.version:
                if not listing.restored:
                    self._bury(record.uid, listing.version)
                listing.changed |= self._drop(place)
        return frozenset(listing.changed)

    def _asked_for(self, namespace: str | None, key: Key | None) -> Collection[Key]:
        if key is not None:
            return self._members.places(key)
        return self._records.keys() if namespace is None else self._namespaces.places((namespace, ""))

    def _put(self, place: Key, raw: JSON) -> frozenset[Key]:
        try:
            record = self._project(raw)
        except Exception:
            # One unexpected object must not hide all the others.
            log.exception(
                "projection_failed object=%(namespace)s/%(object)s",
                dict(zip(("namespace", "object"), place, strict=True)),
            )
            return _NOTHING
        known = self._records.get(place)
        unchanged = known is not None and known.uid == record.uid and self._same(known, record)
        self._records[place] = record
        keys = self._notify(place, known, record)
        return keys - {self._key(record)} if unchanged else keys

    def _drop(self, place: Key) -> frozenset[Key]:
        return self._notify(place, self._records.pop(place), None)

    def _notify(self, place: Key, before: T | None, after: T | None) -> frozenset[Key]:
        """Notify the followers. Returns the keys of both records."""
        for follower in self._followers:
            follower.follow(place, before, after)
        keys = (self._key(record) for record in (before, after) if record is not None)
        return frozenset(key for key in keys if key is not None)

    def _bury(self, uid: str, version: float) -> None:
        now = monotonic()
        known = self._tombstones.pop(uid, (0.0, 0.0))
        self._tombstones[uid] = (max(version, known[0]), now)
        # In order of deletion, so the oldest come first.
        while (oldest := next(iter(self._tombstones))) and self._tombstones[oldest][1] < now - TOMBSTONE_SECONDS:
            del self._tombstones[oldest]
