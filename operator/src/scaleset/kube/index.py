"""Records by something that they say of themselves: a few dictionaries that are kept with every change.

Whoever wants the objects that refer to a certain other one would otherwise look through all of them, at every event of
every object: with 4,000 sets that is 16 million steps for one list in which all of them changed. Here a change costs
the same however many records there are.

Invariant: what an index says is what a walk over all records would find (tests/unit/kube/test_index.py).
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
    """Is told of every record that comes, changes or goes, by the store that has it."""

    def follow(self, place: Place, before: R_contra | None, after: R_contra | None, /) -> None:
        """The object of that place was `before` and is `after` now; None: there was or is none."""


def _ignore(_: Key) -> None:
    pass


class Index(Generic[R]):
    """The records of each key; a record whose key is None is under none. `on_change` gets every key under which a
    record came or went, not those of records that changed and stayed.

    The key of a record must depend on the record alone, and no record may make `key` fail.
    """

    def __init__(self, key: Callable[[R], Key | None], *, on_change: Callable[[Key], None] = _ignore) -> None:
        self._key = key
        self._on_change = on_change
        self._members: dict[Key, dict[Place, R]] = {}

    def of(self, key: Key) -> list[R]:
        """The records under that key, in no order."""
        return list(self._members.get(key, {}).values())

    def number(self, key: Key) -> int:
        """How many records are under that key."""
        return len(self._members.get(key, ()))

    def places(self, key: Key) -> Collection[Place]:
        """Where they are; to be read at once."""
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
