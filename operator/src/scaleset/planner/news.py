"""The events that go with a change of the status: what a decision newly finds."""

from collections.abc import Iterator, Mapping
from typing import Any

from scaleset.api.conditions import find_condition
from scaleset.planner import ranges
from scaleset.planner.conditions import UNHEALTHY, refused, stalled, together
from scaleset.planner.facts import NO_POD, Facts
from scaleset.planner.gallery import same
from scaleset.planner.rows import note_of, rows
from scaleset.planner.snapshot import Event
from scaleset.planner.step import about

MAX_OBSTACLES = 5
"""Different sentences about newly blocked instances in one decision."""
_TOLD = 1024
"""So much of a sentence tells it from another: long ones are cut in the status."""


def news(facts: Facts) -> tuple[Event, ...]:
    """What this decision newly finds, told once. It comes before what was done about it, so it is about the rollout
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
    if facts.wanted is not None:  # Without any model the refusal has said it all.
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
    waiting = facts.rollout.waiting if facts.rollout is not None else facts.waiting
    if (
        waiting is not None
        and waiting.reason in ("HealthGateWaiting", "Suspended")
        and not _was_waiting(facts, waiting.reason)
    ):
        yield Event(waiting.reason, waiting.message)


def _newly(
    facts: Facts, listed: list[dict[str, Any]], what: str, *, known: set[int], obstacles: Mapping[int, str]
) -> Iterator[str]:
    """Sentences about instances that are newly kept from running, those with the same obstacle together. What remembers
    that they were told is the list of instances, which has an end: those beyond it are told with the first of it.
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
    """Failures that do not fail an instance: of custom data, and of extensions that may fail. Of instances that are not
    listed nothing is told, since nothing would remember it.
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
