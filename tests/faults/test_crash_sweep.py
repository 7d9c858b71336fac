"""The operator is killed before and after every single write of a rollout, and started again.

The reference is a rollout of five instances to a version that never becomes healthy: one batch, one restore, a halt.
Its writes are numbered. For each of them, and for both sides of it, a fleet of its own plays the same again, up to the
moment when that write reaches the proxy, which holds it (or its answer) until the operator is dead. In the end all must
be as in the reference, up to uids and times.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from tests.cluster.harness.api import CLAIMS, NAMESPACES, PODS, REVISIONS, SCALE_SETS, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.scene import ready, with_claims
from tests.cluster.harness.trace import AuditLog
from tests.faults.harness.calls import Call, writes
from tests.faults.harness.faults import Stop
from tests.faults.harness.report import Report
from tests.faults.harness.rig import PATIENCE, RECOVERY_SECONDS, Rig, here

pytestmark = pytest.mark.timeout(900)
AT_ONCE = int(os.environ.get("SWEEP_AT_ONCE", "6"))
FLEET = 5
TIME = re.compile(r"\d{4}-\d\d-\d\dT")


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the reference: the `number`-th of its kind on that object."""

    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.what} #{self.number}"


def test_killed_before_and_after_every_write(cluster: Cluster, report: Report, tmp_path: Any) -> None:
    reference, found = _play(cluster, report, tmp_path, case=None)
    assert Counter(write.what.split()[0] for write in found)["delete"] == 2, "one upgrade and one restore"
    cases = [(write, carried_out) for write in found for carried_out in (False, True)]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sweep") as pool:
        outcomes = list(pool.map(lambda case: _try(cluster, report, tmp_path, case, reference), cases))
    problems = [problem for problem, _ in outcomes if problem]
    reached = [seconds for _, seconds in outcomes if seconds is not None]
    assert not problems, f"{len(problems)} of {len(cases)} kills did harm:\n" + "\n".join(problems)
    assert len(reached) >= 0.8 * len(cases), "most of the writes must come again in the same order"
    outcome = f"all ends as in the reference of {len(found)} writes"
    for row, what in (
        (1, "killed with -9 before and after each write of a rollout"),
        (2, "the same: after each CREATE, before each status write"),
        (3, "the same: between the decision to restore and its DELETE"),
        (4, "the same: at the write of the halt"),
    ):
        report.add(row, what, times=len(reached), outcome=outcome, recovery=max(reached))


Case = tuple[Write, bool]


def _try(cluster: Cluster, report: Report, directory: Any, case: Case, reference: Json) -> tuple[str, float | None]:
    """What is wrong, and the seconds from the second start to the end; None if that write never came."""
    shown = f"{'after' if case[1] else 'before'} {case[0]}"
    try:
        end, seconds = _play(cluster, report, directory, case=case)
    except AssertionError as error:
        return f"{shown}: {error}", None
    problem = "; ".join(_differences(end, reference))
    return problem and f"{shown}: {problem}", seconds


def _play(cluster: Cluster, report: Report, directory: Any, *, case: Case | None) -> tuple[Json, Any]:
    """The end, and the writes of it, or for a case the seconds that it took to get there after the kill."""
    name = "reference" if case is None else f"{case[0].what.split()[0]}-{case[0].number}-{id(case):x}"[-40:]
    namespace = cluster.make_namespace(f"sweep-{name}")
    here = directory / namespace
    here.mkdir()
    try:
        with Recorder(cluster.api, namespace, AuditLog(cluster.audit_log), shared=True) as recorder:
            rig = Rig(cluster, namespace, recorder, here, report)
            with rig.proxy:
                try:
                    result = _rollout(rig, case)
                finally:
                    rig.stop()
            assert not (found := rig.violations()), "; ".join(found)
            return _end(rig), result
    finally:
        cluster.api.delete(NAMESPACES, None, namespace)


def _rollout(rig: Rig, case: Case | None) -> Any:
    process = rig.start()
    rig.create(replicas=FLEET, volumeClaimTemplates=with_claims())
    rig.recorder.settle(1)
    began = len(rig.proxy.seen)
    if case is None:
        _publish(rig)
        _settled(rig)
        return list(_numbered(rig.proxy.seen[began:]))
    seen: Counter[str] = Counter()

    def when(call: Call) -> bool:
        if not writes(call):
            return False
        seen[str(call)] += 1
        return Write(str(call), seen[str(call)]) == case[0]

    with rig.proxy.inject(Stop(carried_out=case[1], when=when)) as stop:
        _publish(rig)
        deadline = monotonic() + PATIENCE
        while not stop.done.wait(0.1) and not _halted(rig):
            assert monotonic() < deadline, f"{case[0]} is not reached, nor the end"
        reached = stop.done.wait(8)  # counts are written a little after the end
        process.kill()
    process.start()
    again = monotonic()
    _settled(rig)
    seconds = monotonic() - again
    assert seconds < here(RECOVERY_SECONDS + 10), f"{seconds:.0f} s until the end"  # two health timeouts are part of it
    return seconds if reached else None


def _halted(rig: Rig) -> bool:
    """Whether the end is reached without that write: it was the `number`-th of its kind only by chance."""
    return "error" in (rig.world.status("web").get("rollingUpgrade") or {})


def _publish(rig: Rig) -> None:
    rig.publish("2.0.0", "bad")


def _settled(rig: Rig) -> None:
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(FLEET, version="1.0.0")
    rig.recorder.settle(6)  # counts and sentences are told within five seconds


def _numbered(calls: list[Call]) -> Iterator[Write]:
    seen: Counter[str] = Counter()
    for call in calls:
        if writes(call) and call.resource != "events":  # an event is news, not state; its name is never the same
            seen[str(call)] += 1
            yield Write(str(call), seen[str(call)])


def _end(rig: Rig) -> Json:
    """The world, up to uids and times."""
    api, namespace = rig.api, rig.namespace
    scale_set = api.get(SCALE_SETS, namespace, "web")
    return {
        "pods": sorted((_without_times(_pod(pod)) for pod in api.list(PODS, namespace)), key=str),
        "claims": sorted(each["metadata"]["name"] for each in api.list(CLAIMS, namespace)),
        "models": sorted(each["metadata"]["name"] for each in api.list(REVISIONS, namespace)),
        "status": _without_times(scale_set["status"]),
        "annotations": scale_set["metadata"].get("annotations", {}),
        "finalizers": scale_set["metadata"].get("finalizers", []),
    }


def _pod(pod: Json) -> Json:
    spec = pod["spec"]
    return {
        "name": pod["metadata"]["name"],
        "labels": pod["metadata"]["labels"],
        "images": [container["image"] for container in spec["containers"]],
        "volumes": [volume.get("persistentVolumeClaim") for volume in spec["volumes"]],
        "ready": ready(pod),
    }


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    return "some time" if isinstance(value, str) and TIME.match(value) else value


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}")
    elif one != other:
        yield f"{path} is {one!r}, in the reference {other!r}"
