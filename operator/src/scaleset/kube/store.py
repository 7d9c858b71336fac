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

Each method returns the groups whose records changed.

An index groups records by what they refer to, and is updated with every change. Without it, finding the objects that
refer to another one means a walk over all objects at every event: with 4,000 sets that is 16 million steps for one list
in which all of them changed. Invariant: an index equals the result of such a walk (tests/unit/kube/test_index.py).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Generic, Protocol, TypeVar

from scaleset.kube.resources import JSON, Key, Wake

log = logging.getLogger(__name__)

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


R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Follower(Protocol[R_contra]):
    """Notified by a store of every record that is added, changed or removed."""

    def follow(self, key: Key, before: R_contra | None, after: R_contra | None, /) -> None:
        """The record of that object was `before` and is `after` now; None means no record."""


class Index(Generic[R]):
    """The records of each group; a record whose group is None is in none. `on_change` gets every group that gained or
    lost a record. It does not get groups of records that changed and stayed.

    The group must depend on the record alone, and `group` must not raise for any record.
    """

    def __init__(self, group: Callable[[R], Key | None], *, on_change: Wake = lambda _: None) -> None:
        self._group = group
        self._on_change = on_change
        self._members: dict[Key, dict[Key, R]] = {}

    def of(self, group: Key) -> list[R]:
        """The records of that group, in no order."""
        return list(self._members.get(group, {}).values())

    def number(self, group: Key) -> int:
        """The number of records of that group."""
        return len(self._members.get(group, ()))

    def members(self, group: Key) -> Collection[Key]:
        """The objects of that group; read the view at once."""
        return self._members.get(group, {}).keys()

    def groups(self) -> list[Key]:
        """All groups that have records."""
        return list(self._members)

    def follow(self, key: Key, before: R | None, after: R | None, /) -> None:
        left = self._group(before) if before is not None else None
        joined = self._group(after) if after is not None else None
        if left is not None and left != joined:
            members = self._members[left]
            del members[key]
            if not members:
                del self._members[left]
        if after is not None and joined is not None:
            self._members.setdefault(joined, {})[key] = after
        if left != joined:
            for group in (left, joined):
                if group is not None:
                    self._on_change(group)


@dataclass(eq=False, slots=True)
class Listing:
    """A list that is merged page by page. Created by `Store.listing`."""

    seen_before: int
    version: int = 0
    found: set[Key] = field(default_factory=set)
    written: set[Key] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    changed: set[Key] = field(default_factory=set)

    @property
    def restored(self) -> bool:
        """Whether the list is older than the state known before it was requested."""
        return self.version < self.seen_before

    def missing(self, known: Iterable[Key]) -> list[Key]:
        """Those of the known objects that the list does not contain, once all its pages are added."""
        return [key for key in known if key not in self.found]


def differ(_: object, __: object) -> bool:
    """Never treat a newer record as unchanged."""
    return False


def _key(metadata: JSON) -> Key:
    return metadata.get("namespace", ""), metadata["name"]


class Store(Generic[T]):
    """Records by object and by what they belong to. Not thread-safe; it lives in one event loop.

    `same` decides whether the newer of two records of an object needs no notification. Followers, such as an `Index`,
    keep other views of the records.
    """

    def __init__(
        self, project: Callable[[JSON], T], group: Callable[[T], Key | None], *, same: Callable[[T, T], bool] = differ
    ) -> None:
        self._project = project
        self._group = group
        self._same = same
        self._records: dict[Key, T] = {}
        self._members: Index[T] = Index(group)
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

    def of(self, group: Key) -> list[T]:
        return self._members.of(group)

    def number(self, group: Key) -> int:
        return self._members.number(group)

    def all(self) -> list[T]:
        return list(self._records.values())

    def follow(self, follower: Follower[T]) -> None:
        """Notify the follower of every known record, and of every change from now on."""
        self._followers.append(follower)
        for key, record in self._records.items():
            follower.follow(key, None, record)

    def observe_version(self, version: int) -> None:
        self.seen = max(self.seen, version)

    def upsert(self, raw: JSON) -> frozenset[Key]:
        """Merge an object as of its resourceVersion."""
        metadata = raw["metadata"]
        version = int(metadata["resourceVersion"])
        self.observe_version(version)
        key = _key(metadata)
        known = self._records.get(key)
        if known is not None and int(known.resource_version) >= version:
            return _NOTHING
        buried = self._tombstones.get(metadata["uid"])
        if buried is not None and buried[0] >= version:
            return _NOTHING
        return self._put(key, raw)

    def remove(self, raw: JSON) -> frozenset[Key]:
        """Remove an object that the watch reports as deleted, given its last state."""
        metadata = raw["metadata"]
        version = int(metadata["resourceVersion"])
        self.observe_version(version)
        self._bury(metadata["uid"], version)
        key = _key(metadata)
        known = self._records.get(key)
        # Another uid under the same name: an older object is gone as well, a newer one was created after this deletion.
        if known is None or (known.uid != metadata["uid"] and int(known.resource_version) > version):
            return _NOTHING
        return self._drop(key)

    def remember(self, raw: JSON) -> frozenset[Key]:
        """Merge the answer to an own write."""
        metadata = raw["metadata"]
        for listing in self._listings:
            listing.written.add(_key(metadata))
        return self.upsert(raw)

    def believe(self, raw: JSON) -> frozenset[Key]:
        """As `remember`, for a kind whose schema may be replaced: the answer counts even if the version is known. A
        watch from before the replacement shows the same version without the fields of the new schema.
        """
        metadata = raw["metadata"]
        key = _key(metadata)
        known = self._records.get(key)
        reported = (metadata["uid"], metadata["resourceVersion"])
        again = known is not None and (known.uid, known.resource_version) == reported
        changed = self._put(key, raw) if again else _NOTHING
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
        listing = Listing(seen_before)
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
            key = _key(metadata)
            listing.found.add(key)
            self._dig_up(metadata["uid"], listing)
            undone = self._undone(key, raw, version)
            if undone or (listing.restored and key not in listing.written):
                listing.changed |= self._put(key, raw)
            else:
                listing.changed |= self.upsert(raw)

    def _dig_up(self, uid: str, listing: Listing) -> None:
        """Drop a tombstone that a list contradicts: a server that has lost its etcd for a moment may report existing
        objects as missing.
        """
        buried = self._tombstones.get(uid)
        if buried is not None and buried[0] == inf and uid not in listing.forgotten:
            del self._tombstones[uid]

    def _undone(self, key: Key, raw: JSON, version: int) -> bool:
        """Whether the known version of that object is from a past that a restored etcd has undone: a list of that
        version would have shown it. This works even if etcd has counted beyond every version observed before.
        """
        known, buried = self._records.get(key), self._tombstones.get(raw["metadata"]["uid"])
        versions = [int(known.resource_version)] if known is not None else []
        versions += [int(buried[0])] if buried is not None and buried[0] != inf else []
        undone = any(int(raw["metadata"]["resourceVersion"]) < each <= version for each in versions)
        if undone:
            self._tombstones.pop(raw["metadata"]["uid"], None)
        return undone

    def finish(self, listing: Listing, *, namespace: str | None = None, group: Key | None = None) -> frozenset[Key]:
        """Remove the objects of that namespace, or of that group, that the list does not contain."""
        return self.settle(listing, listing.missing(self._asked_for(namespace, group)))

    def known(self, namespace: str | None) -> list[Key]:
        """The objects of that namespace, for a caller that looks for missing ones in several steps."""
        return list(self._asked_for(namespace, None))

    def settle(self, listing: Listing, missing: Iterable[Key]) -> frozenset[Key]:
        """Remove these objects, which the list does not contain. They may be gone by now."""
        self.observe_version(listing.version)
        for key in missing:
            record = self._records.get(key)
            if record is None:
                continue
            restored = listing.restored and key not in listing.written
            if restored or int(record.resource_version) <= listing.version:
                if not listing.restored:
                    self._bury(record.uid, listing.version)
                listing.changed |= self._drop(key)
        return frozenset(listing.changed)

    def _asked_for(self, namespace: str | None, group: Key | None) -> Collection[Key]:
        if group is not None:
            return self._members.members(group)
        return self._records.keys() if namespace is None else self._namespaces.members((namespace, ""))

    def _put(self, key: Key, raw: JSON) -> frozenset[Key]:
        try:
            record = self._project(raw)
        except Exception:
            # One unexpected object must not hide all the others.
            log.exception(
                "projection_failed object=%(namespace)s/%(object)s",
                dict(zip(("namespace", "object"), key, strict=True)),
            )
            return _NOTHING
        known = self._records.get(key)
        unchanged = known is not None and known.uid == record.uid and self._same(known, record)
        self._records[key] = record
        groups = self._notify(key, known, record)
        return groups - {self._group(record)} if unchanged else groups

    def _drop(self, key: Key) -> frozenset[Key]:
        return self._notify(key, self._records.pop(key), None)

    def _notify(self, key: Key, before: T | None, after: T | None) -> frozenset[Key]:
        """Notify the followers. Returns the groups of both records."""
        for follower in self._followers:
            follower.follow(key, before, after)
        groups = (self._group(record) for record in (before, after) if record is not None)
        return frozenset(group for group in groups if group is not None)

    def _bury(self, uid: str, version: float) -> None:
        now = monotonic()
        known = self._tombstones.pop(uid, (0.0, 0.0))
        self._tombstones[uid] = (max(version, known[0]), now)
        # In order of deletion, so the oldest come first.
        while (oldest := next(iter(self._tombstones))) and self._tombstones[oldest][1] < now - TOMBSTONE_SECONDS:
            del self._tombstones[oldest]


class View(Generic[T]):
    """What others read of a store. `on_change` is called once for every group whose records changed."""

    def __init__(self, store: Store[T], on_change: Wake) -> None:
        self._store = store
        self._on_change = on_change

    def __len__(self) -> int:
        return len(self._store)

    def get(self, namespace: str, name: str) -> T | None:
        """The record of one object."""
        return self._store.get(namespace, name)

    def of(self, group: Key) -> list[T]:
        """The records of all objects of the group, in no order."""
        return self._store.of(group)

    def number(self, group: Key) -> int:
        """How many objects belong to the group."""
        return self._store.number(group)

    def all(self) -> list[T]:
        """All records, also of objects that belong to no group."""
        return self._store.all()

    def follow(self, follower: Follower[T]) -> None:
        """Notify the follower of every object that is added, changed or removed."""
        self._store.follow(follower)

    def _changed(self, groups: Iterable[Key]) -> None:
        for group in groups:
            self._on_change(group)
