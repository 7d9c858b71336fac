"""Pre-pulls by an operator that is killed, that may not look at nodes, and that lives in a strict namespace."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness.api import (
    IMAGES,
    NAMESPACES,
    POLICIES,
    QUOTAS,
    SCALE_SETS,
    SERVICE_ACCOUNTS,
    Api,
    Json,
    Kind,
    condition,
)
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import limit, until, wait_ready
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator, Start
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.regions import Regions, prepulls, replication, state

pytestmark = pytest.mark.timeout(240)

NEXT = "server-1.1.0"
RBAC = "rbac.authorization.k8s.io"
ROLES, ROLE_BINDINGS = Kind("roles", RBAC), Kind("rolebindings", RBAC)
CLUSTER_ROLES = Kind("clusterroles", RBAC, namespaced=False)
CLUSTER_ROLE_BINDINGS = Kind("clusterrolebindings", RBAC, namespaced=False)


@pytest.fixture
def regions(api: Api, namespace: str) -> Iterator[Regions]:
    with Regions(api, namespace) as regions:
        yield regions


@pytest.fixture
def own(api: Api, make_namespace: Callable[[], str], recorder: Recorder) -> str:
    """The operator's namespace, which refuses every pod that Pod Security `restricted` refuses."""
    name = make_namespace()
    api.patch(NAMESPACES, None, name, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    recorder.operator_lives_in(name)
    return name


def wait_state(recorder: Recorder, region: str, wanted: str, *, timeout: float = 40) -> None:
    message = f"{NEXT} is {wanted} in {region}"
    recorder.wait_for(lambda world: state(world, NEXT, region) == wanted, timeout=timeout, message=message)


def publish(api: Api, namespace: str, profile: Json) -> Json:
    return api.create(IMAGES, namespace, image_version("1.1.0", publishingProfile=profile))


def wait_pods(api: Api, own: str, version: Json, count: int) -> list[str]:
    """Waits until so many pods pull; returns their uids."""
    found: list[str] = []

    def counted() -> bool:
        found[:] = uids(api, own, version)
        return len(found) == count

    until(counted, timeout=20, message=f"{count} pods pull")
    return found


def uids(api: Api, own: str, version: Json) -> list[str]:
    return [pod["metadata"]["uid"] for pod in prepulls(api, own, version)]


def test_a_killed_operator_goes_on_and_finds_its_pods(
    api: Api, namespace: str, recorder: Recorder, operator: Start, regions: Regions, own: str
) -> None:
    west = regions.name("west")
    regions.add("west", 6)
    (broken,) = regions.add("west", works=False)
    process = operator("--leader-election-namespace", own)
    version = publish(api, namespace, regions.targets("west"))
    recorder.wait_for(
        lambda world: replication(world.all(IMAGES).get(NEXT)).get(west, {}).get("progress") == 85,
        timeout=30,
        message="all but one have it",
    )
    (pod,) = wait_pods(api, own, version, 1)
    process.kill()
    process.start()
    process.wait_ready()
    recorder.wait_for(
        lambda world: replication(world.all(IMAGES).get(NEXT))[west]["progress"] == 85,
        timeout=30,
        message="all but one",
    )
    # It may ask nodes again that have not listed the image yet; they answer at once.
    until(lambda: uids(api, own, version) == [pod], timeout=20, message="only the pod from before is left")
    process.kill()
    regions.remove(broken)
    process.start()
    wait_state(recorder, west, "Completed")
    wait_pods(api, own, version, 0)
    recorder.quiet(seconds=2)
    process.restart()
    recorder.quiet(seconds=2)


def test_pods_of_a_version_that_went_while_nobody_looked_are_found(
    api: Api, namespace: str, recorder: Recorder, operator: Start, regions: Regions, own: str
) -> None:
    regions.add("west", works=False)
    process = operator("--leader-election-namespace", own)
    version = publish(api, namespace, regions.targets("west"))
    wait_pods(api, own, version, 1)
    process.kill()
    api.delete(IMAGES, namespace, NEXT)
    stranger = {**version, "metadata": {**version["metadata"], "uid": "of-another-operator"}}
    api.create(Kind("pods"), own, _strangers_pod())
    process.start()
    process.wait_ready()
    wait_pods(api, own, version, 0)
    assert len(prepulls(api, own, stranger)) == 1


def test_many_versions_share_the_room(
    api: Api, namespace: str, recorder: Recorder, operator: Start, regions: Regions, own: str
) -> None:
    regions.add("west", 6, works=False)
    operator("--leader-election-namespace", own)
    for minor in range(5):
        api.create(IMAGES, namespace, image_version(f"1.{minor}.0", publishingProfile=regions.targets("west")))
    pods = Kind("pods")
    until(lambda: len(api.list(pods, own)) == 20, timeout=20, message="20 pods pull")
    recorder.never(lambda _: len(api.list(pods, own)) > 20, seconds=2, message="more than 20 pods pull")
    per_version = Counter(pod["metadata"]["labels"]["scaleset.dev/prepull"] for pod in api.list(pods, own))
    assert max(per_version.values()) == 5
    for minor in range(5):
        api.delete(IMAGES, namespace, f"server-1.{minor}.0")
    until(lambda: not api.list(pods, own), timeout=20, message="no pod is left")


def test_a_quota_that_refuses_the_pods_is_told_and_tried_again(
    api: Api, namespace: str, recorder: Recorder, operator: Start, regions: Regions, own: str
) -> None:
    west = regions.name("west")
    regions.add("west", 7)
    limit(api, own, "none", {"pods": "0"})
    operator("--leader-election-namespace", own)
    publish(api, namespace, regions.targets("west"))
    wait_state(recorder, west, "Failed")
    details = replication(recorder.world.all(IMAGES).get(NEXT))[west]["details"]
    assert "exceeded quota: none" in details
    assert len([write for write in recorder.writes() if write.resource == "pods"]) <= 5
    api.delete(QUOTAS, own, "none")
    wait_state(recorder, west, "Completed", timeout=60)


def _strangers_pod() -> Json:
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "metadata": {
            "name": "prepull-of-another",
            "labels": {"scaleset.dev/prepull": "of-another-operator"},
            "annotations": {"scaleset.dev/prepull-of": "not-served/web"},
        },
        "spec": {"containers": [{"name": "image", "image": "x", "securityContext": restricted}]},
    }


def test_no_target_region_means_every_region(
    api: Api, namespace: str, recorder: Recorder, operator: Start, regions: Regions, own: str
) -> None:
    regions.add("west", 2)
    operator("--leader-election-namespace", own)
    api.create(POLICIES, namespace, upgrade_policy())
    api.create(IMAGES, namespace, image_version("1.0.0", behaviour="fast"))
    api.create(SCALE_SETS, namespace, scale_set(replicas=2))
    wait_ready(recorder, version="1.0.0")
    publish(api, namespace, {"replicationMode": "Full"})
    wait_ready(recorder, version="1.1.0")
    summary = replication(api.get(IMAGES, namespace, NEXT))
    assert {region: each["details"] for region, each in summary.items()} == {
        regions.name("west"): "2 nodes have the image.",
        "default": "10 nodes have the image.",
    }


def test_without_a_right_on_nodes_full_says_so_and_shallow_works(
    cluster: Cluster, namespace: str, recorder: Recorder, regions: Regions, tmp_path: Path
) -> None:
    api = cluster.api
    regions.add("west", 1)
    process = Operator(
        kubeconfig=limited_account(cluster, namespace, tmp_path),
        namespaces=[namespace],
        log=tmp_path / "operator.log",
        arguments=["--no-leader-elect"],
    )
    process.start()
    try:
        process.wait_ready()
        api.create(POLICIES, namespace, upgrade_policy())
        api.create(IMAGES, namespace, image_version("1.0.0", behaviour="fast"))
        api.create(SCALE_SETS, namespace, scale_set(replicas=2))
        version = publish(api, namespace, regions.targets("west"))
        wait_ready(recorder, version="1.0.0")
        wait_state(recorder, regions.name("west"), "Unknown")
        found = api.get(IMAGES, namespace, NEXT)
        ready = next(each for each in found["status"]["conditions"] if each["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ReplicationUnavailable")
        assert "nodes is forbidden" in ready["message"]
        assert "set replicationMode to Shallow" in ready["message"]
        assert condition(api.get(IMAGES, namespace, "server-1.0.0"), "Ready") == "True"
        recorder.quiet(seconds=3)
        assert (process.health("/healthz"), process.health("/readyz")) == (200, 200)
        assert process.log().count("nodes is forbidden") == 1
        grant_nodes(api, namespace)
        wait_state(recorder, regions.name("west"), "Completed", timeout=90)
        wait_pods(api, namespace, version, 0)
        assert condition(api.get(IMAGES, namespace, NEXT), "Ready") == "True"
    finally:
        process.stop()


def limited_account(cluster: Cluster, namespace: str, directory: Path) -> Path:
    """A kubeconfig of a service account that may do everything in one namespace, and nothing outside."""
    api = cluster.api
    api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "limited"}})
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api.create(ROLES, namespace, {"metadata": {"name": "limited"}, "rules": everything})
    subject = {"kind": "ServiceAccount", "name": "limited", "namespace": namespace}
    role = {"apiGroup": RBAC, "kind": "Role", "name": "limited"}
    api.create(ROLE_BINDINGS, namespace, {"metadata": {"name": "limited"}, "subjects": [subject], "roleRef": role})
    return cluster.kubeconfig_of(namespace, "limited", directory)


def grant_nodes(api: Api, namespace: str) -> None:
    name = f"{namespace}-nodes"
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]
    api.create(CLUSTER_ROLES, None, {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "limited", "namespace": namespace}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    api.create(CLUSTER_ROLE_BINDINGS, None, {"metadata": {"name": name}, "subjects": [subject], "roleRef": role})
