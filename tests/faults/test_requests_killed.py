"""The operator is killed before and after every write with which it carries out a request of the user.

It lives for one write: that reaches the proxy, which holds it until the operator is dead; the next operator comes as
far as the same write, which is carried out before that one is killed. So it goes on until the request is carried out.
Each request is made on a healthy set, and on one of which 8 of 10 instances are broken, so that the gate is closed.
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
AT_ONCE = 4
WIDE = {"maxBatchInstancePercent": 40}
HEALTHY, BROKEN = 3, 10
SETS = pytest.mark.parametrize("replicas", [HEALTHY, BROKEN], ids=["healthy", "eight of ten broken"])
MODES = pytest.mark.parametrize("mode", ["Manual", "Automatic"])


def fleet(rig: Rig, replicas: int, *versions: str, mode: str = "Manual") -> dict[str, str]:
    """A set that was upgraded to the last of these versions; of ten instances eight have broken since. Its uids."""
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
    return rig.uids()


def write(rig: Rig, annotation: str, **spec: Any) -> None:
    """What the plugin writes: an edit of the spec, if any, and the request, at once."""
    body: Json = {"metadata": {"annotations": {f"scaleset.dev/{annotation}": "2026-01-31T00:00:00Z"}}}
    rig.api.patch(SCALE_SETS, rig.namespace, "web", {**body, "spec": spec} if spec else body)


def killed_at_each_write(rig: Rig, done: Callable[[World], object]) -> int:
    """One operator after the other, until that is so; the number of writes."""
    last, deadline, kills = "", monotonic() + 4 * PATIENCE, 0
    while not done(rig.world):
        assert monotonic() < deadline, f"not done after {kills} kills; the last write was {last}"
        held: list[Call] = []

        def when(call: Call, held: list[Call] = held) -> bool:
            if not call.writes or call.resource == "events":
                return False
            held.append(call)
            return True

        again = bool(last)
        with rig.proxy.inject(Stop(carried_out=again, when=when)) as stop:
            process = rig.start(wait=False)
            while not stop.done.wait(0.1) and not done(rig.world):
                assert monotonic() < deadline, f"not done after {kills} kills; the last write was {last}"
            process.kill()
        if stop.done.is_set():
            kills += 1
            last = "" if again else str(held[0])
    rig.start()
    rig.recorder.settle(6)
    return kills // 2


def over(code: str, kind: str, run: str = "") -> Callable[[World], object]:
    def found(world: World) -> bool:
        seen = world.status("web").get("rollingUpgrade") or {}
        wanted = (seen.get("kind"), (seen.get("runningStatus") or {}).get("code")) == (kind, code)
        return wanted and run in ("", seen.get("id"))

    return found


def pods_made(rig: Rig, before: dict[str, str]) -> dict[str, int]:
    """How many pods each instance has had since."""
    made = {name: set[str]() for name in before}
    for seen in rig.recorder.trace().of("pods"):
        if seen.name in made and seen.uid != before[seen.name]:
            made[seen.name].add(seen.uid)
    return {name: len(uids) for name, uids in made.items()}


def remembered(rig: Rig) -> list[tuple[str, str]]:
    return [(row.get("version", ""), row["reason"]) for row in rig.world.status("web").get("failedTargets") or ()]


@SETS
def test_a_restart(rig: Rig, replicas: int) -> None:
    before = fleet(rig, replicas)
    write(rig, "restart-at")
    writes = killed_at_each_write(rig, over("Completed", "Restart"))
    rig.healthy(replicas, version="1.0.0")
    assert pods_made(rig, before) == dict.fromkeys(before, 1)
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
    assert pods_made(rig, before) == dict.fromkeys(before, 1)
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
    assert pods_made(rig, before) == dict.fromkeys(before, 1)
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
    assert sorted(pods_made(rig, before).values()) == [0, 0, 4]


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
