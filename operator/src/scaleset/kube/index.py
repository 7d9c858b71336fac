"""Indexes of records by a key: dictionaries that are updated with every change.

Without an index, finding the objects that refer to another one means a walk over all objects at every event: with 4,000
sets that is 16 million steps for one list in which all of them changed. With an index the cost of a change does not
depend on the number of records.

Invariant: an index equals the result of a walk over all records (tests/unit/kube/test_index.py).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

Place = tuple[str, str]
"""Namespace and name of an object."""
Key = tuple[str, str]

_NONE: Mapping[Place, object] = {}


class Follower(Protocol[R_contra]):
    """Notified by a store of every record that is added, changed or removed."""

    def follow(self, place: Place, before: R_contra | None, after: R_contra | None, /) -> None:
        """The record at that place was `before` and is `after` now; None means no record."""


def _ignore(_: Key) -> None:
    pass


class Index(Generic[R]):
    """The records of each key; a record with the key None is in no group. `on_change` gets every key that gained or
    lost a record. It does not get keys of records that changed and stayed.

    The key must depend on the record alone, and `key` must not raise for any record.
    """

    def __init__(self, key: Callable[[R], Key | None], *, on_change: Callable[[Key], None] = _ignore) -> None:
        self._key = key
        self._on_change = on_change
        self._members: dict[Key, dict[Place, R]] = {}

    def of(self, key: Key) -> list[R]:
        """The records of that key, in no order."""
        return list(self._members.get(key, {}).values())

    def number(self, key: Key) -> int:
        """The number of records of that key."""
        return len(self._members.get(key, ()))

    def places(self, key: Key) -> Collection[Place]:
        """The places of the records of that key; read the view at once."""
        return self._members.get(key, _NONE).keys()

    def keys(self) -> list[Key]:
        """All keys that records have."""
        return list(self._members)

    def follow(self, place: Place, before: R | None, after: R | None, /) -> None:
        left = self._key(before) if before is not None else None
        joined = self._key(after) if after is not None else None
        if left is not None and left != joined:
            self._leave(left, place)
        if after is not None and joined is not None:
            self._members.setdefault(joined, {})[place] = after
        if left != joined:
            for key in (left, joined):
                if key is not None:
                    self._on_change(key)

    def _leave(self, key: Key, place: Place) -> None:
        members = self._members[key]
        del members[place]
        if not members:
            del self._members[key]
