"""What the benchmark counts over pod events."""

from typing import Any

from bench.fleet import Phases, Tally
from tests.cluster.harness.trace import Seen

OLD, NEW, BAD = "os:1", "os:2", "os:bad"


def pod(uid: str, image: str, *, ready: bool = True, generation: int = 1, observed: int = 1, gone: bool = False) -> Any:
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "resourceVersion": "1", "generation": generation}
    if gone:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    condition = {"type": "Ready", "status": str(ready), "observedGeneration": observed}
    return {"metadata": metadata, "spec": {"containers": [{"image": image}]}, "status": {"conditions": [condition]}}


def fed(tally: Tally, *pods: Any, kind: str = "MODIFIED", at: float = 0.0) -> Tally:
    for each in pods:
        tally.feed(Seen(at, kind, "pods", each))
    return tally


def fleet(replicas: int = 3) -> Tally:
    tally = fed(Tally(replicas), *(pod(str(number), OLD) for number in range(replicas)))
    tally.reset(0.0)
    return tally


def test_a_fleet_that_is_set_up_is_available() -> None:
    tally = fleet()
    assert (tally.unavailable, tally.most_unavailable) == (0, 0)
    assert tally.done(OLD)
    assert not tally.done(NEW)


def test_terminating_and_unready_instances_are_unavailable() -> None:
    tally = fed(fleet(), pod("0", OLD, gone=True), pod("1", OLD, ready=False))
    assert tally.unavailable == 2


def test_a_deleted_instance_is_unavailable_until_its_successor_is_ready() -> None:
    tally = fed(fleet(), pod("0", OLD), kind="DELETED")
    assert tally.unavailable == 1
    fed(tally, pod("4", NEW, ready=False))
    assert tally.unavailable == 1
    fed(tally, pod("4", NEW))
    assert (tally.unavailable, tally.most_unavailable) == (0, 1)


def test_every_second_belongs_to_what_was_going_on() -> None:
    """Two of three are replaced: the seconds before, those until both run, those until both are Ready."""
    tally = fed(fleet(), pod("0", OLD, gone=True), pod("1", OLD, gone=True), at=1.0)
    fed(tally, pod("0", OLD, gone=True), pod("1", OLD, gone=True), kind="DELETED", at=2.0)
    fed(tally, running("4"), at=3.0)
    fed(tally, running("5"), at=5.0)
    assert tally.phases == Phases(quiet=1.0, starting=0.0)
    fed(tally, pod("4", NEW), at=9.0)
    fed(tally, pod("5", NEW), at=10.0)
    fed(tally, pod("2", OLD), at=10.5)
    assert tally.phases == Phases(quiet=1.5, starting=5.0)


def running(uid: str) -> Any:
    """Its containers run, and are not ready yet."""
    body = pod(uid, NEW, ready=False)
    body["status"]["containerStatuses"] = [{"containerID": uid, "state": {"running": {}}}]
    return body


def test_in_place_ready_has_to_be_of_the_new_generation() -> None:
    tally = fed(fleet(), pod("0", NEW, generation=2, observed=1))
    assert (tally.unavailable, tally.available_on(NEW)) == (1, 0)
    fed(tally, pod("0", NEW, generation=2, observed=2))
    assert (tally.unavailable, tally.available_on(NEW)) == (0, 1)


def test_done_needs_every_instance_and_no_pod_besides() -> None:
    tally = fed(fleet(2), pod("0", NEW), pod("1", NEW), pod("2", OLD, gone=True))
    assert not tally.done(NEW)
    fed(tally, pod("2", OLD, gone=True), kind="DELETED")
    assert tally.done(NEW)


def test_exposure_counts_pods_that_ever_had_the_image() -> None:
    tally = fed(fleet(), pod("0", BAD, ready=False), pod("1", BAD, ready=False))
    assert not tally.healthy_without(BAD)
    fed(tally, pod("0", OLD), pod("1", OLD))
    assert tally.healthy_without(BAD)
    assert tally.exposed_to(BAD) == 2
