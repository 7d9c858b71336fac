"""The CustomResourceDefinitions themselves: deleted by accident, older than the operator, and replaced under a fleet.

They belong to the whole cluster, so these tests have one of their own and play one after the other. What a dropped
field means for decisions is tried for each in tests/unit/controllers/test_kept.py; objects that a laxer schema let in
are in tests/cluster/test_lax_crds.py, and what Helm does to CRDs in tests/chart/test_lifecycle.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from tests.cluster.harness.api import CRDS, SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.crds import finishing_deletions
from tests.cluster.harness.fleet import until
from tests.faults import trace
from tests.faults.harness.calls import writes
from tests.faults.harness.rig import PATIENCE, Rig
from tests.faults.test_disaster import backup, fleet

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 1
OURS = ("galleryimageversions.scaleset.dev", "scalesets.scaleset.dev", "upgradepolicies.scaleset.dev")
TWO_PASTS = dict.fromkeys(("S9", "S12"), "the audit log tells of two pasts")


def patient_fleet(rig: Rig, replicas: int, **spec) -> None:
    """A change of a CRD ends all watches of its objects, those of the record among them."""
    rig.recorder.patient = True
    fleet(rig, replicas, **spec)


def install(api: Api) -> None:
    """As `kubectl apply --server-side -f crds/`."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        api.apply_file(path)


def older(path: str) -> Json:
    """The CRD of scale sets as it might have been: without that field (below `status` or `spec`), and with fewer
    columns.
    """
    crd: Json = yaml.safe_load((ROOT / "crds" / "scaleset.dev_scalesets.yaml").read_text())
    [version] = crd["spec"]["versions"]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:2]
    schema = version["schema"]["openAPIV3Schema"]
    *above, last = path.split(".")
    for name in above:
        schema = schema["properties"][name]
    del schema["properties"][last]
    return crd


@contextmanager
def replaced(api: Api, crd: Json, probe: str) -> Iterator[None]:
    """Inside that CRD holds, and afterwards the present one. `probe` is a namespace where it is seen which one does."""
    api.apply(CRDS, None, crd)
    columns = len(crd["spec"]["versions"][0]["additionalPrinterColumns"])
    serves(api, probe, lambda count: count == columns + 1)
    try:
        yield
    finally:
        install(api)
        serves(api, probe, lambda count: count > columns + 1)


def serves(api: Api, namespace: str, right) -> None:
    """The API server takes a moment until it goes by another CRD; its columns tell, the name being one of them."""
    message = "the API server goes by the other CRD"
    until(lambda: right(len(api.columns(SCALE_SETS, namespace, "web"))), timeout=PATIENCE, message=message)


def failed_targets(rig: Rig) -> Json:
    """As the API server has them: a watch of before the CRDs were replaced may have told that version without them."""
    status: Json = rig.api.get(SCALE_SETS, rig.namespace, "web").get("status", {})
    return status.get("failedTargets") or {}


def test_crds_deleted_by_accident(rig):
    """All sets, policies and versions go with them, and then the pods; claims stay. With the CRDs and a backup it all
    comes back to its disks, and the operator has been running all the time.
    """
    rig.settings = trace.Settings(exempt=TWO_PASTS)
    fleet(rig, replicas=3)
    claims, saved, pid = rig.claims(), backup(rig), rig.last.pid
    rig.recorder.disturb(*rig.uids())
    rig.recorder.stop()  # its watches end with the CRDs
    for name in OURS:
        rig.api.delete(CRDS, None, name)
    with finishing_deletions(rig.api):
        until(
            lambda: not set(OURS) & {each["metadata"]["name"] for each in rig.api.list(CRDS)},
            timeout=PATIENCE,
            message="gone",
        )
    assert rig.claims() == claims
    install(rig.api)
    with rig.anew():
        rig.recorder.disturb(*(f"web-{number}" for number in range(3)))
        rig.apply(*saved)
        rig.healthy(3, version="1.0.0")
        rig.publish("2.0.0", "fast")
        rig.healthy(3, version="2.0.0")
        assert rig.claims() == claims
    assert rig.last.pid == pid
    assert rig.last.health() == 200
    assert "Traceback" not in rig.log()


@pytest.mark.parametrize("forgets", [False, True], ids=["runs on", "started again"])
def test_the_operator_is_newer_than_the_crds(rig, forgets):
    """A field that decisions go on from is dropped, without an error, at the moment when it matters: the operator
    touches nothing more and says why. Once the CRDs are as new as it is, it goes on from what it could not write down.
    If it was started again meanwhile, it has forgotten that, and tries what failed once more, by one batch.
    """
    tried = "what was dropped is written again, with growing waits, until it is kept"
    again = {"S3": "it cannot know any more what failed"} if forgets else {}
    rig.settings = trace.Settings(exempt={"S9": tried, "S10": "it stands still meanwhile", **again})
    patient_fleet(rig, replicas=5)
    before, claims = rig.uids(), rig.claims()
    with replaced(rig.api, older("status.failedTargets"), rig.namespace):
        rig.publish("2.0.0", "bad")
        assert "kubectl" not in rig.event("StatusNotKept", "status.failedTargets")
        stopped = rig.uids()
        rig.never(lambda _: rig.uids() != stopped, "it went on", seconds=20)
        assert {name: uid for name, uid in stopped.items() if before[name] == uid}.keys() >= {
            f"web-{n}" for n in (1, 2, 3, 4)
        }
        if forgets:
            rig.last.terminate()
            rig.last.start()
            until(lambda: "do not know ScaleSet" in rig.last.log(), timeout=PATIENCE, message="it does not begin")
    until(lambda: failed_targets(rig), timeout=PATIENCE, message="what was not kept is written again")
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(5, version="1.0.0")
    rig.quiet(seconds=10)
    touched = {name for name, uid in rig.uids().items() if before[name] != uid}
    assert touched == {"web-0"}, "the version that failed was tried again" + " by more than a batch" * forgets
    assert rig.claims() == claims


def test_an_operator_starts_on_older_crds(rig):
    """It would have to forget what failed, and so does not begin: it is not ready, which keeps the operator before it
    in its Deployment. A pod that is lost meanwhile is made again once the CRDs are as new as the operator.
    """
    patient_fleet(rig, replicas=5)
    before, claims = rig.uids(), rig.claims()
    rig.last.terminate()
    with replaced(rig.api, older("status.failedTargets"), rig.namespace):
        rig.publish("2.0.0", "bad")
        rig.delete_pod("web-3")
        rig.last.start()
        until(lambda: "do not know ScaleSet status.failedTargets" in rig.last.log(), timeout=PATIENCE, message="told")
        began = len(rig.proxy.seen)
        rig.never(lambda _: rig.last.health("/readyz") == 200, "it was ready", seconds=10)
        assert [str(call) for call in rig.proxy.seen[began:] if writes(call)] == []
        assert rig.uids() == {name: uid for name, uid in before.items() if name != "web-3"}
    rig.last.wait_ready(PATIENCE)
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(5, version="1.0.0")
    rig.quiet(seconds=10)
    assert {name for name, uid in rig.uids().items() if before[name] != uid} == {"web-0", "web-3"}
    assert rig.claims() == claims


def test_crds_are_upgraded_in_a_rollout(rig):
    """From CRDs with fewer columns and without a field that only shows something: nothing restarts for that."""
    patient_fleet(rig, replicas=5)
    claims = rig.claims()
    with replaced(rig.api, older("status.instances"), rig.namespace):
        before = rig.uids()
        rig.last.restart()
        rig.publish("2.0.0")
        rig.batch(1, version="2.0.0")
        assert len([name for name, uid in rig.uids().items() if before.get(name) != uid]) <= 1
    rig.rollout("Completed", "2.0.0")
    rig.healthy(5, version="2.0.0")
    rig.quiet(seconds=5)
    assert rig.claims() == claims


def test_older_crds_applied_by_accident(rig):
    """They take a field of the spec away from what is stored. That is a change of the model, which mode Manual carries
    out when somebody asks for it: nothing restarts by itself, neither now nor when the CRDs are replaced again.
    """
    patient_fleet(rig, replicas=3, serviceName="web")
    before, claims = rig.uids(), rig.claims()
    with replaced(rig.api, older("spec.serviceName"), rig.namespace):
        rig.last.restart()
        rig.condition("Ready", "Healthy")
        rig.never(lambda _: rig.uids() != before, "restarted for an accident", seconds=5)
    rig.last.restart()
    rig.change(serviceName="web")
    rig.healthy(3, version="1.0.0")
    rig.never(lambda _: rig.uids() != before, "restarted for its repair", seconds=5)
    assert rig.claims() == claims
