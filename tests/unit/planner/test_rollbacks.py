"""Rollouts of the model that the user asks for, and going back by one of them."""

from dataclasses import replace

import pytest

from scaleset.api import names
from tests.simulation.outcomes import code, condition, counts, deleted, reasons, refusals, remembered, rollout
from tests.simulation.scenes import BAD, apply_model, ask, cancel, new_model, pin, retry, running, under_way
from tests.simulation.world import World, policy, spec

MODES = ("Manual", "Rolling", "Automatic")


def roll(world: World, value: str = "now") -> None:
    ask(world, names.ANNOTATION_MODEL_ROLLOUT, value)


def roll_back(world: World, number: str, value: str = "now") -> None:
    """One write: the pin and the request."""
    pin(world, number)
    ask(world, names.ANNOTATION_ROLLBACK, value)


def unpin(world: World) -> None:
    pin(world, "latest")


def on_two(mode: str = "Manual", *, replicas: int = 10, suffix: str = "", **changes: object) -> World:
    """A healthy set that was upgraded from 1.0.0 to 2.0.0."""
    world = running(replicas, by=policy(mode=mode, **changes))  # type: ignore[arg-type]
    world.publish("2.0.0", suffix=suffix)
    world.run(200)
    assert set(world.versions.values()) == {"2.0.0"}
    world.events.clear()
    world.writes.clear()
    return world


# --- a model rollout by hand


@pytest.mark.parametrize("mode", MODES)
def test_a_model_goes_to_the_instances_in_batches_in_every_mode(mode: str) -> None:
    world = running(10, by=policy(mode=mode))
    most = []
    new_model(world)
    roll(world)
    world.run(200, each=lambda world: most.append(sum(not pod.ready or pod.deleting for pod in world.pods.values())))
    assert (code(world), rollout(world)["kind"], rollout(world)["startedBy"]) == ("Completed", "Model", "User")
    assert deleted(world) == list(range(10))
    assert max(most) == 2
    assert world.status["lastHandledModelRollout"] == "now"
    assert condition(world, "UpToDate")["status"] == "True"


def test_it_restores_where_only_the_version_differs() -> None:
    world = on_two()
    world.publish("3.0.0", suffix=BAD, excluded=True)
    pin(world, "3.0.0")
    roll(world)
    world.run(1000)
    assert (code(world), rollout(world)["versionOnly"], rollout(world)["startedBy"]) == ("Faulted", True, "User")
    assert counts(world) == (0, 2, 0, 8)
    assert rollout(world)["restored"] == "0-1"
    assert set(world.versions.values()) == {"2.0.0"}
    assert remembered(world)[0][0] == "3.0.0"


def test_it_restores_nothing_where_the_template_differs() -> None:
    world = running(10, by=policy(mode="Manual"))
    world.broken |= {0, 1}
    new_model(world)
    roll(world)
    world.run(1000)
    assert (code(world), deleted(world)) == ("Faulted", [0, 1])
    assert "InstanceRestored" not in reasons(world)


def test_a_policy_without_rollback_restores_nothing_by_hand_either() -> None:
    world = on_two(os={"disableAutomaticRollback": True})
    world.publish("3.0.0", suffix=BAD, excluded=True)
    pin(world, "3.0.0")
    roll(world)
    world.run(1000)
    assert (code(world), rollout(world)["restored"]) == ("Faulted", "")


def test_in_mode_automatic_the_platform_goes_on_in_batches_where_the_run_ended_at_the_gate() -> None:
    """Not all at once: whoever asks for batches has a reason to."""
    world = running(10, by=policy(mode="Automatic"))
    world.start = 5.0
    new_model(world)
    roll(world)
    world.run(12)
    for number in (7, 8, 9):
        world.sickens(number)
    most: list[int] = []
    world.change(protected_instances=_protected(7, 8, 9))
    world.run(30)
    assert code(world) == "Faulted"
    done = len(deleted(world))
    assert 0 < done < 10
    world.run(3600)
    assert len(deleted(world)) == done, "the gate is closed"
    world.sick.clear()
    world.happen()
    world.run(600, each=lambda world: most.append(sum(not pod.ready for pod in world.pods.values())))
    assert (code(world), rollout(world)["startedBy"]) == ("Completed", "Platform")
    assert max(most) <= 2
    assert len(deleted(world)) == 7


def _protected(*numbers: int) -> tuple[object, ...]:
    return spec(protectedInstances=[{"id": n, "protectFromScaleSetActions": True} for n in numbers]).protected_instances


def test_a_request_that_comes_with_an_edit_begins_after_the_run_that_the_edit_ends() -> None:
    world = under_way(10, by=policy(mode="Manual"))
    new_model(world)
    roll(world)
    world.settle()
    assert "lastHandledModelRollout" not in world.status
    world.run(1000)
    assert refusals(world) == []
    assert (code(world), rollout(world)["kind"]) == ("Completed", "Image"), "the newer version follows"
    said = [event.message for event in world.events if event.reason in ("RolloutStarted", "RolloutCancelled")]
    assert [text.split(" web-")[0] for text in said] == [
        "Rolling upgrade to version 2.0.0 started by the platform.",
        "Superseded by model",
        "Rolling upgrade to model",
        "Rolling upgrade to version 2.0.0 started by the platform.",
    ]


def test_during_a_run_to_the_same_model_it_is_refused() -> None:
    world = under_way(10)
    roll(world)
    world.run(5)
    assert refusals(world) == [
        "scaleset.dev/start-model-rollout-at: Rolling upgrade 1 is running. Wait for its end, or cancel it."
    ]


def test_after_a_cancelled_run_it_begins() -> None:
    world = under_way(10)
    cancel(world)
    roll(world)
    world.run(1000)
    assert refusals(world) == []
    assert (code(world), rollout(world)["startedBy"], counts(world)) == ("Completed", "User", (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("suspended", "The set is suspended. Set spec.suspend to false and ask again."),
        ("policy", "UpgradePolicy careful suspends its sets. Set its spec.suspend to false and ask again."),
        ("protected", "All instances are protected. Remove the protection of some and ask again."),
    ],
)
@pytest.mark.parametrize("annotation", [names.ANNOTATION_MODEL_ROLLOUT, names.ANNOTATION_ROLLBACK])
def test_a_request_that_cannot_be_carried_out_is_refused_with_the_reason(why: str, text: str, annotation: str) -> None:
    world = on_two(replicas=3)
    pin(world, "1.0.0")
    if why == "policy":
        world.policy = policy(suspend=True)
    else:
        protected = _protected(0, 1, 2) if why == "protected" else ()
        world.change(suspend=why == "suspended", protected_instances=protected)
    ask(world, annotation)
    world.run(100)
    assert (deleted(world), refusals(world)) == ([], [f"{annotation}: {text}"])


# --- rollback


@pytest.mark.parametrize("mode", MODES)
def test_going_back_takes_the_instances_there_and_unpinning_does_not_bring_it_back(mode: str) -> None:
    world = on_two(mode)
    most: list[int] = []
    roll_back(world, "1.0.0")
    world.run(200, each=lambda world: most.append(sum(not pod.ready or pod.deleting for pod in world.pods.values())))
    assert (code(world), rollout(world)["startedBy"], rollout(world)["kind"]) == ("Completed", "User", "Model")
    assert (set(world.versions.values()), max(most)) == ({"1.0.0"}, 2)
    assert remembered(world) == [("2.0.0", "RolledBack")]
    assert (world.status["currentVersion"], world.status["lastHandledRollback"]) == ("1.0.0", "now")
    gone = len(deleted(world))
    unpin(world)
    world.run(86400)
    assert (set(world.versions.values()), len(deleted(world))) == ({"1.0.0"}, gone)
    if mode != "Manual":
        assert condition(world, "Progressing")["message"].startswith("Version 2.0.0 was rolled back by the user and is")
    world.publish("2.0.1")
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.1"}


@pytest.mark.parametrize("mode", MODES)
def test_unpinning_by_hand_is_refused_where_latest_was_left(mode: str) -> None:
    world = on_two(mode)
    roll_back(world, "1.0.0")
    world.run(200)
    unpin(world)
    roll(world)
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    (text,) = refusals(world)
    assert text == (
        "scaleset.dev/start-model-rollout-at: latest means version 2.0.0, which was rolled back by the user. Pin "
        "another version, or ask for a retry first with annotation scaleset.dev/retry-at."
    )
    retry(world)
    roll(world, "again")
    world.run(1000)
    assert set(world.versions.values()) == {"2.0.0"}
    assert not world.status.get("failedTargets")


@pytest.mark.parametrize("mode", MODES)
def test_going_back_from_what_broke_eight_of_ten(mode: str) -> None:
    """The gate is closed. The broken instances are taken back first, and open it."""
    world = on_two(mode)
    for number in range(2, 10):
        world.sickens(number)
    world.run(100)
    roll_back(world, "1.0.0")
    world.run(1000)
    assert (code(world), set(world.versions.values())) == ("Completed", {"1.0.0"})
    assert deleted(world) == [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_a_run_to_the_version_that_is_left_ends_first() -> None:
    """The upgrade goes wrong: no cancel is needed, and what the run has not reached yet is left as well."""
    world = running(10)
    world.start = 20.0
    world.publish("2.0.0")
    world.run(5)
    assert set(world.versions.values()) == {"1.0.0", "2.0.0"}
    roll_back(world, "1.0.0")
    world.run(1000)
    assert refusals(world) == []
    assert (code(world), set(world.versions.values())) == ("Completed", {"1.0.0"})
    assert remembered(world) == [("2.0.0", "RolledBack")]
    assert deleted(world)[:4] == [0, 1, 0, 1]


def test_a_run_that_has_reached_nobody_is_left_as_well() -> None:
    world = running(10, by=policy(maxConcurrentScaleSets=1))
    world.publish("2.0.0")
    plan = world.plan()
    assert plan.state.rollout is not None
    world.start = 20.0
    world.step(writes=len(world.models) + 1 - len(plan.store))
    roll_back(world, "1.0.0")
    world.run(1000)
    assert set(world.versions.values()) == {"1.0.0"}
    assert ("2.0.0", "RolledBack") in remembered(world)


def test_what_cannot_go_back_returns_to_the_version_that_it_left() -> None:
    """The version before does not start any more, and the one that is left is healthy: the user judged, not a gate."""
    world = on_two()
    world.catalogue[0] = replace(world.catalogue[0], image="example.com/web:1.0.0-bad")
    roll_back(world, "1.0.0")
    world.run(1000)
    assert (code(world), rollout(world)["restored"]) == ("Faulted", "0-1")
    assert set(world.versions.values()) == {"2.0.0"}
    assert len(deleted(world)) == 4


def test_what_failed_here_keeps_its_reason() -> None:
    world = on_two()
    world.publish("3.0.0", suffix=BAD)
    world.run(1000)
    verdict = remembered(world)
    assert verdict[0][0] == "3.0.0"
    roll_back(world, "1.0.0")
    world.run(1000)
    assert remembered(world) == [("2.0.0", "RolledBack"), *verdict]


def test_lower_versions_are_not_left() -> None:
    world = on_two()
    world.change(protected_instances=_protected(0))
    pin(world, "1.0.0")
    apply_model(world, "1-4")
    world.run(100)
    world.publish("1.5.0", excluded=True)
    roll_back(world, "1.5.0")
    world.run(1000)
    assert remembered(world) == [("2.0.0", "RolledBack")]
    assert set(world.versions.values()) == {"1.5.0", "2.0.0"}


def test_going_back_needs_a_pin() -> None:
    world = on_two()
    ask(world, names.ANNOTATION_ROLLBACK)
    world.run(100)
    (text,) = refusals(world)
    assert text == (
        "scaleset.dev/rollback-at: spec.imageReference.version is latest. Set it to the version to go back to, and "
        "ask again."
    )
    assert (deleted(world), remembered(world)) == ([], [])


def test_a_version_that_is_not_there_is_refused_and_nothing_is_remembered() -> None:
    world = on_two()
    roll_back(world, "0.9.0")
    world.run(100)
    assert refusals(world) == [f"scaleset.dev/rollback-at: {condition(world, 'Accepted')['message']}"]
    assert (deleted(world), remembered(world)) == ([], [])


@pytest.mark.parametrize("annotation", [names.ANNOTATION_ROLLBACK, names.ANNOTATION_MODEL_ROLLOUT])
def test_an_old_request_on_a_new_set_does_nothing(annotation: str) -> None:
    world = World(spec=spec(replicas=3), policy=policy())
    world.publish("1.0.0")
    world.publish("2.0.0")
    pin(world, "1.0.0")
    ask(world, annotation)
    retry(world)
    world.run(100)
    assert (world.state.rollout, deleted(world), remembered(world)) == (None, [], [])


@pytest.mark.parametrize("writes", range(1, 4))
@pytest.mark.parametrize("broken", [0, 8])
def test_killed_after_each_write_it_goes_back_all_the_same(writes: int, broken: int) -> None:
    world = on_two("Automatic")
    for number in range(10 - broken, 10):
        world.sickens(number)
    roll_back(world, "1.0.0")
    for _ in range(300):
        world.step(writes=writes)
        world.now += 0.5
        world.happen()
    world.run(100)
    assert (code(world), set(world.versions.values())) == ("Completed", {"1.0.0"})
    assert remembered(world) == [("2.0.0", "RolledBack")]
    assert sorted(deleted(world)) == list(range(10))
