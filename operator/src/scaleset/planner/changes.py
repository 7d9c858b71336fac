"""Differences between two states of a set; counters count these.

The state is written before anything is done about it, under the resourceVersion that was read, so every step between
two states is taken once, even across restarts. Counting the differences of written states therefore counts each
decision once.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from scaleset.planner.health import healthy_since, source
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.state import NOBODY, Batch, Code, Rollout

SUCCEEDED = "succeeded"
FAILED = "failed"
RESTORED = "restored"
UPGRADE_RESULTS = (SUCCEEDED, FAILED, RESTORED)
RESTORE_RESULTS = (SUCCEEDED, FAILED)
BATCH_RESULTS = (SUCCEEDED, FAILED)
SUPERSEDED = "superseded"
ROLLOUT_RESULTS = ("completed", "faulted", "cancelled", SUPERSEDED)
STARTED_BY = ("platform", "user")


class Ended(NamedTuple):
    """A rollout is over."""

    result: str
    """One of `ROLLOUT_RESULTS`."""
    started_by: str
    """One of `STARTED_BY`."""
    seconds: float
    """From its start to its end."""


class Settled(NamedTuple):
    """A batch or an instance is finished; `seconds` is None if its duration is not known any more."""

    result: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Fields in order: the whole run, its batches, its instances."""

    ended: Ended | None = None
    batch: Settled | None = None
    instances: tuple[Settled, ...] = ()
    restores: tuple[str, ...] = ()
    progress: bool = False
    """Whether the rollout moved at all."""


NOTHING = Changes()


def changes(before: Rollout | None, after: Rollout | None, snapshot: Snapshot) -> Changes:
    """The differences between two rollout states of a set; `snapshot` is the input of the decision."""
    if after is None or before == after:
        return NOTHING
    if before is None or before.id != after.id:
        before = _unbegun(after)
    batch = _batch(before, after, now=snapshot.now)
    instances = _instances(before, after, snapshot)
    restores = _restores(before, after)
    return Changes(
        ended=_ended(after, now=snapshot.now) if before.running and not after.running else None,
        batch=batch,
        instances=instances,
        restores=restores,
        progress=bool(instances) or _stage(before) != _stage(after),
    )


def result(rollout: Rollout) -> str:
    """How a rollout that is over ended, as metrics call it."""
    if rollout.code is Code.CANCELLED and rollout.error is not None and rollout.error.code == "Superseded":
        return SUPERSEDED
    return rollout.code.lower()


def failed(rollout: Rollout) -> frozenset[int]:
    """Instances whose failure is final. Excluded are instances being restored, instances that a breach may still
    restore, and new instances of a surge, which end as the instances that they replace.
    """
    open_ = rollout.failed if rollout.running and rollout.rolls_back_on_breach else rollout.in_progress
    surge = rollout.batch.surge if rollout.batch is not None else NOBODY
    return (rollout.failed - rollout.restored - open_ - surge) | rollout.restore_failed


def _unbegun(rollout: Rollout) -> Rollout:
    return replace(
        rollout,
        code=Code.ROLLING_FORWARD,
        batch=None,
        batches_done=-1,
        successful=NOBODY,
        failed=NOBODY,
        restored=NOBODY,
        restore_failed=NOBODY,
        in_progress=NOBODY,
    )


def _stage(rollout: Rollout) -> tuple[object, ...]:
    """Where in its course a rollout is."""
    batch = rollout.batch
    return rollout.code, rollout.batches_done, batch and batch.number, batch and batch.restore_started


def _ended(rollout: Rollout, *, now: float) -> Ended:
    end = now if rollout.completed is None else rollout.completed
    return Ended(result(rollout), rollout.started_by.lower(), max(0.0, end - rollout.started))


def _batch(before: Rollout, after: Rollout, *, now: float) -> Settled | None:
    batch = before.batch
    if batch is None or (after.batch is not None and after.batch.number == batch.number):
        return None
    bad = (batch.instances | batch.replaces) & after.failed
    return Settled(FAILED if bad else SUCCEEDED, max(0.0, now - batch.started))


def _instances(before: Rollout, after: Rollout, snapshot: Snapshot) -> tuple[Settled, ...]:
    found = [
        *((SUCCEEDED, n) for n in sorted(after.successful - before.successful)),
        *((FAILED, n) for n in sorted(failed(after) - failed(before))),
        *((RESTORED, n) for n in sorted(after.restored - before.restored)),
    ]
    if not found:
        return ()
    by = source(snapshot.model)
    batch = before.batch or after.batch
    return tuple(Settled(result, _seconds(result, n, batch, by=by, snapshot=snapshot)) for result, n in found)


def _seconds(result: str, instance: int, batch: Batch | None, *, by: str, snapshot: Snapshot) -> float | None:
    """Seconds from the authorised delete until the instance was healthy or given up."""
    if batch is None or instance not in batch.instances:
        return None
    pod = snapshot.pods.get(instance)
    healthy = healthy_since(pod, by=by) if pod is not None and result != FAILED else None
    began = batch.restore_started if result == RESTORED else batch.started
    return None if began is None else max(0.0, (snapshot.now if healthy is None else healthy) - began)


def _restores(before: Rollout, after: Rollout) -> tuple[str, ...]:
    good = after.restored - before.restored
    bad = after.restore_failed - before.restore_failed
    return (SUCCEEDED,) * len(good) + (FAILED,) * len(bad)
