"""Metrics of a set, told of real decisions: what is counted, once each."""

from collections import Counter
from dataclasses import replace

import pytest

from scaleset.api import names
from scaleset.observability import catalogue
from scaleset.observability.metrics import Metrics
from scaleset.planner.plan import Plan
from scaleset.planner.snapshot import Snapshot
from tests.simulation.metered import Metered, observed, of_sets, scrape, upgraded
from tests.simulation.scenes import BAD, running
from tests.simulation.world import policy, spec

ROLLOUTS = "scaleset_rollouts_total"
UPGRADES = "scaleset_instance_upgrades_total"
RESTORES = "scaleset_instance_restores_total"
WAIT = "scaleset_rollout_wait_seconds_total"
PARTS = "scaleset_rollout_instances"


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


def test_an_instance_whose_pod_was_never_created_counts_as_failed() -> None:
    world = running(10, by=policy(automatic=False))
    meter = Metered(world)
    world.publish("2.0.0")
    world.annotations[names.ANNOTATION_START] = "now"
    world.quota = lambda _: "exceeded quota"
    world.run(2000)
    assert meter.by(UPGRADES, "result") == {"failed": 2}
