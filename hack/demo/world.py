"""What the demo sees with watches of its own: what it claims about pods is measured here, not taken from a status."""

from collections.abc import Callable
from threading import Condition, Thread
from time import monotonic
from typing import Any

from kubectl_scaleset.client import Client
from scaleset.kube.resources import CLAIMS, PODS, Resource
from scaleset.records.kinds import SCALE_SETS

from .objects import NAMESPACE, Json

VERSION_LABEL = "scaleset.dev/image-version"
ID_LABEL = "scaleset.dev/instance-id"


class World:
    """The set and its pods as they are now. Attributes are read under `changed` or by `wait`."""

    def __init__(self, client: Client, *, replicas: int) -> None:
        self.changed = Condition()
        self.scale_set: Json = {}
        self.pods: dict[int, Json] = {}
        self.most_down = 0
        self.batches: dict[str, dict[int, str]] = {}
        self._client = client
        self._replicas = replicas
        self._broken: Exception | None = None
        self._closed = False
        for resource, take in ((PODS, self._pod), (SCALE_SETS, self._scale_set)):
            Thread(target=self._follow, args=(resource, take), daemon=True).start()

    def close(self) -> None:
        self._closed = True

    def wait(self, until: Callable[[], object], timeout: float) -> bool:
        """Whether it came true in time. Raises when a watch broke, since nothing seen later could be trusted."""
        deadline = monotonic() + timeout
        with self.changed:
            while not until():
                if self._broken is not None:
                    raise self._broken
                left = deadline - monotonic()
                if left <= 0:
                    return False
                self.changed.wait(min(left, 0.5))
            return True

    def measure(self) -> None:
        """Forget the maximum so far."""
        with self.changed:
            self.most_down = self.down()

    def down(self) -> int:
        """Instances without a pod that is ready and stays."""
        return self._replicas - sum(map(serves, self.pods.values()))

    def uids(self) -> dict[int, str]:
        with self.changed:
            return {number: pod["metadata"]["uid"] for number, pod in self.pods.items()}

    def claims(self) -> dict[str, str]:
        """Names of the bound claims, and their uids."""
        found, _ = self._client.list(CLAIMS, NAMESPACE)
        return {
            each["metadata"]["name"]: each["metadata"]["uid"] for each in found if each["status"]["phase"] == "Bound"
        }

    def _pod(self, kind: str, pod: Json) -> None:
        number = int(pod["metadata"]["labels"].get(ID_LABEL, -1))
        if number < 0:
            return
        if kind == "DELETED":
            self.pods.pop(number, None)
        else:
            self.pods[number] = pod
        self.most_down = max(self.most_down, self.down())

    def _scale_set(self, kind: str, found: Json) -> None:
        self.scale_set = {} if kind == "DELETED" else found
        rollout = found.get("status", {}).get("rollingUpgrade") or {}
        if batch := rollout.get("batch"):
            self.batches.setdefault(rollout["id"], {})[batch["number"]] = batch["instances"]

    def _follow(self, resource: Resource, take: Callable[[str, Json], Any]) -> None:
        try:
            items, version = self._client.list(resource, NAMESPACE)
            self._take(take, [("ADDED", item) for item in items])
            while not self._closed:
                for event in self._client.watch(resource, NAMESPACE, version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._take(take, [(event["type"], event["object"])])
        except Exception as error:  # noqa: BLE001 raised by `wait`, in the thread that tells the story
            if not self._closed:
                with self.changed:
                    self._broken = error
                    self.changed.notify_all()

    def _take(self, take: Callable[[str, Json], Any], seen: list[tuple[str, Json]]) -> None:
        with self.changed:
            for kind, item in seen:
                take(kind, item)
            self.changed.notify_all()


def serves(pod: Json) -> bool:
    """Ready, and not on its way out."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def version(pod: Json) -> str:
    return str(pod["metadata"]["labels"].get(VERSION_LABEL, ""))
