"""The simulation itself: what hack/cluster/stages.yaml promises, on a real API server. No operator takes part."""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.cluster.harness.api import (
    CLAIMS,
    IMAGES,
    NODES,
    PODS,
    POLICIES,
    SCALE_SETS,
    Api,
    ApiError,
    Json,
    Kind,
    condition,
)
from tests.cluster.harness.cluster import UP, Cluster
from tests.cluster.harness.manifests import DIGEST, REGISTRY, claim, image_version, pod, scale_set, upgrade_policy
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import AuditLog, Seen


def ready(obj: Json | None) -> bool:
    return obj is not None and condition(obj, "Ready") == "True"


def started(obj: Json | None) -> bool:
    return obj is not None and bool(obj["status"].get("containerStatuses"))


def wait_ready(recorder: Recorder, name: str) -> None:
    recorder.wait_for(lambda world: ready(world.pods.get(name)), timeout=10, message=f"{name} is ready")


def wait_started(recorder: Recorder, name: str) -> None:
    recorder.wait_for(lambda world: started(world.pods.get(name)), timeout=10, message=f"{name} has containers")


def wait_condition(recorder: Recorder, name: str, kind: str, status: str) -> None:
    message = f"{name} has {kind}={status}"
    recorder.wait_for(lambda world: condition(world.pods.get(name, {}), kind) == status, timeout=10, message=message)


def container(obj: Json) -> Json:
    status: Json = obj["status"]["containerStatuses"][0]
    return status


def history(recorder: Recorder, name: str) -> list[Seen]:
    return [seen for seen in recorder.trace().of("pods") if seen.name == name]


def test_a_pod_becomes_ready_after_the_start_time_and_says_for_which_generation(
    api: Api, namespace: str, recorder: Recorder
):
    api.create(PODS, namespace, pod("web", "1.0.0"))
    wait_ready(recorder, "web")
    found = recorder.world.pods["web"]
    begun = next(seen.at for seen in history(recorder, "web") if started(seen.object))
    assert 0.8 < history(recorder, "web")[-1].at - begun < 4
    condition_ready = next(each for each in found["status"]["conditions"] if each["type"] == "Ready")
    assert condition_ready["observedGeneration"] == found["metadata"]["generation"]
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["status"]["podIP"]


def test_an_annotation_sets_the_start_time_and_other_writes_do_not_postpone_it(
    api: Api, namespace: str, recorder: Recorder
):
    api.create(PODS, namespace, pod("web", "1.0.0", annotations={"sim.scaleset.dev/start": "3s"}))
    wait_started(recorder, "web")
    begun = monotonic()
    while not ready(recorder.world.pods["web"]) and monotonic() < begun + 10:
        api.patch(PODS, namespace, "web", {"metadata": {"annotations": {"touched": str(monotonic())}}})
        recorder.never(lambda world: ready(world.pods.get("web")) and monotonic() < begun + 2, seconds=0.2, message="")
    assert 2.5 < monotonic() - begun < 5


@pytest.mark.parametrize("tag", ["1.0.0-fast", f"1.0.0-fast@{DIGEST}"])
def test_fast_is_ready_at_once(api: Api, namespace: str, recorder: Recorder, tag: str):
    api.create(PODS, namespace, pod("web", tag))
    wait_ready(recorder, "web")
    begun = next(seen.at for seen in history(recorder, "web") if started(seen.object))
    assert history(recorder, "web")[-1].at - begun < 0.8


def test_bad_runs_and_never_becomes_ready(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", f"1.0.0-bad@{DIGEST}", annotations={"sim.scaleset.dev/start": "100ms"}))
    wait_started(recorder, "web")
    recorder.never(lambda world: ready(world.pods.get("web")), seconds=1.5, message="a bad pod became ready")
    found = recorder.world.pods["web"]
    assert found["status"]["phase"] == "Running"
    assert container(found)["state"]["running"]
    messages = {
        each["message"] for each in found["status"]["conditions"] if each["type"] in ("Ready", "ContainersReady")
    }
    assert messages == {"containers with unready status: [os]"}


def test_crash_waits_in_its_back_off(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-crash"))
    wait_started(recorder, "web")
    status = container(recorder.world.pods["web"])
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["restartCount"] > 0
    assert status["lastState"]["terminated"]["exitCode"] == 1
    recorder.never(lambda world: ready(world.pods.get("web")), seconds=1.5, message="a crashing pod became ready")


def test_pullfail_stays_pending(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-pullfail"))
    wait_started(recorder, "web")
    recorder.never(lambda world: ready(world.pods.get("web")), seconds=1.5, message="a pod without image became ready")
    found = recorder.world.pods["web"]
    assert found["status"]["phase"] == "Pending"
    assert container(found)["state"]["waiting"]["reason"] == "ImagePullBackOff"
    assert "1.0.0-pullfail" in container(found)["state"]["waiting"]["message"]


def test_flaky_becomes_ready_and_fails_for_good(api: Api, namespace: str, recorder: Recorder):
    annotations = {"sim.scaleset.dev/start": "100ms", "sim.scaleset.dev/fails-after": "1s"}
    api.create(PODS, namespace, pod("web", "1.0.0-flaky", annotations=annotations))
    wait_ready(recorder, "web")
    recorder.wait_for(lambda world: not ready(world.pods["web"]), timeout=10, message="failed")
    recorder.never(lambda world: ready(world.pods["web"]), seconds=1.5, message="a flaky pod came back")
    assert not container(recorder.world.pods["web"])["ready"]


def first(name: str, tag: str, **fields: Any) -> Json:
    return {"name": name, "image": f"{REGISTRY}:{tag}", **fields}


def inits(obj: Json | None) -> list[Json]:
    statuses: list[Json] = (obj or {}).get("status", {}).get("initContainerStatuses") or []
    return statuses


def test_init_containers_run_one_after_the_other_before_the_containers(api: Api, namespace: str, recorder: Recorder):
    before = [first("one", "1"), first("two", f"1@{DIGEST}"), first("three", "1")]
    api.create(PODS, namespace, pod("web", "1.0.0-fast", initContainers=before))
    wait_ready(recorder, "web")
    seen = [[status["name"] for status in inits(seen.object)] for seen in history(recorder, "web")]
    assert [names for index, names in enumerate(seen) if names and names != seen[index - 1]] == [
        ["one"],
        ["one", "two"],
        ["one", "two", "three"],
    ]
    begun = next(seen.object for seen in history(recorder, "web") if started(seen.object))
    assert [status["state"]["terminated"]["exitCode"] for status in inits(begun)] == [0, 0, 0]
    assert condition(recorder.world.pods["web"], "Initialized") == "True"
    assert container(recorder.world.pods["web"])["restartCount"] == 0


@pytest.mark.parametrize(
    ("environment", "words"), [([], "credentials expired"), ([{"name": "SIM_MESSAGE", "value": "no: 403"}], "no: 403")]
)
def test_a_failing_init_container_holds_the_pod_back(api: Api, namespace: str, recorder: Recorder, environment, words):
    before = [first("one", "1"), first("two", "1-initfail", env=environment), first("three", "1")]
    api.create(PODS, namespace, pod("web", "1.0.0-fast", initContainers=before))
    recorder.wait_for(lambda world: len(inits(world.pods.get("web"))) == 2, timeout=10, message="two has failed")
    recorder.never(lambda world: started(world.pods.get("web")), seconds=1, message="the containers start")
    found = recorder.world.pods["web"]
    assert [status["name"] for status in inits(found)] == ["one", "two"]
    assert inits(found)[1]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert inits(found)[1]["lastState"]["terminated"]["exitCode"] == 1
    assert inits(found)[1]["lastState"]["terminated"]["message"] == words
    assert (found["status"]["phase"], condition(found, "Initialized")) == ("Pending", "False")
    (message,) = (each["message"] for each in found["status"]["conditions"] if each["type"] == "Initialized")
    assert message == "containers with incomplete status: [two three]"


def test_a_failure_that_a_shell_swallows_leaves_its_exit_code(api: Api, namespace: str, recorder: Recorder):
    swallow = ["/bin/sh", "-c", "$0; echo $? >/dev/termination-log; exit 0", "/run"]
    before = [first("custom-data", "1", command=swallow), first("extension-a", "1-initfail", command=swallow)]
    annotations = {"sim.scaleset.dev/custom-data-exit": "3"}
    api.create(PODS, namespace, pod("web", "1.0.0-fast", annotations=annotations, initContainers=before))
    wait_ready(recorder, "web")
    said = [status["state"]["terminated"] for status in inits(recorder.world.pods["web"])]
    assert [(each["exitCode"], each["message"]) for each in said] == [(0, "exit code 3\n"), (0, "exit code 1\n")]


@pytest.mark.parametrize(("tag", "comes_up"), [("2.0.0", True), ("2.0.0-bad", False), ("2.0.0-pullfail", False)])
def test_an_image_changed_in_place_restarts_the_container(
    api: Api, namespace: str, recorder: Recorder, tag: str, comes_up: bool
):
    api.create(PODS, namespace, pod("web", "1.0.0-fast"))
    wait_ready(recorder, "web")
    image = f"{REGISTRY}:{tag}"
    changed = api.set_image(namespace, "web", image)
    recorder.wait_for(
        lambda world: container(world.pods["web"])["image"] == image and not ready(world.pods["web"]),
        timeout=10,
        message="restarted, not ready",
    )
    if comes_up:
        wait_ready(recorder, "web")
    found = recorder.world.pods["web"]
    assert container(found)["restartCount"] == 1
    assert found["status"]["phase"] == "Running"
    assert found["status"]["observedGeneration"] == changed["metadata"]["generation"]


def test_a_late_kubelet_tells_the_new_generation_of_the_old_container(api: Api, namespace: str, recorder: Recorder):
    """As a real one does for a moment: Ready and observed, while the container before still runs."""
    api.create(PODS, namespace, pod("web", "1.0.0-fast"))
    wait_ready(recorder, "web")
    api.set_image(namespace, "web", f"{REGISTRY}:1.1.0-late")
    recorder.wait_for(
        lambda world: container(world.pods["web"])["restartCount"] == 1, timeout=30, message="it is started again"
    )
    stale = [seen.object for seen in history(recorder, "web") if started(seen.object)]
    stale = [pod for pod in stale if ready(pod) and container(pod)["restartCount"] == 0]
    said = {
        each["observedGeneration"] for pod in stale for each in pod["status"]["conditions"] if each["type"] == "Ready"
    }
    assert said == {1, 2}
    wait_ready(recorder, "web")


def test_a_renamed_image_has_another_name_in_the_status(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-renamed"))
    wait_ready(recorder, "web")
    assert container(recorder.world.pods["web"])["image"] == f"renamed.example/{REGISTRY}:1.0.0-renamed"
    recorder.never(lambda world: container(world.pods["web"])["restartCount"], seconds=1.5, message="it starts again")


def test_a_label_takes_readiness_away_and_gives_it_back(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-fast"))
    wait_ready(recorder, "web")
    for _ in range(2):
        api.label(PODS, namespace, "web", ready="false")
        recorder.wait_for(lambda world: not ready(world.pods["web"]), timeout=10, message="not ready")
        recorder.never(lambda world: ready(world.pods["web"]), seconds=0.5, message="ready in spite of the label")
        api.label(PODS, namespace, "web", ready=None)
        wait_ready(recorder, "web")


def test_readiness_gates_belong_to_their_owners(api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-fast", readinessGates=[{"conditionType": "example.com/in-service"}]))
    wait_condition(recorder, "web", "ContainersReady", "True")
    assert not ready(recorder.world.pods["web"])
    for status in ("True", "False"):
        conditions = [
            each
            for each in api.get(PODS, namespace, "web")["status"]["conditions"]
            if each["type"] != "example.com/in-service"
        ]
        gate = {"type": "example.com/in-service", "status": status}
        api.patch(PODS, namespace, "web", {"status": {"conditions": [*conditions, gate]}}, subresource="status")
        wait_condition(recorder, "web", "Ready", status)


def test_a_deleted_pod_is_gone_at_once_unless_it_is_held(api: Api, namespace: str, recorder: Recorder):
    for name in ("free", "held"):
        api.create(PODS, namespace, pod(name, "1.0.0-fast"))
        wait_ready(recorder, name)
    api.label(PODS, namespace, "held", hold_delete="true")
    for name in ("free", "held"):
        api.delete(PODS, namespace, name)
    recorder.wait_for(lambda world: "free" not in world.pods, timeout=10, message="free is gone")
    recorder.never(lambda world: "held" not in world.pods, seconds=1, message="held is gone too soon")
    assert "deletionTimestamp" in recorder.world.pods["held"]["metadata"]
    api.label(PODS, namespace, "held", hold_delete=None)
    recorder.wait_for(lambda world: "held" not in world.pods, timeout=10, message="held is gone")


def test_a_claim_is_bound_and_protected_while_a_pod_uses_it(api: Api, namespace: str, recorder: Recorder):
    api.create(CLAIMS, namespace, claim("data"))
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    api.create(PODS, namespace, pod("web", "1.0.0-fast", volumes=volumes))
    recorder.wait_for(lambda world: ready(world.pods.get("web")), timeout=20, message="a pod with a claim is ready")
    recorder.wait_for(lambda world: world.claims["data"]["status"]["phase"] == "Bound", timeout=20, message="bound")
    recorder.disturb("data")
    api.delete(CLAIMS, namespace, "data")
    recorder.wait_for(
        lambda world: "deletionTimestamp" in world.claims["data"]["metadata"], timeout=5, message="deleted"
    )
    recorder.never(lambda world: "data" not in world.claims, seconds=0.5, message="a claim in use is gone")
    api.delete(PODS, namespace, "web")
    recorder.wait_for(lambda world: "data" not in world.claims, timeout=20, message="the claim is gone after its pod")


def test_the_audit_log_tells_who_deleted_under_which_conditions(
    cluster: Cluster, api: Api, namespace: str, recorder: Recorder
):
    log = AuditLog(cluster.audit_log)
    made = api.create(PODS, namespace, pod("web", "1.0.0-fast"))
    with pytest.raises(ApiError, match="409"):
        api.delete(PODS, namespace, "web", preconditions={"uid": "another"})
    api.delete(PODS, namespace, "web", preconditions={"uid": made["metadata"]["uid"]})
    recorder.wait_for(lambda world: "web" not in world.pods, timeout=10, message="gone")
    create, refused, delete = (write for write in log.writes("scaleset-tests") if write.resource == "pods")
    assert (create.verb, create.name, create.took_effect) == ("create", "web", True)
    assert (refused.verb, refused.code, refused.took_effect) == ("delete", 409, False)
    assert delete.body["preconditions"] == {"uid": made["metadata"]["uid"]}


def test_pods_of_a_lost_node_are_not_ready(cluster: Cluster, api: Api, namespace: str, recorder: Recorder):
    api.create(PODS, namespace, pod("web", "1.0.0-fast"))
    wait_ready(recorder, "web")
    node = recorder.world.pods["web"]["spec"]["nodeName"]
    cluster.lose_node(node)
    try:
        recorder.wait_for(lambda world: not ready(world.pods["web"]), timeout=10, message="not ready")
        recorder.never(lambda world: ready(world.pods["web"]), seconds=1, message="ready on a lost node")
        assert condition(api.get(NODES, None, node), "Ready") == "Unknown"
    finally:
        cluster.find_node(node)
    api.wait(NODES, None, node, ready, timeout=10, message="the node reports again")


@pytest.mark.parametrize(
    ("kind", "body"),
    [(IMAGES, image_version("1.0.0", behaviour="bad")), (POLICIES, upgrade_policy()), (SCALE_SETS, scale_set())],
)
def test_the_objects_of_our_tests_are_accepted(api: Api, namespace: str, kind: Kind, body: Json):
    assert api.try_create(kind, namespace, body)["metadata"]["uid"]


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_cluster_is_gone_after_its_owner_was_killed(cluster: Cluster, tmp_path: Path):
    """Also shows that two clusters run side by side: the session's one is up meanwhile."""
    arguments = ["--kubeconfig", str(tmp_path / "kubeconfig"), f"{cluster.name}-b", "1"]
    script = f"""
import os, subprocess, sys
up = [{str(UP)!r}, "--watch-pid", str(os.getpid()), *{arguments!r}]
subprocess.run(up, check=True, stdout=sys.stderr)
print("up", flush=True)
sys.stdin.read()
"""
    environment = os.environ | {"SCALESET_CLUSTERS": str(tmp_path)}
    files = tmp_path / "clusters" / f"{cluster.name}-b"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        other = Api(tmp_path / "kubeconfig")
        assert json.dumps(other.list(PODS)) == "[]"
        other.close()
        pids = [int(path.read_text()) for path in (files / "pids").iterdir()]
        owner.kill()
    deadline = monotonic() + 20
    while (files.exists() or running(pids)) and monotonic() < deadline:
        sleep(0.1)
    assert not files.exists()
    assert running(pids) == []
