"""The operator is killed before and after every single write of a rollout, and started again.

The reference is a rollout of five instances to a version that never becomes healthy: one batch, one restore, a halt;
once by new pods, once by changes in place, and once by changes in place only, on a tag that was moved. It goes
downwards, and the instances of the first two were created one after the other. Its writes are numbered. For each of
them, and for both sides of it, a fleet of its own plays the same again, up to the moment when that write reaches the
proxy, which holds it (or its answer) until the operator is dead. In the end all must be as in the reference, up to
uids, digests and times.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

import pytest

from tests.cluster.harness.api import CLAIMS, NAMESPACES, PODS, REVISIONS, SCALE_SETS, Json, with_each_text
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import REGISTRY, image_version, scale_set
from tests.cluster.harness.recorder import Recorder, World
from tests.cluster.harness.scene import ready, with_claims
from tests.cluster.harness.trace import AuditLog
from tests.faults.harness.calls import Call, writes
from tests.faults.harness.faults import Stop
from tests.faults.harness.report import Report
from tests.faults.harness.rig import PATIENCE, RECOVERY_SECONDS, Rig, here

pytestmark = pytest.mark.timeout(900)
AT_ONCE = int(os.environ.get("SWEEP_AT_ONCE", "9"))
FLEET = 5
NOTHING: tuple[Any, ...] = (None, [], {})
"""What a status says of something that is over, and of something that never was."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT")
DIGEST = re.compile("sha256:[0-9a-f]{64}")


class Write(NamedTuple):
    """One write of the reference: the `number`-th of its kind on that object."""

    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.what} #{self.number}"


class Kill(NamedTuple):
    """At which write, and on which side of it."""

    write: Write
    carried_out: bool

    def __str__(self) -> str:
        return f"{'after' if self.carried_out else 'before'} {self.write}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """All kills of one way to replace instances: how many, what was wrong, and how long the others took to the end."""

    writes: list[Write]
    kills: int
    problems: list[str]
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it is played, and how the policy replaces instances."""

    cluster: Cluster
    report: Report
    directory: Path
    method: str

    def sweep(self, pool: ThreadPoolExecutor) -> Sweep:
        """The reference, and then every kill, as many at a time as the pool has threads."""
        reference, found = pool.submit(self._play, None).result()
        kills = [Kill(write, carried_out) for write in found for carried_out in (False, True)]
        outcomes = list(pool.map(lambda kill: self._try(kill, reference), kills))
        problems = [problem for problem, _ in outcomes if problem]
        return Sweep(found, len(kills), problems, [seconds for _, seconds in outcomes if seconds is not None])

    def _try(self, kill: Kill, reference: Json) -> tuple[str, float | None]:
        """What is wrong, and the seconds from the second start to the end; None if that write never came."""
        try:
            end, seconds = self._play(kill)
        except AssertionError as error:
            return f"{kill}: {error}", None
        problem = "; ".join(_differences(end, reference))
        return problem and f"{kill}: {problem}", seconds

    def _play(self, kill: Kill | None) -> tuple[Json, Any]:
        """The end, and the writes of it, or for a kill the seconds that it took to get there after it."""
        name = "reference" if kill is None else f"{kill.write.what.split()[0]}-{kill.write.number}-{id(kill):x}"
        namespace = self.cluster.make_namespace(f"sweep-{self.method.lower()}-{name}")
        folder = self.directory / namespace
        folder.mkdir()
        try:
            with Recorder(self.cluster.api, namespace, AuditLog(self.cluster.audit_log), shared=True) as recorder:
                rig = Rig(self.cluster, namespace, recorder, folder, self.report)
                with rig.proxy:
                    try:
                        before, result = _rollout(rig, self.method, kill)
                    finally:
                        rig.stop()
                assert not (found := rig.violations()), "; ".join(found)
                return _end(rig, before), result
        finally:
            self.cluster.api.delete(NAMESPACES, None, namespace)


MOVED = "InPlaceOnly"
"""The way that is played on a tag: each pod shows another digest of it, and the restore asks for that one."""
REPLACED_BY = {"Recreate": "delete pods", "InPlaceIfPossible": "patch pods", MOVED: "patch pods"}
TOLD = {
    "Recreate": (
        (1, "killed with -9 before and after each write of a rollout"),
        (2, "the same: after each CREATE, before each status write"),
        (3, "the same: between the decision to restore and its DELETE"),
        (4, "the same: at the write of the halt"),
    ),
    "InPlaceIfPossible": ((93, "killed with -9 before and after each write of a rollout in place"),),
}


@pytest.fixture(scope="module")
def sweeps(
    cluster: Cluster, report: Report, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Sweep]]]:
    """All ways, side by side."""
    directory = tmp_path_factory.mktemp("sweeps")
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sweep") as pool, ThreadPoolExecutor() as all_of_it:
        stages = {method: Stage(cluster, report, directory, method) for method in REPLACED_BY}
        yield {method: all_of_it.submit(stage.sweep, pool) for method, stage in stages.items()}


@pytest.mark.parametrize("method", REPLACED_BY)
def test_killed_before_and_after_every_write(method: str, sweeps: dict[str, Future[Sweep]], report: Report) -> None:
    sweep = sweeps[method].result()
    kinds = Counter(" ".join(write.what.split()[:2]) for write in sweep.writes)
    others = set(REPLACED_BY.values()) - {REPLACED_BY[method]}
    assert kinds[REPLACED_BY[method]] == 2, f"one upgrade and one restore, not {kinds}"
    assert not any(kinds[kind] for kind in others), f"instances are replaced in one way, not as {kinds}"
    assert not sweep.problems, f"{len(sweep.problems)} of {sweep.kills} kills did harm:\n" + "\n".join(sweep.problems)
    assert len(sweep.seconds) >= 0.8 * sweep.kills, "most of the writes must come again in the same order"
    outcome = f"all ends as in the reference of {len(sweep.writes)} writes"
    for row, what in TOLD.get(method, ()):
        report.add(row, what, times=len(sweep.seconds), outcome=outcome, recovery=max(sweep.seconds))


def _rollout(rig: Rig, method: str, kill: Kill | None) -> tuple[dict[str, str], Any]:
    """The uids of the pods before, and what `Stage._play` returns."""
    process = rig.start()
    rig.policy(replacementMethod=method, upgradeTimeout="PT1H")
    _create(rig, method)
    rig.recorder.settle(1)
    before, began = rig.uids(), len(rig.proxy.seen)
    if kill is None:
        _publish(rig)
        _settled(rig)
        return before, list(_numbered(rig.proxy.seen[began:]))
    seen: Counter[str] = Counter()

    def when(call: Call) -> bool:
        if not writes(call):
            return False
        seen[str(call)] += 1
        return Write(str(call), seen[str(call)]) == kill.write

    with rig.proxy.inject(Stop(carried_out=kill.carried_out, when=when)) as stop:
        _publish(rig)
        deadline = monotonic() + PATIENCE
        while not stop.done.wait(0.1) and not _halted(rig):
            assert monotonic() < deadline, f"{kill.write} is not reached, nor the end"
        reached = stop.done.wait(8)  # counts are written a little after the end
        process.kill()
    process.start()
    again = monotonic()
    process.wait_ready(PATIENCE)  # or all may seem settled before it has looked at anything
    _settled(rig)
    seconds = monotonic() - again
    assert seconds < here(RECOVERY_SECONDS + 10), f"{seconds:.0f} s until the end"  # two health timeouts are part of it
    return before, seconds if reached else None


DOWNWARDS: Final[Json] = {"rollingUpgradeOrder": {"direction": "Descending"}}


def _create(rig: Rig, method: str) -> None:
    if method != MOVED:
        rig.create(replicas=FLEET, volumeClaimTemplates=with_claims(), podManagementPolicy="OrderedReady", **DOWNWARDS)
        return
    tag = f"{REGISTRY}:1.0.0-moving"
    rig.apply(image_version("1.0.0", behaviour="moving", image=tag))
    rig.apply(scale_set(replicas=FLEET, volumeClaimTemplates=with_claims(), **DOWNWARDS))
    rig.healthy(FLEET, version="1.0.0")
    rig.wait(lambda world: len(_digests(world)) == FLEET, "the status has the digests")


def _digests(world: World) -> list[Json]:
    return [each for row in world.status("web").get("builds") or [] for each in row.get("digests") or []]


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


def _end(rig: Rig, before: dict[str, str]) -> Json:
    """The world, up to uids and times; of the uids only whether they are those from before."""
    api, namespace = rig.api, rig.namespace
    scale_set = api.get(SCALE_SETS, namespace, "web")
    return {
        "pods": sorted((_without_times(_pod(pod)) for pod in api.list(PODS, namespace)), key=str),
        "replaced": sorted(name for name, uid in rig.uids().items() if before[name] != uid),
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
        "previous": pod["metadata"].get("annotations", {}).get("scaleset.dev/previous"),
        "images": [container["image"] for container in spec["containers"]],
        "volumes": [volume.get("persistentVolumeClaim") for volume in spec["volumes"]],
        "ready": ready(pod),
    }


def _without_times(value: Any) -> Any:
    """Without times and digests: those of a moving tag are made of the uids of pods."""
    return with_each_text(value, lambda text: "some time" if TIME.match(text) else DIGEST.sub("digest", text))


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}")
    elif one != other and not (one in NOTHING and other in NOTHING):
        yield f"{path} is {one!r}, in the reference {other!r}"
