"""How a scene begins, and what is done in several of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.exploration.course import Course
from tests.simulation.world import policy, spec

BAD = "-bad"
"""Ends the tag of an image whose pods never become ready."""
START = 20.0
"""Seconds that a pod takes to start."""
MINUTE, HOUR = 60.0, 3600.0

Play = Callable[[Course], None]
Scene = Callable[[], Course]
SCENES: dict[str, Scene] = {}
"""By name; what a scene plays is its docstring."""


def scene(replicas: int = 10, **beginning: Any) -> Callable[[Play], Play]:
    """A scene with a golden log: what is done to a set that was `born` so, and the hour after it."""

    def decorate(play: Play) -> Play:
        def whole() -> Course:
            course = born(replicas, **beginning)
            play(course)
            course.run(HOUR)
            return course

        name = play.__name__.replace("_", "-")
        assert name not in SCENES, f"there are two scenes {name}"
        whole.__doc__ = play.__doc__
        SCENES[name] = whole
        return play

    return decorate


def born(replicas: int = 10, *, by: UpgradePolicySpec | None = None, new: bool = False, **changes: Any) -> Course:
    """A healthy set on 1.0.0, or a `new` one, which has no version to run yet."""
    course = Course(spec=spec(replicas=replicas, **changes), policy=by if by is not None else policy(), start=START)
    course.bits = {"example.com/web:1.0.0": f"sha256:{'a' * 64}"}
    if not new:
        course.publish("1.0.0")
        course.run(2 * MINUTE)
    course.begins()
    return course


def publish(course: Course, version: str, text: str = "", *, suffix: str = "", **changes: Any) -> None:
    """A version is published; the log says what is special about it."""
    course.publish(version, suffix=suffix, **changes)
    course.note(f"{version} is published{text}")
