"""What a rollout says while it goes on: the sentences of its waits and of its events, in order and each once."""

from collections.abc import Callable

import pytest

from scaleset.api import names
from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import code, rollout
from tests.simulation.scenes import BAD, ask, new_model, running, start
from tests.simulation.world import World, policy

STUCK = (
    "their grace period is over. A pod on a lost node stays Terminating until the node is back, or is deleted or "
    "tainted out-of-service; a finalizer keeps a pod until its owner removes it."
)
TO_BECOME_HEALTHY = "Waiting for instances 0 of batch 1 to become healthy, at most 300 s each."


def waits(world: World, seconds: float, each: Callable[[World], None] = lambda _: None) -> list[str]:
    """The different sentences of `waitingFor` in so many seconds."""
    found: dict[str, None] = {}

    def look(world: World) -> None:
        each(world)
        if "rollingUpgrade" in world.status and (waiting := rollout(world).get("waitingFor")):
            found[waiting["message"]] = None

    world.lives(seconds, look)
    return list(found)


def said(world: World, *kinds: str) -> list[str]:
    return [event.message for event in world.events if event.reason in kinds]


@pytest.mark.parametrize(
    ("ready_for", "sentence"),
    [
        ("PT0S", TO_BECOME_HEALTHY),
        (
            "PT20S",
            "Waiting for instances 0 of batch 1 to become healthy, at most 300 s each, and to stay so for 20 s.",
        ),
    ],
)
def test_a_batch_waits_for_its_instances_with_its_limits(ready_for: str, sentence: str):
    world = running(5, by=policy(minReadyTime=ready_for))
    world.start = 30.0
    world.publish("2.0.0")
    assert waits(world, 20) == [sentence]


def test_a_batch_whose_version_fails_is_taken_back():
    world = running(5)
    world.start = 10.0
    world.publish("2.0.0", suffix=BAD)
    assert waits(world, 330) == [
        TO_BECOME_HEALTHY,
        "Waiting for instances 0 to be restored to their previous build.",
    ]
    assert said(world, "BatchStarted", "BatchCompleted", "InstanceRestored", "InstanceRestoreFailed") == [
        "Batch 1 of 5: replacing instances 0.",
        "Batch 1 of 5: 0 of 1 instances upgraded, 1 failed (0).",
        "Restored instances 0 to their previous build.",
    ]


def test_an_instance_that_its_previous_build_does_not_help_is_named():
    world = running(5)
    world.broken.add(0)
    world.publish("2.0.0", suffix=BAD)
    world.run(700)
    assert said(world, "InstanceRestored", "InstanceRestoreFailed") == [
        "Instances 0 are not healthy on their previous build either."
    ]
    assert rollout(world)["rollbackInfo"]["rollbackError"] == {
        "code": "RollingUpgradeInstanceUnhealthyError",
        "message": "Instance 0 is not healthy on its previous build either. containers not ready",
        "details": [],
    }


def test_a_run_that_some_instances_did_not_survive_counts_them():
    world = running(10, by=policy(rolling={"maxUnhealthyUpgradedInstancePercent": 50}))
    world.start = 10.0
    world.publish("2.0.0")
    world.run(5)
    world.broken.add(0)
    world.run(2000)
    first, *_ = said(world, "RolloutCompleted")
    assert first == "Rolling upgrade to version 2.0.0 completed: 9 instances upgraded, 1 failed."


def test_a_batch_without_failures_counts_its_instances():
    world = running(
        10, by=policy(rolling=dict.fromkeys(("maxBatchInstancePercent", "maxUnhealthyInstancePercent"), 50))
    )
    world.publish("2.0.0")
    world.run(100)
    assert said(world, "BatchStarted", "BatchCompleted", "RolloutCompleted") == [
        "Batch 1 of 2: replacing instances 0-4.",
        "Batch 1 of 2: 5 of 5 instances upgraded.",
        "Batch 2 of 2: replacing instances 5-9.",
        "Batch 2 of 2: 5 of 5 instances upgraded.",
        "Rolling upgrade to version 2.0.0 completed: 10 instances upgraded.",
    ]


def test_a_restart_restarts():
    world = running(2)
    ask(world, names.ANNOTATION_RESTART)
    world.run(100)
    assert said(world, "RolloutStarted", "BatchCompleted", "RolloutCompleted") == [
        "Restart started by the user.",
        "Batch 1 of 2: 1 of 1 instances restarted.",
        "Batch 2 of 2: 1 of 1 instances restarted.",
        "Restart completed: 2 instances restarted.",
    ]


def test_an_old_pod_that_stays_is_named_with_what_may_keep_it():
    world = running(5)
    world.held.add(0)
    world.publish("2.0.0")
    assert waits(world, 60) == [
        TO_BECOME_HEALTHY,
        f"Waiting for the pods of instances 0 to end: {STUCK}",
    ]


def test_a_refused_delete_is_given_in_the_servers_words():
    world = running(5)
    world.keeps_alive = lambda _: "It is under investigation."
    world.publish("2.0.0")
    assert waits(world, 20)[-1] == (
        "The API server does not let the pods of instances 0 be deleted: It is under investigation."
    )


def test_a_surging_batch_waits_for_the_old_pods_to_be_deleted():
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.keeps_alive = lambda _: "It is under investigation."
    world.publish("2.0.0")
    assert waits(world, 20)[-1] == (
        "The API server does not let the pods of instances 0 be deleted: It is under investigation."
    )
    assert said(world, "BatchStarted") == ["Batch 1 of 5: creating instances 5 in place of 0."]


def one_starts(world: World) -> None:
    """An instance is lost when the pause is nearly over."""
    world.start = 60.0
    world.loses(4)


def the_set_shrinks(world: World) -> None:
    world.held.add(4)
    world.change(replicas=4)


@pytest.mark.parametrize(
    ("happens", "sentence"),
    [
        (one_starts, "Waiting for instances 4 to become healthy or unhealthy."),
        (the_set_shrinks, "Waiting for the pods of instances 4, which were scaled in, to end."),
    ],
)
def test_between_two_batches_it_waits_for_instances_outside_of_it(happens: Callable[[World], None], sentence: str):
    world = running(5, by=policy(rolling={"pauseTimeBetweenBatches": "PT30S"}))
    world.publish("2.0.0")
    world.run(25)
    happens(world)
    assert waits(world, 20) == ["Pausing 30 s between batches.", sentence]


def upgraded(world: World, most: int) -> list[int]:
    """The instances of the first batches, in the pause after them."""
    world.publish("2.0.0")
    while len(found := sorted(world.state.rollout.successful if world.state.rollout else ())) < most:
        world.run(1)
    return found


def breaks_late(world: World) -> None:
    """The version, after its batch."""
    for number in upgraded(world, 2):
        world.sickens(number)


def fails(world: World) -> None:
    """The model, in its batch."""
    new_model(world)
    wanted = world.model.name
    world.works = lambda _number, pod: pod.model != wanted  # type: ignore[assignment, method-assign]


@pytest.mark.parametrize(("breaches", "what"), [(breaks_late, "build"), (fails, "model")])
def test_after_a_breach_it_says_which_instances_go_back_to_what(breaches: Callable[[World], None], what: str):
    rolling = {"rollbackFailedInstancesOnPolicyBreach": True, "pauseTimeBetweenBatches": "PT10M"}
    world = running(10, by=policy(mode="Rolling", rolling=rolling))
    breaches(world)
    world.run(1000)
    assert code(world) == "Faulted"
    assert said(world, "RollingBack") == [f"Returning failed instances 0-1 to their previous {what}."]


def test_before_the_run_ends_it_watches_those_that_may_break_like_the_ones_before():
    """As long as the health timeout; who breaks meanwhile goes back as well."""
    world = running(10)
    world.start = 2.0
    reached = upgraded(world, 4)
    for number in reached[:2]:
        world.sickens(number)
    assert waits(world, 100)[-1] == "Watching instances 2-5, which may break like the ones before."
    world.run(300)
    assert code(world) == "Faulted"
    assert {world.versions[number] for number in range(2, 6)} == {"2.0.0"}


def test_where_the_previous_build_helps_nobody_the_others_are_left_as_they_are():
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT10M"}))
    for number in upgraded(world, 4):
        world.breaks(number)
    world.run(1500)
    assert rollout(world)["error"]["message"].endswith(
        "None of instances 0-1 became healthy again on its previous build, so instances 2-3 were left as they are: "
        "look for another cause."
    )


def test_in_an_outage_no_instance_is_taken_back():
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT10M"}))
    upgraded(world, 2)
    for number in range(10):
        world.sickens(number)
    world.run(1000)
    assert rollout(world)["error"]["message"].endswith(
        "Instances outside the rollout are unhealthy as well, so no instance got its previous build back."
    )


def test_an_outage_that_begins_while_it_takes_back_ends_that():
    world = running(10, by=policy(rolling={"pauseTimeBetweenBatches": "PT10M"}))
    for number in upgraded(world, 4):
        world.sickens(number)
    world.start = 20.0
    while not said(world, "RollingBack"):
        world.run(1)
    for number in range(4, 10):
        world.sickens(number)
    world.run(1000)
    assert rollout(world)["error"]["message"].endswith(
        "Instances outside the rollout are unhealthy as well by now, so instances 2-3 were left as they are."
    )


def test_a_run_that_is_refused_is_tried_again_after_the_back_off():
    world = running(5)
    world.admit = lambda _: Verdict(accepted=False, message="Exceeded quota.")
    world.publish("2.0.0")
    world.run(5)
    assert rollout(world)["error"]["message"] == (
        "Rolling Upgrade failed: the API server refuses the new pod. Exceeded quota."
    )
    progressing = next(c for c in world.status["conditions"] if c["type"] == "Progressing")
    assert (progressing["reason"], progressing["message"]) == (
        "BackOff",
        "The last attempt left instances behind; the next follows 60 s after it.",
    )


def test_a_start_by_hand_names_who_started_it():
    world = running(2, by=policy(automatic=False))
    world.publish("2.0.0")
    start(world)
    world.run(1)
    assert said(world, "RolloutStarted") == ["Rolling upgrade to version 2.0.0 started by the user."]
