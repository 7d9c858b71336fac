"""`maxConcurrentScaleSets`: so many sets of a policy roll at once, the one that has waited longest is next, and none
starves.

The worlds of several sets run side by side here. What the controller knows of the others it has from their statuses,
by the same class as in the operator.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scaleset.controllers.caches import Caches, relations
from scaleset.controllers.concurrency_limit import ConcurrencyLimit
from scaleset.controllers.lines import NEAR
from scaleset.controllers.watches import Wakes
from scaleset.kube.store import Follower
from scaleset.planner.snapshot import QueuePosition
from scaleset.records.custom_objects import CustomObject, PolicyObject, ScaleSetObject
from tests.simulation.outcomes import code, condition, waits_for
from tests.simulation.scenes import BAD, cancel, running, start
from tests.simulation.world import EPOCH, World, policy, spec


@dataclass
class Store:
    """Objects of one kind, as the cache gives them."""

    followers: tuple[Follower[Any], ...] = ()
    objects: dict[tuple[str, str], Any] = field(default_factory=dict)

    def get(self, namespace: str, name: str) -> Any:
        return self.objects.get((namespace, name))

    def put(self, seen: CustomObject[Any]) -> None:
        place = (seen.namespace, seen.name)
        before, self.objects[place] = self.objects.get(place), seen
        for follower in self.followers:
            follower.follow(place, before, seen)


class Street:
    """Several sets of one policy, and the operator that looks after them one at a time."""

    def __init__(self, sets: int, *, limit: int | None = 1, replicas: int = 2, **by: Any) -> None:
        self.policy = policy(maxConcurrentScaleSets=limit, **by)
        self.worlds = {f"set-{number}": running(replicas, by=self.policy) for number in range(sets)}
        self.woken: list[str] = []
        wake = lambda key, *_: self.woken.append(key[1])  # noqa: E731 - one for two
        wakes = Wakes(scale_sets=wake, instances=wake, versions=wake, replications=wake, policies=lambda _: None)
        found = relations(users_changed=wakes.users, line_changed=wakes.line, failures_changed=wakes.failures)
        self.sets, self.policies = Store((found.users, found.lines)), Store()
        parts = {"scale_sets": self.sets, "policies": self.policies, "relations": found}
        wakes.caches = cast("Caches", SimpleNamespace(**parts))
        self.turns = ConcurrencyLimit(wakes.caches, wake=wake)
        self.started: list[str] = []
        self.most = 0
        self.publish_policy()
        for name, world in self.worlds.items():
            world.turn = partial(self.turn, name)
            world.now = EPOCH + 1000
            world.start = 3.0

    def publish_policy(self) -> None:
        blank = self._object("careful", EPOCH, {})
        self.policies.put(cast("PolicyObject", replace(blank, spec=self.policy)))

    def _object(self, name: str, created: float, status: dict[str, Any]) -> CustomObject[Any]:
        return CustomObject("shop", name, f"uid-{name}", "1", 1, created, False, {}, None, "", status)

    def seen(self, name: str, *, deleting: bool = False) -> ScaleSetObject:
        """The set as the cache has it."""
        world = self.worlds[name]
        plain = self._object(name, EPOCH, world.status)
        found = cast("ScaleSetObject", replace(plain, spec=world.spec, deleting=deleting))
        self.sets.put(found)
        return found

    def turn(self, name: str) -> QueuePosition | None:
        for other in self.worlds:
            if not self.sets.objects.get(("shop", other)) or not self.sets.objects["shop", other].deleting:
                self.seen(other)
        return self.turns.turn(self.sets.objects["shop", name])

    def publish(self, version: str, *names: str, **changes: Any) -> None:
        for name in names or self.worlds:
            self.worlds[name].publish(version, **changes)

    def rolling(self) -> list[str]:
        found = []
        for name, world in self.worlds.items():
            rollout = world.status.get("rollingUpgrade") or {}
            if (rollout.get("runningStatus") or {}).get("code") == "RollingForward" and (
                rollout.get("batch") or rollout.get("batchesDone")
            ):
                found.append(name)
        return found

    def run(self, seconds: int, *, order: list[str] | None = None) -> None:
        """Everybody's time goes by, a second at a time; no further than until nothing rolls or waits."""
        for second in range(seconds):
            if second > 2 and not any(_goes_on(world) for world in self.worlds.values()):
                return
            for name in order or list(self.worlds):
                before = set(self.rolling())
                world = self.worlds[name]
                world.run(1)
                self.started += [each for each in self.rolling() if each not in before]
                self.most = max(self.most, len(self.rolling()))

    @property
    def versions(self) -> list[set[str]]:
        return [set(world.versions.values()) for world in self.worlds.values()]


def _goes_on(world: World) -> bool:
    return code(world) == "RollingForward" or "waitingSince" in world.status


def reason(world: World) -> str:
    return str(condition(world, "Progressing")["reason"])


@pytest.mark.parametrize(("sets", "limit"), [(3, 1), (5, 2), (3, 3), (3, None)])
def test_at_most_so_many_roll_and_all_get_there(sets, limit):
    street = Street(sets, limit=limit)
    street.publish("2.0.0")
    street.run(25 * sets)
    assert street.most <= (limit or sets)
    assert street.versions == [{"2.0.0"}] * sets
    assert [code(world) for world in street.worlds.values()] == ["Completed"] * sets
    assert all("waitingSince" not in world.status for world in street.worlds.values())


def test_whoever_waits_says_so():
    street = Street(3)
    street.publish("2.0.0")
    street.run(1)
    first, *others = street.worlds.values()
    assert code(first) == "RollingForward"
    for world in others:
        waiting = condition(world, "Progressing")
        assert (waiting["status"], waiting["reason"]) == ("False", "ConcurrencyLimit")
        assert "1 may roll at a time" in waiting["message"]
        assert world.status["waitingSince"]
        assert not world.status.get("osUpgradeHistory")


def test_longest_waiting_first_whoever_is_looked_at_first():
    """They begin to wait one after the other, and are looked at in the opposite order from then on."""
    street = Street(4)
    for number, name in enumerate(street.worlds):
        street.publish("2.0.0", name)
        street.run(1, order=[name])
        for other in street.worlds.values():
            other.now = EPOCH + 1001 + number
    street.run(80, order=sorted(street.worlds, reverse=True))
    assert street.started == ["set-0", "set-1", "set-2", "set-3"]
    assert street.versions == [{"2.0.0"}] * 4


def test_one_that_always_has_something_newer_does_not_starve_the_others():
    street = Street(3)
    street.publish("2.0.0")
    number = 1
    for _ in range(6):
        street.run(8)
        street.publish(f"2.0.{number}", "set-0")
        number += 1
    street.run(60)
    assert street.started.index("set-1") < 3
    assert street.started.index("set-2") < 3
    assert [next(iter(found)) for found in street.versions[1:]] == ["2.0.0", "2.0.0"]


@pytest.mark.parametrize("lost", ["withdrawn", "suspended", "manual", "unhealthy", "deleted"])
def test_who_waits_no_longer_holds_nobody_up(lost):
    """The second in the queue drops out of it for some reason; the third gets its turn all the same."""
    street = Street(3)
    street.publish("2.0.0", "set-0")
    street.run(1)
    street.publish("2.0.0", "set-1")
    street.run(1)
    street.publish("2.0.0", "set-2")
    street.run(1)
    second = street.worlds["set-1"]
    assert reason(second) == "ConcurrencyLimit"
    if lost == "withdrawn":
        second.catalogue = [replace(each, excluded=each.version == "2.0.0") for each in second.catalogue]
    elif lost == "suspended":
        second.change(suspend=True)
    elif lost == "manual":
        second.policy = policy(automatic=False, maxConcurrentScaleSets=1)
    elif lost == "unhealthy":
        second.breaks(0)
    elif lost == "deleted":
        street.seen("set-1", deleting=True)
    order = ["set-0", "set-2"] if lost == "deleted" else ["set-0", "set-1", "set-2"]
    street.run(60, order=order)
    assert street.versions[2] == {"2.0.0"}
    assert street.versions[1] == {"1.0.0"}
    if lost != "deleted":
        assert "waitingSince" not in second.status


def test_a_failed_rollout_gives_its_place_away():
    street = Street(2, healthTimeout="PT10S")
    street.publish("2.0.0", "set-0", suffix=BAD)
    street.run(1)
    street.publish("2.0.0", "set-1")
    street.run(60)
    assert code(street.worlds["set-0"]) == "Faulted"
    assert street.versions[1] == {"2.0.0"}


def test_a_start_by_hand_waits_for_its_turn_too_and_can_be_cancelled_there():
    street = Street(2, automatic=False)
    street.publish("2.0.0")
    start(street.worlds["set-0"])
    street.run(1)
    second = street.worlds["set-1"]
    start(second)
    street.run(1)
    assert code(second) == "RollingForward"
    assert waits_for(second) == "ConcurrencyLimit"
    assert street.most == 1
    cancel(second)
    street.run(1)
    assert code(second) == "Cancelled"
    assert "waitingSince" not in second.status
    street.run(30)
    assert street.versions == [{"2.0.0"}, {"1.0.0"}]


def test_lifting_the_limit_lets_everybody_go():
    street = Street(3)
    street.publish("2.0.0")
    street.run(1)
    street.policy = policy()
    street.publish_policy()
    for world in street.worlds.values():
        world.policy = street.policy
    street.run(2)
    assert street.most == 3


def test_sets_of_other_policies_and_namespaces_do_not_count():
    street = Street(2)
    street.publish("2.0.0")
    street.run(1)
    for namespace, named in (("elsewhere", "careful"), ("shop", "other")):
        theirs = spec(upgradePolicyRef={"name": named})
        stranger = replace(street.seen("set-0"), namespace=namespace, name="stranger", uid="uid-s", spec=theirs)
        street.sets.put(stranger)
    assert street.turns.turn(street.seen("set-1")) == QueuePosition(rolling=1, ahead=0)


def test_two_that_are_decided_about_at_the_same_time_do_not_take_the_same_place():
    """The status of the first is not written yet when the second is decided about."""
    street = Street(2)
    street.publish("2.0.0")
    first, second = street.worlds.values()
    plan = first.plan()
    assert plan.state.rollout is not None
    assert plan.state.rollout.batch is not None
    with street.turns.taken(street.seen("set-0"), plan.state):
        assert street.turns.turn(street.seen("set-1")) == QueuePosition(rolling=1, ahead=0)
        second.settle()
        assert reason(second) == "ConcurrencyLimit"
    assert street.turns.turn(street.seen("set-1")) == QueuePosition(rolling=0, ahead=0)


def test_whoever_gives_a_place_away_wakes_those_that_wait():
    street = Street(3)
    street.publish("2.0.0")
    street.run(1)
    first = street.worlds["set-0"]
    assert street.turn("set-1") == QueuePosition(rolling=1, ahead=0)
    street.woken.clear()
    for _ in range(60):
        with street.turns.taken(street.seen("set-0"), first.plan().state):
            first.step()
            street.seen("set-0")
        if code(first) != "RollingForward":
            break
        assert street.woken == []
        first.now += 1
        first.happen()
    assert street.woken == ["set-1", "set-2"]


def test_whoever_leaves_the_queue_wakes_those_behind():
    street = Street(3)
    street.publish("2.0.0")
    street.run(1)
    second = street.worlds["set-1"]
    second.change(suspend=True)
    street.turn("set-2")
    street.woken.clear()
    second.step()
    assert "waitingSince" not in second.status
    assert street.woken == []
    street.seen("set-1")
    assert street.woken == ["set-2"]


def test_a_place_that_was_taken_for_nothing_is_given_to_those_that_wait():
    """The decision to start could not be written down."""
    street = Street(3)
    street.publish("2.0.0")
    plan = street.worlds["set-0"].plan()
    for name in ("set-1", "set-2"):
        with street.turns.taken(street.seen("set-0"), plan.state):
            street.worlds[name].step()
    assert street.turn("set-1") == QueuePosition(rolling=0, ahead=0)
    street.woken.clear()
    with street.turns.taken(street.seen("set-0"), plan.state):
        assert street.woken == []
    assert street.woken == ["set-1", "set-2"]


def test_of_a_long_line_only_the_front_is_woken():
    """Thousands of sets that wait would all be looked at, and each status written, whenever one ends."""
    street = Street(2)
    street.publish("2.0.0")
    street.run(1)
    waits = street.seen("set-1")
    for number in range(100):
        street.sets.put(replace(waits, name=f"z-{number:03}", uid=f"uid-{number}"))
    assert street.turns.turn(street.sets.get("shop", "z-042")) == QueuePosition(rolling=1, ahead=43)
    street.woken.clear()
    street.sets.put(replace(street.seen("set-0"), status={}))
    assert street.woken == ["set-1", *(f"z-{number:03}" for number in range(NEAR - 1))]
    street.policy = policy(maxConcurrentScaleSets=50)
    street.publish_policy()
    street.woken.clear()
    street.sets.put(replace(street.seen("set-1"), status={}))
    assert len(street.woken) == 50


@pytest.mark.parametrize(("limit", "turn"), [(1, None), (None, QueuePosition(rolling=1, ahead=0))])
def test_a_limit_that_comes_or_goes_between_two_reads_stops_no_decision(limit, turn):
    """The policy may be fresher than what was counted: there is no limit until both know of it."""
    world = running(3, by=policy(maxConcurrentScaleSets=limit))
    world.turn = lambda: turn
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
