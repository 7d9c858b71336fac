"""Metrics of a set, told of real decisions: what is shown while it happens, and of whom."""

from dataclasses import replace
from itertools import pairwise

import pytest

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.observability.fleet import Fleet
from scaleset.observability.metrics import Metrics
from tests.simulation.metered import Metered, Samples, observed, of_sets, scrape, total, upgraded
from tests.simulation.scenes import BAD, running
from tests.simulation.world import World, policy, spec

ROLLOUTS = "scaleset_rollouts_total"
UPGRADES = "scaleset_instance_upgrades_total"
PARTS = "scaleset_rollout_instances"


def test_a_batch_that_begins_is_progress_before_any_of_its_instances_is_done() -> None:
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}, os={"useRollingUpgradePolicy": True}))
    meter = Metered(world)
    world.start = 30.0
    world.publish("2.0.0")
    began = world.now
    world.run(100)
    assert meter.by("scaleset_rollout_batch", "scaleset") == {"web": 2}
    assert meter.value("scaleset_rollout_last_progress_timestamp_seconds") == began + 90


def test_an_instance_whose_time_is_up_is_progress_while_another_one_of_its_batch_does_not_end() -> None:
    world = running(10)
    meter = Metered(world)
    world.held.add(1)
    world.publish("2.0.0")
    world.run(320)
    assert world.pods[1].deleting
    assert meter.value("scaleset_rollout_last_progress_timestamp_seconds") == world.now - 20


def test_what_a_rollout_shows_while_it_runs() -> None:
    """At every scrape the instances add up, progress never goes back, and counters never either."""
    world = running(10)
    meter = Metered(world)
    world.publish("2.0.0")
    seen: list[Samples] = []
    world.run(30, each=lambda _: seen.append(meter.scrape()))
    rolling = [found for found in seen if total(found, PARTS)]
    assert {total(found, "scaleset_instances") for found in seen} == {10}
    assert {total(found, PARTS) for found in rolling} == {10}
    progress = [total(found, PARTS, state="succeeded") / 10 for found in rolling]
    assert (progress[0], progress[-1]) == (0, 1)
    assert progress == sorted(progress)
    assert {total(found, "scaleset_rollout_batch") for found in rolling} == {1, 2, 3, 4, 5}
    assert {total(found, "scaleset_rollout_batches") for found in rolling} == {5}
    assert [total(found, "scaleset_rollout_in_progress") for found in rolling][-1] == 0
    moved = [total(found, "scaleset_rollout_last_progress_timestamp_seconds") for found in rolling]
    assert moved == sorted(moved)
    assert moved[-1] > moved[0]
    for before, after in pairwise(seen):
        assert all(after[key] >= value for key, value in before.items() if key[0].endswith("_total"))


def test_only_the_leader_shows_sets() -> None:
    meter = upgraded()
    meter.leads = False
    found = meter.scrape()
    assert of_sets(found) == {}
    assert total(found, "scaleset_operator_build_info") == 1


def test_a_set_that_is_not_reconciled_still_shows_that_it_lags() -> None:
    """The lag of the generation is what tells that the operator is stuck: it must not wait for a reconcile."""
    meter = upgraded()
    meter.fleet.watch(lambda: [replace(meter.seen, generation=7)], leads=lambda: True)
    assert meter.value("scaleset_metadata_generation") == 7
    assert meter.value("scaleset_status_observed_generation") == 1


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"observedGeneration": "x", "replicas": None, "conditions": {"type": "Ready"}},
        {"conditions": [{}, {"type": "Ready", "status": "True"}, "text", None]},
        {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]},
    ],
)
def test_a_status_that_anybody_wrote_stops_no_scrape(status: dict[str, object]) -> None:
    metrics = Metrics()
    metrics.fleet.watch(lambda: [observed(None, status)], leads=lambda: True)
    found = scrape(metrics)
    assert total(found, "scaleset_metadata_generation") == 1
    assert total(found, "scaleset_spec_replicas") == 0


def test_instances_without_a_pod_and_without_a_version_count_as_unhealthy() -> None:
    world = World()
    meter = Metered(world)
    world.run(10)
    assert meter.by("scaleset_rollout_blocked", "reason") == {"image_missing": 1}
    world.publish("1.0.0", suffix=BAD)
    world.quota = lambda _: "exceeded quota"
    world.run(10)
    assert meter.by("scaleset_instances", "health") == {"Unhealthy": 10}


def test_too_many_unhealthy_and_still_starting_are_told_apart() -> None:
    world = running(10)
    meter = Metered(world)
    for number in (3, 4, 5):
        world.breaks(number)
    world.publish("2.0.0")
    world.run(10)
    assert meter.by("scaleset_rollout_blocked", "reason") == {"max_unhealthy": 1}
    assert meter.by("scaleset_instances", "health") == {"Healthy": 7, "Unhealthy": 3}
    for number in (3, 4, 5):
        world.heals(number)
    world.loses(9)
    world.start = 60
    world.run(5)
    assert meter.by("scaleset_rollout_blocked", "reason") == {"health_gate": 1}


def test_a_suspended_set_is_blocked_only_while_something_is_due() -> None:
    world = running(10)
    meter = Metered(world)
    world.change(suspend=True)
    world.run(5)
    assert meter.by("scaleset_rollout_blocked", "reason") == {}
    world.publish("2.0.0")
    world.run(5)
    assert meter.by("scaleset_rollout_blocked", "reason") == {"suspended": 1}
    assert meter.value("scaleset_image_versions_behind") == 1


def test_a_surge_adds_up() -> None:
    world = running(10, by=policy(rolling={"maxSurge": True}, os={"useRollingUpgradePolicy": True}))
    meter = Metered(world)
    world.publish("2.0.0")
    sums: set[float] = set()
    world.run(200, each=lambda _: sums.add(meter.value(PARTS)))
    assert sums <= {0, 10}
    assert meter.by(UPGRADES, "result") == {"succeeded": 10}
    assert meter.by(ROLLOUTS, "result") == {"completed": 1}


def test_the_spec_of_a_set_nobody_understands_shows_nothing_but_what_is_known() -> None:
    def known(given: ScaleSetSpec | None) -> set[str]:
        metrics = Metrics()
        metrics.fleet.watch(lambda: [observed(given)], leads=lambda: True)
        return {name for name, _ in of_sets(scrape(metrics))}

    assert known(spec()) - known(None) == {"scaleset_info", "scaleset_spec_replicas"}


def test_what_is_not_looked_at_any_more_is_not_shown_as_if_it_were() -> None:
    """A spec that cannot be understood: counts of before stand still, and the counters stay."""
    meter = upgraded()
    meter.fleet.refused(meter.seen)
    found = meter.scrape()
    assert total(found, "scaleset_instances") == total(found, "scaleset_rollout_status") == 0
    assert total(found, ROLLOUTS) == 1
    assert total(found, "scaleset_metadata_generation") == 1


def test_no_label_has_the_name_of_an_instance() -> None:
    found = upgraded(suffix=BAD).scrape()
    assert not [labels for _, labels in found if any("web-" in value for _, value in labels)]


def test_a_fleet_without_anybody_to_ask_is_empty() -> None:
    assert all(not family.samples for family in Fleet(Metrics().registry.__class__()).collect())


def test_a_version_that_somebody_wrote_on_a_pod_breaks_nothing() -> None:
    world = running(3)
    meter = Metered(world)
    world.pods[1] = replace(world.pods[1], version="1.0.0-rc1")
    world.run(60)
    assert meter.value("scaleset_instances", version="1.0.0-rc1") == 1
    assert meter.value("scaleset_image_versions_behind") == 0
