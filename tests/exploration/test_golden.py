"""Whole rollouts, played and compared with the logs that a person has read.

A failure is no verdict: it shows what has changed. If that is meant, write the logs anew and commit their diff.
"""

import pytest

from tests.exploration import golden
from tests.exploration.course import BrokenOffError, Course
from tests.exploration.stage import SCENES, born, publish

ANEW = "If this is meant: python -m tests.exploration.golden --write (or make golden), and read the diff."


@pytest.mark.parametrize("name", SCENES)
def test_a_rollout_goes_as_its_log_says(name):
    if found := golden.difference(name):
        pytest.fail(f"The scene {name} goes another way.\n{found}\n{ANEW}", pytrace=False)


def test_a_scene_that_breaks_off_shows_how_far_it_came_and_why(monkeypatch, tmp_path):
    def broken() -> Course:
        course = born(2)
        publish(course, "2.0.0")
        course.admit = lambda _: 1 / 0  # type: ignore[assignment, return-value]
        course.run(60)
        return course

    monkeypatch.setitem(SCENES, "broken", broken)
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    last = golden.difference("broken").splitlines()[-1]
    assert last == "+    0:00  AA  breaks off: ZeroDivisionError: division by zero"
    with pytest.raises(BrokenOffError):
        golden.played("broken")


def test_every_log_has_a_scene():
    assert golden.superfluous() == [], ANEW


@pytest.mark.parametrize("name", ["bad", "model-rolled-back"])
def test_a_log_is_the_same_whenever_it_is_played(name):
    """Neither hashes nor uids nor times of the clock are in it, and nothing is left over from the play before."""
    assert golden.played(name) == golden.played(name)
    assert "web-" not in golden.played(name), "models go by number"
