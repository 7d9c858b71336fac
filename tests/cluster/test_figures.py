"""The figures of the operator, measured on a real API server and printed (`pytest -s`).

Counts are exact. Times and sizes have generous bounds, since machines are noisy; what they usually are stands in the
output. Whoever misses one finds the cause, not a larger bound.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import monotonic

import pytest

from tests.cluster.harness.api import PODS, POLICIES, SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import code, deploy, publish, until, versions, wait_ready
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator, Start
from tests.cluster.harness.recorder import Recorder, World
from tests.cluster.harness.trace import Seen
from tests.cluster.test_endpoints import Samples, samples, total

pytestmark = pytest.mark.timeout(600)

Say = Callable[[str], None]


def completed(world: World) -> bool:
    return code(world) == "Completed"


def first_seen(recorder: Recorder, kind: str, wanted: Callable[[Seen], object]) -> float:
    """When the recorder saw it first, on its own clock."""
    return next(seen.at for seen in recorder.trace().seen if seen.kind == kind and wanted(seen))


def memory(pid: int) -> float:
    """Resident MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return kib / 1024


def processor(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("replicas", [5, 100])
def test_from_publishing_to_the_first_delete(
    api: Api, namespace: str, recorder: Recorder, operator: Start, say: Say, *, replicas: int
) -> None:
    """The image is chosen within a second of becoming eligible."""
    operator()
    deploy(api, namespace, replicas=replicas)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(
        lambda world: (
            any("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())
            or len(world.pods) < replicas
            or "2.0.0" in versions(world).values()
        ),
        timeout=10,
        message="the first pod is deleted",
    )
    published = first_seen(recorder, "galleryimageversions", lambda seen: seen.name == "server-2.0.0")
    deleted = first_seen(recorder, "pods", lambda seen: seen.terminating or seen.type == "DELETED")
    say(f"publish -> first pod deleted, N={replicas}: {1000 * (deleted - published):.0f} ms")
    assert deleted - published < 1
    recorder.wait_for(completed, timeout=60, message="the rollout completes")


def test_a_rollout_of_a_hundred(
    api: Api, namespace: str, recorder: Recorder, operator: Start, say: Say, cluster: Cluster
) -> None:
    """Five batches of twenty that take one second to start: little is added to that, and little is written."""
    assert cluster.start == "1s"
    process = operator()
    deploy(api, namespace, replicas=100, policy=upgrade_policy(healthTimeout="PT30S"))
    wait_ready(recorder)
    recorder.never(lambda _: False, seconds=6, message="")  # counts may be written late
    used, before = processor(process.pid), samples(process)
    recorded = len(recorder.writes_except_lease())
    publish(api, namespace, "2.0.0")
    recorder.wait_for(completed, timeout=60, message="the rollout completes")
    cpu, now = processor(process.pid) - used, samples(process)
    published = first_seen(recorder, "galleryimageversions", lambda seen: seen.name == "server-2.0.0")
    ended = first_seen(recorder, "scalesets", lambda seen: completed(World({"scalesets": {"web": seen.object}})))
    writes = [write for write in recorder.writes_except_lease()[recorded:] if not write.dry_run]
    kinds = Counter(f"{write.verb} {write.resource}" for write in writes)
    batches = _moments(recorder)
    say(f"rollout N=100, 5 batches, start 1 s: {ended - published:.2f} s (to be below 10 s)")
    say("batch admitted -> all ready: " + ", ".join(f"{seconds:.2f} s" for seconds in batches))
    say(f"writes: {dict(kinds)}; status writes per batch: {kinds['patch scalesets'] / 5:.1f}")
    looks = total(now, "controller_runtime_reconcile_total", controller="scaleset") - total(
        before, "controller_runtime_reconcile_total", controller="scaleset"
    )
    say(f"operator: {cpu:.2f} s of processor time, {looks:.0f} reconciles, {memory(process.pid):.0f} MiB")
    assert ended - published < 15
    pods = Counter(write.name for write in writes if write.resource == "pods")
    assert pods == {f"web-{n}": 2 for n in range(100)}
    # Its beginning, the clocks of its new pods, its end; and counts, which are written a little later.
    assert kinds["patch scalesets"] <= 5 * 3 + 5
    assert kinds["create events"] <= 2 * 5 + 3


def _moments(recorder: Recorder) -> list[float]:
    """Seconds from the admission of each batch until all of it was ready."""
    admitted: dict[int, float] = {}
    done: dict[int, float] = {}
    for seen in recorder.trace().seen:
        if seen.kind != "scalesets":
            continue
        rollout = (seen.object.get("status") or {}).get("rollingUpgrade") or {}
        batch, through = rollout.get("batch"), rollout.get("batchesDone", 0)
        if batch:
            admitted.setdefault(batch["number"], seen.at)
        if through:
            done.setdefault(through, seen.at)
    return [done[number] - begun for number, begun in sorted(admitted.items()) if number in done]


def test_a_thousand_instances(api: Api, namespace: str, recorder: Recorder, operator: Start, say: Say) -> None:
    """Memory, size of the status, and what it costs to find that nothing is to be done."""
    process = operator()
    empty = memory(process.pid)
    deploy(api, namespace, replicas=0)
    patch: Json = {"spec": {"replicas": 1000, "singlePlacementGroup": False}}
    began = monotonic()
    api.patch(SCALE_SETS, namespace, "web", patch)
    recorder.wait_for(
        lambda world: world.status("web").get("healthyReplicas") == 1000, timeout=240, message="all are healthy"
    )
    up = monotonic() - began
    # Half of them not simply healthy: the status is at its largest.
    for pod in api.list(PODS, namespace)[::2][:60]:
        api.label(PODS, namespace, pod["metadata"]["name"], ready="false")
        recorder.disturb(pod["metadata"]["name"])
    recorder.wait_for(
        lambda world: world.status("web").get("healthyReplicas") == 940, timeout=60, message="some are unhealthy"
    )
    size = len(json.dumps(api.get(SCALE_SETS, namespace, "web")["status"], separators=(",", ":")))
    recorder.never(lambda _: False, seconds=8, message="")
    times = [_no_op(api, namespace, process) for _ in range(20)]
    used = memory(process.pid)
    say(f"1000 instances up in {up:.1f} s; memory {empty:.0f} MiB empty, {used:.0f} MiB with them")
    say(f"status: {size} bytes with 60 unhealthy instances")
    say(f"a look that finds nothing to do: {1000 * median(times):.1f} ms")
    assert used < 120
    assert size < 100_000
    assert median(times) < 0.25


def test_a_thousand_pods_in_ten_sets(api: Api, namespace: str, recorder: Recorder, operator: Start, say: Say) -> None:
    """What one event, one new instance and one upgraded instance cost, and that this does not grow with the fleet: in
    counts and ratios. `make test-scale` measures ten times as much.
    """
    process = operator()
    api.apply(POLICIES, namespace, upgrade_policy(healthTimeout="PT2M"))
    publish(api, namespace, "1.0.0", "fast")
    names = [f"web-{letter}" for letter in "abcdefghij"]
    api.create(SCALE_SETS, namespace, scale_set(names[0], replicas=100))
    wait_ready(recorder, names[0], timeout=120)
    alone = _event(api, namespace, recorder, process, names[0])
    before = samples(process)
    for name in names[1:]:
        api.create(SCALE_SETS, namespace, scale_set(name, replicas=100))
    for name in names:
        wait_ready(recorder, name, timeout=240)
    created = (_writes(samples(process)) - _writes(before)) / 900
    among = _event(api, namespace, recorder, process, names[0])
    recorder.never(lambda _: False, seconds=6, message="")  # counts may be written late
    before, used = samples(process), memory(process.pid)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(
        lambda world: all(code(world, name) == "Completed" for name in names), timeout=400, message="all are upgraded"
    )
    now = samples(process)
    upgraded = (_writes(now) - _writes(before)) / 1000
    looks = (_looks(now) - _looks(before)) / 1000
    most = max(used, memory(process.pid))
    say(f"writes: {created:.2f} a new instance, {upgraded:.2f} an upgraded one; looks: {looks:.2f}")
    say(f"an event: {1e6 * alone:.0f} µs among 100 pods, {1e6 * among:.0f} µs among 1000; memory {most:.0f} MiB")
    assert created <= 1.3
    assert upgraded <= 2.6
    assert looks <= 4
    assert among <= 3 * alone + 0.0005
    assert most < 130


def _writes(found: Samples) -> float:
    return sum(total(found, "rest_client_requests_total", method=each) for each in ("POST", "PUT", "PATCH", "DELETE"))


def _looks(found: Samples) -> float:
    return total(found, "controller_runtime_reconcile_total", controller="scaleset")


def _event(api: Api, namespace: str, recorder: Recorder, process: Operator, name: str) -> float:
    """Seconds of processor time of an event that means nothing, of a pod of that set."""
    pods = [pod["metadata"]["name"] for pod in recorder.world.pods_of(name)] * 3
    recorder.disturb(*pods)
    recorder.never(lambda _: False, seconds=6, message="")
    used, before = processor(process.pid), samples(process)
    for n, pod in enumerate(pods):
        api.patch(PODS, namespace, pod, {"metadata": {"annotations": {"example.com/poke": str(n)}}})
    recorder.never(lambda _: False, seconds=1, message="")
    assert _writes(samples(process)) == _writes(before), "an event that means nothing made it write"
    return (processor(process.pid) - used) / len(pods)


def _no_op(api: Api, namespace: str, process: Operator) -> float:
    """Seconds of one reconcile that changes nothing, woken by an annotation that means nothing."""
    labels = {"controller": "scaleset"}
    count, sum_ = "controller_runtime_reconcile_time_seconds_count", "controller_runtime_reconcile_time_seconds_sum"
    before = samples(process)
    seen = total(before, count, **labels)
    annotations = {"example.com/poke": str(monotonic())}
    api.patch(SCALE_SETS, namespace, "web", {"metadata": {"annotations": annotations}})
    until(lambda: total(samples(process), count, **labels) > seen, timeout=10, message="it looks")
    now = samples(process)
    return (total(now, sum_, **labels) - total(before, sum_, **labels)) / (total(now, count, **labels) - seen)
