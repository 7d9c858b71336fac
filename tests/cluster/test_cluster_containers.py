"""The simulated kubelet: pods that end, containers that exit, and sidecars. No operator takes part."""

import pytest

from tests.cluster.harness.api import PODS, Api, Json, condition
from tests.cluster.harness.manifests import DIGEST, REGISTRY, pod
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import Seen


def statuses(obj: Json | None, kind: str = "containerStatuses") -> list[Json]:
    found: list[Json] = (obj or {}).get("status", {}).get(kind) or []
    return found


def phase(obj: Json | None) -> str:
    return str((obj or {}).get("status", {}).get("phase", ""))


def ready(obj: Json | None) -> bool:
    return condition(obj or {}, "Ready") == "True"


def history(recorder: Recorder) -> list[Seen]:
    return [seen for seen in recorder.trace().of("pods") if seen.name == "web"]


def test_an_evicted_pod_has_failed_soon_after_its_start(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", f"1.0.0-evict-bad@{DIGEST}"))
    recorder.wait_for(lambda world: phase(world.pods.get("web")) == "Failed", timeout=10, message="it is evicted")
    found = recorder.world.pods["web"]
    assert found["status"]["reason"] == "Evicted"
    assert "low on resource: ephemeral-storage" in found["status"]["message"]
    assert statuses(found)[0]["state"]["terminated"]["exitCode"] == 137
    assert condition(found, "Ready") == "False"
    begun = next(seen.at for seen in history(recorder) if phase(seen.object) == "Running")
    assert 1 < history(recorder)[-1].at - begun < 5
    assert not any(ready(seen.object) for seen in history(recorder))
    recorder.never(lambda world: phase(world.pods["web"]) != "Failed", seconds=2, message="it came back")


@pytest.mark.parametrize("before", [[], [{"name": "one", "image": "one"}]], ids=["alone", "after-an-init-container"])
def test_a_rejected_pod_never_starts_anything(api: Api, namespace: str, recorder: Recorder, before: list[Json]):
    api.create(PODS, namespace, pod("web", "1.0.0-reject", initContainers=before))
    recorder.wait_for(lambda world: phase(world.pods.get("web")) == "Failed", timeout=10, message="it is rejected")
    recorder.never(lambda world: phase(world.pods["web"]) != "Failed", seconds=1, message="it came back")
    found = recorder.world.pods["web"]
    assert found["status"]["reason"] == "OutOfcpu"
    assert found["status"]["startTime"]
    assert not statuses(found)
    assert not statuses(found, "initContainerStatuses")


def test_a_container_that_exits_is_started_again_and_again(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", f"1.0.0-exits@{DIGEST}"))
    recorder.wait_for(lambda world: ready(world.pods.get("web")), timeout=10, message="it is ready at once")

    def restarted(times: int) -> Json:
        found = recorder.wait_for(
            lambda world: (
                ready(world.pods["web"])
                and statuses(world.pods["web"])[0]["restartCount"] == times
                and world.pods["web"]
            ),
            timeout=25,
            message=f"its container was started again {times} times",
        )
        assert found
        return statuses(found)[0]

    for times in (1, 2):
        status = restarted(times)
        assert (status["ready"], status["started"]) == (True, True)
        assert status["lastState"]["terminated"]["exitCode"] == 1
        assert status["lastState"]["terminated"]["finishedAt"] >= status["lastState"]["terminated"]["startedAt"]
        assert status["state"]["running"]["startedAt"] >= status["lastState"]["terminated"]["finishedAt"]
    said = [statuses(seen.object)[0] for seen in history(recorder) if statuses(seen.object)]
    waited = [each for each in said if "waiting" in each["state"]]
    assert {each["state"]["waiting"]["reason"] for each in waited} == {"CrashLoopBackOff"}
    assert {each["restartCount"] for each in waited} == {1}
    assert "back-off 10s" in waited[0]["state"]["waiting"]["message"]
    assert not any(each["ready"] or each["started"] for each in waited)
    assert [each["restartCount"] for each in said] == sorted(each["restartCount"] for each in said)


def sidecar(tag: str) -> Json:
    probe = {"httpGet": {"path": "/ready", "port": 15021}}
    return {"name": "proxy", "image": f"{REGISTRY}:{tag}", "restartPolicy": "Always", "readinessProbe": probe}


def test_a_sidecar_starts_in_its_turn_and_goes_on_running(api: Api, namespace: str, recorder: Recorder):
    before = [{"name": "one", "image": "one"}, sidecar("1"), {"name": "two", "image": "two"}]
    api.create(PODS, namespace, pod("web", "1.0.0-fast", initContainers=before))
    recorder.wait_for(lambda world: ready(world.pods.get("web")), timeout=10, message="it is ready")
    found = recorder.world.pods["web"]
    one, proxy, two = statuses(found, "initContainerStatuses")
    assert [each["state"]["terminated"]["exitCode"] for each in (one, two)] == [0, 0]
    assert proxy["state"]["running"]["startedAt"]
    assert (proxy["ready"], proxy["started"], proxy["restartCount"]) == (True, True, 0)
    assert (condition(found, "Initialized"), statuses(found)[0]["ready"]) == ("True", True)


def test_a_sidecar_that_is_not_ready_keeps_the_pod_from_being_so(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-fast", initContainers=[sidecar(f"1-bad@{DIGEST}")]))
    recorder.wait_for(
        lambda world: [each["ready"] for each in statuses(world.pods.get("web"))] == [True],
        timeout=10,
        message="the container itself is ready",
    )
    recorder.never(lambda world: ready(world.pods["web"]), seconds=1.5, message="the pod is ready")
    found = recorder.world.pods["web"]
    (proxy,) = statuses(found, "initContainerStatuses")
    assert (proxy["ready"], proxy["started"]) == (False, True)
    said = {each["type"]: each for each in found["status"]["conditions"]}
    for kind in ("Ready", "ContainersReady"):
        assert (said[kind]["status"], said[kind]["message"]) == ("False", "containers with unready status: [proxy]")
