"""How many instances are how, and a row for each that is not simply healthy and current."""

from dataclasses import dataclass
from typing import Any

from scaleset.planner.facts import Facts
from scaleset.planner.history import timestamp
from scaleset.planner.instances import Build, Instance
from scaleset.planner.state import extra

MAX_INSTANCES = 50
MAX_MESSAGE = 256
MAX_NOTE = 100


@dataclass(frozen=True, slots=True)
class Counts:
    """How many instances are how."""

    wanted: int
    """How many there are to be; while the set is larger, how many there are."""
    existing: int
    healthy: int
    updated: int
    bad: int


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
    """Whether the instance runs what it is to run."""
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
    """What a failure that does not fail the instance has left behind."""
    return instance.pod.note[:MAX_NOTE] if instance.pod is not None else ""


def _sentence(message: str, note: str) -> str:
    """Both, the note always whole: by it the next decision knows that it was told."""
    if not (message and note):
        return (message or note)[:MAX_MESSAGE]
    return f"{message[: MAX_MESSAGE - len(note) - 2]}; {note}"


def _on_newest_model(facts: Facts, instance: Instance) -> bool:
    """Azure's `latestModelApplied`."""
    model = instance.pod.model if instance.pod is not None else instance.build.model if instance.build else ""
    return facts.wanted is not None and model == facts.wanted.model.name
