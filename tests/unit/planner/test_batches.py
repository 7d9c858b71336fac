"""Which instances go into the next batch."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaleset.api.upgrade_policy import RollingUpgradePolicy
from scaleset.planner.batches import Rules, batch_limit, batches_left, next_batch, only_broken
from scaleset.planner.instances import HealthState, Instance
from scaleset.planner.placement import Place


def instances(healthy: str) -> list[Instance]:
    """One instance a letter: h is healthy, u unhealthy, ? not reporting, i still starting."""
    states = {
        "h": HealthState.HEALTHY,
        "u": HealthState.UNHEALTHY,
        "?": HealthState.UNKNOWN,
        "i": HealthState.INITIALIZING,
    }
    return [Instance(n, None, None, states[letter], "", None) for n, letter in enumerate(healthy)]


def policy(batch: int = 20, unhealthy: int = 20) -> RollingUpgradePolicy:
    return RollingUpgradePolicy(max_batch_instance_percent=batch, max_unhealthy_instance_percent=unhealthy)


def choose(
    healthy: str,
    *,
    replicas: int = 10,
    unhealthy: int | None = None,
    batch: int = 20,
    limit: int = 20,
    first: bool = False,
) -> tuple[int, ...]:
    """The batch out of those candidates; without `unhealthy` nobody else is unhealthy."""
    candidates = instances(healthy)
    mine = [i.id for i in candidates if i.bad]
    others = range(100, 100 + (unhealthy or 0))
    return next_batch(
        candidates,
        unhealthy=[*mine, *others],
        rules=Rules(replicas, policy(batch, limit), unhealthy_first=first),
    )


@pytest.mark.parametrize(
    ("replicas", "percent", "limit"),
    [
        (0, 20, 1),
        (1, 20, 1),
        (2, 20, 1),
        (4, 20, 1),
        (5, 20, 1),
        (9, 20, 1),
        (10, 20, 2),
        (14, 20, 2),
        (15, 20, 3),
        (99, 20, 19),
        (100, 20, 20),
        (1000, 20, 200),
        (1000, 5, 50),
        (19, 5, 1),
        (10, 100, 10),
        (3, 33, 1),
        (3, 34, 1),
        (3, 67, 2),
    ],
)
def test_a_batch_is_rounded_down_but_never_to_zero(replicas, percent, limit):
    """ "Maximum of 20 % of the total, minimum of one"."""
    assert batch_limit(replicas, percent) == limit


def test_the_lowest_ids_go_first():
    assert choose("hhhhhhhhhh") == (0, 1)


@pytest.mark.parametrize(
    ("candidates", "outside", "chosen"),
    [
        ("hhhhhhhhhh", 0, (0, 1)),
        ("hhhhhhhhhh", 1, (0,)),
        ("hhhhhhhhhh", 2, (0,)),
        ("uhhhhhhhhh", 0, (0, 1)),
        ("uhhhhhhhhh", 1, (0, 1)),
        ("uuhhhhhhhh", 0, (0, 1)),
        ("huhhhhhhhh", 1, (0, 1)),
    ],
    ids=[
        "nobody is unhealthy",
        "one elsewhere takes one of the room",
        "no room left: one all the same",
        "an unhealthy candidate costs nothing",
        "one unhealthy candidate, one elsewhere",
        "two unhealthy candidates fill the batch",
        "the unhealthy one need not be first",
    ],
)
def test_unhealthy_instances_outside_shrink_the_batch_and_those_inside_do_not(candidates, outside, chosen):
    """Batch and unhealthy ones together stay within maxUnhealthyInstancePercent; a broken one never blocks its fix."""
    assert choose(candidates, unhealthy=outside) == chosen


@pytest.mark.parametrize(
    ("candidates", "first", "chosen"),
    [
        ("hhhhhuhhhu", False, (0, 1)),
        ("hhhhhuhhhu", True, (5, 9)),
        ("hhhhhhhh?h", True, (0, 8)),
    ],
    ids=["by id", "unhealthy first", "one that does not report is unhealthy"],
)
def test_unhealthy_ones_go_first_when_they_have_priority(candidates, first, chosen):
    assert choose(candidates, first=first, limit=50) == chosen


def test_a_closed_gate_lets_only_unhealthy_ones_through():
    """They cannot make anything worse. The size of the batch holds for them too."""
    assert only_broken(instances("huhu?uuuhh"), rules=Rules(10, policy())) == (1, 3)
    assert only_broken(instances("hhhh"), rules=Rules(10, policy())) == ()


@pytest.mark.parametrize(("pending", "replicas", "left"), [(0, 10, 0), (1, 10, 1), (10, 10, 5), (9, 10, 5), (5, 5, 5)])
def test_how_many_batches_are_left(pending, replicas, left):
    assert batches_left(instances("h" * pending), rules=Rules(replicas, policy())) == left


@given(
    healthy=st.text("hu?", max_size=60),
    outside=st.integers(0, 60),
    batch=st.integers(5, 100),
    limit=st.integers(5, 100),
    first=st.booleans(),
)
def test_a_batch_keeps_to_its_size_and_to_the_room_that_the_gate_leaves(healthy, outside, batch, limit, first):
    """S1, and 4.3: working instances in the batch fit into the room beside the unhealthy ones that stay, or are one."""
    replicas = max(1, len(healthy) + outside)
    chosen = choose(healthy, replicas=replicas, unhealthy=outside, batch=batch, limit=limit, first=first)
    bad = {n for n, letter in enumerate(healthy) if letter != "h"}
    working = set(chosen) - bad
    elsewhere = len(bad - set(chosen)) + outside
    assert len(chosen) <= max(1, replicas * batch // 100)
    assert len(working) <= max(1, replicas * limit // 100 - elsewhere)
    assert bool(chosen) == bool(healthy)
    assert list(chosen) == sorted(set(chosen))


def placed(*places: tuple[int, int]) -> list[Instance]:
    """Healthy instances, each in a zone and an update domain."""
    return [
        replace(each, place=Place(*where)) for each, where in zip(instances("h" * len(places)), places, strict=True)
    ]


@pytest.mark.parametrize(("descending", "batch"), [(False, (0, 1)), (True, (8, 9))])
def test_a_batch_begins_with_the_lowest_or_the_highest_ids(descending, batch):
    assert next_batch(instances("h" * 10), unhealthy=(), rules=Rules(10, policy(), descending=descending)) == batch


@pytest.mark.parametrize(("descending", "batch"), [(False, (0, 2)), (True, (1, 3))])
def test_descending_begins_with_the_highest_zone(descending, batch):
    candidates = placed((0, 0), (1, 0), (0, 0), (1, 0))
    assert next_batch(candidates, unhealthy=(), rules=Rules(10, policy(), descending=descending)) == batch


def test_descending_begins_with_the_highest_update_domain():
    rules = Rules(10, policy(), descending=True, by_update_domain=True)
    assert next_batch(placed((0, 0), (0, 2), (0, 1), (0, 2)), unhealthy=(), rules=rules) == (1, 3)


def test_unhealthy_instances_go_first_in_any_direction():
    rules = Rules(10, policy(), unhealthy_first=True, descending=True)
    assert next_batch(instances("huhh"), unhealthy=(1,), rules=rules) == (1, 3)
