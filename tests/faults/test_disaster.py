"""What people do to a fleet when things go wrong around it: deleted and made again, restored from a backup, left alone.

Asked each time: are the claims the same, and was any pod restarted for nothing? More of this is in
tests/cluster/test_instances.py, tests/cluster/test_forged_status.py and tests/kind/test_3_operations.py.
"""

import pytest

from tests.cluster.harness.api import IMAGES, NAMESPACES, PODS, POLICIES, SCALE_SETS, Json
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.scene import COLLECTED, KINDS, ready, runs, with_claims
from tests.faults import trace
from tests.faults.harness.rig import PATIENCE, Rig

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 6


def fleet(rig: Rig, replicas: int = 5, **spec) -> None:
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    rig.policy(healthTimeout="PT20S")
    rig.create(replicas=replicas, volumeClaimTemplates=with_claims(), **spec)


def backup(rig: Rig) -> list[Json]:
    """What `kubectl get -o yaml` saves of our kinds, without what belongs to the cluster that it is from, and without
    status, as backup tools restore it. The set comes first: nobody sorts by what needs what.
    """
    return [
        {
            "apiVersion": "scaleset.dev/v1beta1",
            "kind": name,
            "metadata": {"name": each["metadata"]["name"]},
            "spec": each["spec"],
        }
        for name, kind in KINDS.items()
        for each in rig.api.list(kind, rig.namespace)
    ]


def lose_everything(rig: Rig) -> None:
    """All custom resources are deleted; their pods go with them."""
    rig.recorder.disturb(*rig.uids())
    for kind in (SCALE_SETS, POLICIES, IMAGES):
        for each in rig.api.list(kind, rig.namespace):
            rig.delete(kind, each["metadata"]["name"])
    rig.wait(lambda world: not world.scale_sets and not world.pods, "set and pods are gone", timeout=COLLECTED)


def test_deleted_in_the_foreground_in_a_batch_and_made_again(rig):
    """The set stays until its last pod is gone, and meanwhile nothing makes new ones for it."""
    fleet(rig)
    claims = rig.claims()
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    saved = backup(rig)
    rig.api.label(PODS, rig.namespace, "web-4", hold_delete="true")
    rig.recorder.disturb(*rig.uids())
    rig.delete(SCALE_SETS, "web", propagationPolicy="Foreground")
    left = "all pods are gone but the one that takes its time"
    rig.wait(lambda world: list(world.pods) == ["web-4"], left, timeout=COLLECTED)
    rig.never(lambda world: len(world.pods) > 1, "a set that is being deleted got a new pod", seconds=5)
    assert "deletionTimestamp" in rig.world.scale_sets["web"]["metadata"]
    rig.api.label(PODS, rig.namespace, "web-4", hold_delete=None)
    rig.wait(lambda world: not world.scale_sets and not world.pods, "set and pods are gone", timeout=COLLECTED)
    rig.apply(saved[0])
    rig.healthy(5, version="2.0.0")
    assert rig.claims() == claims


def test_orphaned_in_a_batch_and_made_again(rig):
    """Pods that belong to nobody run on and are nobody's: each is replaced when a person deletes it, with its disk."""
    fleet(rig, replicas=3)
    claims = rig.claims()
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    rig.delete(SCALE_SETS, "web", propagationPolicy="Orphan")
    rig.wait(lambda world: not world.scale_sets, "the set is gone", timeout=COLLECTED)
    rig.wait(lambda world: sum(map(ready, world.pods.values())) == len(world.pods), "what runs, runs on")
    orphans = rig.uids()
    rig.publish("3.0.0", "fast")
    rig.never(lambda _: rig.uids() != orphans, "an orphan was touched", seconds=5)
    rig.apply(scale_set(replicas=3, volumeClaimTemplates=with_claims()))
    rig.condition("Stalled", "InstanceBlocked")
    assert {name: uid for name, uid in rig.uids().items() if name in orphans} == orphans
    for name in orphans:
        rig.delete_pod(name)
    rig.healthy(3, version="3.0.0")
    assert rig.claims() == claims


def test_the_status_is_lost_in_a_rollout(rig):
    """As after a restore over a living set. Who is on the target stays there; the others follow batch by batch."""
    fleet(rig)
    claims = rig.claims()
    rig.publish("2.0.0", "fast")
    rig.upgraded("2.0.0", 2)
    done = {name: rig.uids()[name] for name, pod in rig.world.pods.items() if runs(pod) == "2.0.0" and ready(pod)}
    rig.last.kill()
    rig.api.patch(SCALE_SETS, rig.namespace, "web", {"status": None}, subresource="status")
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    rig.healthy(5, version="2.0.0")
    assert {name: rig.uids()[name] for name in done} == done, "upgraded twice"
    assert rig.claims() == claims


@pytest.mark.parametrize("excluded", [False, True])
def test_the_status_is_lost_after_a_failure(rig, excluded):
    """Which versions failed is written in the status only: without it a failed one is tried again, by one batch.
    Whoever restores a set excludes it first; that is in a spec, and survives.
    """
    if not excluded:
        rig.settings = trace.Settings(exempt={"S3 breach": "that it has failed there is what is lost"})
    fleet(rig)
    claims = rig.claims()
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(5, version="1.0.0")
    before = rig.uids()
    if excluded:
        rig.publish("2.0.0", "bad", publishingProfile={"excludeFromLatest": True})
    rig.last.kill()
    rig.api.patch(SCALE_SETS, rig.namespace, "web", {"status": None}, subresource="status")
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    if not excluded:
        rig.rollout("Faulted", "2.0.0")
    rig.healthy(5, version="1.0.0")
    rig.quiet(seconds=5)
    touched = {name for name, uid in rig.uids().items() if before[name] != uid}
    assert touched == (set() if excluded else {"web-0"})
    assert rig.claims() == claims


@pytest.mark.parametrize("excluded", [False, True])
def test_restored_after_everything_was_lost(rig, excluded):
    """Only claims are left. New instances start on `latest`, as those of any new set: on a version that failed before,
    unless it is excluded. The next good version heals them.
    """
    fleet(rig, replicas=3)
    claims = rig.claims()
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(3, version="1.0.0")
    if excluded:
        rig.publish("2.0.0", "bad", publishingProfile={"excludeFromLatest": True})
    saved = backup(rig)
    lose_everything(rig)
    assert rig.claims() == claims
    rig.apply(*saved[:2])
    rig.condition("Accepted", "ImageNotFound")
    assert not rig.world.pods, "an instance without a version"
    rig.apply(*reversed(saved[2:]))
    rig.wait(lambda world: len(world.pods) == 3, "its instances are back")
    assert set(rig.versions()) == {"1.0.0" if excluded else "2.0.0"}
    if excluded:
        rig.healthy(3, version="1.0.0")
    rig.publish("3.0.0", "fast")
    rig.healthy(3, version="3.0.0")
    assert rig.claims() == claims


def test_a_backup_applied_to_what_it_is_of(rig):
    """`kubectl apply` of the same spec: no status in it, and nothing happens."""
    fleet(rig, replicas=3)
    before, claims = rig.uids(), rig.claims()
    rig.quiet(seconds=3)
    rig.apply(*backup(rig))
    rig.quiet(seconds=5)
    assert (rig.uids(), rig.claims()) == (before, claims)


def test_nobody_operates_for_a_while(rig):
    """Uninstalled in a batch; CRs and CRDs stay. A pod is lost, the set grows, versions come: what runs, runs on, and
    the next operator takes it up where it was.
    """
    fleet(rig)
    claims = rig.claims()
    rig.publish("2.0.0")
    [first] = rig.batch(1, version="2.0.0")
    rig.last.kill()
    rig.delete_pod("web-4")
    rig.scale(6)
    rig.publish("3.0.0", "fast")
    rig.wait(lambda world: "web-4" not in world.pods, "a pod is lost")
    others = {name: uid for name, uid in rig.uids().items() if name != f"web-{first}"}
    rig.never(lambda _: {n: u for n, u in rig.uids().items() if n in others} != others, "somebody acts", seconds=5)
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    rig.healthy(6, version="3.0.0")
    rig.quiet(seconds=5)
    assert {name: rig.claims()[name] for name in claims} == claims


def test_a_namespace_goes_with_the_operator_dead(rig):
    """Nothing of ours waits for us: there is no finalizer."""
    fleet(rig, replicas=3)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    rig.last.kill()
    for kind in (SCALE_SETS, POLICIES, IMAGES, PODS):
        found = rig.api.list(kind, rig.namespace)
        assert found
        assert not [each for each in found if each["metadata"].get("finalizers")]
    rig.recorder.disturb(*rig.claims(), *rig.uids())
    rig.delete_namespace()
    rig.api.wait(
        NAMESPACES, None, rig.namespace, lambda seen: seen is None, timeout=PATIENCE, message="the namespace is gone"
    )
