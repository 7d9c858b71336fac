"""The events that go with a change of the status: what a decision newly finds (semantics 6.3)."""

from collections.abc import Iterator, Mapping
from typing import Any

from scaleset.api.conditions import find_condition
from scaleset.planning import ranges
from scaleset.planning.conditions import UNHEALTHY, refused, stalled, together
from scaleset.planning.draft import NO_POD, Draft
from scaleset.planning.gallery import same
from scaleset.planning.rows import note_of, rows

MAX_OBSTACLES = 5
"""Different sentences about newly blocked instances in one decision."""
_TOLD = 1024
"""So much of a sentence tells it from another: long ones are cut in the status."""


def announce(draft: Draft) -> None:
    """Tell, once, what this decision newly finds. It comes before what was done about it, so it is about the rollout
    that ran before.
    """
    done, draft.events = draft.events, []
    _news(draft)
    before = draft.snapshot.state.rollout
    draft.events = [*(draft.about(event, before) for event in draft.events), *done]


def _news(draft: Draft) -> None:
    before = draft.reported
    if before.latest_version is not None and draft.latest is not None and not same(before.latest_version, draft.latest):
        draft.tell("NewVersionAvailable", f"latest is now version {draft.latest}, before {before.latest_version}.")
    accepted = find_condition(before.conditions, "Accepted")
    refusal = draft.acceptance.message
    if not draft.acceptance.accepted and (accepted is None or accepted.message[:_TOLD] != refusal[:_TOLD]):
        draft.tell(draft.acceptance.reason, refusal, warning=True)
    listed = rows(draft)
    if draft.wanted is not None:  # Without any model the refusal has said it all.
        blocked = {row.id for row in before.instances if row.state == "Blocked"}
        for text in _newly(draft, listed, "blocked", known=blocked, obstacles=draft.blocked):
            draft.tell("InstanceBlocked", text, warning=True)
        missing = {row.id for row in before.instances if row.state == "Missing" and row.message != NO_POD}
        for text in _newly(draft, listed, "cannot be created", known=missing, obstacles=refused(draft)):
            draft.tell("FailedCreate", text, warning=True)
    _tell_notes(draft, listed)
    why, known = stalled(draft), find_condition(before.conditions, "Stalled")
    if why is not None and why[0] == UNHEALTHY and (known is None or known.reason != UNHEALTHY):
        draft.tell("InstancesUnhealthy", why[1], warning=True)
    waiting = draft.rollout.waiting if draft.rollout is not None else draft.waiting
    if (
        waiting is not None
        and waiting.reason in ("HealthGateWaiting", "Suspended")
        and not _was_waiting(draft, waiting.reason)
    ):
        draft.tell(waiting.reason, waiting.message)


def _newly(
    draft: Draft, listed: list[dict[str, Any]], what: str, *, known: set[int], obstacles: Mapping[int, str]
) -> Iterator[str]:
    """Sentences about instances that are newly kept from running, those with the same obstacle together. What remembers
    that they were told is the list of instances, which has an end: those beyond it are told with the first of it.
    """
    if obstacles.keys() & {row["id"] for row in listed} <= known:
        return
    alike: dict[str, list[int]] = {}
    for number in sorted(obstacles.keys() - known):
        own = draft.snapshot.owner.instance(number)
        text = obstacles[number].replace(own, "").replace(f'"{number}"', "")
        kind = text if text in alike or len(alike) < MAX_OBSTACLES else next(reversed(alike))
        alike.setdefault(kind, []).append(number)
    for numbers in alike.values():
        yield together(numbers, what, obstacles)


def _tell_notes(draft: Draft, listed: list[dict[str, Any]]) -> None:
    """Failures that do not fail an instance: of custom data, and of extensions that may fail. Of instances that are not
    listed nothing is told, since nothing would remember it.
    """
    known = {row.id: row.message or "" for row in draft.reported.instances}
    new = {
        number: note
        for number in (row["id"] for row in listed)
        if (note := note_of(draft.instances[number])) and note not in known.get(number, "")
    }
    if new:
        text = f"On instances {ranges.tell(new)}: {new[min(new)]}"
        draft.tell("ProvisioningFailed", text, warning=True)


def _was_waiting(draft: Draft, reason: str) -> bool:
    if draft.rollout is None:
        progressing = find_condition(draft.reported.conditions, "Progressing")
        return progressing is not None and progressing.reason == reason
    rollout = draft.snapshot.state.rollout
    return rollout is not None and rollout.waiting is not None and rollout.waiting.reason == reason
