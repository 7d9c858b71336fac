"""Sets of instance ids as text: ``"0-3,7"``.

A status that lists a thousand ids one by one would not fit beside everything else in etcd; as ranges the same set is
a few characters, and a person can still read it.
"""

from collections.abc import Iterable

_DIGITS = 4
LARGEST = 10**_DIGITS - 1
"""Largest instance id of any set."""
_SHOWN = 6
"""Most ranges in a sentence or a table cell."""


def render(ids: Iterable[int]) -> str:
    """Ascending ranges, ``""`` for the empty set."""
    parts: list[str] = []
    start = last = -2
    for number in sorted(ids):
        if number == last + 1:
            last = number
            continue
        if start >= 0:
            parts.append(_span(start, last))
        start = last = number
    if start >= 0:
        parts.append(_span(start, last))
    return ",".join(parts)


def abridged(ids: Iterable[int]) -> str:
    """The ranges shortened for people: the first ranges, and the number of instances."""
    every = sorted(ids)
    parts = render(every).split(",")
    if len(parts) <= _SHOWN:
        return ",".join(parts)
    return f"{','.join(parts[: _SHOWN - 2])},...,{parts[-1]} ({len(every)})"


def parse(text: str | None) -> frozenset[int]:
    """The ids in a text.

    Raises ValueError when the text is not a list of ids and ranges, or names one beyond ``LARGEST``: a range is
    user input in `scaleset.dev/apply-model`, and ``0-999999999`` must not become a list.
    """
    ids: set[int] = set()
    for part in map(str.strip, (text or "").split(",")):
        if not part:
            continue
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"{part[:40]!r} is neither an instance id nor a range such as 0-3")
        if max(len(first), len(last)) > _DIGITS:
            raise ValueError(f"{part[:40]!r} is beyond the largest instance id, {LARGEST}")
        ids.update(range(int(first), int(last or first) + 1))
    return frozenset(ids)


def _span(start: int, last: int) -> str:
    return str(start) if start == last else f"{start}-{last}"
