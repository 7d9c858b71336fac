"""Metrics of a set, told of real decisions: what is counted, once each, and what is shown while it happens."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from scaleset.api import names
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.observability import catalogue
from scaleset.observability.fleet import Fleet
from scaleset.observability.metrics import Metrics
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from tests.simulation.metered import Metered, Samples, observed, scrape, total
from tests.simulation.scenes import BAD, running
from tests.simulation.world import World, policy, spec

ROLLOUTS = "scaleset_rollouts_total"
UPGRADES = "scaleset_instance_upgrades_total"
RESTORES = "scaleset_instance_restores_total"
WAIT = "scaleset_rollout_wait_seconds_total"
PARTS = "scaleset_rollout_instances"


def of_sets(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if "scaleset" in dict(key[1])}


def counts(meter: Metered) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What happened to the set, without what only time and looks make larger."""
    apart = {catalogue.ROLLOUT_WAIT.name, catalogue.HEALTH_CHECKS.name}
    wanted = {each.name for each in catalogue.CATALOGUE if each.kind == "counter" and each.leader} - apart
    return {key: value for key, value in meter.scrape().items() if key[0] in wanted}


def together(lives: list[Metered]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What several processes counted, one after the other."""
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
    for life in lives:
        for key, value in counts(life).items():
            found[key] += int(value)
    return {key: float(value) for key, value in found.items()}


def upgraded(version: str = "2.0.0", **changes: object) -> Metered:
    """A set that a rollout to that version has gone over."""
    meter = Metered(running(10))
    meter.world.publish(version, **changes)
    meter.world.run(2000)
    return meter


def test_a_set_begins_at_zero() -> None:
    """Before anything is known of it: a counter that is born at one is missed by increase()."""
    metrics = Metrics()
    seen = observed(spec())
    metrics.fleet.watch(lambda: [seen], leads=lambda: True)
    metrics.fleet.added(seen)
    found = {key: value for key, value in scrape(metrics).items() if key[0].endswith("_total")}
    for definition in catalogue.CATALOGUE:
        if definition.kind == "counter" and definition.labels[:2] == catalogue.SET:
            children = 1
            for _, values in definition.values:
                children *= len(values)
            mine = [value for key, value in found.items() if key[0] == definition.name]
            assert mine == [0.0] * children, definition.name


def test_a_rollout_that_goes_well() -> None:
    meter = upgraded()
    assert meter.by(ROLLOUTS, "result") == {"completed": 1}
    assert meter.by(ROLLOUTS, "started_by") == {"platform": 1}
    assert meter.by(UPGRADES, "result") == {"succeeded": 10}
    assert meter.by(RESTORES, "result") == {}
    assert meter.value("scaleset_batch_duration_seconds_count", result="succeeded") == 5
    assert meter.value("scaleset_rollout_duration_seconds_count", result="completed") == 1
    assert meter.value("scaleset_instance_upgrade_duration_seconds_count", result="succeeded") == 10
    # One second each, on clocks that are cut to seconds.
    assert 10 <= meter.value("scaleset_instance_upgrade_duration_seconds_sum", result="succeeded") <= 20
    assert meter.by("scaleset_rollout_status", "status") == {"Completed": 1}
    assert meter.by("scaleset_instances", "version") == {"2.0.0": 10}
    assert meter.by("scaleset_health_checks_total", "result")["healthy"] >= 50
    assert meter.by(PARTS, "state") == {"succeeded": 10}
    (target,) = [dict(labels) for name, labels in meter.scrape() if name == "scaleset_rollout_target_info"]
    assert (target["from_version"], target["to_version"]) == ("1.0.0", "2.0.0")


def test_what_a_completed_rollout_came_from_is_known_after_a_restart() -> None:
    """`currentVersion` has moved on: it is the target of the last one before that completed."""
    world = running(5)
    for number, suffix in (("2.0.0", ""), ("3.0.0", BAD), ("4.0.0", "")):
        world.publish(number, suffix=suffix)
        world.run(2000)
    assert world.plan().figures.from_version == "2.0.0"


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


def test_a_bad_image() -> None:
    """Each of the two instances is counted once, by its end: restored, not failed and restored."""
    meter = upgraded(suffix=BAD)
    assert meter.by(ROLLOUTS, "result") == {"faulted": 1}
    assert meter.by(UPGRADES, "result") == {"restored": 2}
    assert meter.by(RESTORES, "result") == {"succeeded": 2}
    assert meter.by(PARTS, "state") == {"restored": 2, "pending": 8}
    assert meter.value("scaleset_batch_duration_seconds_count", result="failed") == 1
    assert meter.value("scaleset_instance_upgrade_duration_seconds_count", result="restored") == 2
    assert meter.by("scaleset_rollout_blocked", "reason") == {"target_failed": 1}
    assert meter.value("scaleset_image_versions_behind") == 1
    assert meter.by("scaleset_instances", "version") == {"1.0.0": 10}


def test_an_upgrade_by_hand_restores_nothing() -> None:
    world = running(10, by=policy(automatic=False))
    meter = Metered(world)
    world.publish("2.0.0", suffix=BAD)
    world.annotations[names.ANNOTATION_START] = "now"
    world.run(2000)
    assert meter.by(ROLLOUTS, "started_by") == {"user": 1}
    assert meter.by(UPGRADES, "result") == {"failed": 2}
    assert meter.by(RESTORES, "result") == {}
    assert meter.by(PARTS, "state") == {"failed": 2, "pending": 8}
    assert meter.value("scaleset_instance_upgrade_duration_seconds_sum", result="failed") >= 600


def test_restores_that_fail() -> None:
    """The node is to blame: neither build becomes healthy on it."""
    world = running(10)
    meter = Metered(world)
    world.publish("2.0.0", suffix=BAD)
    world.run(10)
    world.broken |= {0, 1}
    world.run(2000)
    assert meter.by(RESTORES, "result") == {"failed": 2}
    assert meter.by(UPGRADES, "result") == {"failed": 2}


def test_a_breach_that_rolls_back_counts_each_instance_once() -> None:
    """rollbackFailedInstancesOnPolicyBreach: failed at first, restored in the end."""
    world = running(
        10, by=policy(mode="Rolling", automatic=False, rolling={"rollbackFailedInstancesOnPolicyBreach": True})
    )
    meter = Metered(world)
    broken = world.model.name
    works = world.works
    world.works = lambda number, pod: pod.model == broken and works(number, pod)  # type: ignore[method-assign] # only the old model works
    container = {"name": "app", "env": [{"name": "A", "value": "1"}], "readinessProbe": {"httpGet": {"port": 80}}}
    world.change(template={"spec": {"containers": [container]}})
    world.run(2000)
    assert meter.by(ROLLOUTS, "result") == {"faulted": 1}
    assert meter.by(UPGRADES, "result") == {"restored": 2}
    assert meter.by(RESTORES, "result") == {"succeeded": 2}


def test_cancelled_and_superseded() -> None:
    world = running(10, by=policy(mode="Rolling"))
    meter = Metered(world)
    world.start = 30
    world.publish("2.0.0")
    world.run(10)
    world.annotations[names.ANNOTATION_CANCEL] = "now"
    world.run(100)
    assert meter.by(ROLLOUTS, "result") == {"cancelled": 1}
    world.publish("3.0.0")
    world.run(10)
    container = {"name": "app", "env": [{"name": "A", "value": "1"}], "readinessProbe": {"httpGet": {"port": 80}}}
    world.change(template={"spec": {"containers": [container]}})
    world.run(2000)
    assert meter.by(ROLLOUTS, "result") == {"cancelled": 1, "superseded": 1, "completed": 1}, "image and model are one"
    assert meter.value(ROLLOUTS) == 3


def test_a_rollout_is_work_and_wait() -> None:
    """Four pauses of a minute between five batches; the sums are its duration."""
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT1M"}, os={"useRollingUpgradePolicy": True}))
    meter = Metered(world)
    meter.fleet._now = lambda: world.now
    world.publish("2.0.0")
    world.run(20)
    assert meter.by("scaleset_rollout_status", "status") == {"Paused": 1}
    assert meter.by("scaleset_rollout_blocked", "reason") == {"pause": 1}
    before = meter.value(WAIT, reason="pause")
    world.now += 5
    assert meter.value(WAIT, reason="pause") == pytest.approx(before + 5), "it grows between two decisions"
    world.run(600)
    assert meter.by(WAIT, "reason") == {"pause": pytest.approx(240, abs=5)}
    work = meter.value("scaleset_batch_duration_seconds_sum")
    assert meter.value("scaleset_rollout_duration_seconds_sum") == pytest.approx(work + meter.value(WAIT), abs=5)


@pytest.mark.parametrize("suffix", ["", BAD])
def test_restarts_count_nothing_twice_and_lose_nothing(suffix: str) -> None:
    """A new process at every decision: together they count what one process counts."""
    whole = upgraded(suffix=suffix)
    world = running(10)
    lives = [Metered(world)]

    def restart(snapshot: Snapshot, plan: Plan) -> None:
        lives[-1].acted(snapshot, plan)
        lives.append(Metered(world))
        lives[-1].fleet.observed(lives[-1].seen, world.snapshot())
        world.acted = restart

    world.acted = restart
    world.publish("2.0.0", suffix=suffix)
    world.run(2000)
    assert len(lives) > 10
    assert together(lives) == counts(whole)


@pytest.mark.parametrize("suffix", ["", BAD])
def test_killed_between_writing_and_counting_nothing_is_counted_twice(suffix: str) -> None:
    whole = upgraded(suffix=suffix)
    world = running(10)
    lives = [Metered(world)]
    world.publish("2.0.0", suffix=suffix)
    for number in range(400):
        world.acted = lives[-1].acted
        if number % 3 == 0:
            world.step(writes=1)
            lives.append(Metered(world))  # the one before died after its first write
        world.step()
        world.now += 1
        world.happen()
    found = together(lives)
    assert all(found[key] <= value for key, value in counts(whole).items())
    assert suffix or sum(found.values()) > 0, "not everything happened in the moments that were lost"


def test_a_write_whose_answer_was_lost_is_counted_at_the_next_look() -> None:
    whole = upgraded(suffix=BAD)
    world = running(10)
    meter = Metered(world)
    world.publish("2.0.0", suffix=BAD)
    for number in range(400):
        if number % 2 == 0:
            world.step(writes=1)
        world.step()
        world.now += 1
        world.happen()
    assert counts(meter) == counts(whole)


def test_nothing_is_left_of_a_set_that_is_gone() -> None:
    meter = upgraded()
    place = (meter.seen.namespace, meter.seen.name)
    assert of_sets(meter.scrape())
    meter.fleet.watch(lambda: [replace(meter.seen, deleting=True)], leads=lambda: True)
    assert of_sets(meter.scrape()) == {}
    meter.fleet.watch(list, leads=lambda: True)
    meter.fleet.gone(place)
    assert of_sets(meter.scrape()) == {}
    assert not meter.fleet._records
    meter.fleet.gone(place)


def test_a_new_set_of_the_same_name_begins_at_zero() -> None:
    meter = upgraded()
    again = replace(meter.seen, uid="another", status={})
    meter.fleet.watch(lambda: [again], leads=lambda: True)
    assert not [name for name, _ in of_sets(meter.scrape()) if name.endswith("_total")], "the old one's are not its own"
    meter.fleet.added(again)
    assert meter.value(ROLLOUTS) == 0
    assert meter.value(UPGRADES) == 0


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


def test_a_new_instance_of_a_surge_that_fails_counts_once_as_the_one_that_it_was_to_replace() -> None:
    world = running(10, by=policy(rolling={"maxSurge": True}, os={"useRollingUpgradePolicy": True}))
    meter = Metered(world)
    world.publish("2.0.0", suffix=BAD)
    world.run(2000)
    ended = meter.by(UPGRADES, "result")
    assert ended.get("failed", 0) == 0
    assert ended["restored"] > 0
    assert meter.by(catalogue.BATCH_DURATION.name + "_count", "result").get("succeeded", 0) == 0
    assert meter.value(RESTORES) == ended["restored"]


def test_a_version_that_somebody_wrote_on_a_pod_breaks_nothing() -> None:
    world = running(3)
    meter = Metered(world)
    world.pods[1] = replace(world.pods[1], version="1.0.0-rc1")
    world.run(60)
    assert meter.value("scaleset_instances", version="1.0.0-rc1") == 1
    assert meter.value("scaleset_image_versions_behind") == 0


def test_an_instance_whose_pod_was_never_created_counts_as_failed() -> None:
    world = running(10, by=policy(automatic=False))
    meter = Metered(world)
    world.publish("2.0.0")
    world.annotations[names.ANNOTATION_START] = "now"
    world.quota = lambda _: "exceeded quota"
    world.run(2000)
    assert meter.by(UPGRADES, "result") == {"failed": 2}
