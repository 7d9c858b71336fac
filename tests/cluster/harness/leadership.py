"""Who wrote while who held the lease: S13, where the senders can be told apart."""

from collections.abc import Callable, Iterable
from datetime import datetime

from .trace import Write

RENEW_DEADLINE_SECONDS = 10


def at(write: Write) -> float:
    return datetime.fromisoformat(write.time).timestamp()


def assert_one_writer_at_a_time(writes: Iterable[Write], sender: Callable[[Write], str]) -> None:
    """Every write falls into a term of its sender: its own renewal is the last one before, and not too long ago."""
    term: Write | None = None
    for write in sorted(writes, key=at):
        if write.resource == "leases":
            if write.took_effect:
                term = write if (write.body.get("spec") or {}).get("holderIdentity") else None
            continue
        assert term is not None, f"{write} by {sender(write)} while nobody holds the lease"
        assert sender(term) == sender(write), f"{write} by {sender(write)} in the term of {sender(term)}"
        assert at(write) - at(term) <= RENEW_DEADLINE_SECONDS + 1, f"{write} long after the last renewal"
