"""What goes wrong with real images, and what users do to a healthy set: all at once, each in its own namespace."""

from functools import partial

import pytest

from tests.cluster.harness.api import BUDGETS, IMAGES, NODES, PODS
from tests.cluster.harness.fleet import uids, until
from tests.cluster.harness.rollouts import fewest_ready, touched
from tests.cluster.harness.scene import ready
from tests.kind.harness.release import NAMESPACE
from tests.kind.harness.stage import PATIENCE, Stage, budget, settled

pytestmark = pytest.mark.timeout(1800)
BREACH = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("bad", "containers with unready status: [web]"),
        ("absent", "ImagePull"),
        ("crash", "its configuration names a disk that is not there"),
    ],
)
def test_a_version_that_fails_is_taken_back_in_its_batch(scene: Stage, behaviour: str, words: str) -> None:
    """One instance gets it and has its previous image back; the error repeats what the kubelet says."""
    scene.create(replicas=5)
    claims, texts, before = scene.claims(), scene.write_data(), scene.uids()
    scene.publish("1.1.0", behaviour)
    rollout = scene.rollout("Faulted", "1.1.0")
    assert rollout["error"]["code"] == BREACH
    details = " ".join(each["message"] for each in rollout["error"].get("details") or [])
    assert words in f"{rollout['error']['message']} {details}"
    scene.healthy(5, version="1.0.0")
    assert touched(scene.recorder) == [[0]]
    assert scene.replaced(before) == {"web-0"}
    assert scene.rollout("Faulted", "1.1.0")["restored"] == "0"
    assert scene.claims() == claims
    assert scene.read_data() == texts


def test_a_slow_version_is_waited_for(scene: Stage) -> None:
    """Twelve seconds of warming up are within the health timeout: nothing is restored."""
    scene.create(replicas=2)
    scene.publish("1.1.0", "slow")
    rollout = scene.rollout("Completed", "1.1.0")
    assert rollout["progress"]["successfulInstanceCount"] == 2
    scene.healthy(2, version="1.1.0")
    assert scene.replacements() == {"web-0": 1, "web-1": 1}


def test_scaling_keeps_disks_for_their_instances(scene: Stage) -> None:
    """Out, in, and out again: an instance that comes back finds what it wrote."""
    scene.create(replicas=3)
    scene.scale_by_subresource(5)
    scene.healthy(5)
    claims, texts = scene.claims(), scene.write_data()
    scene.scale_by_subresource(2)
    scene.healthy(2)
    assert scene.claims() == claims
    scene.scale_by_subresource(5)
    scene.healthy(5)
    assert scene.claims() == claims
    assert scene.read_data() == texts


def test_a_drain_goes_at_the_pace_of_the_disruption_budget(scene: Stage) -> None:
    """Every pod is evicted once: not while another one is missing, and its successor has the same name and disk."""
    scene.create(replicas=4)
    claims, texts, before = scene.claims(), scene.write_data(), scene.uids()
    scene.apply(budget())
    scene.api.wait(
        BUDGETS,
        scene.namespace,
        "web",
        lambda found: found is not None and found.get("status", {}).get("expectedPods") == 4,
        timeout=PATIENCE,
        message="the budget counts the set's pods by its scale subresource",
    )
    scene.recorder.disturb(*before)
    for name in before:
        until(partial(scene.api.evict, scene.namespace, name), timeout=PATIENCE, message=f"{name} may be evicted")
    scene.wait(
        lambda world: settled(world, 4, "1.0.0") and not set(before.values()) & set(uids(world).values()),
        "all are back, in new pods",
        timeout=PATIENCE,
    )
    assert fewest_ready(scene.recorder) >= 3
    assert scene.claims() == claims
    assert scene.read_data() == texts


def test_an_image_is_pulled_beforehand_where_that_is_asked_for(scene: Stage) -> None:
    """`replicationMode: Full`: pulled by a pod of the operator's namespace on the node, and rolled out only then."""
    scene.recorder.operator_lives_in(NAMESPACE)
    scene.create(replicas=1)
    scene.publish("1.1.0", publishingProfile={"replicationMode": "Full"})
    nodes = len(scene.api.list(NODES))
    found = scene.api.wait(
        IMAGES,
        scene.namespace,
        "web-1.1.0",
        lambda seen: seen is not None and _replicated(seen) == "Completed",
        timeout=PATIENCE,
        message="the image is on the node",
    )
    assert found is not None
    assert nodes == 1
    scene.rollout("Completed", "1.1.0")
    scene.healthy(1, version="1.1.0")
    left = f"scaleset.dev/prepull={found['metadata']['uid']}"
    until(
        lambda: not scene.api.list(PODS, NAMESPACE, selector=left),
        timeout=PATIENCE,
        message="the pulling pods are gone",
    )


def test_a_lost_pod_comes_back_as_it_was(scene: Stage) -> None:
    """Deleted by hand: the same name, version and disk, never a newer version by the way."""
    scene.policy(automatic=False)
    scene.create(replicas=2)
    texts = scene.write_data()
    scene.publish("1.1.0")
    gone = scene.delete_pod("web-1")
    scene.wait(
        lambda world: any(ready(pod) and pod["metadata"]["uid"] != gone for pod in world.pods_of("web")
                          if pod["metadata"]["name"] == "web-1"),
        "web-1 is back",
        timeout=PATIENCE,
    )  # fmt: skip
    assert scene.versions() == ["1.0.0", "1.0.0"]
    assert scene.read_data() == texts


def _replicated(version: dict[str, dict[str, dict[str, str]]]) -> str:
    return ((version.get("status") or {}).get("replicationStatus") or {}).get("aggregatedState", "")
