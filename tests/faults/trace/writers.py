"""S7 and S13 on the audit log: whose pods are deleted, and who may write when."""

from collections.abc import Iterator

from tests.cluster.harness.trace import Write, precondition_uid

from .changes import metadata_of
from .replay import Replay, server_time

LEASE_SECONDS = 15.0


def s7_only_our_pods(replay: Replay, slack: float) -> Iterator[str]:
    """A pod that is deleted or changed is controlled by a ScaleSet that was there, by its uid."""
    sets = {str(seen.object["metadata"]["uid"]) for timeline in replay.sets.values() for seen in timeline.all()}
    for write in replay.trace.writes:
        if write.resource != "pods" or write.verb not in ("delete", "patch") or not write.took_effect:
            continue
        life = replay.by_uid.get(precondition_uid(write) or metadata_of(write).get("uid", ""))
        if life is not None and not sets.intersection(life.owners):
            yield f"{write}: {life.uid} belongs to nobody of {sorted(sets)}"


def s13_within_a_term(replay: Replay, slack: float) -> Iterator[str]:
    """Where a lease is used, every write comes from its holder, and not longer after a renewal than the lease lasts."""
    writes = sorted(replay.trace.writes, key=server_time)
    if not any(write.resource == "leases" and write.took_effect for write in writes):
        return
    term: Write | None = None
    for write in writes:
        if write.resource == "leases":
            if write.took_effect:
                term = write if (write.body.get("spec") or {}).get("holderIdentity") else None
        elif term is None:
            yield f"{write} by {write.user} while nobody holds the lease"
        elif term.user != write.user:
            yield f"{write} by {write.user} in the term of {term.user}"
        elif server_time(write) - server_time(term) > LEASE_SECONDS:
            yield f"{write} {server_time(write) - server_time(term):.1f} s after the last renewal"
