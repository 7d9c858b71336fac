"""A restart that the user asks for: every instance is made again with the build that it has."""

from typing import Any

import pytest

from scaleset.api import names
from scaleset.planner.placement import place
from scaleset.planner.plan import Creation
from scaleset.planner.ranges import parse
from tests.simulation.outcomes import changed, code, condition, counts, deleted, reasons, rollout
from tests.simulation.scenes import BAD, apply_model, ask, cancel, new_model, pin, running, start
from tests.simulation.world import World, policy, spec

TOO_MANY_BEFORE = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
TOO_MANY_UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
FABRIC = {"durabilityLevel": "Silver", "nodeTypeDurabilityLevel": "Silver", "typeHandlerVersion": "1.1"}


def restart(world: World, value: str = "now") -> None:
    ask(world, names.ANNOTATION_RESTART, value)


def uids(world: World) -> dict[int, str]:
    return {number: pod.uid for number, pod in world.pods.items()}


def builds(world: World) -> dict[int, tuple[str, str, str | None]]:
    return {number: (pod.model, pod.version, pod.asked_image) for number, pod in sorted(world.pods.items())}


def made_again(world: World, before: dict[int, str]) -> set[int]:
    return {number for number, uid in uids(world).items() if before.get(number, uid) != uid}


class Batches:
    """The instances of each batch, and the most that were without health at a time."""

    def __init__(self) -> None:
        self.seen: dict[int, set[int]] = {}
        self.down = 0

    def __call__(self, world: World) -> None:
        batch = rollout(world).get("batch") if "rollingUpgrade" in world.status else None
        if batch is not None:
            self.seen[batch["number"]] = set(parse(batch["instances"]))
        self.down = max(self.down, world.spec.replicas - sum(p.ready and not p.deleting for p in world.pods.values()))


@pytest.mark.parametrize("mode", ["Manual", "Rolling", "Automatic"])
@pytest.mark.parametrize("version", ["latest", "1.0.0"])
def test_every_instance_is_made_again_with_its_build_batch_by_batch(mode: str, version: str) -> None:
    world = running(10, by=policy(mode=mode, automatic=False))
    pin(world, version)
    world.run(100)
    world.publish("2.0.0")
    world.run(10)
    before, ran, seen = uids(world), builds(world), Batches()
    restart(world)
    world.run(100, each=seen)
    assert code(world) == "Completed"
    assert (rollout(world)["kind"], rollout(world)["startedBy"]) == ("Restart", "User")
    assert made_again(world, before) == set(range(10))
    assert builds(world) == ran
    assert (len(seen.seen), seen.down) == (5, 2)
    assert world.status["lastHandledRestart"] == "now"
    assert world.status["currentVersion"] == "1.0.0"
    assert world.status["osUpgradeHistory"] == []
    assert counts(world) == (10, 0, 0, 0)


def test_what_a_restart_is_called() -> None:
    world = running(5)
    world.start = 30.0
    restart(world)
    world.run(5)
    assert condition(world, "Ready")["message"] == "4 of 5 instances are healthy; a restart is running."
    world.run(1000)
    said = {event.reason: event.message for event in world.events}
    assert said["RolloutStarted"] == "Restart started by the user."
    assert said["BatchCompleted"] == "Batch 5 of 5: 1 of 1 instances restarted."
    assert said["RolloutCompleted"] == "Restart completed: 5 instances restarted."
    assert condition(world, "Progressing")["message"] == "Restart 1: Completed."
    assert condition(world, "UpToDate")["status"] == "True"


def test_a_restart_is_carried_out_once_and_another_value_is_another_one() -> None:
    world = running(5)
    restart(world, "1")
    world.run(100)
    assert deleted(world) == [0, 1, 2, 3, 4]
    world.run(86400)
    assert len(deleted(world)) == 5
    restart(world, "2")
    world.run(100)
    assert deleted(world) == [0, 1, 2, 3, 4] * 2


def test_instances_of_two_models_keep_theirs_and_are_never_in_one_batch() -> None:
    world = running(10, by=policy(mode="Manual", rolling={"maxBatchInstancePercent": 40}))
    new_model(world)
    world.run(10)
    apply_model(world, "0-4")
    world.run(100)
    ran, seen = builds(world), Batches()
    assert len({model for model, _, _ in ran.values()}) == 2
    world.writes.clear()
    restart(world)
    world.run(200, each=seen)
    assert code(world) == "Completed"
    assert sorted(deleted(world)) == list(range(10))
    assert builds(world) == ran
    assert all(len({ran[n][0] for n in batch}) == 1 for batch in seen.seen.values()), seen.seen


def test_a_pod_that_was_made_since_the_restart_began_is_not_made_again() -> None:
    world = running(10)
    world.start = 20.0
    restart(world)
    world.run(5)
    world.loses(9)
    world.run(5)
    lost = world.pods[9].uid
    world.change(replicas=11)
    world.run(30)
    grown = world.pods[10].uid
    world.run(1000)
    assert code(world) == "Completed"
    assert (world.pods[9].uid, world.pods[10].uid) == (lost, grown)
    assert counts(world) == (9, 0, 0, 0)


def test_a_lost_pod_of_a_restarted_instance_comes_back_as_it_was() -> None:
    """The recorded build has the time of the restart, so its next pod is no old one either."""
    world = running(5)
    restart(world)
    world.run(100)
    world.loses(3)
    world.run(100)
    assert len(deleted(world)) == 5
    assert condition(world, "Ready")["status"] == "True"
    assert world.pods[3].restart == world.pods[2].restart is not None


def test_protected_instances_are_left_alone() -> None:
    world = running(5, protectedInstances=[{"id": 1, "protectFromScaleSetActions": True}])
    restart(world)
    world.run(100)
    assert code(world) == "Completed"
    assert deleted(world) == [0, 2, 3, 4]


def test_in_place_means_nothing_to_a_restart() -> None:
    world = running(5, by=policy(replacementMethod="InPlaceIfPossible"))
    restart(world)
    world.run(100)
    assert (deleted(world), changed(world)) == ([0, 1, 2, 3, 4], [])
    world.publish("2.0.0")
    world.run(100)
    assert changed(world) == [0, 1, 2, 3, 4]
    restart(world, "again")
    world.run(100)
    assert deleted(world) == [0, 1, 2, 3, 4] * 2


def test_a_surge_restarts_without_going_below_the_wanted_number() -> None:
    world = running(10, by=policy(rolling={"maxSurge": True}))
    before, seen = set(uids(world).values()), Batches()
    restart(world)
    world.run(200, each=seen)
    assert code(world) == "Completed"
    assert seen.down <= 0
    assert len(world.pods) == 10
    assert not before & set(uids(world).values())


def test_a_surge_without_room_restarts_in_place_of_the_old_ones() -> None:
    world = running(4, by=policy(rolling={"maxSurge": True}))

    def full(_: Creation) -> str | None:
        return "exceeded quota: pods" if len(world.pods) >= 4 else None

    before, world.quota = uids(world), full
    restart(world)
    world.run(200)
    assert code(world) == "Completed"
    assert made_again(world, before) == {0, 1, 2, 3}


def test_zones_and_update_domains_are_kept_apart() -> None:
    zones = ["a", "b", "c"]
    world, seen = running(9, by=policy(rolling={"maxBatchInstancePercent": 40}), zones=zones), Batches()
    restart(world)
    world.run(200, each=seen)
    assert code(world) == "Completed"
    assert all(len({n % 3 for n in batch}) == 1 for batch in seen.seen.values()), seen.seen
    fabric = running(10, by=policy(mode="Automatic"), serviceFabric=FABRIC, updateDomains=5)
    seen = Batches()
    restart(fabric)
    fabric.run(200, each=seen)
    assert code(fabric) == "Completed"
    domains = [{place(n, zones=0, update_domains=5).update_domain for n in batch} for batch in seen.seen.values()]
    assert domains == [{0}, {1}, {2}, {3}, {4}]


# --- health


def test_a_restart_that_fails_stops_and_says_nothing_about_the_version() -> None:
    world = running(10, by=policy(mode="Rolling"))
    world.broken |= set(range(10))
    restart(world)
    world.run(1000)
    assert code(world) == "Faulted"
    assert rollout(world)["error"]["code"] == TOO_MANY_UPGRADED
    assert len(deleted(world)) == 2
    assert not world.status.get("failedTargets")
    assert world.state.retry is None
    assert "InstanceRestored" not in reasons(world)
    world.run(86400)
    assert len(deleted(world)) == 2, "nothing is tried again by itself"


@pytest.mark.parametrize("broken_by", ["the version", "the node"])
def test_the_gate_is_closed_and_the_broken_instances_go_first(broken_by: str) -> None:
    """8 of 10: a batch of nothing but broken instances makes nothing worse. The others wait for the gate."""
    world = running(10)
    for number in range(2, 10):
        (world.breaks if broken_by == "the node" else world.sickens)(number)
    world.run(10)
    seen = Batches()
    restart(world)
    world.run(1000, each=seen)
    if broken_by == "the version":
        assert code(world) == "Completed"
        assert [seen.seen[n] for n in sorted(seen.seen)] == [{2, 3}, {4, 5}, {6, 7}, {8, 9}, {0, 1}]
    else:
        assert code(world) == "Faulted"
        assert deleted(world) == [2, 3]
        assert not world.status.get("failedTargets")


def test_healthy_instances_are_not_restarted_while_the_gate_is_closed() -> None:
    protected = [{"id": n, "protectFromScaleSetActions": True} for n in range(2, 10)]
    world = running(10, protectedInstances=protected)
    for number in range(2, 10):
        world.sickens(number)
    restart(world)
    world.run(100)
    assert (code(world), deleted(world)) == ("Faulted", [])
    assert rollout(world)["error"]["code"] == TOO_MANY_BEFORE
    assert world.state.retry is None


def test_what_failed_before_stays_remembered_after_a_restart() -> None:
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    before, tried = world.status["failedTargets"], len(deleted(world))
    restart(world)
    world.run(86400)
    assert code(world) == "Completed"
    assert world.status["failedTargets"] == before
    assert len(deleted(world)) == tried + 5
    assert set(world.versions.values()) == {"1.0.0"}


# --- beside other things


def test_a_cancelled_restart_ends_after_its_batch_and_is_not_remembered() -> None:
    world = running(10, by=policy(mode="Rolling"))
    world.start = 20.0
    restart(world)
    world.run(5)
    cancel(world)
    world.run(1000)
    assert code(world) == "Cancelled"
    assert deleted(world) == [0, 1]
    assert not world.status.get("failedTargets")


@pytest.mark.parametrize("mode", ["Manual", "Rolling"])
def test_a_new_model_ends_a_restart_only_where_it_goes_to_the_instances(mode: str) -> None:
    world = running(10, by=policy(mode=mode))
    world.start = 20.0
    restart(world)
    world.run(5)
    new_model(world)
    world.run(1000)
    assert ("RolloutCancelled" in reasons(world)) is (mode == "Rolling")
    assert len(deleted(world)) == (10 if mode == "Manual" else 12)
    assert (code(world), rollout(world)["kind"]) == ("Completed", "Restart" if mode == "Manual" else "Model")


def test_a_restart_in_the_template_is_a_change_of_the_model_like_any_other() -> None:
    world = running(5, by=policy(mode="Rolling"))
    annotations = {"kubectl.kubernetes.io/restartedAt": "2027-01-31T00:00:00Z"}
    world.change(template={**world.spec.template, "metadata": {"annotations": annotations}})
    world.run(100)
    assert (code(world), rollout(world)["kind"]) == ("Completed", "Model")
    assert deleted(world) == [0, 1, 2, 3, 4]


def test_a_newer_version_waits_for_the_end_of_a_restart() -> None:
    world = running(5)
    world.start = 20.0
    restart(world)
    world.run(5)
    world.publish("2.0.0")
    world.run(1000)
    assert deleted(world) == [0, 1, 2, 3, 4] * 2
    assert (code(world), rollout(world)["kind"]) == ("Completed", "Image")


def test_of_two_starts_at_once_one_begins_and_the_other_is_refused() -> None:
    world = running(5, by=policy(automatic=False))
    world.publish("2.0.0")
    restart(world)
    start(world)
    world.run(200)
    assert set(world.versions.values()) == {"2.0.0"}
    assert len(deleted(world)) == 5
    assert (world.status["lastHandledStart"], world.status["lastHandledRestart"]) == ("now", "now")
    refused = [event.message for event in world.events if event.reason == "StartRefused"]
    running_one = "Rolling upgrade 1 is running. Wait for its end, or cancel it."
    assert refused == [f"scaleset.dev/restart-at: {running_one}"]


REFUSED: dict[str, str] = {
    "suspended": "The set is suspended. Set spec.suspend to false and ask again.",
    "policy suspended": "UpgradePolicy careful suspends its sets. Set its spec.suspend to false and ask again.",
    "no policy": "UpgradePolicy shop/careful does not exist. Create it, or change spec.upgradePolicyRef.name.",
    "protected": "All instances are protected. Remove the protection of some and ask again.",
    "pinned to nothing": (
        "No GalleryImageVersion in namespace shop offers a version 9.9.9 of contoso/web/stable. Publish one. For a "
        "gallery in another namespace set spec.imageReference.galleryNamespace."
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_restart_that_cannot_be_carried_out_is_refused_with_the_reason(why: str) -> None:
    protected = [{"id": n, "protectFromScaleSetActions": True} for n in range(3)] if why == "protected" else []
    world = running(3, protectedInstances=protected)
    if why == "suspended":
        world.change(suspend=True)
    elif why == "policy suspended":
        world.policy = policy(suspend=True)
    elif why == "no policy":
        world.policy = None
    elif why == "pinned to nothing":
        pin(world, "9.9.9")
    restart(world)
    world.run(100)
    assert deleted(world) == []
    assert world.state.rollout is None
    told = condition(world, "Progressing")
    assert (told["status"], told["reason"]) == ("False", "StartRefused")
    assert told["message"] == f"scaleset.dev/restart-at: {REFUSED[why]}"
    assert [e.message for e in world.events if e.reason == "StartRefused"] == [told["message"]]
    assert world.status["lastHandledRestart"] == "now"


def test_what_a_new_set_was_made_with_restarts_nothing() -> None:
    """A manifest that was read from a cluster bears the request of the set that it was read from."""
    world = World(spec=spec(replicas=3), policy=policy())
    restart(world, "of another set")
    world.publish("1.0.0")
    world.run(200)
    assert deleted(world) == []
    assert world.state.rollout is None
    assert world.status["lastHandledRestart"] == "of another set"
    restart(world, "of this one")
    world.run(200)
    assert deleted(world) == [0, 1, 2]


def test_a_status_that_was_lost_brings_no_restart_back() -> None:
    world = running(3)
    restart(world)
    world.run(100)
    world.status, world.writes = {}, []
    world.dies()
    world.run(200)
    assert deleted(world) == []


@pytest.mark.parametrize("writes", range(1, 4))
def test_killed_after_each_write_it_restarts_every_instance_once(writes: int) -> None:
    """Each look dies after so many writes, and another operator goes on."""
    world = running(6, by=policy(rolling={"maxBatchInstancePercent": 40}))
    before = uids(world)
    restart(world)
    for _ in range(200):
        world.step(writes=writes)
        world.now += 0.5
        world.happen()
    world.run(100)
    assert code(world) == "Completed"
    assert made_again(world, before) == set(range(6))
    assert sorted(deleted(world)) == list(range(6))


def test_the_request_is_a_promise_about_names() -> None:
    expected: dict[str, Any] = {
        "ANNOTATION_RESTART": "scaleset.dev/restart-at",
        "ANNOTATION_RETRY": "scaleset.dev/retry-at",
        "ANNOTATION_MODEL_ROLLOUT": "scaleset.dev/start-model-rollout-at",
        "ANNOTATION_ROLLBACK": "scaleset.dev/rollback-at",
        "ANNOTATION_RESTARTED": "scaleset.dev/restarted-at",
    }
    assert {name: getattr(names, name) for name in expected} == expected
