"""The situations that are recorded: each is a function that leads a fresh namespace there and returns.

The operator is killed as it returns, so what is recorded of a rollout is the middle of it.
"""

from collections.abc import Callable
from typing import Any

from tests.cluster.harness.api import NODES, PODS, Api, Json
from tests.cluster.harness.manifests import REGISTRY, image_version, scale_set, upgrade_policy
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, ready, runs, says, with_claims

ZONES = ["one", "two"]
ZONE_LABEL = "topology.kubernetes.io/zone"
SLOW = "6s"
"""How long containers take where a rollout is to be met in the middle."""
PATIENT = "PT1M"
"""A health timeout that is not over when the next operator has started, on a busy machine either."""

AT_REST: dict[str, Callable[[Scene], None]] = {}
"""Nothing is to be done, now or ever."""
UNDER_WAY: dict[str, Callable[[Scene], None]] = {}
"""The next operator has something to go on with."""


def at_rest(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """The counts are told at the end of `play`."""

    def told(scene: Scene) -> None:
        play(scene)
        tell_counts(scene)

    AT_REST[_name(play)] = told
    return play


def under_way(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
    UNDER_WAY[_name(play)] = play
    return play


def _name(play: Callable[[Scene], None]) -> str:
    return play.__name__.replace("_", "-")


def tell_counts(scene: Scene) -> None:
    """The operator tells counts within five seconds."""
    scene.recorder.settle(6)


def template(*, start: str = "", pod: Json | None = None, **container: Any) -> Json:
    """A pod template with a readiness probe, and without an image, as it should be written."""
    metadata: Json = {"labels": {"app": "web"}}
    if start:
        metadata["annotations"] = {"sim.scaleset.dev/start": start}
    body = {"name": "os", "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}, **container}
    return {"metadata": metadata, "spec": {"containers": [body], **(pod or {})}}


def half(**rolling: Any) -> Json:
    return {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 50, **rolling}


def disks(size: str) -> list[Json]:
    (claim,) = with_claims()
    claim["spec"]["resources"]["requests"]["storage"] = size
    return [claim]


def born(scene: Scene, replicas: int, *, start: str = "", pods: Json | None = None, **policy: Any) -> None:
    """A healthy set on 1.0.0 with that policy. Its pods are made of the template `pods` and take `start` to start."""
    scene.policy(**policy)
    scene.create(replicas=replicas, template=pods or template(start=start))


def edit(scene: Scene) -> None:
    """The user changes the template."""
    scene.change(template={"metadata": {"annotations": {"example.com/revision": "2"}}})


def rolled(scene: Scene, behaviour: str, *, runs: str, code: str = "Completed", timeout: float | None = None) -> None:
    """Version 1.1.0 behaves like that, its rollout ends with `code`, and all instances are healthy on `runs`."""
    replicas = len(scene.uids())
    scene.publish("1.1.0", behaviour)
    scene.rollout(code, "1.1.0", timeout=timeout)
    scene.healthy(replicas, version=runs)


# At rest


@at_rest
def completed(scene: Scene) -> None:
    """A rollout has ended well, and the policy replaces everything at once when the model changes."""
    born(scene, 4, mode="Automatic")
    rolled(scene, "fast", runs="1.1.0")


@at_rest
def defaults(scene: Scene) -> None:
    """As little as possible is written, so that the stored objects bear what the definitions write into them."""
    policy = upgrade_policy(automatic=True)
    policy["spec"] = {"mode": "Automatic", "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True}}
    body = scale_set(replicas=6, health={"source": "InstanceState"})
    del body["spec"]["updateDomains"]
    body["spec"]["template"] = {"spec": {"containers": [{"name": "os"}]}}
    scene.apply(policy, image_version("1.0.0", behaviour="fast"), body)
    scene.healthy(6)


@at_rest
def everything(scene: Scene) -> None:
    """A model that uses every part of a model."""
    scene.policy(mode="Automatic")
    probe = {"protocol": "http", "port": 8080, "requestPath": "/health", "intervalInSeconds": 5, "numberOfProbes": 2}
    pod = {
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "containers": [
            {"name": "log", "image": f"{REGISTRY}:sidecar-fast"},
            {
                "name": "os",
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                "ports": [{"containerPort": 80}],
            },
        ],
    }
    scene.create(
        replicas=4,
        template={"metadata": {"labels": {"app": "web"}, "creationTimestamp": None}, "spec": pod},
        instanceContainer="os",
        serviceName="web",
        volumeClaimTemplates=with_claims(),
        customData="#!/bin/sh\necho hello\n",
        runCustomData=True,
        extensions=[
            {"name": "monitor", "image": f"{REGISTRY}:1", "provisionAfterExtensions": ["agent"]},
            {"name": "agent", "image": f"{REGISTRY}:1", "settings": {"level": 1}, "forceUpdateTag": "1"},
        ],
        health={"probe": probe},
        zones=ZONES,
        updateDomains=3,
        scaleInPolicy={"rules": ["OldestVM"]},
        protectedInstances=[{"id": 1, "protectFromScaleIn": True}],
    )


@at_rest
def image(scene: Scene) -> None:
    """The instance container bears an image, which counts as a part of the model and is never used."""
    born(scene, 3, pods=template(image="registry.example/other:2.0.0"), mode="Automatic")


@at_rest
def typos(scene: Scene) -> None:
    """Fields that the API server drops from pods without a word."""
    misspelt = template(resource={"limits": {"memory": "1Gi"}}, pod={"securitycontext": {"runAsUser": 1000}})
    born(scene, 3, pods=misspelt, mode="Automatic")


@at_rest
def deadline(scene: Scene) -> None:
    """Pods that Kubernetes would end after a day, as a Job's."""
    born(scene, 2, pods=template(pod={"activeDeadlineSeconds": 86400}), mode="Automatic")


@at_rest
def resized(scene: Scene) -> None:
    """The size in a claim template was edited: all pods were replaced, no disk was changed."""
    scene.policy(mode="Rolling", rolling=half())
    scene.create(replicas=2, template=template(), volumeClaimTemplates=disks("1Gi"))
    scene.change(volumeClaimTemplates=disks("2Gi"))
    scene.rollout("Completed")
    scene.wait(lambda world: says(world, "UpToDate")["status"] == "True", "all have the model")
    scene.healthy(2)


@at_rest
def resized_by_hand(scene: Scene) -> None:
    """The size was edited where nobody starts a rollout; one instance was replaced on demand."""
    scene.policy(mode="Manual")
    scene.create(replicas=2, template=template(), volumeClaimTemplates=disks("1Gi"))
    before = scene.uids()
    scene.change(volumeClaimTemplates=disks("2Gi"))
    scene.ask("apply-model", "1")
    scene.wait(lambda _: scene.uids().get("web-1", before["web-1"]) != before["web-1"], "one has the new model")
    scene.healthy(2)


@at_rest
def outdated(scene: Scene) -> None:
    """Instances on two models, and nobody starts a rollout."""
    born(scene, 4, mode="Manual", automatic=False)
    before = scene.uids()
    edit(scene)
    scene.ask("apply-model", "0,2")
    scene.wait(lambda _: not {before["web-0"], before["web-2"]} & set(scene.uids().values()), "two have the new model")
    scene.publish("1.1.0", "fast")
    scene.healthy(4, version="1.0.0")


@at_rest
def failed(scene: Scene) -> None:
    """A version failed in the first batch, was taken back and is remembered."""
    born(scene, 5, mode="Automatic")
    rolled(scene, "bad", runs="1.0.0", code="Faulted")


@at_rest
def failed_by_hand(scene: Scene) -> None:
    """A start by hand restores nothing: one instance is left on the version that failed."""
    born(scene, 5, automatic=False)
    scene.publish("1.1.0", "bad")
    scene.ask("start-upgrade-at", "first")
    scene.rollout("Faulted", "1.1.0")


@at_rest
def model_failed(scene: Scene) -> None:
    """A model failed in the first batch, was taken back and is remembered."""
    born(scene, 5, mode="Rolling", rolling={"rollbackFailedInstancesOnPolicyBreach": True})
    scene.change_template(start="1h")
    scene.rollout("Faulted")
    scene.healthy(5)


@at_rest
def broken_later(scene: Scene) -> None:
    """A version that broke once all had it and the rollout had ended well."""
    born(scene, 2, mode="Automatic", rolling=half(maxUnhealthyInstancePercent=100))
    scene.change(suspend=True)
    scene.change_template(fails_after="4s")
    scene.healthy(2)
    scene.publish("1.1.0", "flaky")
    scene.change(suspend=None)
    scene.rollout("Completed", "1.1.0")
    scene.wait(lambda world: not any(map(ready, world.pods_of("web"))), "all are broken")


@at_rest
def cancelled(scene: Scene) -> None:
    """A rollout was cancelled in its first batch: two versions, and it is not started again."""
    born(scene, 5, start="2s", mode="Automatic")
    scene.publish("1.1.0")
    scene.batch(1, version="1.1.0")
    scene.ask("cancel-upgrade-at", "now")
    scene.rollout("Cancelled", "1.1.0")
    scene.healthy(5)


@at_rest
def pinned(scene: Scene) -> None:
    """An exact version, and a newer one is there."""
    scene.policy(mode="Automatic")
    scene.publish("1.1.0", "fast")
    scene.create(replicas=3, version="1.0.0", template=template())


@at_rest
def suspended(scene: Scene) -> None:
    """A rollout that was suspended in its first batch."""
    born(scene, 5, start="2s", mode="Rolling")
    scene.publish("1.1.0")
    scene.batch(1, version="1.1.0")
    scene.change(suspend=True)
    scene.wait(
        lambda world: (
            (world.status("web").get("rollingUpgrade") or {}).get("batchesDone") == 1
            and all(map(ready, world.pods_of("web")))
        ),
        "the first batch is over",
    )


@at_rest
def in_place(scene: Scene) -> None:
    """Images were changed in running pods, which bear a note of that."""
    born(scene, 3, mode="Automatic", replacementMethod="InPlaceIfPossible")
    rolled(scene, "fast", runs="1.1.0")


@at_rest
def no_policy(scene: Scene) -> None:
    """A set that names no policy."""
    scene.apply(image_version("1.0.0", behaviour="fast"), scale_set(replicas=2, policy=None, template=template()))
    scene.healthy(2)
    scene.publish("1.1.0", "fast")


@at_rest
def born_bad(scene: Scene) -> None:
    """A new set whose first version never becomes healthy."""
    scene.policy()
    scene.apply(image_version("1.0.0", behaviour="bad"), scale_set(replicas=3, template=template()))
    scene.wait(
        lambda world: [row["state"] for row in world.status("web").get("instances") or []] == ["Unhealthy"] * 3,
        "all are unhealthy",
    )


@at_rest
def refused(scene: Scene) -> None:
    """The last edit was refused by the API server, so the instances stay on the model before."""
    born(scene, 2, mode="Automatic")
    scene.change(template={"spec": template(resources={"limits": {"cpu": "many"}})["spec"]})
    scene.condition("Accepted", "ModelRefused")


# Under way


@under_way
def rolling(scene: Scene) -> None:
    """The second of five batches."""
    born(scene, 10, start=SLOW, mode="Rolling", healthTimeout=PATIENT)
    scene.publish("1.1.0")
    assert scene.batch(2, version="1.1.0") == [2, 3]


@under_way
def pausing(scene: Scene) -> None:
    """The pause between the first and the second batch, which is not over when the next operator has started."""
    born(scene, 4, rolling=half(pauseTimeBetweenBatches="PT45S"), healthTimeout=PATIENT)
    scene.publish("1.1.0", "fast")
    scene.wait(
        lambda world: (world.status("web").get("rollingUpgrade") or {}).get("nextBatchTime"), "the pause has begun"
    )
    scene.wait(lambda world: [*map(ready, world.pods_of("web"))] == [True] * 4, "the first batch is healthy")


@under_way
def terminating(scene: Scene) -> None:
    """The old pod of the second batch takes its time to go."""
    born(scene, 5, start="1s", healthTimeout=PATIENT)
    scene.api.label(PODS, scene.namespace, "web-1", hold_delete="true")
    scene.publish("1.1.0", "fast")
    scene.wait(lambda world: "deletionTimestamp" in world.pods["web-1"]["metadata"], "it is to go")


@under_way
def surging(scene: Scene) -> None:
    """Two new instances start beside the five that there are."""
    rolling = {"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40, "maxSurge": True}
    born(scene, 5, start=SLOW, rolling=rolling, healthTimeout=PATIENT)
    scene.publish("1.1.0")
    scene.wait(lambda world: len(world.pods_of("web")) == 7, "two new ones are beside the others")
    scene.wait(lambda world: all(pod["status"].get("podIP") for pod in world.pods_of("web")), "they start")


@under_way
def doomed(scene: Scene) -> None:
    """The first batch of a version that does not become healthy; its time is not over."""
    born(scene, 5, healthTimeout="PT20S")
    scene.publish("1.1.0", "bad")
    scene.batch(1, version="1.1.0")


@under_way
def restoring(scene: Scene) -> None:
    """An instance whose version failed gets the one before back, and is starting with it."""
    born(scene, 5, start=SLOW, healthTimeout="PT12S")
    scene.publish("1.1.0", "bad")

    def restarts(world: World) -> bool:
        rollout = world.status("web").get("rollingUpgrade") or {}
        pod = world.pods.get("web-0")
        return bool(rollout.get("restoring") == "0" and pod and runs(pod) == "1.0.0" and not ready(pod))

    scene.wait(restarts, "it starts again", timeout=40)


@under_way
def in_place_starting(scene: Scene) -> None:
    """The image of the first batch's pod was changed, and its container starts again."""
    born(scene, 3, start=SLOW, replacementMethod="InPlaceIfPossible", healthTimeout=PATIENT)
    scene.publish("1.1.0")
    scene.batch(1, version="1.1.0")


@under_way
def model_rolling(scene: Scene) -> None:
    """The second batch of a rollout of the model alone."""
    born(scene, 5, start=SLOW, mode="Rolling", healthTimeout=PATIENT)
    edit(scene)
    assert scene.batch(2) == [1]


@under_way
def image_waits(scene: Scene) -> None:
    """A newer version waits for the end of a rollout of the model, which is in its first batch."""
    born(scene, 4, start=SLOW, mode="Rolling", rolling=half(), healthTimeout=PATIENT)
    edit(scene)
    assert scene.batch(1) == [0, 1]
    scene.publish("1.1.0")
    scene.wait(lambda world: world.status("web").get("latestVersion") == "1.1.0", "the newer one is seen")


@under_way
def gate_closed(scene: Scene) -> None:
    """A newer version waits, since two of five instances are unhealthy."""
    born(scene, 5)
    scene.break_pod("web-3")
    scene.break_pod("web-4")
    scene.wait(lambda world: sum(map(ready, world.pods_of("web"))) == 3, "two are unhealthy")
    scene.publish("1.1.0", "fast")
    scene.condition("Progressing", "HealthGateWaiting")
    tell_counts(scene)


@under_way
def retrying(scene: Scene) -> None:
    """A rollout has come to its end with instances that failed: it is tried again after a minute."""
    born(scene, 2, rolling=half(maxUnhealthyUpgradedInstancePercent=100))
    rolled(scene, "bad", runs="1.0.0", timeout=60)


@under_way
def applying(scene: Scene) -> None:
    """Two instances are replaced on demand, and start."""
    born(scene, 4, start=SLOW, mode="Manual", automatic=False, healthTimeout=PATIENT)
    before = scene.uids()
    edit(scene)
    scene.ask("apply-model", "1-2")
    scene.wait(
        lambda world: (
            not {before["web-1"], before["web-2"]} & set(scene.uids().values()) and len(world.pods_of("web")) == 4
        ),
        "both are made again",
    )


@under_way
def taking_turns(scene: Scene) -> None:
    """Of two sets of one policy only one may roll: `api` does, `web` waits."""
    scene.policy(maxConcurrentScaleSets=1, healthTimeout=PATIENT)
    scene.create(replicas=2, name="api", template=template(start=SLOW))
    scene.create(replicas=2, template=template(start=SLOW))
    scene.change(suspend=True)
    scene.publish("1.1.0")
    scene.batch(1, version="1.1.0", name="api")
    scene.change(suspend=None)
    scene.wait(lambda world: world.status("web").get("waitingSince"), "the other one waits")


def label_nodes(api: Api) -> None:
    """Half of the nodes in either zone."""
    for index, node in enumerate(api.list(NODES)):
        metadata = {"labels": {ZONE_LABEL: ZONES[index % 2]}}
        api.patch(NODES, None, node["metadata"]["name"], {"metadata": metadata})
