"""The operator is killed before and after every write with which it carries out a request of the user.

It lives for one write: that reaches the proxy, which holds its answer until the operator is dead. The next one comes as
far as the next write. So each is killed after a write and before the next one, until the request is carried out; the
first one of all is killed before its write. Each request is made on a healthy set, and on one of which 8 of 10
instances are broken, so that the gate is closed.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.cluster.harness.api import SCALE_SETS, Json
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import ready, runs
from tests.faults.harness.calls import Call
from tests.faults.harness.faults import Stop
from tests.faults.harness.rig import PATIENCE, Rig

pytestmark = pytest.mark.timeout(1800)
AT_ONCE = 6
WIDE = {"maxBatchInstancePercent": 40}
HEALTHY, BROKEN = 3, 10
SETS = pytest.mark.parametrize("replicas", [HEALTHY, BROKEN], ids=["healthy", "eight of ten broken"])
MODES = pytest.mark.parametrize("mode", ["Manual", "Automatic"])


def fleet(rig: Rig, replicas: int, *versions: str, mode: str = "Manual") -> frozenset[str]:
    """A set that was upgraded to the last of these versions; of ten instances eight have broken since. The uids of all
    its pods so far.
    """
    process = rig.start()
    rig.policy(mode=mode, rolling=WIDE, healthTimeout="PT20S")
    rig.create(replicas=replicas)
    for version in versions:
        rig.publish(version, "fast")
        rig.healthy(replicas, version=version)
    if replicas == BROKEN:
        for number in range(2, BROKEN):
            rig.break_pod(f"web-{number}")
        rig.condition("Available", "TooManyUnhealthy")
    rig.recorder.settle(6)
    process.kill()
    return _pods(rig)


def _pods(rig: Rig) -> frozenset[str]:
    return frozenset(seen.uid for seen in rig.recorder.trace().of("pods"))


def write(rig: Rig, annotation: str, **spec: Any) -> None:
    """What the plugin writes: an edit of the spec, if any, and the request, at once."""
    body: Json = {"metadata": {"annotations": {f"scaleset.dev/{annotation}": "2026-01-31T00:00:00Z"}}}
    rig.api.patch(SCALE_SETS, rig.namespace, "web", {**body, "spec": spec} if spec else body)


def killed_at_each_write(rig: Rig, done: Callable[[World], object]) -> int:
    """One operator after the other, until that is so; the number of writes."""
    deadline, kills = monotonic() + 4 * PATIENCE, 0
    while not done(rig.world):
        with rig.proxy.inject(Stop(carried_out=kills > 0, when=_changes)) as stop:
            process = rig.start(wait=False)
            while not stop.done.wait(0.1) and not done(rig.world):
                assert monotonic() < deadline, f"not done after {kills} kills"
            process.kill()
        kills += stop.done.is_set()
    rig.start()
    rig.recorder.settle(6)
    return kills - 1


def _changes(call: Call) -> bool:
    return call.writes and call.resource != "events"


def over(code: str, kind: str, run: str = "") -> Callable[[World], object]:
    def found(world: World) -> bool:
        seen = world.status("web").get("rollingUpgrade") or {}
        wanted = (seen.get("kind"), (seen.get("runningStatus") or {}).get("code")) == (kind, code)
        return wanted and run in ("", seen.get("id"))

    return found


def pods_made(rig: Rig, before: frozenset[str]) -> list[int]:
    """How many pods each instance has had since, by id."""
    made = {name: set[str]() for name in rig.uids()}
    for seen in rig.recorder.trace().of("pods"):
        if seen.uid not in before:
            made[seen.name].add(seen.uid)
    return [len(uids) for _, uids in sorted(made.items())]


def remembered(rig: Rig) -> list[tuple[str, str]]:
    return [(row.get("version", ""), row["reason"]) for row in rig.world.status("web").get("failedTargets") or ()]


@SETS
def test_a_restart(rig: Rig, replicas: int) -> None:
    before = fleet(rig, replicas)
    write(rig, "restart-at")
    writes = killed_at_each_write(rig, over("Completed", "Restart"))
    rig.healthy(replicas, version="1.0.0")
    assert pods_made(rig, before) == [1] * replicas
    assert writes >= 2 * replicas
    assert remembered(rig) == []
    assert rig.says("UpToDate")["status"] == "True"


@SETS
@MODES
def test_going_back(rig: Rig, replicas: int, mode: str) -> None:
    before = fleet(rig, replicas, "2.0.0", mode=mode)
    write(rig, "rollback-at", imageReference={"version": "1.0.0"})
    writes = killed_at_each_write(rig, over("Completed", "Model"))
    rig.healthy(replicas, version="1.0.0")
    assert pods_made(rig, before) == [1] * replicas
    assert writes >= 2 * replicas
    assert remembered(rig) == [("2.0.0", "RolledBack")]
    rig.change(imageReference={"version": "latest"})
    rig.never(
        lambda world: "2.0.0" in map(runs, world.pods_of("web")), "it comes back with the end of the pin", seconds=5
    )


@SETS
def test_a_model_by_hand(rig: Rig, replicas: int) -> None:
    before = fleet(rig, replicas)
    write(rig, "start-model-rollout-at", template={"metadata": {"annotations": {"example.com/second": "yes"}}})
    writes = killed_at_each_write(rig, over("Completed", "Model"))
    rig.healthy(replicas, version="1.0.0")
    assert pods_made(rig, before) == [1] * replicas
    assert writes >= 2 * replicas
    assert remembered(rig) == []


def test_another_try(rig: Rig) -> None:
    """It fails again, and is remembered again."""
    before = fleet(rig, HEALTHY)
    process = rig.start()
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0", run="1")
    rig.healthy(HEALTHY, version="1.0.0")
    process.kill()
    write(rig, "retry-at")
    killed_at_each_write(rig, over("Faulted", "Image", run="2"))
    rig.healthy(HEALTHY, version="1.0.0")
    assert [version for version, _ in remembered(rig)] == ["2.0.0"]
    assert pods_made(rig, before) == [4, 0, 0]


def test_another_try_with_the_gate_closed(rig: Rig) -> None:
    """What failed is forgotten, and nothing begins before enough instances are healthy."""
    process = rig.start()
    rig.policy(rolling=WIDE, healthTimeout="PT20S")
    rig.create(replicas=BROKEN)
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0")
    rig.healthy(BROKEN, version="1.0.0")
    for number in range(2, BROKEN):
        rig.break_pod(f"web-{number}")
    rig.condition("Available", "TooManyUnhealthy")
    rig.recorder.settle(6)
    process.kill()
    before = rig.uids()
    write(rig, "retry-at")
    killed_at_each_write(rig, lambda world: world.status("web").get("lastHandledRetry"))
    assert remembered(rig) == []
    rig.condition("Progressing", "HealthGateWaiting")
    assert rig.uids() == before
    assert sum(ready(pod) for pod in rig.world.pods_of("web")) == 2
