"""A forecast in words. Pure."""

from typing import Any

from kubectl_scaleset.forecasts import Course, Forecast
from kubectl_scaleset.pictures import SetView
from scaleset.planner.ranges import abridged, render
from scaleset.planner.state import Kind, Policy

SHOWN = 40
"""Number of batches listed one by one."""


def lines(found: SetView, forecast: Forecast) -> list[str]:
    """The forecast, one line for each event."""
    text: list[str] = []
    if forecast.running is not None:
        text.append(f"{found.name}: {_what(forecast.running)} is running and would go on.")
        text += _held(forecast) + _course(forecast.running)
    elif forecast.next is not None:
        text.append(f"{found.name}: {_what(forecast.next)} is due and starts by itself.")
        text += _course(forecast.next)
    else:
        text += _nothing(found, forecast)
    if forecast.unchecked is not None:
        text.append(f"Not checked: whether the API server takes the new pods. {forecast.unchecked}")
    return text


def _nothing(found: SetView, forecast: Forecast) -> list[str]:
    text = [f"{found.name}: no rollout starts by itself now."]
    text += _held(forecast)
    if forecast.freed is not None:
        text.append(f"Without that {_what(forecast.freed)} would start:")
        text += _course(forecast.freed)
    elif forecast.refused is not None:
        text.append(f"A start by hand would be refused: {forecast.refused}")
    elif forecast.by_hand is not None:
        course = forecast.by_hand
        if not course.batches and course.ending == "Completed":
            text.append("A start by hand would complete at once: every instance is current.")
        else:
            text.append(f"A start by hand (kubectl scaleset start {found.name}) would begin {_what(course)}.")
            text += _course(course)
    return text


def _held(forecast: Forecast) -> list[str]:
    if forecast.held is None:
        return []
    reason, message = forecast.held
    return [f"Held back: {reason}: {message}"]


def _what(course: Course) -> str:
    target = course.rollout.target
    goal = f"version {target.version}" if target.version else f"model {target.model}"
    return f"{'an image' if course.rollout.kind is Kind.IMAGE else 'a model'} upgrade to {goal}"


def _course(course: Course) -> list[str]:
    policy = course.rollout.policy
    text = [
        f"  batches of at most {policy.rolling.max_batch_instance_percent} %, at most "
        f"{policy.rolling.max_unhealthy_instance_percent} % unhealthy, {policy.health_timeout:g} s to become healthy"
        + (f", {policy.pause:g} s between batches" if policy.pause else "")
        + _method(policy)
    ]
    for batch in course.batches[:SHOWN]:
        how = f"{len(batch.instances)} new in place of " if batch.surge else ""
        text.append(f"  batch {batch.number}: {how}{_instances(batch.instances)}")
    if len(course.batches) > SHOWN:
        text.append(f"  and {len(course.batches) - SHOWN} more batches")
    if course.ending and course.ending != "Completed":
        text.append(f"  then it would end as {course.ending}")
    return text


def _method(policy: Policy) -> str:
    if policy.only_in_place:
        return ", images changed in place only"
    return ", images changed in place where nothing else differs" if policy.in_place else ""


def _instances(ids: tuple[int, ...]) -> str:
    return f"instance{'s' if len(ids) > 1 else ''} {abridged(ids)}"


def document(forecast: Forecast) -> dict[str, Any]:
    """For -o json and yaml."""
    return {
        "running": _document(forecast.running),
        "next": _document(forecast.next),
        "byHand": _document(forecast.by_hand),
        "freed": _document(forecast.freed),
        "heldBack": None if forecast.held is None else {"reason": forecast.held[0], "message": forecast.held[1]},
        "refused": forecast.refused,
        "unchecked": forecast.unchecked,
    }


def _document(course: Course | None) -> dict[str, Any] | None:
    if course is None:
        return None
    target = course.rollout.target
    return {
        "kind": str(course.rollout.kind),
        "targetVersion": target.version,
        "targetModel": target.model,
        "batches": [
            {"number": batch.number, "instances": render(batch.instances), "surge": batch.surge}
            for batch in course.batches
        ],
        "ending": course.ending or None,
    }
