"""Where an instance lives, and who goes first when a set shrinks."""

from itertools import count
from typing import Any

import pytest

from scaleset.planner.batches import Rules, batches_left, next_batch
from scaleset.planner.instances import HealthState, Instance
from scaleset.planner.placement import Place, place, scale_in_order, zone_name
from tests.simulation.outcomes import code, deleted
from tests.simulation.scenes import running
from tests.simulation.world import World, policy, spec

ZONES = ["z1", "z2", "z3"]


@pytest.mark.parametrize(
    ("number", "zones", "domains", "where"),
    [
        (0, 0, 5, Place(0, 0)),
        (7, 0, 5, Place(0, 2)),
        (7, 1, 5, Place(0, 2)),
        (7, 0, 1, Place(0, 0)),
        (0, 3, 5, Place(0, 0)),
        (4, 3, 5, Place(1, 1)),
        (14, 3, 5, Place(2, 4)),
        (15, 3, 5, Place(0, 0)),
        (999, 3, 20, Place(0, 13)),
    ],
)
def test_zone_and_update_domain_follow_from_the_id(number, zones, domains, where):
    assert place(number, zones=zones, update_domains=domains) == where


def test_zones_are_names_in_the_order_of_the_spec():
    assert [zone_name(number, ZONES) for number in range(5)] == ["z1", "z2", "z3", "z1", "z2"]
    assert zone_name(4, []) is None


# Scale-in: Azure's worked examples. There the ids are strewn over the zones; here the id decides the zone, so the
# instances get ids of the same order in the zone that Azure's had.

AZURE = {"Z1": [3, 4, 5, 10], "Z2": [2, 6, 9, 11], "Z3": [1, 7, 8]}


def translated() -> dict[int, int]:
    """Our id of each of Azure's instances: the next one in its zone."""
    zone_of = {theirs: zone for zone, members in enumerate(AZURE.values()) for theirs in members}
    ours: dict[int, int] = {}
    last = -1
    for theirs in sorted(zone_of):
        last = next(number for number in count(last + 1) if number % 3 == zone_of[theirs])
        ours[theirs] = last
    return ours


@pytest.mark.parametrize(("rule", "order"), [("OldestVM", [2, 3, 1, 4, 6, 5]), ("NewestVM", [11, 10, 9, 8, 5, 7])])
def test_azures_worked_examples(rule, order):
    """In Azure's examples a lower id is an older instance."""
    ours = translated()
    removable = {number: float(theirs) for theirs, number in ours.items()}
    theirs = {number: theirs for theirs, number in ours.items()}
    removed = scale_in_order(removable, [], zones=3, rule=rule)
    assert [theirs[number] for number in removed][: len(order)] == order


@pytest.mark.parametrize(
    ("zones", "removable", "staying", "order"),
    [
        (0, [0, 1, 2, 3], [], [3, 2, 1, 0]),
        (0, [0, 1, 3], [2], [3, 1, 0]),
        (3, [0, 1, 2, 3, 4, 5], [], [5, 4, 3, 2, 1, 0]),
        (3, [0, 3, 6, 1, 2], [], [6, 3, 2, 1, 0]),
        # protected ones count in their zone and stay: z1 has 0, 3, 6, of which 6 and 3 are protected
        (3, [0, 1, 2, 4], [3, 6], [0, 4, 2, 1]),
        (2, [], [0, 1], []),
    ],
)
def test_default_balances_zones_and_takes_the_highest_id(zones, removable, staying, order):
    assert scale_in_order(dict.fromkeys(removable, 0.0), staying, zones=zones, rule="Default") == order


@pytest.mark.parametrize(("rule", "order"), [("OldestVM", [1, 0, 2]), ("NewestVM", [2, 0, 1]), ("Default", [2, 1, 0])])
def test_without_zones_age_decides_over_the_whole_set(rule, order):
    assert scale_in_order({0: 5.0, 1: 1.0, 2: 9.0}, [], zones=0, rule=rule) == order


@pytest.mark.parametrize(("rule", "order"), [("OldestVM", [0, 1, 2]), ("NewestVM", [2, 1, 0])])
def test_of_the_same_age_the_id_decides(rule, order):
    assert scale_in_order(dict.fromkeys(range(3), 7.0), [], zones=0, rule=rule) == order


def test_a_thousand_instances_leave_balanced_zones_at_every_step():
    left = set(range(1000))
    for number in scale_in_order({n: float(n * 7 % 13) for n in left}, [], zones=3, rule="OldestVM"):
        sizes = [sum(n % 3 == zone for n in left) for zone in range(3)]
        assert sizes[number % 3] == max(sizes)
        left.remove(number)
    assert not left


# In the world


def shrink(world: World, replicas: int) -> list[int]:
    """Ids that are left."""
    world.change(replicas=replicas)
    world.run(60)
    return sorted(world.pods)


def test_scaling_in_and_out_keeps_zones_balanced_and_ids_in_their_zone():
    world = running(7, zones=ZONES)
    assert shrink(world, 4) == [0, 1, 2, 3]
    world.change(replicas=6)
    world.run(60)
    assert sorted(world.pods) == [0, 1, 2, 3, 4, 5]


def test_protected_instances_stay_whatever_the_rule():
    protected = [{"id": 5, "protectFromScaleIn": True}, {"id": 2, "protectFromScaleSetActions": True}]
    world = running(6, protectedInstances=protected)
    assert shrink(world, 3) == [0, 2, 5]
    assert shrink(world, 1) == [2, 5]


@pytest.mark.parametrize(("rule", "left"), [("OldestVM", [2, 3]), ("NewestVM", [0, 1])])
def test_age_is_of_the_instance_and_not_of_its_pod(rule, left):
    """2 and 3 are younger; 0 and 1 get new pods later, lost ones and upgraded ones, and stay older."""
    world = running(2, scaleInPolicy={"rules": [rule]})
    world.change(replicas=4)
    world.run(60)
    world.loses(0)
    world.publish("2.0.0")
    world.run(600)
    assert set(world.versions.values()) == {"2.0.0"}
    assert shrink(world, 2) == left


def test_an_operator_that_starts_while_a_pod_is_gone_knows_the_age_of_its_instance():
    world = running(3, scaleInPolicy={"rules": ["NewestVM"]})
    age = world.ages[0]
    world.held.add(0)
    world.publish("2.0.0")
    world.run(10)
    assert world.pods[0].deleting
    world.ages.clear()
    world.loses(0)
    world.run(60)
    assert world.ages[0] == age
    assert shrink(world, 2) == [0, 1]


def test_an_id_that_is_used_again_belongs_to_a_new_instance():
    world = running(3, scaleInPolicy={"rules": ["OldestVM"]})
    assert shrink(world, 2) == [1, 2]
    world.run(100)
    world.change(replicas=3)
    world.run(60)
    assert world.ages[0] > world.ages[1] + 60
    assert shrink(world, 2) == [0, 2]


# Batches


def fleet(replicas: int, *, zones: int = 0, domains: int = 5) -> list[Instance]:
    return [
        Instance(n, None, None, HealthState.HEALTHY, "", None, place(n, zones=zones, update_domains=domains))
        for n in range(replicas)
    ]


def walk(instances: list[Instance], **rules: Any) -> list[list[int]]:
    """Batch after batch, all healthy."""
    rolling = policy(rolling={key: value for key, value in rules.items() if key[0] == "m" or key[0] == "e"})
    by = Rules(
        replicas=len(instances),
        policy=rolling.rolling_upgrade_policy,
        by_update_domain=rules.get("by_update_domain", False),
    )
    batches: list[list[int]] = []
    left = instances
    assert batches_left(left, rules=by) >= 0
    expected = batches_left(left, rules=by)
    while left:
        chosen = next_batch(left, unhealthy=(), rules=by)
        batches.append(list(chosen))
        left = [instance for instance in left if instance.id not in chosen]
    assert len(batches) == expected
    return batches


def test_batches_go_zone_after_zone():
    assert walk(fleet(10, zones=3)) == [[0, 3], [6, 9], [1, 4], [7], [2, 5], [8]]


def test_batches_may_mix_zones_where_the_policy_says_so():
    assert walk(
        fleet(9, zones=3), enableCrossZoneUpgrade=True, maxBatchInstancePercent=50, maxUnhealthyInstancePercent=50
    ) == [
        [0, 1, 3, 6],
        [2, 4, 5, 7],
        [8],
    ]


def test_a_service_fabric_set_goes_update_domain_by_update_domain():
    assert walk(
        fleet(10, domains=5), by_update_domain=True, maxBatchInstancePercent=100, maxUnhealthyInstancePercent=100
    ) == [
        [0, 5],
        [1, 6],
        [2, 7],
        [3, 8],
        [4, 9],
    ]


def test_update_domains_are_walked_within_a_zone():
    assert walk(fleet(12, zones=2, domains=2), by_update_domain=True) == [
        [0, 4],
        [8],
        [2, 6],
        [10],
        [1, 5],
        [9],
        [3, 7],
        [11],
    ]


@pytest.mark.parametrize("zones", [0, 1, 2, 3, 16])
@pytest.mark.parametrize("replicas", [1, 2, 5, 16, 17, 100])
def test_no_batch_of_a_rollout_mixes_zones(zones, replicas):
    names = [f"z{number}" for number in range(zones)]
    world = running(replicas, zones=names)
    world.publish("2.0.0")
    seen: set[str] = set()
    world.run(
        4 * (replicas + 5),
        each=lambda w: seen.add((w.status.get("rollingUpgrade", {}).get("batch") or {}).get("instances", "")),
    )
    assert code(world) == "Completed"
    assert sorted(deleted(world)) == list(range(replicas))
    for batch in filter(None, seen):
        ids = [int(part) for span in batch.split(",") for part in span.split("-")]
        assert len({number % max(1, zones) for number in ids}) == 1


def test_labels_and_node_selector_of_a_zoned_pod_are_its_own_for_life():
    """The zone follows from the id: a new model, another image, a restart change nothing about it."""
    world = World(spec=spec(replicas=4, zones=ZONES, updateDomains=2))
    first = world.model
    world.change(run_custom_data=True, custom_data="x\n")
    assert (first.data["zones"], world.model.data["zones"]) == (ZONES, ZONES)
    assert world.model.data["updateDomains"] == 2
