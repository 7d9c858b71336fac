"""Operators that crash, stop, sleep, run twice, or have the wrong time: rows 5 to 15 of docs/reliability.md.

Replicas have an account each, so that the audit log tells who wrote what; S13 is checked on every trace with a lease.
"""

import random
import signal
from time import monotonic
from typing import Any

import pytest

from tests.cluster.harness.api import LEASES, SCALE_SETS
from tests.cluster.harness.fleet import until
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.scene import ready, runs
from tests.cluster.test_leadership import LEASE, LEASE_SECONDS, account, leads
from tests.faults.harness.clock import wrong_clock
from tests.faults.harness.rig import PATIENCE, Rig
from tests.faults.test_api_faults import goes_on
from tests.faults.test_checker import seeded

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 6
SEED = 20261121


def replica(rig: Rig, name: str, *, environment: dict[str, str] | None = None, program: str = "") -> Operator:
    """An operator with leader election and an account of its own."""
    kubeconfig = account(rig.cluster, rig.namespace, name, rig.directory)
    if program:
        seeded(rig, program, "--leader-elect", kubeconfig=kubeconfig, environment=environment)
        return rig.last
    return rig.start("--leader-elect", kubeconfig=kubeconfig, environment=environment)


def pair(rig: Rig, *, environment: dict[str, str] | None = None, program: str = "") -> tuple[Operator, Operator]:
    """`a`, which leads, started like that, and `b`, which waits; in the first batch of a rollout."""
    first = replica(rig, "a", environment=environment, program=program)
    leading(first)
    second = replica(rig, "b")
    fleet(rig)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    return first, second


def leading(process: Operator) -> None:
    until(lambda: leads(process), timeout=PATIENCE, message="it leads")


def writes_of(rig: Rig, name: str) -> int:
    return sum(write.user.endswith(f":{name}") for write in rig.recorder.writes_except_lease())


def other_takes_over(rig: Rig) -> float:
    """The seconds until `b` writes."""
    return rig.recovered(lambda: until(lambda: writes_of(rig, "b"), timeout=PATIENCE, message="b writes"))


def fleet(rig: Rig, replicas: int = 5, **policy: Any) -> None:
    rig.policy(healthTimeout="PT60S", **policy)
    rig.create(replicas=replicas)


def clock(rig: Rig, offset: str, *, moving: bool = False) -> dict[str, str]:
    """An environment in which the wall clock is wrong. `moving`: it reads the offset anew, from the file `clock`."""
    if not moving:
        return wrong_clock(FAKETIME=offset)
    (rig.directory / "clock").write_text(offset)
    return wrong_clock(FAKETIME_TIMESTAMP_FILE=str(rig.directory / "clock"), FAKETIME_CACHE_DURATION="1")


def test_killed_again_and_again(rig):
    """Every 2 s, wherever it is; it gets on between two kills, or after the last one."""
    moments = random.Random(SEED)
    process = rig.start()
    fleet(rig)
    rig.publish("2.0.0")
    kills = 0
    began = monotonic()
    while monotonic() - began < 60:
        rig.recorder.settle(moments.uniform(0.5, 3.5))
        process.kill()
        process.start()
        kills += 1
    recovery = rig.recovered(goes_on(rig)) if set(rig.versions()) != {"2.0.0"} else 0.0
    rig.rollout("Completed", "2.0.0")
    what = f"killed with -9 every 0.5 to 3.5 s for a minute (seed {SEED})"
    rig.tell(5, what, times=kills, outcome="never beyond a batch, completed", recovery=recovery)


def test_the_leader_sleeps_through_its_term(rig):
    """SIGSTOP in the middle of a batch for longer than the lease, then SIGCONT: it writes nothing more and ends."""
    first, _ = pair(rig)
    first.signal(signal.SIGSTOP)
    began = monotonic()
    until(lambda: writes_of(rig, "b"), timeout=LEASE_SECONDS + PATIENCE, message="the other one takes over")
    took = monotonic() - began
    rig.recorder.settle(max(0.0, 60 - took))
    before = writes_of(rig, "a")
    first.signal(signal.SIGCONT)
    assert first.wait_exit(60) == 1
    assert writes_of(rig, "a") == before
    rig.rollout("Completed", "2.0.0")
    assert took < LEASE_SECONDS + 30
    outcome = "the other one took over; not one write of the first afterwards"
    rig.tell(9, "SIGSTOP of the leader for 60 s, then SIGCONT", times=1, outcome=outcome, recovery=took)


def test_the_leader_is_killed(rig):
    first, _ = pair(rig)
    first.kill()
    recovery = other_takes_over(rig)
    rig.rollout("Completed", "2.0.0")
    rig.tell(8, "the leader of two killed with -9", times=1, outcome="the other one took over", recovery=recovery)


def test_the_lease_is_deleted(rig):
    """Three times during a rollout: somebody goes on, never two. The pauses are there because a lease that is gone is
    made again when it would have been renewed.
    """
    leading(replica(rig, "a"))
    replica(rig, "b")
    fleet(rig, rolling={"pauseTimeBetweenBatches": "PT3S"})
    rig.publish("2.0.0")
    for number in (1, 2, 3):
        rig.batch(number, version="2.0.0")
        there = f"somebody has a lease in batch {number}"
        rig.api.wait(LEASES, rig.namespace, LEASE, lambda seen: seen is not None, timeout=60, message=there)
        rig.api.delete(LEASES, rig.namespace, LEASE)
    recovery = rig.recovered(lambda: rig.upgraded("2.0.0", 3))
    rig.rollout("Completed", "2.0.0")
    rig.tell(
        10, "the lease deleted in each of three batches", times=3, outcome="one leader at a time", recovery=recovery
    )


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_two_replicas_whose_clocks_differ_by_an_hour(rig, offset):
    first, second = pair(rig, environment=clock(rig, offset))
    assert not leads(second), "both clocks are the same lease's"
    first.kill()
    recovery = other_takes_over(rig)
    rig.rollout("Completed", "2.0.0")
    what = f"two replicas, the leader's wall clock {offset}, then it is killed"
    rig.tell(13, what, times=1, outcome="no write outside a term", recovery=recovery)


@pytest.mark.parametrize("jump", ["+3600", "-3600"])
def test_the_wall_clock_jumps_while_an_instance_has_time(rig, jump):
    """A bad version gets its health timeout, no less and not much more, whatever the machine's clock does."""
    rig.start(environment=clock(rig, "+0", moving=True))
    rig.policy(healthTimeout="PT20S")
    rig.create(replicas=3)
    rig.publish("2.0.0", "bad")
    rig.batch(1, version="2.0.0")
    began = monotonic()
    (rig.directory / "clock").write_text(jump)
    rig.rollout("Faulted", "2.0.0")
    took = monotonic() - began
    assert took > 15, "restored before its time"
    rig.healthy(3, version="1.0.0")
    what = f"the wall clock jumps by {jump} s while a bad instance has 20 s"
    rig.tell(13, what, times=1, outcome=f"restored and halted {took:.0f} s later", recovery=None)


def test_an_instance_becomes_healthy_while_the_operator_sleeps_through_its_deadline(rig):
    process = rig.start()
    rig.policy(healthTimeout="PT5S")
    rig.create(replicas=3)
    rig.change_template(start="8s")
    rig.policy(healthTimeout="PT12S")
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    process.signal(signal.SIGSTOP)
    rig.wait(lambda world: all(ready(pod) for pod in world.pods.values()) and len(world.pods) == 3, "it gets ready")
    rig.recorder.settle(10)
    made = {name: uid for name, uid in rig.uids().items() if runs(rig.world.pods[name]) == "2.0.0"}
    process.signal(signal.SIGCONT)
    recovery = rig.recovered(lambda: rig.upgraded("2.0.0", 2))
    assert made.items() <= rig.uids().items(), "what is healthy was restored"
    what = "SIGSTOP across a deadline"
    rig.tell(14, what, times=1, outcome="judged by what is, not by when", recovery=recovery)


def test_the_loop_is_blocked_for_half_a_minute(rig):
    """A handler that does not return: the lease runs out, and with it the right to write."""
    first, _ = pair(rig, program="blocks_its_loop_when_told")
    first.signal(signal.SIGUSR1)
    recovery = other_takes_over(rig)
    assert first.wait_exit(120) == 1
    rig.rollout("Completed", "2.0.0")
    rig.tell(15, "the event loop blocked for 30 s", times=1, outcome="lease lost, writing stopped", recovery=recovery)


@pytest.mark.parametrize(("row", "order"), [(11, ("none", "next_version")), (12, ("next_version", "none"))])
def test_another_version_of_the_operator_goes_on(rig, row, order):
    """In the middle of a rollout, with a status that has fields which neither knows."""
    seeded(rig, order[0])
    fleet(rig)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    rig.upgraded("2.0.0", 1)
    assert rig.last.terminate() == 0
    seeded(rig, order[1])
    recovery = rig.recovered(lambda: rig.upgraded("2.0.0", 2))
    rig.rollout("Completed", "2.0.0")
    assert len(rig.recorder.trace().deleted_by_operator()) == 5, "one delete for each instance, no more"
    what = f"the operator replaced by its {'next' if row == 11 else 'previous'} version in a rollout"
    rig.tell(row, what, times=1, outcome="no pod deleted for that", recovery=recovery)


def test_a_restart_of_an_idle_operator_writes_nothing(rig):
    process = rig.start()
    fleet(rig, replicas=3)
    rig.recorder.settle(8)
    for stop in (process.kill, process.terminate):
        stop()
        process.start()
        process.wait_ready(PATIENCE)
        rig.recorder.quiet(seconds=6)
    found = rig.api.get(SCALE_SETS, rig.namespace, "web")
    assert not found["metadata"].get("finalizers")
    rig.tell(11, "an idle operator killed, and restarted", times=2, outcome="nothing written", recovery=None)


def test_told_to_end_in_a_batch(rig):
    process = replica(rig, "a")
    leading(process)
    fleet(rig)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    assert process.terminate(60) == 0
    wrote = len(rig.recorder.writes())
    rig.recorder.settle(5)
    assert len(rig.recorder.writes()) == wrote
    process.start()
    recovery = rig.recovered(lambda: rig.upgraded("2.0.0", 2))
    rig.rollout("Completed", "2.0.0")
    rig.tell(
        6, "SIGTERM in the middle of a batch", times=1, outcome="exit code 0, no write after it", recovery=recovery
    )
