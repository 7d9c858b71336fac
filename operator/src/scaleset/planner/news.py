"""The events that accompany a change of the status: everything that a decision finds for the first time."""

from collections.abc import Iterator, Mapping
from typing import Any

from scaleset.api.base import find_condition
from scaleset.planner import ranges
from scaleset.planner.conditions import UNHEALTHY, refused, stalled, together
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import same
from scaleset.planner.health import NO_POD
from scaleset.planner.plan import Event
from scaleset.planner.rows import note_of, rows
from scaleset.planner.step import about

MAX_OBSTACLES = 5
"""Different sentences about newly blocked instances in one decision."""
_TOLD = 1024
"""Length at which two sentences are compared: the status cuts long ones."""


def news(facts: Facts) -> tuple[Event, ...]:
    """Events about new findings, each recorded once. They precede the events about actions, so they name the rollout
    that ran before.
    """
    before = facts.snapshot.state.rollout
    return tuple(about(event, before, now=facts.now) for event in _found(facts))


def _found(facts: Facts) -> Iterator[Event]:
    before = facts.reported
    if before.latest_version is not None and facts.latest is not None and not same(before.latest_version, facts.latest):
        yield Event("NewVersionAvailable", f"latest is now version {facts.latest}, before {before.latest_version}.")
    accepted = find_condition(before.conditions, "Accepted")
    refusal = facts.acceptance.message
    if not facts.acceptance.accepted and (accepted is None or accepted.message[:_TOLD] != refusal[:_TOLD]):
        yield Event(facts.acceptance.reason, refusal, warning=True)
    listed = rows(facts)
    if facts.wanted is not None:  # Without any model, the event about the refusal is enough.
        blocked = {row.id for row in before.instances if row.state == "Blocked"}
        for text in _newly(facts, listed, "blocked", known=blocked, obstacles=facts.blocked):
            yield Event("InstanceBlocked", text, warning=True)
        missing = {row.id for row in before.instances if row.state == "Missing" and row.message != NO_POD}
        for text in _newly(facts, listed, "cannot be created", known=missing, obstacles=refused(facts)):
            yield Event("FailedCreate", text, warning=True)
    yield from _notes(facts, listed)
    why, known = stalled(facts), find_condition(before.conditions, "Stalled")
    if why is not None and why[0] == UNHEALTHY and (known is None or known.reason != UNHEALTHY):
        yield Event("InstancesUnhealthy", why[1], warning=True)
    waiting = facts.obstacle
    if (
        waiting is not None
        and waiting.reason in ("HealthGateWaiting", "Suspended")
        and not _was_waiting(facts, waiting.reason)
    ):
        yield Event(waiting.reason, waiting.message)


def _newly(
    facts: Facts, listed: list[dict[str, Any]], what: str, *, known: set[int], obstacles: Mapping[int, str]
) -> Iterator[str]:
    """Sentences about newly blocked instances, grouped by obstacle. The status lists which instances were reported
    before, up to its limit; instances beyond the limit are reported with the first listed one.
    """
    if obstacles.keys() & {row["id"] for row in listed} <= known:
        return
    alike: dict[str, list[int]] = {}
    for number in sorted(obstacles.keys() - known):
        own = facts.snapshot.owner.instance(number)
        text = obstacles[number].replace(own, "").replace(f'"{number}"', "")
        kind = text if text in alike or len(alike) < MAX_OBSTACLES else next(reversed(alike))
        alike.setdefault(kind, []).append(number)
    for numbers in alike.values():
        yield together(numbers, what, obstacles)


def _notes(facts: Facts, listed: list[dict[str, Any]]) -> Iterator[Event]:
    """Failures that do not fail an instance: of custom data, and of extensions that may fail. Instances beyond the
    limit of the status get no event, since nothing would record that it was sent.
    """
    known = {row.id: row.message or "" for row in facts.reported.instances}
    new = {
        number: note
        for number in (row["id"] for row in listed)
        if (note := note_of(facts.instances[number])) and note not in known.get(number, "")
    }
    if new:
        text = f"On instances {ranges.abridged(new)}: {new[min(new)]}"
        yield Event("ProvisioningFailed", text, warning=True)


def _was_waiting(facts: Facts, reason: str) -> bool:
    if facts.rollout is None:
        progressing = find_condition(facts.reported.conditions, "Progressing")
        return progressing is not None and progressing.reason == reason
    rollout = facts.snapshot.state.rollout
    return rollout is not None and rollout.waiting is not None and rollout.waiting.reason == reason
