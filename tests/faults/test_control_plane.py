"""etcd and the API server die, freeze and come back, in the middle of a rollout: rows 19 and 21 to 23.

The tests of this module have a cluster of their own and play one after the other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.harness.api import PODS
from tests.cluster.harness.scene import runs
from tests.faults import trace
from tests.faults.harness.components import ControlPlane
from tests.faults.harness.rig import Rig
from tests.faults.test_api_faults import UNANSWERED, completes, goes_on

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 1
Action = Callable[[ControlPlane], None]


@contextmanager
def rolling(rig: Rig) -> Iterator[ControlPlane]:
    """Five instances, one of which runs the new version. The next test finds all whole again."""
    rig.recorder.patient = True
    rig.settings = trace.Settings(slack=15, exempt={"S12": UNANSWERED})
    rig.start()
    rig.policy(healthTimeout="PT2M")  # longer than the outage: who plays the kubelet cannot report meanwhile
    rig.create(replicas=5)
    rig.publish("2.0.0")
    rig.upgraded("2.0.0", 1)
    plane = ControlPlane(rig.cluster)
    try:
        yield plane
    finally:
        plane.whole()


OUTAGES: dict[str, tuple[int, int, int, Action, Action]] = {
    "API server killed, away": (19, 1, 60, ControlPlane.lose_server, lambda plane: plane.server.start()),
    "API server frozen": (21, 1, 60, lambda plane: plane.server.freeze(), lambda plane: plane.server.thaw()),
    "etcd killed with -9, away": (22, 3, 3, lambda plane: plane.etcd.kill(), lambda plane: plane.etcd.start()),
    "etcd frozen": (21, 1, 60, lambda plane: plane.etcd.freeze(), lambda plane: plane.etcd.thaw()),
}


@pytest.mark.parametrize("what", OUTAGES)
def test_one_of_them_is_away_for_a_while(rig, what):
    row, times, seconds, away, back = OUTAGES[what]
    with rolling(rig) as plane:
        for _ in range(times):
            away(plane)
            rig.recorder.settle(seconds)
            back(plane)
            plane.answers()
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(row, f"{what} for {seconds} s", times=times, outcome="rollout went on", recovery=recovery)


def test_etcd_is_restored_from_a_backup(rig):
    """All that happened since is undone, and versions of objects run backwards. What is in the backup is what is."""
    rig.settings = trace.Settings(exempt=dict.fromkeys(("S9", "S12"), "the audit log tells of two pasts"))
    rig.start()
    rig.policy(healthTimeout="PT30S")
    rig.create(replicas=4)
    plane = ControlPlane(rig.cluster)
    backup = rig.directory / "backup"
    plane.etcd.back_up(backup)
    rig.publish("2.0.0")
    rig.upgraded("2.0.0", 2)
    rig.recorder.stop()  # its watches would tell of two pasts
    plane.server.kill()
    plane.etcd.kill()
    plane.etcd.restore(backup)
    plane.etcd.start()
    plane.server.start()
    plane.answers()
    assert {runs(pod) for pod in rig.api.list(PODS, rig.namespace)} == {"1.0.0"}
    with rig.anew():
        # As far as it goes without kubelets: those of the simulation live in the undone past, and need minutes.
        rig.publish("2.0.0")
        recovery = rig.recovered_within(120, lambda: rig.rollout("RollingForward", "2.0.0"))
        assert rig.says("Accepted")["status"] == "True"
        conflicts = [write for write in rig.recorder.writes() if write.code == 409 and write.resource == "scalesets"]
        assert len(conflicts) < 20, "what was undone is still believed"
    what = "etcd restored from a backup taken before the rollout"
    rig.tell(23, what, times=1, outcome="listed anew; the version published since starts to roll", recovery=recovery)
