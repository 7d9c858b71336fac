"""A namespace that is deleted with a set in it: the operator lets it go and says nothing of it."""

import itertools
from pathlib import Path

import pytest

from tests.cluster.harness.api import NAMESPACES, PODS
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import deploy, until
from tests.cluster.harness.operator import Operator

_numbers = itertools.count()

pytestmark = pytest.mark.timeout(180)


def come_and_go(cluster: Cluster, *, pods: int) -> None:
    """A namespace with a set, deleted when it has that many pods."""
    api = cluster.api
    namespace = cluster.make_namespace(f"going-{next(_numbers)}")
    deploy(api, namespace, replicas=5)
    until(lambda: len(api.list(PODS, namespace)) >= pods, timeout=30, message="the pods are there")
    api.delete(NAMESPACES, None, namespace)
    until(lambda: api.find(NAMESPACES, None, namespace) is None, timeout=60, message="the namespace is gone")


def test_a_namespace_that_is_deleted_is_no_news(cluster: Cluster, tmp_path: Path) -> None:
    """Once as soon as the set is made, before its pods are; twice with pods that end while the operator looks on."""
    operator = Operator(
        kubeconfig=cluster.kubeconfig, namespaces=[], log=tmp_path / "operator.log", arguments=["--no-leader-elect"]
    )
    with operator.at_work():
        for count in (0, 5, 5):
            come_and_go(cluster, pods=count)
    said = [line for line in operator.log().splitlines() if " ERROR " in line or " WARNING " in line]
    assert said == []
