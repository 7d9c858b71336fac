"""Two replicas, one lease: at every moment at most one of them writes (S13).

Each replica has an account of its own, so that the API server's audit log tells who wrote what.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness.api import LEASES, SERVICE_ACCOUNTS, Api, Json, Kind
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import code, deploy, ids, publish, until, versions, wait_ready
from tests.cluster.harness.leadership import assert_one_writer_at_a_time
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder, World

pytestmark = pytest.mark.timeout(180)

BINDINGS = Kind("clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False)
LEASE = "scaleset-operator"
LEASE_SECONDS = 15
Replica = Callable[[str], Operator]


def account(cluster: Cluster, namespace: str, name: str, directory: Path) -> Path:
    """A kubeconfig of a service account that may do everything."""
    api = cluster.api
    api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    api.create(BINDINGS, None, {"metadata": {"name": f"{namespace}-{name}"}, "subjects": [subject], "roleRef": role})
    return cluster.kubeconfig_of(namespace, name, directory)


@pytest.fixture
def replica(cluster: Cluster, namespace: str, recorder: Recorder, tmp_path: Path) -> Iterator[Replica]:
    """`replica("a")` starts an operator with leader election and the account `a`."""
    started: list[Operator] = []

    def start(name: str) -> Operator:
        process = Operator(
            kubeconfig=account(cluster, namespace, name, tmp_path),
            namespaces=[namespace],
            log=tmp_path / f"{name}.log",
            arguments=["--leader-elect"],
        )
        started.append(process)
        process.start()
        process.wait_ready()
        return process

    yield start
    for process in started:
        process.stop()


def leads(process: Operator) -> bool:
    return f'leader_election_master_status{{name="{LEASE}"}} 1.0' in process.metrics()


def wait_leading(process: Operator) -> None:
    until(lambda: leads(process), timeout=LEASE_SECONDS + 5, message="it leads")


def assert_one_writer(recorder: Recorder) -> None:
    assert_one_writer_at_a_time(recorder.writes(), sender=lambda write: write.user)


def writers(recorder: Recorder) -> set[str]:
    """The accounts that wrote anything but leases."""
    return {write.user.rpartition(":")[2] for write in recorder.writes_except_lease()}


def completed(world: World) -> bool:
    return code(world) == "Completed"


def under_way(world: World) -> bool:
    return ids(world, "inProgress") == {0, 1}


def leader_in_a_batch(api: Api, namespace: str, recorder: Recorder, replica: Replica) -> Operator:
    """The replica `a`, leading, in the first batch of ten instances to 2.0.0; `b` is ready to take over."""
    first = replica("a")
    wait_leading(first)
    replica("b")
    deploy(api, namespace, replicas=10, policy=upgrade_policy(healthTimeout="PT30S"))
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(under_way, timeout=10, message="a batch is under way")
    return first


def test_only_the_holder_writes(api: Api, namespace: str, recorder: Recorder, replica: Replica) -> None:
    """Both are ready to take over, one of them works."""
    first, second = replica("a"), replica("b")
    wait_leading(first)
    deploy(api, namespace)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "fast")
    wait_ready(recorder, version="2.0.0")
    assert (first.health("/readyz"), second.health("/readyz")) == (200, 200)
    assert (first.health(), second.health()) == (200, 200)
    assert (leads(first), leads(second)) == (True, False)
    assert writers(recorder) == {"a"}
    assert_one_writer(recorder)


def test_another_replica_takes_over_when_the_leader_dies(
    api: Api, namespace: str, recorder: Recorder, replica: Replica
) -> None:
    """Within the duration of the lease and five seconds, in the middle of a batch."""
    first = leader_in_a_batch(api, namespace, recorder, replica)
    first.kill()
    until(lambda: writers(recorder) == {"a", "b"}, timeout=LEASE_SECONDS + 5, message="the other one took over")
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert set(versions(recorder.world).values()) == {"2.0.0"}
    assert writers(recorder) == {"a", "b"}
    assert_one_writer(recorder)


def test_a_leader_that_is_told_to_end_hands_over_at_once(
    api: Api, namespace: str, recorder: Recorder, replica: Replica
) -> None:
    """The lease is given back, so nobody waits until it expires."""
    first = leader_in_a_batch(api, namespace, recorder, replica)
    assert first.terminate() == 0
    recorder.wait_for(lambda world: len(ids(world, "successful")) >= 2, timeout=6, message="the other one took over")
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert writers(recorder) == {"a", "b"}
    assert_one_writer(recorder)


def test_a_deleted_lease_makes_no_second_leader(api: Api, namespace: str, recorder: Recorder, replica: Replica) -> None:
    """The holder notices and goes on, or somebody else does; never both."""
    leader_in_a_batch(api, namespace, recorder, replica)
    api.delete(LEASES, namespace, LEASE)
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert api.find(LEASES, namespace, LEASE) is not None
    assert_one_writer(recorder)


def test_a_leader_that_slept_through_its_term_writes_nothing_and_ends(
    api: Api, namespace: str, recorder: Recorder, replica: Replica
) -> None:
    """Frozen in the middle of a batch, overtaken, thawed: it must not act on what it believed before."""
    first = leader_in_a_batch(api, namespace, recorder, replica)
    first.signal(signal.SIGSTOP)
    recorder.wait_for(
        lambda world: len(ids(world, "successful")) >= 4, timeout=LEASE_SECONDS + 10, message="the other one took over"
    )
    before = [write for write in recorder.writes() if write.user.endswith(":a")]
    first.signal(signal.SIGCONT)
    assert first.wait_exit(20) == 1
    assert [write for write in recorder.writes() if write.user.endswith(":a")] == before
    assert "was lost to" in first.log()
    assert "Traceback" not in first.log()
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    assert_one_writer(recorder)


def test_a_stranger_on_the_lease_is_waited_for(api: Api, namespace: str, recorder: Recorder, replica: Replica) -> None:
    """A lease that somebody else renews is respected; once it is not renewed any more, it is taken."""
    spec: Json = {"holderIdentity": "somebody", "leaseDurationSeconds": 5, "leaseTransitions": 3}
    api.create(LEASES, namespace, {"metadata": {"name": LEASE}, "spec": spec})
    process = replica("a")
    assert process.health("/readyz") == 200
    deploy(api, namespace)
    recorder.never(lambda world: world.pods, seconds=3, message="pods were made without the lease")
    wait_ready(recorder)
    lease = api.get(LEASES, namespace, LEASE)["spec"]
    assert lease["leaseTransitions"] == 4
    assert_one_writer(recorder)
