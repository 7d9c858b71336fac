"""Objects that the CRDs would not let in today: stored under a laxer schema, they are a condition and no crash."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS, Json, condition
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.crds import check_nothing
from tests.cluster.harness.desk import accepted_condition
from tests.cluster.harness.fleet import deploy, wait_ready
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder, World
from tests.cluster.harness.trace import AuditLog

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose CRDs check nothing, as if the objects had been stored under an older, laxer schema."""
    with Cluster(f"lax-{os.getpid()}", tmp_path_factory.mktemp("lax"), nodes=3) as cluster:
        check_nothing(cluster.api)
        yield cluster


def nested(depth: int) -> Json:
    value: Json = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.fixture
def deep_json() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(25_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("deep_json")
def test_objects_that_a_laxer_schema_let_in_are_a_condition(
    own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing that etcd may hold makes the operator crash or stops it for the others."""
    api = own_cluster.api
    namespace = own_cluster.make_namespace("lax")
    specs: dict[str, Any] = {
        "nested": {**scale_set()["spec"], "template": {"spec": {"containers": [{"name": "os"}], "x": nested(3000)}}},
        "empty": {},
        "no-template": {"replicas": 1},
        "too-many": {**scale_set()["spec"], "replicas": 10**9},
        "template-is-a-list": {**scale_set()["spec"], "template": []},
        "containers-are-text": {**scale_set()["spec"], "template": {"spec": {"containers": "os"}}},
        "no-containers": {**scale_set()["spec"], "template": {"spec": {"containers": []}}},
        "nameless-container": {**scale_set()["spec"], "template": {"spec": {"containers": [{"image": "x"}]}}},
        "two-health-signals": scale_set(policy=None, health={"probe": {"protocol": "tcp", "port": 80}})["spec"],
        "container-missing": scale_set(instanceContainer="absent")["spec"],
        "null-image": {**scale_set()["spec"], "imageReference": None},
        "version-1.0.0.0.0": {
            **scale_set()["spec"],
            "imageReference": {"publisher": "example", "offer": "os", "sku": "server", "version": "1.0.0.0.0"},
        },
    }
    with Recorder(api, namespace, AuditLog(own_cluster.audit_log)) as recorder:
        operator = Operator(
            kubeconfig=own_cluster.kubeconfig,
            namespaces=[namespace],
            log=tmp_path_factory.mktemp("lax-operator") / "operator.log",
            arguments=["--no-leader-elect"],
        )
        operator.start()
        operator.wait_ready()
        try:
            for name, spec in specs.items():
                body = {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "metadata": {"name": name}}
                api.create(SCALE_SETS, namespace, {**body, "spec": spec})
            bad = {"publisher": "example", "offer": "os", "sku": "server"}
            for index, version in enumerate(["latest", "1.0.0-rc1", "1.2.3.4.5", "99999999999.0.0", "", None, 7]):
                body = {"apiVersion": "scaleset.dev/v1beta1", "kind": "GalleryImageVersion"}
                metadata = {"metadata": {"name": f"bad-{index}"}}
                api.create(IMAGES, namespace, {**body, **metadata, "spec": {**bad, "version": version, "image": "x:1"}})
            wrong = upgrade_policy("wrong")
            wrong["spec"]["rollingUpgradePolicy"] = {"maxBatchInstancePercent": "a lot"}
            api.create(POLICIES, namespace, wrong)

            def all_refused(world: World) -> bool:
                return all(
                    accepted_condition(world, name).get("reason") == "InvalidSpec"
                    and len(accepted_condition(world, name).get("message", "")) > 20
                    for name in specs
                )

            recorder.wait_for(all_refused, timeout=20, message="each has a condition")
            recorder.wait_for(
                lambda world: all(
                    condition(each, "Ready") == "False"
                    for each in (*world.all(IMAGES).values(), *world.all(POLICIES).values())
                ),
                timeout=10,
                message="versions and the policy have one, too",
            )
            deploy(api, namespace, name="good", replicas=2)
            wait_ready(recorder, "good")
            recorder.quiet(seconds=3)
            operator.restart()
            recorder.quiet(seconds=3)
            assert "Traceback" not in operator.log()
            assert "reconcile_failed" not in operator.log()
        finally:
            operator.stop()
