"""`health.source: PodCondition`: somebody's condition decides upgrades; readiness, and so the Services, only traffic.

The writer is the test itself, as an agent with the right to patch pods/status would be.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

from tests.cluster.harness.api import ENDPOINT_SLICES, SERVICES, ApiError, Json
from tests.cluster.harness.fleet import rollout
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, progress, ready, runs, says

KIND = "example.com/Healthy"
HEALTH = {"source": "PodCondition", "conditionType": KIND}


def moment(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(scene: Scene, name: str, status: str = "True", **more: Any) -> None:
    """Writes the condition of one pod, beside those of the kubelet."""
    condition = {"type": KIND, "status": status, "lastTransitionTime": moment(), **more}
    scene.api.set_condition(scene.namespace, name, condition)


def written(pod: Json) -> Json:
    found = (each for each in pod.get("status", {}).get("conditions") or [] if each["type"] == KIND)
    return next(found, {})


def running(pod: Json) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return (
        "deletionTimestamp" not in pod["metadata"] and bool(statuses) and all("running" in s["state"] for s in statuses)
    )


@contextmanager
def agent(scene: Scene, *, only: str = "") -> Iterator[None]:
    """Writes True into each pod, or each one of that version, that runs and has no condition yet."""
    stop = Event()

    def work() -> None:
        while not stop.wait(0.1):
            for pod in list(scene.world.pods_of("web")):
                if running(pod) and not written(pod) and runs(pod) in (only, only or runs(pod)):
                    try:
                        write(scene, pod["metadata"]["name"])
                    except ApiError as error:
                        if error.status not in (404, 409):  # it went meanwhile
                            raise

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def create(scene: Scene, replicas: int = 3, **policy: Any) -> None:
    scene.policy(**policy)
    with agent(scene):
        scene.create(replicas=replicas, health=HEALTH)


def addresses(scene: Scene) -> set[str]:
    """Names of the pods that the Service sends requests to."""
    return {
        endpoint["targetRef"]["name"]
        for each in scene.api.list(ENDPOINT_SLICES, scene.namespace)
        for endpoint in each.get("endpoints") or []
        if endpoint["conditions"].get("ready")
    }


def on(world: World, name: str, version: str) -> Json | None:
    """The pod of that name, if it runs that version."""
    pod = world.pods.get(name)
    return pod if pod is not None and runs(pod) == version else None


def ready_on(world: World, name: str, version: str) -> bool:
    return (pod := on(world, name, version)) is not None and ready(pod)


def runs_on(world: World, version: str) -> bool:
    """Whether the containers of web-0 run that version."""
    return (pod := on(world, "web-0", version)) is not None and running(pod)


def told(world: World) -> list[tuple[int, str]]:
    """The instances that are not simply healthy and current and do not run what the set left, with their state."""
    rows = world.status("web").get("instances") or []
    return [(row["id"], row["state"]) for row in rows if row["version"] == "1.1.0"]


def unready(world: World, *names: str) -> bool:
    return all(not ready(world.pods[name]) for name in names)


def test_readiness_flaps_services_follow_it_and_the_rollout_goes_on(scene: Scene) -> None:
    create(scene, 4)
    scene.api.create(
        SERVICES,
        scene.namespace,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"scaleset.dev/name": "web"}, "ports": [{"port": 80}]},
        },
    )
    everybody = {f"web-{number}" for number in range(4)}
    scene.wait(lambda _: addresses(scene) == everybody, "the Service has all pods")
    for name in ("web-2", "web-3"):
        scene.break_pod(name)
    scene.wait(lambda world: unready(world, "web-2", "web-3"), "two pods are not ready under load")
    scene.wait(lambda _: addresses(scene) == {"web-0", "web-1"}, "the Service leaves out the two")
    assert says(scene.world, "Available")["status"] == "True"
    with agent(scene):
        scene.publish("1.1.0")
        scene.wait(lambda world: on(world, "web-0", "1.1.0"), "the rollout begins, with half of them not ready")
        scene.mend_pod("web-2")
        scene.mend_pod("web-3")
        run = scene.rollout("Completed", "1.1.0")
    assert run["progress"] == progress(4, 0, 0, 0)
    scene.wait(lambda _: addresses(scene) == everybody, "the Service has all pods again")


def test_false_closes_the_gate_and_true_opens_it(scene: Scene) -> None:
    create(scene, 3)
    for name in ("web-1", "web-2"):
        write(scene, name, "False", reason="Slow", message="p99 is 4 s")
    scene.condition("Available", "TooManyUnhealthy")
    assert all(ready(pod) for pod in scene.world.pods_of("web"))
    scene.publish("1.1.0", "fast")
    waiting = scene.condition("Progressing", "HealthGateWaiting")
    assert "the health gate is closed" in waiting["message"].lower()
    (row, _) = scene.world.status("web")["instances"][1:3]
    assert row["state"] == "Unhealthy"
    assert row["message"] == f"Condition {KIND} is False: Slow: p99 is 4 s"
    scene.never(lambda world: any(runs(pod) == "1.1.0" for pod in world.pods_of("web")), "a pod is upgraded")
    with agent(scene):
        for name in ("web-1", "web-2"):
            write(scene, name)
        scene.rollout("Completed", "1.1.0")


def test_absent_it_is_initializing_until_the_health_timeout_and_then_taken_back(scene: Scene) -> None:
    create(scene, 3, healthTimeout="PT15S")
    with agent(scene, only="1.0.0"):
        scene.publish("1.1.0", "fast")
        scene.wait(lambda world: ready_on(world, "web-0", "1.1.0"), "its pod is ready")
        scene.wait(lambda world: told(world) == [(0, "Initializing")], "nobody knows yet whether it is healthy")
        run = scene.rollout("Faulted", "1.1.0")
        scene.healthy(3, version="1.0.0")
    assert run["restored"] == "0"
    assert f"Condition {KIND} is not set." in run["error"]["message"]


def test_after_a_change_in_place_only_what_was_written_since_counts(scene: Scene) -> None:
    """The True of the image before stays on the pod. Nobody takes it for a word about the new one."""
    create(scene, 2, replacementMethod="InPlaceIfPossible", healthTimeout="PT20S")
    before = scene.uids()
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: ready_on(world, "web-0", "1.1.0"), "the image is changed")
    assert written(scene.world.pods["web-0"])["status"] == "True"
    scene.never(lambda world: rollout(world).get("successful"), "the old word is believed")
    write(scene, "web-0", lastTransitionTime=moment(-3600), lastProbeTime=moment(-3600))
    scene.never(lambda world: rollout(world).get("successful"), "an old probe is believed")
    write(scene, "web-0", lastTransitionTime=moment(-3600), lastProbeTime=moment())
    scene.wait(lambda world: ready_on(world, "web-1", "1.1.0"), "the second one is changed, and its container runs")
    generation = scene.world.pods["web-1"]["metadata"]["generation"]
    write(scene, "web-1", lastTransitionTime=moment(-3600), observedGeneration=generation - 1)
    scene.never(lambda world: rollout(world).get("successful") == "0-1", "a word about another generation is believed")
    write(scene, "web-1", lastTransitionTime=moment(-3600), observedGeneration=generation)
    scene.rollout("Completed", "1.1.0")
    assert scene.uids() == before


def test_forged_conditions_prove_nothing(scene: Scene) -> None:
    """Words that are no status, times to come, and another type."""
    create(scene, 3, minReadyTime="PT1S")
    forged = [{"status": "true"}, {"lastTransitionTime": moment(86400)}, {"type": "other.example/Healthy"}]
    with agent(scene, only="1.0.0"):
        for number, more in enumerate(forged):
            version = f"1.1.{number}"
            scene.publish(version, "fast")
            scene.wait(partial(runs_on, version=version), "it runs")
            write(scene, "web-0", **more)
            run = scene.rollout("Faulted", version)
            assert (run["restored"], run["progress"]["successfulInstanceCount"]) == ("0", 0)
            scene.healthy(3, version="1.0.0")
