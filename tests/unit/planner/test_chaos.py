"""Whatever happens to a set in whatever order, with zones, surge and protection: what must always hold, holds.

The operator is killed after any write, pods are lost and break, the set grows and shrinks, images are good and bad,
and somebody cancels. After every reconcile the invariants are checked; in the end, when everything stands still, the
set has got somewhere (L1).
"""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaleset.planner.batches import batch_limit
from scaleset.planner.placement import place
from scaleset.planner.ranges import parse
from tests.simulation.outcomes import code, rollout
from tests.simulation.scenes import BAD, cancel, running, start
from tests.simulation.world import World, policy

ACTIONS = ("time", "time", "time", "die", "lose", "break", "heal", "publish", "publish bad", "scale", "cancel", "start")

Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 40)), min_size=5, max_size=40)
shapes = st.fixed_dictionaries(
    {
        "surge": st.booleans(),
        "zones": st.integers(0, 3),
        "cross": st.booleans(),
        "percent": st.sampled_from([5, 20, 50, 100]),
        "rule": st.sampled_from(["Default", "OldestVM", "NewestVM"]),
        "replicas": st.integers(1, 9),
        "protected": st.booleans(),
    }
)


def new_world(shape: dict[str, Any]) -> World:
    rolling = {
        "maxSurge": shape["surge"],
        "enableCrossZoneUpgrade": shape["cross"],
        "maxBatchInstancePercent": shape["percent"],
        "maxUnhealthyInstancePercent": 50,
        # Or instances that were born on a bad version would close the gate to their own fix.
        "prioritizeUnhealthyInstances": True,
    }
    protected = [{"id": 0, "protectFromScaleSetActions": True}] if shape["protected"] else []
    return running(
        shape["replicas"],
        by=policy(rolling=rolling, healthTimeout="PT30S"),
        zones=[f"z{number}" for number in range(shape["zones"])],
        scaleInPolicy={"rules": [shape["rule"]]},
        protectedInstances=protected,
    )


class Chaos:
    """One history of a set."""

    def __init__(self, shape: dict[str, Any]) -> None:
        self.shape = shape
        self.world = new_world(shape)
        self.release = 0
        self.protected_uid = self.world.pods[0].uid if shape["protected"] else ""
        self.lost_protected = False

    def act(self, action: str, number: int) -> None:
        world = self.world
        present = sorted(n for n, pod in world.pods.items() if not pod.deleting)
        chosen = present[number % len(present)] if present else None
        if action == "time":
            world.run(1 + number % 40, each=self.check)
        elif action == "die":
            world.step(writes=number % 4)
        elif action == "lose" and chosen is not None:
            self.lost_protected = self.lost_protected or chosen == 0
            world.loses(chosen)
        elif action == "break" and chosen is not None:
            world.breaks(chosen)
        elif action == "heal":
            world.broken.clear()
        elif action in ("publish", "publish bad"):
            self.release += 1
            world.publish(f"2.{self.release}.0", suffix=BAD if action == "publish bad" else "")
        elif action == "scale":
            world.change(replicas=number % 11)
        elif action == "cancel":
            cancel(world, str(number))
        elif action == "start":
            start(world, str(number))
        self.check(world)

    def check(self, world: World) -> None:
        state = world.state
        running_now = state.rollout if state.rollout is not None and state.rollout.running else None
        zones = max(1, self.shape["zones"])
        if running_now is not None:
            assert not running_now.pending & running_now.in_progress
            assert not running_now.successful & running_now.failed
            if running_now.batch is not None:
                self._check_batch(running_now.batch, zones)
        if self.protected_uid and not self.lost_protected and 0 in world.pods and 0 in state.builds:
            assert world.pods[0].uid == self.protected_uid, "a protected instance was replaced"

    def _check_batch(self, batch: Any, zones: int) -> None:
        for new, old in batch.pairs.items():
            assert place(new, zones=zones, update_domains=1) == place(old, zones=zones, update_domains=1)
        assert len(batch.surge) == len(batch.replaces)
        if not self.shape["cross"]:
            assert len({number % zones for number in batch.instances}) <= 1

    def settle(self) -> None:
        """Faults stop, inputs stand still; a good version is published."""
        world = self.world
        world.broken.clear()
        if world.spec.replicas == 0:
            world.change(replicas=1)
        world.run(7200, each=self.check)
        self.release += 1
        world.publish(f"2.{self.release}.0")
        world.run(7200, each=self.check)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(shape=shapes, story=steps)
def test_in_the_end_all_is_well(shape, story):
    """L4: after all faults a good version reaches everybody who is not protected, and nothing is left over."""
    chaos = Chaos(shape)
    for action, number in story:
        chaos.act(action, number)
    chaos.settle()
    world = chaos.world
    target = f"2.{chaos.release}.0"
    assert len(world.pods) == world.spec.replicas or shape["protected"]
    assert all(pod.ready for pod in world.pods.values())
    behind = {number for number, pod in world.pods.items() if pod.version != target}
    assert behind <= ({0} if shape["protected"] else set()), (behind, code(world))
    counts = Counter(number % max(1, shape["zones"]) for number in world.pods)
    assert sum(counts.values()) == len(world.pods)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    replicas=st.integers(1, 9),
    percent=st.sampled_from([5, 20, 50, 100]),
    zones=st.integers(0, 3),
    bad=st.booleans(),
    deaths=st.lists(st.integers(0, 5), max_size=30),
)
def test_surge_never_has_fewer_healthy_ones_whenever_it_is_killed(replicas, percent, zones, bad, deaths):
    world = new_world(
        {
            "surge": True,
            "zones": zones,
            "cross": False,
            "percent": percent,
            "rule": "Default",
            "replicas": replicas,
            "protected": False,
        }
    )
    world.publish("2.0.0", suffix=BAD if bad else "")
    limit = batch_limit(replicas, percent)
    for writes in deaths:
        world.step(writes=writes)
        world.now += 0.5
        world.happen()
        enough(world, replicas, limit)
    world.run(120, each=lambda w: enough(w, replicas, limit))
    assert code(world) == ("Faulted" if bad else "Completed")
    assert set(world.versions.values()) == {"1.0.0" if bad else "2.0.0"}
    assert len(world.pods) == replicas
    assert parse(rollout(world)["pending"]) == frozenset() or bad


def enough(world: World, replicas: int, limit: int) -> None:
    healthy = sum(pod.ready and not pod.deleting for pod in world.pods.values())
    assert healthy >= replicas
    assert sum(not pod.deleting for pod in world.pods.values()) <= replicas + limit
