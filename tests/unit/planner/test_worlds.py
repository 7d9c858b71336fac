"""Whole worlds in which anything happens, in any order (L1, S1 to S5, S7 to S10, S14).

Hypothesis plays the users, the cluster and the operator's bad luck; tests/simulation/watched.py asks the invariants at
every write. At the end everything is repaired, and the world has to come to rest (L1).
"""

from dataclasses import replace
from math import inf

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scaleset.planner.instances import Pod
from tests.simulation.outcomes import condition
from tests.simulation.scenes import BAD, apply_model, cancel, new_model, start
from tests.simulation.verdicts import in_progress, parts, running
from tests.simulation.watched import Watched
from tests.simulation.world import policy, spec

METHODS = st.sampled_from(["Recreate", "InPlaceIfPossible"])
MODES = st.sampled_from(["Manual", "Manual", "Rolling", "Automatic"])
BATCHES = st.sampled_from([5, 20, 20, 34, 50, 100])
ROOM = st.sampled_from([20, 20, 50, 100])
ANYONE = st.integers(0, 11)
MOMENT = st.sampled_from([0.0, 0.0, 0.5, 1.5, 2.5, 30.0])


class AnyWorld(RuleBasedStateMachine):
    """Everything that may happen to one ScaleSet. Most rules let a moment pass, so that rollouts get somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Watched()
        self.cached: dict[int, Pod] | None = None
        self.versions = 1
        self.revisions = 1
        self.asked = 0

    @initialize(
        replicas=st.integers(0, 11),
        mode=MODES,
        batch=BATCHES,
        room=ROOM,
        priority=st.booleans(),
        by_hand=st.sampled_from([False, False, True]),
        method=METHODS,
        born=st.sampled_from(["", "", "", BAD]),
    )
    def created(
        self, replicas: int, mode: str, batch: int, room: int, priority: bool, by_hand: bool, method: str, born: str
    ) -> None:
        rolling = {
            "maxBatchInstancePercent": batch,
            "maxUnhealthyInstancePercent": room,
            "prioritizeUnhealthyInstances": priority,
        }
        by = policy(mode=mode, automatic=not by_hand, rolling=rolling, replacementMethod=method)
        self.world = Watched(spec=spec(replicas=replicas), policy=by)
        self.world.publish("1.0.0", suffix=born)
        self.world.run(30)
        self.publishes(bad=False, moment=0.5)

    # --- the operator

    @rule(writes=st.integers(1, 4))
    def dies_after_some_writes(self, writes: int) -> None:
        self.world.step(writes=writes)

    @rule()
    def remembers_the_pods_as_they_are_now(self) -> None:
        self.cached = dict(self.world.pods)

    @precondition(lambda self: self.cached is not None)
    @rule()
    def decides_from_an_old_view(self) -> None:
        plan = self.world.plan(pods=self.cached)
        for name, action in self.world.actions(plan):
            self.world.writes.append(name)
            action()
        self.cached = None

    # --- time and pods

    @rule(seconds=st.sampled_from([0.5, 1.5, 3.0, 30.0]))
    def a_moment_passes(self, seconds: float) -> None:
        self.cached = None
        self.world.run(seconds)

    @rule(seconds=st.sampled_from([299.0, 301.0, 700.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.a_moment_passes(seconds)

    @rule(numbers=st.sets(ANYONE, max_size=3), moment=MOMENT)
    def pods_break(self, numbers: set[int], moment: float) -> None:
        for number in numbers & self.world.pods.keys():
            if self.world.pods[number].ready:
                self.world.sickens(number)
        self.a_moment_passes(moment)

    @rule(number=ANYONE)
    def instance_is_broken_whatever_it_runs(self, number: int) -> None:
        if number in self.world.pods and self.world.pods[number].ready:
            self.world.breaks(number)

    @rule()
    def everything_heals(self) -> None:
        self.world.sick.clear()
        self.world.broken.clear()
        self.world.held.clear()
        self.world.quota = lambda _: None
        self.world.happen()

    @rule(number=ANYONE, moment=MOMENT)
    def pod_is_deleted_by_hand(self, number: int, moment: float) -> None:
        self.world.loses(number)
        self.a_moment_passes(moment)

    @rule(number=ANYONE)
    def pod_is_evicted(self, number: int) -> None:
        if number in self.world.pods:
            self.world.pods[number] = replace(self.world.pods[number], ended=True, ready=False)

    @rule(number=ANYONE)
    def node_is_lost(self, number: int) -> None:
        if number in self.world.pods:
            self.world.held.add(number)
            due = self.world.now + self.world.grace
            self.world.pods[number] = replace(self.world.pods[number], reporting=False, deleting=True, deletion_due=due)

    @rule()
    def quota_is_used_up(self) -> None:
        self.world.quota = lambda _: "exceeded quota"

    # --- users

    @rule(bad=st.booleans(), moment=MOMENT)
    def publishes(self, bad: bool, moment: float) -> None:
        self.versions += 1
        self.world.publish(f"{self.versions}.0.0", suffix=BAD if bad else "")
        self.a_moment_passes(moment)

    @rule(bad=st.booleans(), moment=MOMENT)
    def publishes_again(self, bad: bool, moment: float) -> None:
        self.publishes(bad, moment)

    @rule(excluded=st.booleans(), moment=MOMENT)
    def excludes_the_newest(self, excluded: bool, moment: float) -> None:
        self.world.catalogue[-1] = replace(self.world.catalogue[-1], excluded=excluded)
        self.a_moment_passes(moment)

    @rule(replicas=ANYONE, moment=MOMENT)
    def scales(self, replicas: int, moment: float) -> None:
        self.world.change(replicas=replicas)
        self.a_moment_passes(moment)

    @rule(moment=MOMENT)
    def cancels(self, moment: float) -> None:
        self.asked += 1
        cancel(self.world, str(self.asked))
        self.a_moment_passes(moment)

    @rule(moment=MOMENT)
    def starts_by_hand(self, moment: float) -> None:
        self.asked += 1
        start(self.world, str(self.asked))
        self.a_moment_passes(moment)

    @rule(value=st.sampled_from(["*", "0", "1-3", "nonsense"]))
    def applies_the_model(self, value: str) -> None:
        apply_model(self.world, value)

    @rule(suspend=st.booleans(), moment=MOMENT)
    def suspends(self, suspend: bool, moment: float) -> None:
        self.world.change(suspend=suspend)
        self.a_moment_passes(moment)

    @rule(back=st.booleans(), moment=MOMENT)
    def changes_the_model(self, back: bool, moment: float) -> None:
        self.revisions += 0 if back else 1
        new_model(self.world, str(max(1, self.revisions - back)))
        self.a_moment_passes(moment)

    @rule(pin=st.booleans())
    def pins_or_unpins(self, pin: bool) -> None:
        version = self.world.status.get("currentVersion") or "1.0.0"
        image = self.world.spec.image_reference.model_copy(update={"version": version if pin else "latest"})
        self.world.change(image_reference=image)

    @rule(mode=MODES, batch=BATCHES, method=METHODS, deleted=st.sampled_from([False, False, True]))
    def edits_the_policy(self, mode: str, batch: int, method: str, deleted: bool) -> None:
        edited = policy(mode=mode, rolling={"maxBatchInstancePercent": batch}, replacementMethod=method)
        self.world.policy = None if deleted else edited

    # --- what holds after every step

    @invariant()
    def builds_and_pods_agree(self) -> None:
        """S4: outside batch and request every pod runs what is written down for it."""
        state = self.world.state
        busy = state.applying | in_progress(state)
        for number, pod in self.world.pods.items():
            build = state.builds.get(number)
            if build is not None and number not in busy and not pod.deleting:
                assert build.same_as(pod), f"S4: instance {number} runs {pod.version}, written down is {build.version}"

    @invariant()
    def counts_add_up(self) -> None:
        """S14: an instance is in one count, and who waits is told why."""
        rollout = self.world.state.rollout
        if rollout is None:
            return
        groups = [rollout.successful, rollout.failed, rollout.verifying, rollout.pending]
        assert sum(map(len, groups)) == len(frozenset().union(*groups))
        if rollout.running:
            assert frozenset().union(*groups) <= self.world.state.builds.keys()
            assert rollout.waiting is not None

    @invariant()
    def a_world_at_rest_stays_at_rest(self) -> None:
        """S9: when a decision leads to no write, neither does the next one a second later, without a deadline."""
        world = self.world
        if world.plans and not world.actions(plan := world.plan()) and (world.next_look(plan) or inf) > world.now + 1:
            world.now += 1
            assert world.actions(world.plan()) == []
            world.now -= 1

    def teardown(self) -> None:
        """L1: faults stop and inputs stand still."""
        self.everything_heals()
        if self.world.policy is None:
            self.edits_the_policy("Manual", 20, "Recreate", deleted=False)
        self.world.change(suspend=False)
        self.world.run(20_000)
        check_end(self.world)


def check_end(world: Watched) -> None:
    """All on the target, or halted with a reason; nothing half done, and nothing is written any more."""
    state = world.state
    accepted = condition(world, "Accepted")["status"] == "True"
    assert running(state) is None or not accepted
    assert not state.applying
    assert len(world.pods) == world.spec.replicas
    assert world.pods.keys() == state.builds.keys()
    assert all(state.builds[number].same_as(pod) for number, pod in world.pods.items())
    writes = len(world.writes)
    world.run(600)
    assert len(world.writes) == writes, "S9: it goes on writing"
    if not accepted or condition(world, "UpToDate")["status"] == "True":
        return
    progressing = condition(world, "Progressing")
    assert progressing["message"]
    automatic = world.policy is not None and world.policy.automatic_os_upgrade_policy.enable_automatic_os_upgrade
    if not automatic or world.spec.image_reference.version != "latest":
        return
    latest = world.status["latestVersion"]
    if any(parts(pod.version) < parts(latest) for pod in world.pods.values()):
        assert progressing["reason"] in ("TargetFailed", "HealthGateWaiting"), progressing


TestAnyWorld = AnyWorld.TestCase
TestAnyWorld.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
