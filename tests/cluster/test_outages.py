"""What cannot share a cluster with other scenarios: lost nodes, an operator that is dead or serves only some."""

from collections.abc import Callable

import pytest

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.scene import COLLECTED, Scene, ready, with_claims


@pytest.fixture
def alone(cluster: Cluster, namespace: str, recorder: Recorder, operator: Callable[..., Operator]) -> Scene:
    """The words of a scenario, with an operator of its own that is not started yet."""
    return Scene(cluster, namespace, recorder)


def test_a_lost_node_keeps_its_instance_until_it_is_gone(alone: Scene, operator: Callable[..., Operator]) -> None:
    operator()
    alone.create(replicas=3, volumeClaimTemplates=with_claims())
    before = alone.uids()
    node = alone.world.pods["web-1"]["spec"]["nodeName"]
    mine = [name for name, pod in alone.world.pods.items() if pod["spec"]["nodeName"] == node]
    for name in mine:
        alone.api.label(PODS, alone.namespace, name, hold_delete="true")  # nobody there to stop it
    alone.cluster.lose_node(node)
    for name in mine:
        alone.delete_pod(name)  # as the node controller evicts them
    alone.wait(lambda world: world.status("web")["healthyReplicas"] == 3 - len(mine), "they count as unhealthy")
    alone.publish("1.1.0", "fast")
    alone.condition("Progressing", "HealthGateWaiting")
    alone.never(lambda _: alone.uids() != before, "a second pod of an instance, or one forced away", seconds=2)
    alone.cluster.find_node(node)
    for name in mine:
        alone.api.label(PODS, alone.namespace, name, hold_delete=None)
    alone.rollout("Completed", "1.1.0")
    alone.healthy(3, version="1.1.0")


def test_a_set_can_be_deleted_with_the_operator_dead(alone: Scene, operator: Callable[..., Operator]) -> None:
    process = operator()
    alone.create(replicas=3, volumeClaimTemplates=with_claims())
    claims = alone.claims()
    process.kill()
    alone.delete(SCALE_SETS, "web", propagationPolicy="Foreground")
    gone = "the set and its pods are gone"
    alone.wait(lambda world: not world.pods and not world.scale_sets, gone, timeout=COLLECTED)
    assert alone.claims() == claims


def test_other_namespaces_are_left_alone(
    alone: Scene, operator: Callable[..., Operator], make_namespace: Callable[[], str]
) -> None:
    other = make_namespace()
    operator()
    alone.create(replicas=2)
    alone.api.apply(IMAGES, other, image_version("1.0.0", behaviour="fast"))
    alone.api.apply(POLICIES, other, upgrade_policy())
    alone.api.apply(SCALE_SETS, other, scale_set(replicas=2))
    alone.publish("1.1.0", "fast")
    alone.rollout("Completed", "1.1.0")
    assert not alone.api.list(PODS, other)
    assert "status" not in alone.api.get(SCALE_SETS, other, "web")
    assert all(ready(pod) for pod in alone.world.pods.values())
