"""Counts of instances, and a row for each instance that is not simply healthy and current."""

from typing import Any, NamedTuple

from scaleset.api.moments import timestamp
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build, Instance
from scaleset.planner.state import extra

MAX_INSTANCES = 50
MAX_MESSAGE = 256
MAX_NOTE = 100


class Counts(NamedTuple):
    """Numbers of instances by state."""

    wanted: int
    """The wanted number of instances; while the set is larger, the actual number."""
    existing: int
    """With a pod that is not being deleted."""
    healthy: int
    updated: int
    """On the newest model and the wanted version."""
    bad: int
    """Unhealthy for every gate; instances that still start are neither healthy nor bad."""


def count(facts: Facts) -> Counts:
    """The counts of the status."""
    goal = facts.target_build
    instances = facts.instances.values()
    return Counts(
        wanted=max(facts.replicas, len(facts.state.builds) - extra(facts.state)),
        existing=sum(i.pod is not None and not i.pod.deleting for i in instances),
        healthy=sum(i.healthy for i in instances),
        updated=sum(current(i, goal) for i in instances),
        bad=sum(i.bad for i in instances),
    )


def current(instance: Instance, goal: Build | None) -> bool:
    """Whether the instance runs its recorded build."""
    pod = instance.pod
    return goal is not None and pod is not None and not pod.deleting and goal.same_as(pod)


def rows(facts: Facts) -> list[dict[str, Any]]:
    """Instances that are not simply healthy and current, at most fifty."""
    goal = facts.target_build
    found: list[dict[str, Any]] = []
    for number in sorted(facts.instances):
        instance = facts.instances[number]
        blocked = facts.blocked.get(number)
        note = note_of(instance)
        if instance.healthy and blocked is None and not note and (goal is None or current(instance, goal)):
            continue
        if len(found) == MAX_INSTANCES:
            break
        state = "Blocked" if blocked is not None else "Missing" if instance.pod is None else str(instance.health)
        row: dict[str, Any] = {"id": number, "state": state}
        if instance.build is not None:
            row["version"] = instance.pod.version if instance.pod is not None else instance.build.version
            row["latestModelApplied"] = _on_newest_model(facts, instance)
        if instance.since is not None:
            row["since"] = timestamp(instance.since)
        if message := _sentence(blocked or instance.message, note):
            row["message"] = message
        found.append(row)
    return found


def note_of(instance: Instance) -> str:
    """The note left by a failure that does not fail the instance."""
    return instance.pod.note[:MAX_NOTE] if instance.pod is not None else ""


def _sentence(message: str, note: str) -> str:
    """Sentence and note together. The note is never cut: the next decision recognises by it that the event was sent."""
    if not (message and note):
        return (message or note)[:MAX_MESSAGE]
    return f"{message[: MAX_MESSAGE - len(note) - 2]}; {note}"


def _on_newest_model(facts: Facts, instance: Instance) -> bool:
    """Azure's `latestModelApplied`."""
    model = instance.pod.model if instance.pod is not None else instance.build.model if instance.build else ""
    return facts.wanted is not None and model == facts.wanted.model.name
