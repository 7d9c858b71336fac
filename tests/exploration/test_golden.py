"""Whole rollouts, played and compared with the logs that a person has read.

A failure is no verdict: it shows what has changed. If that is meant, write the logs anew and commit their diff.
"""

import pytest

from tests.exploration import golden
from tests.exploration.stage import SCENES

ANEW = "If this is meant: python -m tests.exploration.golden --write (or make golden), and read the diff."


@pytest.mark.parametrize("name", SCENES)
def test_a_rollout_goes_as_its_log_says(name):
    found = golden.difference(name)
    assert not found, f"The scene {name} goes another way.\n{found}\n{ANEW}"


def test_every_log_has_a_scene():
    assert golden.superfluous() == [], ANEW


@pytest.mark.parametrize("name", ["bad", "model-rolled-back"])
def test_a_log_is_the_same_whenever_it_is_played(name):
    """Neither hashes nor uids nor times of the clock are in it, and nothing is left over from the play before."""
    assert golden.played(name) == golden.played(name)
    assert "web-" not in golden.played(name), "models go by number"
