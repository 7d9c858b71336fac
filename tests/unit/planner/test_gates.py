"""The health gates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.planner.gates import Gate, after_batch, before_batch, exceeds, share
from scaleset.planner.instances import HealthState, Instance

LETTERS = {
    "h": HealthState.HEALTHY,
    "u": HealthState.UNHEALTHY,
    "?": HealthState.UNKNOWN,
    "i": HealthState.INITIALIZING,
}


def gate(
    healthy: str,
    *,
    percent: int = 20,
    since: dict[int, float] | None = None,
    now: float = 1000.0,
    healthy_for: float = 0.0,
) -> Gate:
    instances = [Instance(n, None, None, LETTERS[letter], "", None) for n, letter in enumerate(healthy)]
    return before_batch(
        instances, replicas=len(healthy), percent=percent, healthy_since=since or {}, now=now, healthy_for=healthy_for
    )


@pytest.mark.parametrize(
    ("replicas", "most"),
    [(1, 0), (2, 0), (4, 0), (5, 1), (9, 1), (10, 2), (99, 19), (100, 20), (1000, 200)],
)
def test_exactly_the_limit_passes_and_one_more_does_not(replicas, most):
    """ "More than 20 %", in integers: 20 of 100 start, 21 do not."""
    assert gate("u" * most + "h" * (replicas - most)).open
    assert not gate("u" * (most + 1) + "h" * (replicas - most - 1)).open


def test_a_set_without_instances_is_open():
    assert gate("").open


@pytest.mark.parametrize(
    ("healthy", "open_"),
    [("?hhhh", True), ("?uhhh", False), ("iihhh", True), ("iuhhh", True), ("iuuhh", False)],
    ids=[
        "one that does not report counts",
        "it counts as the unhealthy ones do",
        "starting ones do not count",
        "one unhealthy and one starting",
        "two unhealthy and one starting",
    ],
)
def test_what_counts_as_unhealthy(healthy, open_):
    assert gate(healthy).open is open_


def test_starting_instances_do_not_count_as_unhealthy():
    assert gate("iuh").unhealthy == (1,)


@pytest.mark.parametrize(
    ("upgraded", "bad", "percent", "ends"),
    [
        (1, 1, 20, True),
        (5, 1, 20, False),
        (4, 1, 20, True),
        (10, 2, 20, False),
        (10, 3, 20, True),
        (100, 20, 20, False),
        (100, 21, 20, True),
        (1000, 1, 0, True),
        (1000, 0, 0, False),
        (2, 2, 100, False),
        (0, 0, 0, False),
    ],
)
def test_the_gate_after_a_batch_asks_about_the_upgraded_ones_only(upgraded, bad, percent, ends):
    assert after_batch(upgraded=range(upgraded), bad=range(bad), percent=percent) is ends


def test_a_retry_asks_that_each_has_been_healthy_for_a_while():
    """Semantics 4.7: open for one minute. One that became healthy a moment ago does not count yet."""
    since = {0: 900.0, 1: 900.0, 2: 900.0, 3: 980.0, 4: 990.0}
    young = gate("hhhhh", since=since, healthy_for=60.0)
    assert not young.open
    assert gate("hhhhh", since=since, healthy_for=60.0, now=1049.0).unhealthy == (4,)
    assert gate("hhhhh", since=since, healthy_for=60.0, now=1050.0).unhealthy == ()


@pytest.mark.parametrize(
    ("part", "whole", "percents"), [(0, 10, 0), (1, 10, 10), (21, 100, 21), (201, 1000, 21), (1, 3, 34)]
)
def test_shares_are_rounded_up_so_that_a_breach_never_reads_like_its_limit(part, whole, percents):
    assert share(part, whole) == percents


@given(part=st.integers(0, 1000), whole=st.integers(1, 1000), percent=st.integers(0, 100))
def test_a_breach_is_shown_as_more_than_its_limit(part, whole, percent):
    if exceeds(part, whole, percent):
        assert share(part, whole) > percent


def test_a_share_of_nothing_is_nothing():
    assert share(0, 0) == 0
