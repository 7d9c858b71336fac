"""etcd and the API server die, freeze and come back, in the middle of a rollout: rows 19 and 21 to 23.

The tests of this module have a cluster of their own and play one after the other.
"""

from collections.abc import Iterator
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
OUTAGE_SECONDS = 60.0


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


def test_the_api_server_is_killed_and_stays_away_for_a_minute(rig):
    with rolling(rig) as plane:
        plane.server.kill()
        rig.recorder.settle(OUTAGE_SECONDS)
        plane.server.start()
        plane.answers()
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(19, "API server killed, away for 60 s", times=1, outcome="rollout went on", recovery=recovery)


def test_the_api_server_is_frozen_for_a_minute(rig):
    with rolling(rig) as plane:
        plane.server.freeze()
        rig.recorder.settle(OUTAGE_SECONDS)
        plane.server.thaw()
        plane.answers()
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(21, "API server frozen for 60 s", times=1, outcome="rollout went on", recovery=recovery)


def test_etcd_is_killed_and_comes_back(rig):
    with rolling(rig) as plane:
        for _ in range(3):
            plane.etcd.kill()
            rig.recorder.settle(3)
            plane.etcd.start()
            plane.answers()
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(22, "etcd killed with -9, away for 3 s", times=3, outcome="rollout went on", recovery=recovery)


def test_etcd_is_frozen_for_a_minute(rig):
    with rolling(rig) as plane:
        plane.etcd.freeze()
        rig.recorder.settle(OUTAGE_SECONDS)
        plane.etcd.thaw()
        plane.answers()
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(21, "etcd frozen for 60 s", times=1, outcome="rollout went on", recovery=recovery)


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
