"""The operator is killed, stopped or told to end at the moments that hurt. Afterwards all is as without that.

The moments come from the recorder's watch. Where a moment would be too short to hit, the world holds it: a pod stays
Terminating, or the API server refuses one kind of write. The recorder checks every invariant on all of it.
"""

import signal

import pytest

from tests.cluster.harness.api import LEASES, PODS, Api, condition
from tests.cluster.harness.fleet import (
    code,
    deploy,
    ids,
    publish,
    refusing,
    rollout,
    uids,
    until,
    versions,
    wait_ready,
)
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Start
from tests.cluster.harness.recorder import Recorder, World

pytestmark = pytest.mark.timeout(180)

PARALLEL = {"maxBatchInstancePercent": 100, "maxUnhealthyInstancePercent": 100}


def hold(api: Api, namespace: str, *names: str, value: str | None = "true") -> None:
    """Those pods stay Terminating once they are deleted; `value=None` lets them go."""
    for name in names:
        api.label(PODS, namespace, name, hold_delete=value)


def terminating(world: World) -> frozenset[str]:
    return frozenset(name for name, pod in world.pods.items() if "deletionTimestamp" in pod["metadata"])


def moved(world: World, version: str) -> frozenset[str]:
    """Pods of that version."""
    return frozenset(name for name, found in versions(world).items() if found == version)


def ready(world: World) -> frozenset[str]:
    return frozenset(name for name, pod in world.pods.items() if condition(pod, "Ready") == "True")


def completed(world: World) -> bool:
    return code(world) == "Completed"


def faulted(world: World) -> bool:
    return code(world) == "Faulted"


def both_restoring(world: World) -> bool:
    """It is decided for each of the first batch: they may fail a moment apart."""
    return ids(world, "restoring") == {0, 1}


def assert_all_upgraded(recorder: Recorder, replicas: int) -> None:
    world = recorder.world
    assert moved(world, "2.0.0") == {f"web-{n}" for n in range(replicas)}
    assert ids(world, "successful") == frozenset(range(replicas))
    assert world.status("web")["currentVersion"] == "2.0.0"


def assert_halted_and_restored(recorder: Recorder, touched: frozenset[int], replicas: int) -> None:
    world = recorder.world
    assert moved(world, "1.0.0") == {f"web-{n}" for n in range(replicas)}
    assert (ids(world, "failed"), ids(world, "restored")) == (touched, touched)
    assert rollout(world)["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    assert world.status("web")["currentVersion"] == "1.0.0"


def test_killed_after_delete_and_before_create(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """The same identity comes back with the target that was recorded, and its slot stays taken."""
    process = operator()
    deploy(api, namespace, replicas=10)
    wait_ready(recorder)
    hold(api, namespace, "web-0", "web-1")
    publish(api, namespace, "2.0.0")
    recorder.wait_for(lambda world: len(terminating(world)) == 2, timeout=10, message="the first batch is deleted")
    process.kill()
    hold(api, namespace, "web-0", "web-1", value=None)
    recorder.wait_for(lambda world: len(world.pods) == 8, timeout=10, message="the pods of the batch are gone")
    process.start()
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert_all_upgraded(recorder, 10)


def test_killed_after_create_and_before_the_status_is_written(
    api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """What was created is found again: no second pod, and it counts although nobody was there when it got ready."""
    process = operator()
    # Slow enough that the API server learns of the refusal while the batch starts.
    deploy(api, namespace, replicas=10, template={"annotations": {"sim.scaleset.dev/start": "4s"}})
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(lambda world: len(moved(world, "2.0.0")) == 2, timeout=10, message="the batch is created")
    with refusing(api, namespace, "scalesets/status", "UPDATE", group="scaleset.dev"):
        recorder.wait_for(lambda world: len(ready(world)) == 10, timeout=15, message="the batch is ready")
        process.kill()
        made = {name: uid for name, uid in uids(recorder.world).items() if name in ("web-0", "web-1")}
        assert ids(recorder.world, "inProgress") == {0, 1}
    process.start()
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert_all_upgraded(recorder, 10)
    assert made.items() <= uids(recorder.world).items()


def test_killed_between_the_decision_to_restore_and_the_delete(
    api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """The restore goes on at once; the instances do not get another health timeout first."""
    process = operator()
    deploy(api, namespace, replicas=10, policy=upgrade_policy(healthTimeout="PT10S"))
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "bad")
    recorder.wait_for(lambda world: len(moved(world, "2.0.0")) == 2, timeout=10, message="the first batch is created")
    bad = uids(recorder.world)
    with refusing(api, namespace, "pods", "DELETE"):
        recorder.wait_for(both_restoring, timeout=20, message="the restore is decided")
        process.kill()
        assert uids(recorder.world) == bad
    process.start()
    process.wait_ready()
    recorder.wait_for(lambda world: not moved(world, "2.0.0"), timeout=4, message="the bad pods go at once")
    recorder.wait_for(faulted, timeout=15, message="the rollout is halted")
    assert_halted_and_restored(recorder, frozenset({0, 1}), 10)


@pytest.mark.parametrize("written", [False, True], ids=["before the halt is written", "after the halt is written"])
def test_killed_at_the_halt(api: Api, namespace: str, recorder: Recorder, operator: Start, *, written: bool) -> None:
    """The halt is found again from what is there, and nothing is deleted any more."""
    process = operator()
    # Slow enough that the API server learns of the refusal while restored instances start.
    policy = upgrade_policy(healthTimeout="PT12S")
    deploy(api, namespace, replicas=10, policy=policy, template={"annotations": {"sim.scaleset.dev/start": "8s"}})
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "crash")
    recorder.wait_for(lambda world: len(moved(world, "2.0.0")) == 2, timeout=10, message="the first batch is created")
    if written:
        recorder.wait_for(faulted, timeout=30, message="the rollout is halted")
        process.kill()
    else:
        recorder.wait_for(both_restoring, timeout=25, message="the restore is decided")
        # Before, there may be something to tell between the deletes and the creates, and nothing goes on without it.
        recorder.wait_for(lambda world: len(moved(world, "1.0.0")) == 10, timeout=15, message="all are created again")
        with refusing(api, namespace, "scalesets/status", "UPDATE", group="scaleset.dev"):
            recorder.wait_for(
                lambda world: len(ready(world) & moved(world, "1.0.0")) == 10, timeout=20, message="all are restored"
            )
            process.kill()
        assert code(recorder.world) == "RollingForward"
    before = uids(recorder.world)
    process.start()
    process.wait_ready()
    recorder.wait_for(faulted, timeout=15, message="the rollout is halted")
    recorder.never(lambda world: uids(world) != before, seconds=3, message="a pod was replaced after the halt")
    assert_halted_and_restored(recorder, frozenset({0, 1}), 10)


def test_crash_loop(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """Killed a second after each start, the operator still gets on, and never beyond a batch."""
    process = operator()
    deploy(api, namespace, replicas=10)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    crashes = 0
    for crashes in range(1, 9):  # noqa: B007 - told below
        recorder.never(lambda _: False, seconds=1, message="")
        process.kill()
        process.start()
        process.wait_ready()
    assert crashes == 8
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert_all_upgraded(recorder, 10)


def test_told_to_end_in_the_middle_of_a_batch(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """Exit code 0, the lease given back, nothing written afterwards, and whoever starts next goes on."""
    process = operator(leader_elect=True)
    deploy(api, namespace, replicas=10)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(lambda world: ids(world, "inProgress") == {0, 1}, timeout=10, message="a batch is under way")
    assert process.terminate() == 0
    lease = api.get(LEASES, namespace, "scaleset-operator")
    assert lease["spec"]["holderIdentity"] == ""
    wrote = len(recorder.writes())
    recorder.never(lambda _: False, seconds=3, message="")
    assert recorder.writes()[wrote:] == []
    assert "Traceback" not in process.log()
    process.start()
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert_all_upgraded(recorder, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_twice(
    api: Api, namespace: str, recorder: Recorder, operator: Start, number: signal.Signals
) -> None:
    """A second signal changes nothing, and leaves no stack trace."""
    process = operator(leader_elect=True)
    deploy(api, namespace)
    wait_ready(recorder)
    process.signal(number)
    process.signal(number)
    assert process.wait_exit(15) == 0
    assert "Traceback" not in process.log()
    assert api.get(LEASES, namespace, "scaleset-operator")["spec"]["holderIdentity"] == ""


def test_paused_across_the_deadline(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """An instance that became healthy after its deadline, while nobody looked, is not restored."""
    process = operator()
    policy = upgrade_policy(healthTimeout="PT3S", rolling=PARALLEL)
    deploy(api, namespace, policy=policy, template={"annotations": {"sim.scaleset.dev/start": "6s"}})
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(lambda world: len(moved(world, "2.0.0")) == 5, timeout=10, message="the batch is created")
    process.signal(signal.SIGSTOP)
    recorder.wait_for(lambda world: len(ready(world)) == 5, timeout=15, message="the batch is ready")
    before = uids(recorder.world)
    process.signal(signal.SIGCONT)
    recorder.wait_for(completed, timeout=15, message="the rollout completes")
    assert_all_upgraded(recorder, 5)
    assert uids(recorder.world) == before


@pytest.mark.parametrize("behaviour", ["fast", "bad"])
def test_nothing_changed_nothing_written(
    api: Api, namespace: str, recorder: Recorder, operator: Start, behaviour: str
) -> None:
    """An idle operator and one that is started again write nothing (S9), after a success and after a halt."""
    process = operator()
    deploy(api, namespace, policy=upgrade_policy(healthTimeout="PT3S"))
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", behaviour)
    recorder.wait_for(completed if behaviour == "fast" else faulted, timeout=30, message="the rollout ends")
    # Counts and sentences may be a little late.
    until(lambda: condition(recorder.world.scale_sets["web"], "Reconciling") == "False", timeout=10, message="idle")
    recorder.never(lambda _: False, seconds=6, message="")
    recorder.quiet(seconds=3)
    for stop in (process.kill, process.terminate):
        stop()
        process.start()
        process.wait_ready()
        recorder.quiet(seconds=3)
