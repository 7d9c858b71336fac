"""Readings of a simulated set that many tests share: its status, its events and the writes of the operator."""

from typing import Any

from tests.simulation.world import World


def rollout(world: World) -> dict[str, Any]:
    """`status.rollingUpgrade`."""
    found: dict[str, Any] = world.status["rollingUpgrade"]
    return found


def code(world: World) -> str:
    """How the last rollout stands; "" when there was none."""
    running_status = world.status.get("rollingUpgrade", {}).get("runningStatus", {})
    return str(running_status.get("code", ""))


def counts(world: World) -> tuple[int, int, int, int]:
    """Azure's four: successful, failed, in progress, pending."""
    progress = rollout(world)["progress"]
    names_of_counts = ("successful", "failed", "inProgress", "pending")
    successful, failed, in_progress, pending = (progress[f"{name}InstanceCount"] for name in names_of_counts)
    return successful, failed, in_progress, pending


def waits_for(world: World) -> str:
    """The reason why the running rollout admits no batch."""
    return str(rollout(world)["waitingFor"]["reason"])


def condition(world: World, kind: str) -> dict[str, Any]:
    """The condition of that type."""
    found: dict[str, Any] = next(c for c in world.status["conditions"] if c["type"] == kind)
    return found


def reasons(world: World) -> list[str]:
    """Reasons of the events so far."""
    return [event.reason for event in world.events]


def changed(world: World) -> list[int]:
    """Instances whose image was changed in place, in order."""
    return [int(name.split()[1]) for name in world.writes if name.startswith("change ")]


def deleted(world: World) -> list[int]:
    """Instances whose pod was deleted, in order."""
    return [int(name.split()[1]) for name in world.writes if name.startswith("delete ")]


def models(world: World) -> set[str]:
    """The models of the pods that there are."""
    return {pod.model for pod in world.pods.values()}


def remembered(world: World) -> list[tuple[str, str]]:
    """The versions that are remembered as failed, each with the reason; "" for a model."""
    return [(row.get("version", ""), row["reason"]) for row in world.status.get("failedTargets", [])]


def refusals(world: World) -> list[str]:
    """The reasons for which starts by hand were refused."""
    return [event.message for event in world.events if event.reason == "StartRefused"]
