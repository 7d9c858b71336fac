"""What health decides: when a rollout may begin, whether it goes on, and what counts as healthy."""

from typing import Any

from tests.cluster.harness.api import PODS, SCALE_SETS
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.scene import Scene, progress, ready, runs

BEFORE = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
DURING = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"


def unhealthy(scene: Scene, *names: str) -> None:
    """Takes the readiness of pods away and waits until the set says so."""
    for name in names:
        scene.break_pod(name)
    scene.wait(
        lambda world: (
            len([row for row in world.status("web").get("instances") or [] if row["state"] == "Unhealthy"])
            == len(names)
        ),
        f"{names} are unhealthy",
    )


def test_a_start_by_hand_at_a_closed_gate_is_faulted_before_any_batch(scene: Scene) -> None:
    scene.policy(automatic=False)
    scene.create(replicas=5)
    unhealthy(scene, "web-3", "web-4")
    before = scene.uids()
    scene.publish("1.1.0", "fast")
    scene.ask("start-upgrade-at", "now")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["error"]["code"], rollout["progress"]) == (BEFORE, progress(0, 0, 0, 5))
    assert "40% of instances are in an unhealthy state, more than the threshold of 20%" in rollout["error"]["message"]
    (entry,) = scene.world.status("web")["osUpgradeHistory"]
    assert entry["properties"]["progress"] == progress(0, 0, 0, 5)
    scene.never(lambda _: scene.uids() != before, "a pod is replaced")


def test_an_automatic_start_waits_for_the_gate(scene: Scene) -> None:
    scene.create(replicas=5)
    unhealthy(scene, "web-3", "web-4")
    scene.publish("1.1.0", "fast")
    assert "40%" in scene.condition("Progressing", "HealthGateWaiting")["message"]
    scene.event("HealthGateWaiting")
    assert not scene.world.status("web").get("osUpgradeHistory")
    assert scene.versions() == ["1.0.0"] * 5
    scene.mend_pod("web-3")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")


def test_exactly_the_allowed_share_passes(scene: Scene) -> None:
    scene.create(replicas=5)
    unhealthy(scene, "web-4")
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")  # the new pod of web-4 is not broken


def test_an_outage_elsewhere_stops_the_rollout_at_the_end_of_the_batch(scene: Scene) -> None:
    scene.create(replicas=5)
    scene.publish("1.1.0")
    assert scene.batch(2) == [1]
    scene.break_pod("web-3")
    scene.break_pod("web-4")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["error"]["code"], rollout["progress"]) == (DURING, progress(2, 0, 0, 3))
    assert "40% of instances" in rollout["error"]["message"]
    scene.never(lambda _: scene.versions() != ["1.1.0", "1.1.0", "1.0.0", "1.0.0", "1.0.0"], "an instance is replaced")


def test_a_fix_reaches_the_broken_ones_first_through_a_closed_gate(scene: Scene) -> None:
    scene.policy(rolling={"prioritizeUnhealthyInstances": True})
    scene.create(replicas=5)
    unhealthy(scene, "web-3", "web-4")
    scene.publish("1.1.0")
    assert scene.batch(1) == [3]
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")


def test_a_set_born_broken_is_repaired_by_a_good_version(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "bad")
    scene.apply(scale_set(replicas=3))
    scene.wait(lambda world: len(world.status("web").get("instances") or []) == 3, "three instances are tried")
    scene.publish("1.1.0", "fast")
    scene.healthy(3, version="1.1.0")
    status = scene.world.status("web")
    assert status["currentVersion"] == "1.1.0"
    assert not status.get("osUpgradeHistory")


def test_an_instance_has_to_stay_ready(scene: Scene) -> None:
    scene.policy(minReadyTime="PT5S")
    scene.create(replicas=2)
    scene.publish("1.1.0", "flaky")  # ready after one second, for three
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["progress"], rollout["restored"]) == (progress(0, 1, 0, 1), "0")
    scene.healthy(2, version="1.0.0")


def template(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "os", "image": "-"}], **spec}}


def open_gate(scene: Scene, name: str) -> None:
    pod = scene.api.get(PODS, scene.namespace, name)
    conditions = [each for each in pod["status"]["conditions"] if each["type"] != "example.test/ok"]
    conditions.append({"type": "example.test/ok", "status": "True"})
    scene.api.patch(PODS, scene.namespace, name, {"status": {"conditions": conditions}}, subresource="status")


def test_readiness_gates_count(scene: Scene) -> None:
    scene.policy(healthTimeout="PT15S")
    scene.publish("1.0.0", "fast")
    gates = [{"conditionType": "example.test/ok"}]
    scene.apply(scale_set(replicas=2, template=template(readinessGates=gates)))

    def started(name: str, version: str) -> None:
        scene.wait(
            lambda world: (
                (pod := world.pods.get(name))
                and runs(pod) == version
                and any(
                    each["type"] == "ContainersReady" and each["status"] == "True"
                    for each in pod["status"].get("conditions") or []
                )
            ),
            f"the containers of {name} run {version}",
        )

    for name in ("web-0", "web-1"):
        started(name, "1.0.0")
        open_gate(scene, name)
    scene.healthy(2, version="1.0.0")
    scene.publish("1.1.0", "fast")
    started("web-0", "1.1.0")
    scene.never(lambda world: runs(world.pods["web-1"]) != "1.0.0", "a batch is taken for healthy with a gate closed")
    open_gate(scene, "web-0")
    started("web-1", "1.1.0")
    open_gate(scene, "web-1")
    scene.rollout("Completed", "1.1.0")


def test_without_an_application_signal_running_containers_are_health(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "bad")  # runs, and is never ready
    scene.apply(scale_set(replicas=2, template=template(), health={"source": "InstanceState"}))
    scene.condition("Ready", "Healthy")
    scene.publish("1.1.0", "crash")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert "CrashLoopBackOff" in rollout["error"]["message"]
    scene.publish("1.2.0", "bad")
    scene.rollout("Completed", "1.2.0")
    assert not any(ready(pod) for pod in scene.world.pods_of("web"))


def test_automatic_upgrades_need_a_health_signal(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=1, template=template()))
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said.startswith(
        "Automatic OS Upgrade is not supported for this ScaleSet because a health probe or health extension was not "
        "specified."
    )
    scene.never(lambda world: world.pods, "a pod is created")
    health = {"probe": {"protocol": "http", "port": 80, "requestPath": "/"}}
    scene.api.patch(SCALE_SETS, scene.namespace, "web", {"spec": {"health": health}})
    scene.healthy(1, version="1.0.0")
    assert "readinessProbe" in scene.world.pods["web-0"]["spec"]["containers"][0]
