"""What new pods run first: custom data and extensions, again after every upgrade, and what a failure of theirs does."""

from typing import Any

from tests.cluster.harness.api import SCALE_SETS, SECRETS, Json, Kind
from tests.cluster.harness.manifests import REGISTRY
from tests.cluster.harness.rollouts import touched
from tests.cluster.harness.scene import Scene, progress, ready, runs

CONFIG_MAPS = Kind("configmaps")
MODEL = "scaleset.dev/model"
SCRIPT = "#!/bin/sh\necho hello > /var/lib/scaleset/state\n"
UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"


def extension(name: str, *after: str, tag: str = "1", **fields: Any) -> Json:
    return {"name": name, "image": f"{REGISTRY}:{tag}", "provisionAfterExtensions": list(after), **fields}


def ran(pod: Json) -> list[str]:
    """The init containers that are through, in the order of their ends."""
    statuses = pod["status"].get("initContainerStatuses") or []
    return [each["name"] for each in statuses if (each["state"].get("terminated") or {}).get("exitCode") == 0]


def all_ran(scene: Scene) -> list[list[str]]:
    return [ran(pod) for pod in scene.world.pods_of("web")]


def messages(scene: Scene) -> dict[int, str]:
    """What the status says of instances out of the ordinary."""
    return {row["id"]: row.get("message", "") for row in scene.world.status("web").get("instances") or []}


def test_custom_data_comes_with_every_new_pod_and_needs_no_other_object(scene: Scene) -> None:
    scene.create(replicas=2, customData=SCRIPT, runCustomData=True)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert all_ran(scene) == [["custom-data"]] * 2
    for pod in scene.world.pods_of("web"):
        assert pod["metadata"]["annotations"]["scaleset.dev/custom-data"] == SCRIPT
        for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert "/var/lib/scaleset/custom-data" in paths, container["name"]
        runner = pod["spec"]["initContainers"][0]
        assert runner["image"] == pod["spec"]["containers"][0]["image"]
    assert scene.api.list(SECRETS, scene.namespace) == []
    assert {each["metadata"]["name"] for each in scene.api.list(CONFIG_MAPS, scene.namespace)} == {"kube-root-ca.crt"}


def test_a_failing_script_is_told_and_fails_nothing(scene: Scene) -> None:
    template = {"metadata": {"annotations": {"sim.scaleset.dev/custom-data-exit": "3"}}}
    scene.create(replicas=3, customData=SCRIPT, runCustomData=True)
    scene.policy(mode="Rolling")
    scene.change(template=template)
    assert scene.rollout("Completed")["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3)
    scene.event("ProvisioningFailed", "custom-data failed: exit code 3")
    told = dict.fromkeys(range(3), "custom-data failed: exit code 3")
    scene.wait(lambda _: messages(scene) == told, "each instance says so")
    scene.quiet(seconds=3)
    assert 1 <= len(scene.world.events("ProvisioningFailed")) <= 3


def test_extensions_run_in_order_and_again_after_an_upgrade(scene: Scene) -> None:
    own = {"name": "mine", "image": f"{REGISTRY}:1"}
    chosen = [extension("metrics", "agent"), extension("log"), extension("agent", settings={"url": "$(HOME)"})]
    scene.create(replicas=2, extensions=chosen, customData=SCRIPT, runCustomData=True)
    container = scene.api.get(SCALE_SETS, scene.namespace, "web")["spec"]["template"]["spec"]["containers"][0]
    scene.change(template={"spec": {"containers": [container], "initContainers": [own]}})
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(2, version="1.1.0")
    assert all_ran(scene) == [["custom-data", "extension-log", "extension-agent", "extension-metrics", "mine"]] * 2
    (agent,) = (each for each in scene.world.pods["web-0"]["spec"]["initContainers"] if each["name"].endswith("agent"))
    assert agent["env"] == [{"name": "SCALESET_EXTENSION_SETTINGS", "value": '{"url":"$$(HOME)"}'}]


def test_a_force_update_tag_runs_an_extension_again(scene: Scene) -> None:
    scene.policy(mode="Rolling", automatic=False)
    scene.create(replicas=2, extensions=[extension("agent")])
    before = scene.uids()
    scene.change(extensions=[extension("agent", forceUpdateTag="2")])
    assert scene.rollout("Completed")["progress"] == progress(2, 0, 0, 0)
    assert not set(before.values()) & set(scene.uids().values())
    assert all_ran(scene) == [["extension-agent"]] * 2


def test_extensions_without_an_order_are_refused_by_name(scene: Scene) -> None:
    scene.create(replicas=1, extensions=[extension("a")])
    before = scene.uids()
    scene.change(extensions=[extension("a", "b"), extension("b", "c"), extension("c", "a")])
    said = scene.condition("Accepted", "InvalidSpec")["message"]
    assert said == "extensions wait for one another: a -> b -> c -> a."
    scene.event("InvalidSpec", "a -> b -> c -> a")
    scene.never(lambda _: scene.uids() != before, "an instance is touched")
    scene.change(extensions=[extension("a"), extension("b", "a")])
    scene.condition("Accepted", "Accepted")


def test_an_extension_that_fails_an_upgraded_instance_speaks_for_itself(scene: Scene) -> None:
    """An image upgrade brings the newest model: its extension fails, and the instance gets image and model back."""
    scene.create(replicas=5, extensions=[extension("agent")])
    old = scene.world.pods["web-0"]["metadata"]["labels"][MODEL]
    before = scene.uids()
    fails = [{"name": "SIM_MESSAGE", "value": "token has expired: 401"}]
    scene.change(extensions=[extension("agent", tag="2-initfail", env=fails)])
    scene.condition("Accepted", "Accepted")
    scene.never(lambda _: scene.uids() != before, "mode Manual waits", seconds=1)
    scene.publish("1.1.0", "fast")
    rollout = scene.rollout("Faulted", "1.1.0")
    assert (rollout["error"]["code"], rollout["progress"]) == (UPGRADED, progress(0, 1, 0, 4))
    (detail,) = rollout["error"]["details"]
    assert detail["target"] == "web/instances/0"
    assert "container extension-agent: CrashLoopBackOff" in detail["message"]
    assert "last exit code 1: token has expired: 401" in detail["message"]
    assert "token has expired: 401" in rollout["error"]["message"]
    assert rollout["restored"] == "0"
    scene.healthy(5, version="1.0.0")
    assert {pod["metadata"]["labels"][MODEL] for pod in scene.world.pods_of("web")} == {old}
    after = scene.uids()
    assert {name for name in after if after[name] != before[name]} == {"web-0"}


def test_by_state_of_the_instance_a_failing_extension_counts_too(scene: Scene) -> None:
    """health.source InstanceState: all containers run and all extensions succeeded."""
    scene.policy(mode="Rolling", automatic=False)
    scene.create(replicas=5, health={"source": "InstanceState"}, extensions=[extension("agent")])
    scene.change(extensions=[extension("agent", tag="2-initfail")])
    rollout = scene.rollout("Faulted")
    assert rollout["progress"] == progress(0, 1, 0, 4)
    assert "credentials expired" in rollout["error"]["message"]


def test_a_suppressed_failure_is_told_and_fails_nothing(scene: Scene) -> None:
    agent = extension("agent", tag="1-initfail", command=["/install"], suppressFailures=True)
    scene.create(replicas=2, extensions=[agent, extension("log")])
    assert all_ran(scene) == [["extension-agent", "extension-log"]] * 2
    scene.event("ProvisioningFailed", "extension-agent failed: exit code 1")
    told = dict.fromkeys(range(2), "extension-agent failed: exit code 1")
    scene.wait(lambda _: messages(scene) == told, "each instance says so")


def test_one_apply_recovers_from_expired_credentials_of_an_extension(scene: Scene) -> None:
    """Semantics 7: the first batch fails and stays, the rest is untouched; the next model goes to the failed first."""
    scene.policy(mode="Rolling")
    scene.create(replicas=5, extensions=[extension("agent", settings={"token": "1"})])
    before = scene.uids()
    scene.change(extensions=[extension("agent", tag="1-initfail", settings={"token": "expired"})])
    rollout = scene.rollout("Faulted")
    assert (rollout["kind"], rollout["progress"]) == ("Model", progress(0, 1, 0, 4))
    assert "credentials expired" in rollout["error"]["message"]
    (failed,) = {name for name, uid in scene.uids().items() if uid != before[name]}
    scene.never(lambda world: ready(world.pods[failed]), "a model rollout restores", seconds=1)
    scene.change(extensions=[extension("agent", settings={"token": "2"})])
    assert scene.rollout("Completed", run="2")["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.0.0")
    assert touched(scene.recorder)[1] == [int(failed.removeprefix("web-"))]
    assert [runs(pod) for pod in scene.world.pods_of("web")] == ["1.0.0"] * 5
