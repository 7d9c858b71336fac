"""Users, nodes and other controllers get in the way of a rollout: the rows 35 to 75 that tests/cluster leaves open."""

from time import monotonic_ns

import pytest

from tests.cluster.harness.api import BUDGETS, CLAIMS, IMAGES, PODS, POLICIES, SCALE_SETS, VOLUMES, condition
from tests.cluster.harness.fleet import until
from tests.cluster.harness.scene import COLLECTED, ready, with_claims
from tests.faults import trace
from tests.faults.harness.components import Component
from tests.faults.harness.rig import Rig, refusal
from tests.faults.harness.webhook import meddling

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 6


def fleet(rig: Rig, replicas: int = 5, **spec) -> None:
    rig.start(kubeconfig=rig.cluster.kubeconfig)
    rig.policy(healthTimeout="PT20S")
    rig.create(replicas=replicas, **spec)


def exclude(rig: Rig, version: str, *, excluded: bool) -> None:
    body = {"spec": {"publishingProfile": {"excludeFromLatest": excluded}}}
    rig.api.patch(IMAGES, rig.namespace, f"server-{version}", body)


def test_excluded_included_excluded_within_a_second(rig):
    """Whoever wins, an excluded version takes no further instance, and none goes back and forth."""
    fleet(rig)
    rig.publish("2.0.0", publishingProfile={"excludeFromLatest": True})
    for _ in range(5):
        exclude(rig, "2.0.0", excluded=False)
        exclude(rig, "2.0.0", excluded=True)
    rig.recorder.settle(12)
    reached = rig.versions().count("2.0.0")
    assert reached <= 1, "more than the batch that may have begun"
    exclude(rig, "2.0.0", excluded=False)
    rig.healthy(5, version="2.0.0")
    what = "excludeFromLatest toggled ten times within a second"
    rig.tell(38, what, times=10, outcome=f"{reached} of 5 instances on it while it was excluded", recovery=None)


def test_the_policy_is_deleted_in_a_rollout(rig):
    """The running one keeps the policy that it began with; the next one waits for a policy, and says so."""
    fleet(rig)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    rig.delete(POLICIES, "policy")
    rig.rollout("Completed", "2.0.0")
    rig.condition("Accepted", "PolicyNotFound")
    rig.publish("3.0.0", "fast")
    rig.recorder.settle(5)
    assert set(rig.versions()) == {"2.0.0"}, "rolled by a policy that is not there"
    rig.policy(healthTimeout="PT20S")
    recovery = rig.recovered(lambda: rig.healthy(5, version="3.0.0"))
    outcome = "the running rollout ends by its own copy; no other starts until the policy is back"
    rig.tell(45, "UpgradePolicy deleted mid-rollout", times=1, outcome=outcome, recovery=recovery)


def test_automatic_upgrades_switched_off_and_on_in_a_rollout(rig):
    fleet(rig)
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    rig.policy(automatic=False, healthTimeout="PT20S")
    rig.rollout("Completed", "2.0.0")
    rig.publish("3.0.0", "fast")
    rig.recorder.settle(5)
    assert set(rig.versions()) == {"2.0.0"}
    rig.policy(healthTimeout="PT20S")
    rig.healthy(5, version="3.0.0")
    outcome = "the running one ends, the next starts only when it is on again"
    rig.tell(47, "enableAutomaticOSUpgrade off and on", times=1, outcome=outcome, recovery=None)


def test_a_volume_is_lost(rig):
    """The claim says Lost, the pod cannot start: the instance counts as unhealthy, and nothing touches the claim."""
    fleet(rig, replicas=3, volumeClaimTemplates=with_claims())
    claims = rig.claims()
    volume = rig.api.get(CLAIMS, rig.namespace, "data-web-1")["spec"]["volumeName"]
    rig.api.delete(VOLUMES, None, volume)
    rig.api.patch(VOLUMES, None, volume, {"metadata": {"finalizers": None}})
    rig.wait(lambda world: world.claims["data-web-1"]["status"]["phase"] == "Lost", "the claim has lost its volume")
    rig.break_pod("web-1")
    rig.publish("2.0.0", "fast")
    rig.condition("Progressing", "HealthGateWaiting")
    rig.recorder.settle(3)
    assert rig.claims() == claims
    assert set(rig.versions()) == {"1.0.0"}
    rig.tell(
        54, "a PersistentVolume deleted under its claim", times=1, outcome="gate closed; claim untouched", recovery=None
    )


def test_the_image_of_a_pod_is_edited_by_hand(rig):
    """It stays until the instance is next replaced; it is no reason to replace it."""
    fleet(rig, replicas=3)
    before = rig.uids()
    rig.api.set_image(rig.namespace, "web-1", "registry.example/os:9.9.9-fast")
    rig.wait(lambda world: all(ready(pod) for pod in world.pods.values()), "its container starts again")
    rig.recorder.settle(4)
    assert rig.uids() == before
    rig.publish("2.0.0", "fast")
    rig.healthy(3, version="2.0.0")
    images = {pod["spec"]["containers"][0]["image"].partition("@")[0] for pod in rig.world.pods.values()}
    assert images == {"registry.example/os:2.0.0-fast"}
    rig.tell(
        59, "a pod's image edited by hand", times=1, outcome="no restart; gone with the next upgrade", recovery=None
    )


def test_a_set_is_deleted_and_made_again_at_once(rig):
    """In the middle of a batch: pods of the old uid are never taken for ours, and the data is."""
    fleet(rig, volumeClaimTemplates=with_claims())
    claims = rig.claims()
    rig.publish("2.0.0")
    rig.batch(1, version="2.0.0")
    body = rig.api.get(SCALE_SETS, rig.namespace, "web")
    rig.recorder.disturb(*rig.uids())
    rig.delete(SCALE_SETS, "web", propagationPolicy="Background")
    metadata = {"name": "web"}
    again = rig.api.create(SCALE_SETS, rig.namespace, {**body, "metadata": metadata, "status": None})
    recovery = rig.recovered(lambda: rig.healthy(5, version="2.0.0", timeout=COLLECTED))
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in rig.world.pods.values()}
    assert owners == {again["metadata"]["uid"]}
    assert rig.claims() == claims
    what = "a set deleted in a batch and made again within a second"
    rig.tell(61, what, times=1, outcome="new pods, the same claims", recovery=recovery)


def test_readiness_flaps_once_a_second(rig):
    """An instance of the batch that is ready every other second: one verdict at its deadline, no ping-pong."""
    fleet(rig)
    rig.policy(healthTimeout="PT10S")
    rig.publish("2.0.0", "bad")
    rig.batch(1, version="2.0.0")
    upgraded = rig.uids()["web-0"]
    for number in range(17):  # ends as it began, not ready
        label = {"sim.scaleset.dev/ready": None if number % 2 else "false"}
        body = {"metadata": {"uid": upgraded, "labels": label}}  # this pod, and not the one that is restored
        refusal(rig.api.patch, PODS, rig.namespace, "web-0", body)
        rig.recorder.settle(0.5)
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(5, version="1.0.0")
    rig.recorder.settle(4)
    deleted = len(rig.recorder.trace().deleted_by_operator())
    assert deleted == 2, "one upgrade and one restore"
    rig.tell(
        65,
        "readiness of an instance flaps at 1 Hz during a batch",
        times=17,
        outcome="one restore, no more",
        recovery=None,
    )


def test_a_budget_forbids_evictions(rig):
    """A drain is refused by the API server, and a pod that was evicted counts in the gate."""
    fleet(rig)
    selector = {"matchLabels": {"scaleset.dev/name": "web"}}
    rig.api.create(
        BUDGETS, rig.namespace, {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": selector}}
    )

    def counted() -> bool:
        """kube-controller-manager learns of new kinds twice a minute, and looks at a budget that names one which it did
        not know only when something changes again.
        """
        body = {"metadata": {"annotations": {"tests/reminded": str(monotonic_ns())}}}
        rig.api.patch(BUDGETS, rig.namespace, "web", body)
        return bool((rig.api.get(BUDGETS, rig.namespace, "web").get("status") or {}).get("disruptionsAllowed") == 1)

    until(counted, timeout=90, message="the budget knows how many pods there are to be")
    rig.break_pod("web-4")
    rig.wait(lambda world: not ready(world.pods["web-4"]), "it is down")
    rig.api.wait(
        BUDGETS,
        rig.namespace,
        "web",
        lambda seen: seen is not None and seen["status"]["disruptionsAllowed"] == 0,
        timeout=60,
        message="the budget is used up",
    )
    assert not rig.api.evict(rig.namespace, "web-0")
    rig.mend_pod("web-4")
    rig.publish("2.0.0", "fast")
    rig.healthy(5, version="2.0.0")
    outcome = "evictions are refused; upgrades go by the batch limit, as a StatefulSet's do"
    rig.tell(71, "a PodDisruptionBudget that is used up", times=1, outcome=outcome, recovery=None)
    rig.tell(75, "an eviction while another instance is down", times=1, outcome="refused with 429", recovery=None)


def test_a_webhook_changes_every_new_pod(rig):
    """A sidecar and an image from a mirror are no drift: nothing is replaced because of them."""
    rig.settings = trace.Settings(exempt=dict.fromkeys(("S4", "S8"), "the images are not those that were published"))
    with meddling(rig.api, Component(rig.cluster, "kube-apiserver"), rig.namespace) as webhook:
        fleet(rig, replicas=3)
        rig.publish("2.0.0", "fast")
        rig.healthy(3, version="2.0.0")
        before = rig.uids()
        rig.quiet(seconds=5)
        assert rig.uids() == before
        assert {len(pod["spec"]["containers"]) for pod in rig.world.pods.values()} == {2}
    assert condition(rig.world.scale_sets["web"], "UpToDate") == "True"
    what = "a mutating webhook adds a container and changes the image"
    rig.tell(74, what, times=webhook.count, outcome="no endless replacing", recovery=None)


def test_image_and_size_change_in_one_write(rig):
    """Another sku and three instances more: the new ones come, all get the new image, batch by batch."""
    fleet(rig, replicas=3)
    rig.policy(mode="Rolling", healthTimeout="PT20S")
    rig.publish("1.0.0", "fast", sku="desktop")
    reference = {"publisher": "example", "offer": "os", "sku": "desktop", "version": "latest"}
    rig.change(replicas=6, imageReference=reference)
    rig.healthy(6)
    rig.wait(
        lambda world: rig.says("UpToDate")["status"] == "True" and len(world.pods_of("web")) == 6, "all are up to date"
    )
    rig.tell(51, "imageReference and replicas in one patch", times=1, outcome="both carried out", recovery=None)
