"""Two API servers on one etcd, one of which is behind: row 28. What one accepted, the other one has not heard of.

The one behind serves watches and its cache of a moment ago, and answers questions that must be answered from etcd, as a
kube-apiserver does whose watch of etcd is starved.
"""

import random

import pytest

from tests.cluster.harness.api import PODS
from tests.cluster.harness.fleet import until
from tests.cluster.harness.scene import ready, runs
from tests.faults import trace
from tests.faults.harness.calls import Call, On, calls, everything, watches
from tests.faults.harness.components import SecondServer
from tests.faults.harness.rig import PATIENCE, Rig
from tests.faults.test_api_faults import completes

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 1
SEED = 28
BROKEN = ("web-2", "web-3", "web-4")


def fleet(rig: Rig, replicas: int = 5, **rolling: int) -> None:
    rig.start()
    rig.policy(healthTimeout="PT90S", rolling=rolling)
    rig.create(replicas=replicas)


def watched_at(rig: Rig, second: SecondServer, on: On) -> None:
    """Waits until these watches are open at the second server and have told the operator what was there."""
    before = len(rig.proxy.seen)
    rig.proxy.cut(on)
    until(lambda: any(on(call) for call in rig.proxy.seen[before:]), timeout=PATIENCE, message="it watches again")
    rig.recorder.settle(2)


def break_three(rig: Rig) -> None:
    for name in BROKEN:
        rig.break_pod(name)
    rig.wait(lambda world: sum(ready(pod) for pod in world.pods.values()) == 2, "three are broken")
    rig.recorder.settle(5)


@pytest.mark.parametrize(
    ("on", "what"),
    [
        (calls("pods", "watch"), "watches of pods led to the one behind, all else to the other"),
        (everything, "all calls led to the one behind"),
    ],
    ids=["watches", "everything"],
)
def test_no_batch_is_admitted_on_what_the_one_behind_knows(rig, on, what):
    """It tells of five healthy instances, and three are broken: the list before a batch has to say so."""
    rig.settings = trace.Settings(slack=10)
    with SecondServer(rig.cluster) as second:
        fleet(rig)
        with rig.proxy.lead(second.address, on):
            watched_at(rig, second, calls("pods", "watch"))
            with second.behind():
                break_three(rig)
                rig.publish("2.0.0", "fast")
                rig.condition("Progressing", "HealthGateWaiting")
                rig.recorder.settle(15)
                assert rig.versions() == ["1.0.0"] * 5, "a batch was admitted on stale pods"
                assert second.link.kept, "it was not behind"
                for name in BROKEN:
                    rig.mend_pod(name)
            recovery = rig.recovered(lambda: rig.upgraded("2.0.0"))
            completes(rig)()
    outcome = "the list before a batch shows the broken three: none is admitted until they are well"
    rig.tell(28, f"two API servers, {what}", times=second.link.kept, outcome=outcome, recovery=recovery)


def test_nothing_is_written_twice_between_the_two(rig):
    """Each call goes to either of them by chance, watches are cut all the time, one of them is behind most of it."""
    chance = random.Random(SEED)
    choices: dict[Call, bool] = {}

    def either(call: Call) -> bool:
        return choices.setdefault(call, chance.random() < 0.5)

    rig.settings = trace.Settings(slack=10)
    with SecondServer(rig.cluster) as second:
        fleet(rig, 9, maxBatchInstancePercent=34)
        with rig.proxy.lead(second.address, either):
            rig.publish("2.0.0")
            for _ in range(6):
                with second.behind():
                    rig.proxy.cut(watches)
                    rig.recorder.settle(3)
                rig.recorder.settle(2)
            completes(rig, replicas=9)()
        switched = sum(choices.values())
    done = [write for write in rig.recorder.writes() if write.resource == "pods" and write.took_effect]
    made, taken = (sum(write.verb == verb for write in done) for verb in ("create", "delete"))
    assert (made, taken) == (18, 9), "each instance was made twice, and taken once"
    assert {runs(pod) for pod in rig.api.list(PODS, rig.namespace)} == {"2.0.0"}
    what = f"two API servers, each call to one by chance, one behind for 3 s of every 5 s (seed {SEED})"
    outcome = "one delete and one create an instance"
    rig.tell(28, what, times=min(switched, len(choices) - switched), outcome=outcome, recovery=0)
