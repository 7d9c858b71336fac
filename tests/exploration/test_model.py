"""Every state that a small set can reach, and every decision in it (S1 to S5, S7, S8, S10, S14, L1, no livelock).

For 0 to 6 instances: a good and a bad image, the operator killed after any single write, an old view of the pods,
pods that break, heal, end, get lost or take too long, images changed in place or refused, a quota, deletes that are
refused, and a user who publishes, excludes, cancels, starts, scales, suspends and edits the model, each at any moment.
A path holds as many of those as its budget; everything else happens in any order by itself. `MODEL_BUDGET=1 make
test-unit` adds one to every budget and takes an hour.
"""

import os
from collections.abc import Callable, Iterable
from time import process_time
from typing import Any

import pytest

from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.exploration.explorer import EVERYTHING, Explorer
from tests.exploration.states import Offer, Place, newborn, steady
from tests.simulation.world import policy

MORE = int(os.environ.get("MODEL_BUDGET", "0"))
FAULTS = EVERYTHING - {"user"}
OWN_FAULTS = frozenset({"crash", "stale", "slow", "flap"})
OF_PODS = frozenset({"evict", "keep"})

Roots = Callable[[int], Iterable[Place]]


def published(place: Place) -> list[Place]:
    """2.0.0 was just published: a good one, a bad one."""
    return [place._replace(offers=(*place.offers, Offer("2.0.0", bad=bad))) for bad in (False, True)]


def image(replicas: int) -> list[Place]:
    return published(steady(replicas))


def edited(replicas: int) -> list[Place]:
    """The model was just edited, alone and together with a new version."""
    return [place._replace(model=1) for place in (steady(replicas), *published(steady(replicas)))]


def births(replicas: int) -> list[Place]:
    """Just created, from a good and from a bad image, alone and with a newer version."""
    new = [newborn(replicas, bad=bad) for bad in (False, True)]
    return [place._replace(tainted=True) for one in new for place in (one, *published(one))]


def explore(
    roots: Iterable[Place], *, by: UpgradePolicySpec, budget: int, kinds: frozenset[str] = EVERYTHING
) -> Explorer:
    explorer = Explorer(by, kinds=kinds)
    explorer.explore([place._replace(left=budget + MORE) for place in roots])
    return explorer


Case = tuple[UpgradePolicySpec, frozenset[str], int, list[Place]]


def play(name: str, case: Case, record: Callable[[str, object], None]) -> None:
    """Explore a case: its policy, what may disturb, how often, and the beginnings. The size goes into the report."""
    begin = process_time()
    by, kinds, budget, roots = case
    explorer = explore(roots, by=by, budget=budget, kinds=kinds)
    size = f"{explorer.states} states, {explorer.transitions} transitions"
    record(f"model, {name}", f"{size}, {process_time() - begin:.1f} s of CPU")


@pytest.mark.timeout(0 if MORE else 300)
@pytest.mark.parametrize(
    ("replicas", "budget", "kinds"),
    [
        (0, 2, EVERYTHING),
        (1, 2, EVERYTHING),
        (2, 2, EVERYTHING - OF_PODS),
        (2, 2, OF_PODS | {"slow", "lose"}),
        (3, 1, EVERYTHING),
        (4, 1, EVERYTHING),
        (5, 1, EVERYTHING),
        (6, 1, EVERYTHING),
        (3, 2, FAULTS - OF_PODS),
        (4, 2, OWN_FAULTS),
        (5, 2, OWN_FAULTS),
        (6, 2, OWN_FAULTS),
    ],
    ids=lambda value: None if isinstance(value, int) else "everything" if "user" in value else "faults",
)
def test_image_upgrades(replicas, budget, kinds, record_property):
    """The platform upgrades to a good and to a bad image, 20 % at a time."""
    begin = process_time()
    explorer = explore(image(replicas), by=policy(), budget=budget, kinds=kinds)
    what = "faults and user actions" if "user" in kinds else "faults"
    record_property(
        f"model, {replicas} instances, up to {budget + MORE} {what}",
        f"{explorer.states} states, {explorer.transitions} transitions, {len(explorer.decisions)} decisions, "
        f"{process_time() - begin:.1f} s of CPU",
    )


HALF = {
    "maxBatchInstancePercent": 50,
    "maxUnhealthyInstancePercent": 50,
    "pauseTimeBetweenBatches": "PT1M",
}
IN_PLACE: dict[str, Any] = {"replacementMethod": "InPlaceIfPossible"}
ONLY: dict[str, Any] = {"replacementMethod": "InPlaceOnly"}


@pytest.mark.timeout(0 if MORE else 300)
@pytest.mark.parametrize(
    ("name", "by", "roots", "replicas"),
    [
        ("mode Rolling", policy(mode="Rolling"), edited, (1, 2, 3)),
        ("mode Rolling, batches of half", policy(mode="Rolling", rolling=HALF), edited, (2, 3)),
        ("mode Automatic", policy(mode="Automatic"), edited, (1, 2)),
        ("mode Automatic, images by hand", policy(mode="Automatic", automatic=False), edited, (1, 2)),
        ("a set just created", policy(), births, (0, 1, 2, 3)),
        ("batches of half with pauses", policy(rolling=HALF), image, (2, 3, 4)),
        ("in place", policy(**IN_PLACE), image, (0, 1, 2, 3, 4)),
        ("in place, batches of half", policy(rolling=HALF, **IN_PLACE), image, (2, 3)),
        ("in place, mode Rolling", policy(mode="Rolling", **IN_PLACE), edited, (1, 2)),
        ("in place, mode Automatic", policy(mode="Automatic", automatic=False, **IN_PLACE), edited, (1, 2)),
        ("only in place", policy(**ONLY), image, (1, 2, 3)),
        ("only in place, mode Rolling", policy(mode="Rolling", **ONLY), edited, (1, 2)),
        ("unhealthy first", policy(rolling={**HALF, "prioritizeUnhealthyInstances": True}), image, (3, 4)),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_other_ways_to_upgrade(name, by, roots, replicas, record_property):
    """One fault or user action anywhere in rollouts of other kinds."""
    begin = process_time()
    explorers = [explore(roots(number), by=by, budget=1) for number in replicas]
    record_property(
        f"model, {name}, {replicas[0]} to {replicas[-1]} instances",
        f"{sum(e.states for e in explorers)} states, {sum(e.transitions for e in explorers)} transitions, "
        f"{process_time() - begin:.1f} s of CPU",
    )


@pytest.mark.parametrize("by", [policy(os={"disableAutomaticRollback": True}), policy(minReadyTime="PT1M")])
def test_without_rollback_and_with_a_time_to_stay_ready(by):
    """A failed instance may stay on the bad image where the policy says so; everything else holds."""
    explore([place._replace(tainted=True) for place in image(3)], by=by, budget=1)
