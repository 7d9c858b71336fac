"""The durable state in a ScaleSet's status, in both directions."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import RollingUpgradePolicy
from scaleset.planner import state as durable
from scaleset.planner import status_codec
from scaleset.planner.decide import decide
from scaleset.planner.instances import Build
from scaleset.planner.state import (
    Batch,
    Checked,
    Code,
    Ending,
    Kind,
    Rollout,
    StartedBy,
    State,
    UpgradeError,
    Waiting,
)
from scaleset.planner.targets import FailedTarget, Retry, Target
from tests.simulation.outcomes import code, rollout
from tests.simulation.scenes import BAD, running
from tests.simulation.world import EPOCH, World, policy

SOME = settings(max_examples=60)
MOMENTS = st.integers(0, 10**9).map(lambda seconds: EPOCH + seconds)
VERSIONS = st.sampled_from(["0.0.0", "1.0.0", "1.10.0", "2147483647.0.1"])
MODELS = st.sampled_from(["web-1", "web-2"])
BUILDS = st.builds(Build, MODELS, VERSIONS, VERSIONS.map(lambda v: f"example.com/web:{v}"))
REQUESTS = st.none() | st.text("ab1", max_size=9)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def read(status: Any) -> State:
    return status_codec.read(ScaleSetStatus.parse({"status": status}))


def written(state: State) -> dict[str, Any]:
    """The status as the API server keeps it."""
    raw = json.loads(json.dumps(status_codec.write(state, location="west")))
    return {key: value for key, value in raw.items() if value is not None}


@st.composite
def rollouts(draw: st.DrawFn, ids: frozenset[int]) -> Rollout:
    """A rollout in any stage over those instances."""
    groups: dict[str, set[int]] = {name: set() for name in ("done", "failed", "back", "lost", "open", "way", "left")}
    for number in sorted(ids):
        groups[draw(st.sampled_from(sorted(groups)))].add(number)
    verifying, restoring = groups["open"], groups["way"]
    ended = draw(st.booleans())
    batch = Batch(1, 3, frozenset(verifying | restoring), draw(MOMENTS), draw(st.none() | MOMENTS))
    failed = groups["failed"] | groups["back"] | groups["lost"] | restoring
    version = draw(st.none() | VERSIONS)
    rolling = RollingUpgradePolicy(max_batch_instance_percent=draw(st.integers(5, 100)))
    return Rollout(
        id=str(draw(st.integers(1, 99))),
        kind=draw(st.sampled_from(Kind)),
        started_by=draw(st.sampled_from(StartedBy)),
        target=Target("web-2", "contoso", "web", "stable", "latest", version, version and f"example.com/web:{version}"),
        policy=durable.Policy(rolling, 60.0, 5.0, draw(st.booleans())),
        started=draw(MOMENTS),
        code=draw(st.sampled_from([Code.COMPLETED, Code.FAULTED])) if ended else Code.ROLLING_FORWARD,
        completed=draw(MOMENTS) if ended else None,
        last_action_time=draw(MOMENTS),
        batch=batch,
        batches_done=draw(st.integers(0, 9)),
        next_batch=draw(st.none() | MOMENTS),
        successful=frozenset(groups["done"]),
        failed=frozenset(failed),
        restored=frozenset(groups["back"]),
        restore_failed=frozenset(groups["lost"]),
        in_progress=batch.instances,
        pending=frozenset(groups["left"]),
        messages={number: draw(TEXT) for number in sorted(failed)},
        waiting=Waiting("Pause", draw(TEXT)),
        ending=draw(st.none() | st.just(Ending("Cancelled", "Cancelled by the user."))),
        error=draw(st.none() | st.just(UpgradeError("C", "m", "web", (UpgradeError("D", "n", "web/instances/1"),)))),
    )


@st.composite
def records(draw: st.DrawFn) -> State:
    """Any state that the planner may have to remember."""
    builds = draw(st.dictionaries(st.integers(0, 999), BUILDS, max_size=12))
    ids = st.frozensets(st.sampled_from(sorted(builds)), max_size=5) if builds else st.just(frozenset())
    previous = draw(ids)
    return State(
        replicas=draw(st.none() | st.integers(0, 1000)),
        current_version="1.0.0",
        current_image="example.com/web:1.0.0",
        proven=draw(st.none() | MOMENTS),
        waiting_since=draw(st.none() | MOMENTS),
        handled_start=draw(REQUESTS),
        handled_cancel=draw(REQUESTS),
        handled_apply=draw(REQUESTS),
        builds=dict(sorted(builds.items())),
        previous={n: draw(BUILDS) for n in sorted(previous)},
        applying=draw(ids),
        failed_targets=tuple(
            FailedTarget(draw(MODELS), draw(st.none() | VERSIONS), "hash", "why", draw(MOMENTS))
            for _ in range(draw(st.integers(0, 3)))
        ),
        retry=draw(st.none() | st.builds(Retry, MODELS, VERSIONS, st.integers(1, 9), MOMENTS)),
        rollout=draw(st.none() | rollouts(frozenset(builds))),
        checked=draw(st.none() | st.builds(Checked, MODELS, MODELS, st.sampled_from(("", "It has unknown fields.")))),
    )


@SOME
@given(records())
def test_what_is_written_down_is_read_again(state):
    """A restarted operator knows what the one before knew: nothing lives in memory only."""
    assert read(written(state)) == state


@SOME
@given(records())
def test_writing_what_was_read_changes_nothing(state):
    """S9: fractions of seconds are cut once, not at every write."""
    once = written(replace(state, proven=EPOCH + 0.7))
    assert written(read(once)) == once


# --- a status that somebody else wrote

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**70) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted(ScaleSetStatus.model_json_schema(by_alias=True)["properties"])
RANGES = st.sampled_from(["", "0", "0-9", "3,5-7", "0-9999", "9-0", "5000", "x"])
TIMES = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00:00.999999Z",
        "2027-02-30T08:00:00Z",
        "soon",
    ]
)


@settings(SOME, max_examples=150)
@given(status=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON)
def test_no_json_as_status_stops_a_decision(status):
    """A user can write a status. What makes no sense is left out and decided again from the pods."""
    world = running(5)
    forged(world, status)


@settings(SOME, max_examples=200)
@given(data=st.data())
def test_no_forgery_of_a_running_rollout_takes_down_more_than_a_batch(data):
    """Row 85: a status that is valid field by field, and false. What may be deleted at once stays within the size
    that the recorded policy allows, and S7 holds.
    """
    world = running(10)
    world.publish("2.0.0", suffix=BAD)
    world.run(data.draw(st.sampled_from([0.0, 5.0, 302.0, 1000.0])))
    status = json.loads(json.dumps(world.status))
    upgrade = status["rollingUpgrade"]
    changes = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(
                    ["successful", "failed", "restored", "restoring", "inProgress", "pending", "restoreFailed"], RANGES
                ),
                "batch": st.none() | st.builds(dict, number=st.just(1), instances=RANGES, startTime=TIMES),
                "nextBatchTime": TIMES,
                "targetModel": st.sampled_from(["", "gone", upgrade["targetModel"]]),
                "kind": st.sampled_from(["Image", "Model", "Other"]),
                "messages": JSON,
                "runningStatus": st.builds(
                    dict, code=st.sampled_from(["RollingForward", "Faulted", "Lost"]), startTime=TIMES
                ),
                "id": st.sampled_from(["", "x", "9" * 400]),
            },
        )
    )
    upgrade.update(changes)
    if data.draw(st.booleans()):
        status["builds"][0]["instances"] = data.draw(RANGES)
    if data.draw(st.booleans()):
        status["previousBuilds"] = [{**status["builds"][0], "instances": "0-9", "model": "gone"}]
    forged(world, status)


def forged(world: World, status: Any) -> None:
    """Decide a few times about that status; look at what is deleted."""
    world.status = status if isinstance(status, dict) else {}
    for _ in range(4):
        plan = world.plan()
        applying = plan.state.applying
        ours = {pod.uid for pod in world.pods.values()}
        assert all(deletion.uid in ours for deletion in plan.deletions)
        batch = [d.instance for d in plan.deletions if d.instance not in applying and d.instance in plan.state.builds]
        running_now = plan.state.rollout
        percent = running_now.policy.rolling.max_batch_instance_percent if running_now is not None else 20
        assert len(batch) <= max(1, world.spec.replicas * percent // 100)
        world.step()
        world.now += 1
        world.happen()


def test_all_in_progress_at_once_is_not_believed():
    """The forgery that would cost most: every instance in the batch, and a build that nobody runs."""
    world = running(10)
    world.publish("2.0.0")
    world.step(writes=1)
    status = json.loads(json.dumps(world.status))
    target = next(b for b in status["builds"] if b["version"] == "2.0.0")
    status["builds"] = [{**target, "instances": "0-9"}]
    status["rollingUpgrade"].update(inProgress="0-9", pending="")
    status["rollingUpgrade"]["batch"]["instances"] = "0-9"
    world.status = status
    assert len(world.plan().deletions) == 2


def test_in_progress_without_a_batch_does_not_hang_the_run():
    """Instances that no batch knows are in no batch: the run goes on by itself."""
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    del rollout(world)["batch"]
    world.run(300)
    assert code(world) in ("Completed", "Faulted")


def test_a_current_version_without_its_image_is_worked_out_again():
    """What does not fit together is left out: it would leave new instances without an image."""
    world = running(3)
    del world.status["currentImage"]
    world.run(5)
    assert world.status["currentImage"] == "example.com/web:1.0.0"


def test_a_time_without_a_zone_is_in_utc():
    state = read({"provenTime": "2027-01-15T08:00:00"})
    assert state.proven == EPOCH


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z"])
def test_a_time_that_cannot_be_is_no_time(time):
    assert read({"provenTime": time}).proven is None


def test_an_empty_status_is_built_up_again_from_the_pods():
    """A restore from a backup without status: nothing is deleted, and upgrades go on from what runs."""
    world = running(5)
    world.publish("2.0.0")
    world.run(60)
    world.writes.clear()
    world.status = {}
    world.run(60)
    assert [name for name in world.writes if name.startswith(("delete", "create"))] == []
    assert world.status["currentVersion"] == "2.0.0"
    world.publish("3.0.0")
    world.run(60)
    assert set(world.versions.values()) == {"3.0.0"}


def test_as_many_on_one_version_as_on_the_other_are_read_the_same_whoever_is_first():
    found = set()
    for first in (0, 1):
        world = running(4, by=policy(automatic=False))
        world.publish("2.0.0")
        for number in (first, first + 2):
            world.pods[number] = replace(
                world.pods[number], version="2.0.0", images=(("app", "example.com/web:2.0.0"),)
            )
        world.status = {}
        world.step()
        found.add((world.status["currentVersion"], world.status["currentImage"]))
    assert len(found) == 1


def test_of_two_versions_with_as_many_instances_the_higher_number_counts():
    """By letters 1.9.0 would be above 1.10.0."""
    world = running(4, by=policy(automatic=False))
    for number in range(4):
        tag = "1.9.0" if number % 2 else "1.10.0"
        world.pods[number] = replace(world.pods[number], version=tag, images=(("app", f"example.com/web:{tag}"),))
    world.status = {}
    world.step()
    assert world.status["currentVersion"] == "1.10.0"


def test_a_status_lost_in_the_middle_of_a_bad_rollout_ends_well():
    """The worst moment: what was restored, what failed and what is remembered are all gone."""
    world = running(5)
    world.publish("2.0.0", suffix=BAD)
    world.run(100)
    world.status = {}
    world.run(3000)
    assert sum(v == "2.0.0" for v in world.versions.values()) <= 1
    assert sum(pod.ready for pod in world.pods.values()) >= 4
    world.publish("3.0.0")
    world.run(3000)
    assert set(world.versions.values()) == {"3.0.0"}


def test_an_unknown_model_of_a_rollout_withdraws_it():
    """The ControllerRevision was deleted by hand: no batch can be made from it."""
    world = running(5)
    world.start = 30.0
    world.publish("2.0.0")
    world.run(5)
    rollout(world)["targetModel"] = "web-gone"
    world.catalogue.clear()
    world.run(100)
    assert rollout(world)["error"]["code"] == "Withdrawn"
    assert rollout(world)["error"]["message"] == "ControllerRevision web-gone, the target model, is gone."


def test_nothing_of_a_decision_depends_on_the_order_of_pods():
    """Dictionaries of pods come in the order of the watch."""
    world = running(10)
    world.publish("2.0.0")
    snapshot = world.snapshot(fresh=True)
    backwards = replace(snapshot, pods=dict(sorted(snapshot.pods.items(), reverse=True)))
    assert decide(snapshot) == decide(backwards)
