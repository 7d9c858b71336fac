"""Changes in place that the API server refuses, and an operator that is killed in the middle of one."""

import pytest

from tests.cluster.harness.api import Api
from tests.cluster.harness.fleet import code, deploy, ids, publish, refusing, uids, versions, wait_ready
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Start
from tests.cluster.harness.recorder import Recorder, World

pytestmark = pytest.mark.timeout(300)


def deploy_in_place(api: Api, namespace: str, recorder: Recorder, *, replicas: int = 5) -> dict[str, str]:
    """A healthy set on 1.0.0 whose images are changed in place; the uids of its pods."""
    policy = upgrade_policy(replacementMethod="InPlaceIfPossible", healthTimeout="PT1M")
    # Slow enough that the API server learns of a refusal while an instance starts.
    deploy(api, namespace, replicas=replicas, policy=policy, template={"annotations": {"sim.scaleset.dev/start": "4s"}})
    wait_ready(recorder)
    return uids(recorder.world)


def patches(recorder: Recorder) -> list[str]:
    """Names of the pods that the operator changed, in order."""
    return [
        each.name for each in recorder.writes() if (each.verb, each.resource) == ("patch", "pods") and each.code < 300
    ]


def completed(world: World) -> bool:
    return code(world) == "Completed"


def test_what_is_refused_in_place_is_recreated_and_told(
    api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """The first instance while nothing may be changed, the others in place again."""
    operator()
    before = deploy_in_place(api, namespace, recorder)
    with refusing(api, namespace, "pods", "UPDATE"):
        publish(api, namespace, "2.0.0")
        recorder.wait_for(
            lambda world: uids(world).get("web-0", before["web-0"]) != before["web-0"],
            timeout=60,
            message="the first instance is recreated",
        )
    recorder.wait_for(completed, timeout=120, message="the rollout completes")
    assert set(versions(recorder.world).values()) == {"2.0.0"}
    after = uids(recorder.world)
    replaced = {name for name in before if before[name] != after[name]}
    assert "web-0" in replaced
    assert patches(recorder) == [name for name in sorted(before) if name not in replaced]
    told = recorder.wait_for(
        lambda world: world.events("InPlaceRefused"), timeout=30, message="an event tells of the refusal"
    )
    assert "Recreating instances 0: " in told[0]
    assert "refused by the test" in told[0]


def test_killed_between_the_status_and_the_patch(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """The batch is written down and nothing is done yet: whoever comes next does it, in place."""
    process = operator()
    before = deploy_in_place(api, namespace, recorder)
    with refusing(api, namespace, "pods", "UPDATE"), refusing(api, namespace, "pods", "DELETE"):
        publish(api, namespace, "2.0.0")
        recorder.wait_for(lambda world: ids(world, "inProgress") == {0}, timeout=30, message="a batch is written down")
        process.kill()
        assert set(versions(recorder.world).values()) == {"1.0.0"}
    process.start()
    recorder.wait_for(completed, timeout=120, message="the rollout completes")
    assert set(versions(recorder.world).values()) == {"2.0.0"}
    assert uids(recorder.world) == before
    assert patches(recorder) == [f"web-{number}" for number in range(5)]


def test_killed_after_the_patch_and_before_the_status(
    api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """What was changed is found changed: no second patch, and it counts although nobody saw it get ready."""
    process = operator()
    before = deploy_in_place(api, namespace, recorder)
    publish(api, namespace, "2.0.0")
    recorder.wait_for(
        lambda world: versions(world)["web-0"] == "2.0.0", timeout=30, message="the first instance is changed"
    )
    with refusing(api, namespace, "scalesets/status", "UPDATE", group="scaleset.dev"):
        recorder.wait_for(
            lambda world: (
                world.pods["web-0"]["status"]["containerStatuses"][0]["ready"]
                and world.pods["web-0"]["status"]["containerStatuses"][0]["restartCount"] == 1
            ),
            timeout=30,
            message="it is ready again",
        )
        process.kill()
        assert ids(recorder.world, "inProgress") == {0}
    process.start()
    recorder.wait_for(completed, timeout=120, message="the rollout completes")
    assert uids(recorder.world) == before
    assert patches(recorder) == [f"web-{number}" for number in range(5)]
