"""What platform engineers do to the operator itself while fleets run: each of these tests plays alone."""

from pathlib import Path

import pytest

from tests.cluster.harness.api import CRDS, LEASES
from tests.cluster.harness.fleet import until
from tests.cluster.harness.leadership import assert_one_writer_at_a_time, at
from tests.cluster.harness.trace import AuditLog, Write
from tests.kind.harness.cluster import KindCluster, output
from tests.kind.harness.figures import process_of
from tests.kind.harness.release import CHART, IMAGE, NAME, NAMESPACE, Release
from tests.kind.harness.stage import PATIENCE, Stage, settled

pytestmark = pytest.mark.timeout(1800)
LEASE_SECONDS = 15
RETRY_SECONDS = 2
PREVIOUS = "0.0.1"


def assert_one_writer(writes: list[Write]) -> None:
    """What was written before the first renewal of the record says nothing: it belongs to a term that began earlier."""
    ordered = sorted(writes, key=at)
    while ordered and ordered[0].resource != "leases":
        ordered.pop(0)
    assert ordered, "no renewal of the lease was recorded"
    assert_one_writer_at_a_time(ordered, sender=lambda write: write.pod)


def test_the_other_replica_takes_over_when_the_leader_is_killed_in_a_rollout(
    lone_stage: Stage, release: Release, cluster: KindCluster
) -> None:
    """SIGKILL: nothing is handed over, so the lease has to run out. The rollout goes on, and nobody writes twice."""
    stage = lone_stage
    audit = AuditLog(cluster.audit_log)
    stage.create(replicas=5)
    leader = release.holder()
    assert len(release.pods()) == 2
    assert leader in {pod["metadata"]["name"] for pod in release.pods()}
    stage.publish("1.1.0")
    stage.in_batch(2)
    cluster.on_node(f"kill -9 {process_of(cluster, leader)}")
    until(lambda: release.holder() not in ("", leader), timeout=PATIENCE, message="the other one holds the lease")
    stage.rollout("Completed", "1.1.0")
    stage.healthy(5, version="1.1.0")
    assert set(stage.replacements().values()) == {1}

    writes = audit.writes("scaleset-operator/")
    assert_one_writer(writes)
    writers = {write.pod for write in writes if write.namespace == stage.namespace}
    assert writers == {leader, release.holder()}
    terms = [write for write in sorted(writes, key=at) if write.resource == "leases" and write.took_effect]
    first = next(number for number, write in enumerate(terms) if write.pod != leader)
    unled = at(terms[first]) - at(terms[first - 1])
    assert LEASE_SECONDS - 1 <= unled <= LEASE_SECONDS + RETRY_SECONDS + 10, f"{unled:.1f} s without a leader"
    until(release.ready, timeout=PATIENCE, message="the killed replica is back")


def test_uninstalling_and_installing_again_leaves_instances_alone(lone_stage: Stage, release: Release) -> None:
    """Without the operator everything runs on; it comes back to what it left, and works."""
    stage = lone_stage
    stage.create(replicas=3)
    claims, texts, before = stage.claims(), stage.write_data(), stage.uids()
    release.uninstall()
    assert len([crd for crd in stage.api.list(CRDS) if crd["spec"]["group"] == "scaleset.dev"]) == 3
    stage.never(
        lambda world: {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in world.pods_of("web")} != before,
        "no instance is touched",
        seconds=5,
    )
    release.install()
    until(release.holder, timeout=PATIENCE, message="somebody leads")
    stage.quiet(seconds=5)
    assert stage.uids() == before
    assert stage.claims() == claims
    assert stage.read_data() == texts
    stage.publish("1.1.0")
    stage.rollout("Completed", "1.1.0")
    stage.healthy(3, version="1.1.0")
    assert stage.read_data() == texts


def test_upgrading_the_operator_in_a_rollout_deletes_no_pod(
    lone_stage: Stage, release: Release, cluster: KindCluster, tmp_path: Path
) -> None:
    """From the chart before this one. There is none yet, so this one is packaged with a lower version and another image
    tag: what is upgraded is the Deployment, its pods and every label of the release.
    """
    stage = lone_stage
    image = f"scaleset-operator:{PREVIOUS}"
    output(["docker", "tag", IMAGE, image])
    cluster.load(image)
    cluster.helm(
        "package", str(CHART), "--version", PREVIOUS, "--app-version", PREVIOUS, "--destination", str(tmp_path)
    )
    release.install(tmp_path / f"{NAME}-{PREVIOUS}.tgz")
    assert _images(release) == {image}
    stage.create(replicas=5)
    claims = stage.claims()
    stage.publish("1.1.0")
    stage.in_batch(2)
    release.install()
    assert _images(release) == {IMAGE}
    stage.rollout("Completed", "1.1.0")
    stage.wait(lambda world: settled(world, 5, "1.1.0"), "all are ready on 1.1.0", timeout=PATIENCE)
    assert stage.replacements() == {f"web-{number}": 1 for number in range(5)}
    assert stage.claims() == claims


def test_stopping_hands_the_lease_over(release: Release, cluster: KindCluster) -> None:
    """A clean end, as in every node drain: the other one leads at once instead of after the lease has run out."""
    until(lambda: release.ready() and release.holder(), timeout=PATIENCE, message="both run and one leads")
    leader = release.holder()
    audit = AuditLog(cluster.audit_log)
    cluster.kubectl("--namespace", NAMESPACE, "delete", "pod", leader, "--wait=false")
    until(lambda: release.holder() not in ("", leader), timeout=PATIENCE, message="the other one holds the lease")

    def renewals() -> list[Write]:
        writes = audit.writes("scaleset-operator/")
        return sorted((each for each in writes if each.resource == "leases" and each.took_effect), key=at)

    # The log comes to us a moment later.
    until(lambda: any(each.pod != leader for each in renewals()), timeout=PATIENCE, message="the log has it")
    terms = renewals()
    released = next(each for each in terms if each.pod == leader and not each.body["spec"].get("holderIdentity"))
    taken = next(each for each in terms if each.pod != leader)
    assert at(taken) - at(released) < LEASE_SECONDS
    assert cluster.api.get(LEASES, NAMESPACE, NAME)["spec"]["leaseTransitions"] >= 1
    until(release.ready, timeout=PATIENCE, message="a new replica is ready")


def _images(release: Release) -> set[str]:
    """What the replicas run that are there to stay."""
    pods = [pod for pod in release.pods() if "deletionTimestamp" not in pod["metadata"]]
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}
