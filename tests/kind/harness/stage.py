"""What a scenario plays on in kind: as in tests/cluster, but containers, probes, volumes and pulls are real."""

from typing import Any

from tests.cluster.harness.api import IMAGES, POLICIES, Json, Kind
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import KINDS, Scene, ready, runs, says, with_claims

from .cluster import KindCluster

REPOSITORY = "example.com/web"
TAGS = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.1.0-bad", "1.1.0-crash", "1.1.0-slow"]
ABSENT = "1.1.0-absent"
HEALTH_TIMEOUT_SECONDS = 60
"""Long enough for a container that has to start beside twenty others on two cores."""

PATIENCE = 600.0
"""Seconds for what takes ten on an idle machine: a deadline is there to end a test, not to measure."""


class Stage(Scene):
    """One scenario's namespace in a kind cluster. Sets are called `web` unless another name is given."""

    cluster: KindCluster
    patience = PATIENCE

    def publish(self, version: str, behaviour: str = "", **spec: Any) -> None:
        """A version whose image behaves like that: hack/kind/instance/build.sh has the list."""
        tag = f"{version}-{behaviour}" if behaviour else version
        reference = {"publisher": "example", "offer": "web", "sku": "stable", "version": version}
        self.apply(
            {
                "apiVersion": "scaleset.dev/v1beta1",
                "kind": "GalleryImageVersion",
                "metadata": {"name": f"web-{version}"},
                "spec": {**reference, "image": f"{REPOSITORY}:{tag}", **spec},
            }
        )

    def policy(self, *, automatic: bool = True, rolling: Json | None = None, **spec: Any) -> None:
        timeout = f"PT{HEALTH_TIMEOUT_SECONDS}S"
        self.apply(upgrade_policy(automatic=automatic, rolling=rolling, **{"healthTimeout": timeout, **spec}))

    def create(self, *, replicas: int = 5, name: str = "web", **spec: Any) -> None:
        """A set that is healthy on version 1.0.0, each instance with a volume; with the policy if there is none."""
        if self.api.find(POLICIES, self.namespace, "policy") is None:
            self.policy()
        if self.api.find(IMAGES, self.namespace, "web-1.0.0") is None:
            self.publish("1.0.0")
        body = scale_set(name, replicas=replicas, volumeClaimTemplates=with_claims(), **spec)
        body["spec"]["imageReference"].update(offer="web", sku="stable")
        body["spec"]["template"]["spec"] = _pod()
        self.apply(body)
        self.healthy(replicas, version="1.0.0", name=name)

    def apply(self, *objects: Json) -> None:
        """Ours, and anything else that has a kind."""
        for body in objects:
            if body["kind"] in KINDS:
                super().apply(body)
            else:
                self.cluster.api.apply(_kind(body), self.namespace, body)

    def write_data(self, name: str = "web") -> dict[str, str]:
        """Writes a text of its own to every instance's disk; returns the texts by pod."""
        texts = {pod: f"written by {pod} of {self.namespace}" for pod in self.uids(name)}
        for pod, text in texts.items():
            self.cluster.kubectl("--namespace", self.namespace, "exec", pod, "--", "/instance", "write", text)
        return texts

    def read_data(self, name: str = "web") -> dict[str, str]:
        """What is on every instance's disk."""
        exec_in = ("--namespace", self.namespace, "exec")
        return {pod: self.cluster.kubectl(*exec_in, pod, "--", "/instance", "read") for pod in self.uids(name)}

    def replaced(self, before: dict[str, str], name: str = "web") -> set[str]:
        """The instances that have another pod than before."""
        now = self.uids(name)
        return {pod for pod in before if now.get(pod) != before[pod]}

    def replacements(self) -> dict[str, int]:
        """How many pods each instance has had beside its first one, since the scenario began."""
        pods: dict[str, set[str]] = {}
        for seen in self.recorder.trace().of("pods"):
            if seen.scale_set:
                pods.setdefault(seen.name, set()).add(seen.uid)
        return {name: len(uids) - 1 for name, uids in pods.items()}

    def scale_by_subresource(self, replicas: int, name: str = "web") -> None:
        """As `kubectl scale` and an autoscaler do it."""
        self.cluster.kubectl("--namespace", self.namespace, "scale", f"scaleset/{name}", f"--replicas={replicas}")

    def in_batch(self, number: int, name: str = "web") -> None:
        """Waits until that batch of the running rollout, or a later one, was admitted."""

        def admitted(world: World) -> bool:
            rollout = world.status(name).get("rollingUpgrade") or {}
            return bool((rollout.get("batch") or {}).get("number", 0) >= number)

        self.wait(admitted, f"batch {number} of {name} is admitted", timeout=PATIENCE)


def settled(world: World, replicas: int, version: str, name: str = "web") -> bool:
    """All of them ready on that version, and the set says so."""
    pods = world.pods_of(name)
    return (
        len(pods) == replicas
        and all(ready(pod) and runs(pod) == version for pod in pods)
        and says(world, "Ready", name=name)["status"] == "True"
    )


def service(name: str = "web") -> Json:
    """For clients inside the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def budget(name: str = "web") -> Json:
    """At most one instance may be evicted at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
    }


def _pod() -> Json:
    """A pod spec whose container is the instance; its image comes from the version."""
    return {
        "terminationGracePeriodSeconds": 20,
        "containers": [
            {
                "name": "web",
                "image": "placeholder",
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": 8080},
                    "periodSeconds": 1,
                    "timeoutSeconds": 5,
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
            }
        ],
    }


def _kind(body: Json) -> Kind:
    group, _, version = str(body["apiVersion"]).rpartition("/")
    return Kind(f"{body['kind'].lower()}s", group, version)
