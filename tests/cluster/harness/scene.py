"""What a scenario plays on: a namespace of its own, its record, and the words in which users change the world."""

from collections.abc import Callable
from typing import Any, TypeVar

from . import manifests
from .api import CLAIMS, IMAGES, NAMESPACES, PODS, POLICIES, QUOTAS, SCALE_SETS, Api, Json, Kind
from .cluster import Cluster
from .fleet import limit
from .recorder import Recorder, World
from .trace import INSTANCE_LABEL, MODEL_LABEL, VERSION_LABEL

T = TypeVar("T")
KINDS = {"ScaleSet": SCALE_SETS, "UpgradePolicy": POLICIES, "GalleryImageVersion": IMAGES}
HEALTH_TIMEOUT = "PT5S"
COLLECTED = 60.0
"""Seconds for what a deleted set owned to go: the garbage collector takes half a minute to learn of new kinds."""


class Scene:
    """One scenario's part of the cluster. Sets are called `web` unless another name is given."""

    patience = 30.0
    """Seconds for what is waited for, unless a test says otherwise."""

    def __init__(self, cluster: Cluster, namespace: str, recorder: Recorder) -> None:
        self.cluster, self.namespace, self.recorder = cluster, namespace, recorder
        self.api: Api = cluster.api

    # What users do

    def apply(self, *objects: Json) -> None:
        for body in objects:
            kind = KINDS[body["kind"]]
            self._recorded(kind, self.api.apply(kind, self.namespace, body))

    def publish(self, version: str, behaviour: str = "", **spec: Any) -> None:
        self.apply(manifests.image_version(version, behaviour=behaviour, **spec))

    def policy(self, *, automatic: bool = True, rolling: Json | None = None, **spec: Any) -> None:
        """Creates or replaces the policy `policy`; health timeouts are short."""
        self.apply(
            manifests.upgrade_policy(automatic=automatic, rolling=rolling, **{"healthTimeout": HEALTH_TIMEOUT, **spec})
        )

    def create(self, *, replicas: int = 3, name: str = "web", **spec: Any) -> None:
        """A set that is healthy on version 1.0.0, which becomes ready at once; with the policy if there is none."""
        if self.api.find(POLICIES, self.namespace, "policy") is None:
            self.policy()
        self.publish("1.0.0", "fast")
        self.apply(manifests.scale_set(name, replicas=replicas, **spec))
        self.healthy(replicas, name=name)

    def change(self, name: str = "web", **spec: Any) -> None:
        """A merge patch of a set's spec."""
        self._recorded(SCALE_SETS, self.api.patch(SCALE_SETS, self.namespace, name, {"spec": spec}))

    def _recorded(self, kind: Kind, written: Json) -> None:
        """Waits until our record is as new as what we wrote: what it says before that is about the world before."""
        name, version = written["metadata"]["name"], int(written["metadata"]["resourceVersion"])
        self.wait(
            lambda world: (
                int(world.all(kind).get(name, {"metadata": {}})["metadata"].get("resourceVersion", 0)) >= version
            ),
            f"{name} is recorded",
        )

    def change_template(self, name: str = "web", **annotations: str) -> None:
        """A new model: the pods get annotations, those of the simulation among them."""
        self.change(name, template={"metadata": {"annotations": _simulated(annotations)}})

    def scale(self, replicas: int, name: str = "web") -> None:
        self.change(name, replicas=replicas)

    def ask(self, request: str, value: str, name: str = "web") -> None:
        """Sets one of our annotations: start-upgrade-at, cancel-upgrade-at, apply-model."""
        metadata = {"annotations": {f"scaleset.dev/{request}": value}}
        self.api.patch(SCALE_SETS, self.namespace, name, {"metadata": metadata})

    def delete(self, kind: Kind, name: str, **options: Any) -> None:
        self.api.delete(kind, self.namespace, name, **options)

    def delete_pod(self, name: str) -> str:
        """By hand, as `kubectl delete pod`. Returns the uid of the pod that went."""
        self.recorder.disturb(name)
        return str(self.api.delete(PODS, self.namespace, name)["metadata"]["uid"])

    def lose_pod(self, name: str) -> None:
        """By hand as well, and waits until the operator has made it again."""
        gone = self.delete_pod(name)
        self.wait(lambda _: self.uids().get(name, gone) != gone, f"{name} is made again")

    def break_pod(self, name: str) -> None:
        self.api.label(PODS, self.namespace, name, ready="false")

    def mend_pod(self, name: str) -> None:
        self.api.label(PODS, self.namespace, name, ready=None)

    def quota(self, **hard: str) -> None:
        """A quota named `quota`, once the API server goes by it."""
        limit(self.api, self.namespace, "quota", hard)

    def lift_quota(self) -> None:
        self.api.delete(QUOTAS, self.namespace, "quota")

    def label_namespace(self, labels: dict[str, str]) -> None:
        self.api.patch(NAMESPACES, None, self.namespace, {"metadata": {"labels": labels}})

    def another_namespace(self) -> str:
        """One that nobody records; it goes with the cluster."""
        return self.cluster.make_namespace(f"{self.namespace}-2")

    def delete_namespace(self) -> None:
        self.api.delete(NAMESPACES, None, self.namespace)

    # What is waited for

    @property
    def world(self) -> World:
        return self.recorder.world

    def wait(self, until: Callable[[World], T], message: str, *, timeout: float | None = None) -> T:
        return self.recorder.wait_for(until, timeout=self.patience if timeout is None else timeout, message=message)

    def never(self, unwanted: Callable[[World], object], message: str, *, seconds: float = 1.5) -> None:
        self.recorder.never(unwanted, seconds=seconds, message=message)

    def healthy(self, replicas: int, *, version: str = "", name: str = "web", timeout: float | None = None) -> None:
        """So many pods, all Ready, on that version, and the set says Ready."""
        self.wait(
            lambda world: (
                [ready(pod) and runs(pod) in (version, version or runs(pod)) for pod in world.pods_of(name)]
                == [True] * replicas
                and says(world, "Ready", name=name)["status"] == "True"
            ),
            f"{replicas} instances of {name} are healthy{version and f' on {version}'}",
            timeout=timeout,
        )

    def rollout(
        self, code: str, version: str = "", *, name: str = "web", run: str = "", timeout: float | None = None
    ) -> Json:
        """Waits for a rollout with that code (to that version, with that id), and returns it."""

        def found(world: World) -> Json | None:
            seen: Json = world.status(name).get("rollingUpgrade") or {}
            reached = (seen.get("targetImageReference") or {}).get("exactVersion", "")
            wanted = seen and seen["runningStatus"]["code"] == code
            return seen if wanted and version in ("", reached) and run in ("", seen["id"]) else None

        seen = self.wait(found, f"the rollout of {name} {version and f'to {version} '}is {code}", timeout=timeout)
        assert seen is not None
        return seen

    def batch(self, number: int, *, version: str = "", name: str = "web", timeout: float | None = None) -> list[int]:
        """Waits until that batch is under way: a new pod of it exists. Returns the instances of the batch."""

        def begun(world: World) -> Json | None:
            seen: Json = world.status(name).get("rollingUpgrade") or {}
            batch: Json = seen.get("batch") or {}
            reached = (seen.get("targetImageReference") or {}).get("exactVersion", "")
            if batch.get("number") != number or version not in ("", reached):
                return None
            model = seen["kind"] == "Model" and seen["targetModel"]
            pods = [pod for pod in world.pods_of(name) if (has_model(pod) == model if model else runs(pod) == reached)]
            return batch if any(not ready(pod) for pod in pods) else None

        batch = self.wait(begun, f"batch {number} of {name} is under way", timeout=timeout)
        assert batch is not None
        first, *rest = str(batch["instances"]).split("-")
        return list(range(int(first), int(rest[0] if rest else first) + 1))

    def first_batch(self, *, replicas: int, behaviour: str = "", **spec: Any) -> list[int]:
        """A new set whose first batch to 1.1.0 is under way. Returns the instances of the batch."""
        self.create(replicas=replicas, **spec)
        self.publish("1.1.0", behaviour)
        return self.batch(1)

    def condition(self, kind: str, reason: str, *, name: str = "web", timeout: float | None = None) -> Json:
        """Waits until a condition has that reason, and returns it."""
        found = self.wait(
            lambda world: (seen := says(world, kind, name=name))["reason"] == reason and seen,
            f"condition {kind} of {name} has reason {reason}",
            timeout=timeout,
        )
        assert found
        return found

    def event(self, reason: str, text: str = "") -> str:
        """Waits for an event of that reason that contains that text."""
        return self.wait(
            lambda world: next((note for note in world.events(reason) if text in note), ""),
            f"an event {reason} says {text!r}",
        )

    def says(self, kind: str, *, name: str = "web") -> Json:
        """What a condition says now."""
        return says(self.world, kind, name=name)

    def quiet(self, *, seconds: float) -> None:
        """Once what is going on is told, the operator writes nothing. Counts are told within five seconds."""
        self.recorder.settle(5)
        self.recorder.quiet(seconds=seconds)

    def claims(self) -> dict[str, str]:
        """The uids of the claims, by name."""
        return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in self.api.list(CLAIMS, self.namespace)}

    def uids(self, name: str = "web") -> dict[str, str]:
        """The uids of a set's pods, by name."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.world.pods_of(name)}

    def versions(self, name: str = "web") -> list[str]:
        """What the instances run, by id."""
        pods = sorted(self.world.pods_of(name), key=lambda pod: int(pod["metadata"]["labels"][INSTANCE_LABEL]))
        return [runs(pod) for pod in pods]


def ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def runs(pod: Json) -> str:
    """The version on the pod's label."""
    return str(pod["metadata"]["labels"].get(VERSION_LABEL, ""))


def waiting_for(world: World, name: str = "web") -> str:
    """The reason code of what a rollout waits for; an empty string when it waits for nothing."""
    rollout = world.status(name).get("rollingUpgrade") or {}
    return str((rollout.get("waitingFor") or {}).get("reason", ""))


def has_model(pod: Json) -> str:
    """The model on the pod's label."""
    return str(pod["metadata"]["labels"].get(MODEL_LABEL, ""))


def says(world: World, kind: str, *, name: str = "web") -> Json:
    """A condition of a set that is about its present spec; one without status, reason and message if there is none."""
    scale_set = world.scale_sets.get(name, {"metadata": {}})
    for each in (scale_set.get("status") or {}).get("conditions") or []:
        if each["type"] == kind and each.get("observedGeneration") == scale_set["metadata"]["generation"]:
            found: Json = each
            return found
    return {"status": "", "reason": "", "message": ""}


def with_claims() -> list[Json]:
    """One data disk for each instance."""
    claim = manifests.claim("data")
    return [{"metadata": claim["metadata"], "spec": claim["spec"]}]


def progress(successful: int, failed: int, in_progress: int, pending: int) -> Json:
    """The four counts, in the words of Azure."""
    return {
        "successfulInstanceCount": successful,
        "failedInstanceCount": failed,
        "inProgressInstanceCount": in_progress,
        "pendingInstanceCount": pending,
    }


def _simulated(annotations: dict[str, str]) -> dict[str, str]:
    known = {"start": "sim.scaleset.dev/start", "fails_after": "sim.scaleset.dev/fails-after"}
    return {known.get(key, key): value for key, value in annotations.items()}
