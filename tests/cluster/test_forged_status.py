"""A status that somebody else wrote. Whoever may write it can make the operator forget, but not crash, and not replace
more than a batch.
"""

from typing import Any

import pytest

from tests.cluster.harness.api import SCALE_SETS, Api, Json, condition
from tests.cluster.harness.fleet import code, deploy, publish, rollout, versions, wait_ready
from tests.cluster.harness.operator import Start
from tests.cluster.harness.recorder import Recorder, World

pytestmark = pytest.mark.timeout(180)

# This says that nothing may start before the year 9999.
NO_RECOVERY = {"far future"}


def garbage_rollout(**changes: Any) -> Json:
    return {
        "id": "7",
        "kind": "Image",
        "startedBy": "Platform",
        "targetModel": "absent",
        "targetImageReference": {"publisher": "example", "offer": "os", "sku": "server", "version": "latest"},
        "runningStatus": {"code": "RollingForward"},
        **changes,
    }


EVIL = "registry.example/evil:6.6.6-fast"
FORGERIES: dict[str, Json] = {
    "empty rollout": {"rollingUpgrade": garbage_rollout()},
    "no such model": {"builds": [{"model": "absent", "version": "1.0.0", "image": EVIL, "instances": "0-4"}]},
    "every id": {"builds": [{"model": "absent", "version": "9.9.9", "image": EVIL, "instances": "0-9999"}]},
    "same id twice": {
        "builds": [
            {"model": "a", "version": "1.0.0", "image": EVIL, "instances": "0"},
            {"model": "b", "version": "2.0.0", "image": EVIL, "instances": "0"},
        ]
    },
    "all in progress": {"rollingUpgrade": garbage_rollout(inProgress="0-4", pending="0-4", successful="0-4")},
    "batch of everything": {
        "rollingUpgrade": garbage_rollout(
            inProgress="0-4", batch={"number": 2000000000, "instances": "0-9999"}, batchesDone=2000000000
        )
    },
    "long ago": {
        "rollingUpgrade": garbage_rollout(runningStatus={"code": "RollingForward", "startTime": "0001-01-01T00:00:00Z"})
    },
    "far future": {"rollingUpgrade": garbage_rollout(nextBatchTime="9999-12-31T23:59:59Z")},
    "version of the moon": {"currentVersion": "moon", "currentImage": EVIL},
    "all applying": {"applying": "0-9999"},
    "all gone": {"builds": None, "rollingUpgrade": None, "conditions": None, "currentVersion": None},
    "counts": {"replicas": 2000000000, "healthyReplicas": 2000000000, "updatedReplicas": 7},
    "failed target": {"failedTargets": [{"model": "x"}, {}], "retry": {"attempts": 2000000000}},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_status_does_no_harm(api: Api, namespace: str, recorder: Recorder, operator: Start, name: str) -> None:
    recorder.exempt("S14", "the test writes statuses that are not true")
    recorder.exempt("S8", "a forged status may name any version")
    recorder.exempt("S4", "a forged status may name any image")
    process = operator()
    deploy(api, namespace)
    wait_ready(recorder)
    api.patch(SCALE_SETS, namespace, "web", {"status": FORGERIES[name]}, subresource="status")
    recorder.never(lambda world: len(ready_pods(world)) < 4, seconds=4, message="more than a batch was replaced")
    publish(api, namespace, "2.0.0", "fast")
    if name not in NO_RECOVERY:
        recorder.wait_for(
            lambda world: set(versions(world).values()) == {"2.0.0"} and code(world) == "Completed",
            timeout=40,
            message="it recovers with the next version",
        )
    assert "Traceback" not in process.log()
    assert not [pod for pod in recorder.world.pods.values() if EVIL in str(pod["spec"])], rollout(recorder.world)


def ready_pods(world: World) -> list[Json]:
    return [pod for pod in world.pods_of("web") if condition(pod, "Ready") == "True"]
