"""A client in the cluster that requests a Service all the time, and a watch of the Service's ready endpoints."""

import json
import threading
from dataclasses import dataclass, field
from typing import Self

from tests.cluster.harness.api import ENDPOINT_SLICES, PODS, Api, Json, Watch
from tests.cluster.harness.fleet import until
from tests.cluster.harness.scene import ready

from .stage import PATIENCE, REPOSITORY, Stage, service


@dataclass(frozen=True, slots=True)
class Answers:
    """What the client has seen so far. `errors`: how often which."""

    requests: int = 0
    failed: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)


class Client:
    """A pod that opens a new connection to the Service `web` for each of its requests, about 40 a second."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        stage.apply(service())
        url = f"http://web.{stage.namespace}.svc.cluster.local.:80/"
        container = {"name": "client", "image": f"{REPOSITORY}:1.0.0", "args": ["ask", url]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
        stage.api.create(PODS, stage.namespace, {"metadata": {"name": "client"}, "spec": spec})
        stage.wait(
            lambda world: any(ready(pod) for name, pod in world.pods.items() if name == "client"),
            "the client runs",
            timeout=PATIENCE,
        )

    def wait_steady(self) -> Answers:
        """Until all answers are good: what came before is the Service's own start. Returns the counts so far."""
        last = Answers()

        def steady() -> bool:
            nonlocal last
            before, last = last, self.answers()
            return last.requests > before.requests > 0 and last.failed == before.failed

        until(steady, timeout=PATIENCE, message="the client gets good answers")
        return last

    def answers(self) -> Answers:
        """The counts that it printed last, at most a second old."""
        lines = self._stage.cluster.kubectl("--namespace", self._stage.namespace, "logs", "client", "--tail=1")
        return Answers(**json.loads(lines)) if lines else Answers()


class Endpoints:
    """`with Endpoints(api, namespace, "web") as seen:` how many ready endpoints a Service had, at every change."""

    def __init__(self, api: Api, namespace: str, service: str) -> None:
        self._api, self._namespace = api, namespace
        self._selector = f"kubernetes.io/service-name={service}"
        self._slices: dict[str, Json] = {}
        self._watch: Watch
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._service = service
        self.counts: list[int] = []
        self._whole = False

    def __enter__(self) -> Self:
        items, version = self._api.list_at(ENDPOINT_SLICES, self._namespace, selector=self._selector)
        self._slices = {item["metadata"]["name"]: item for item in items}
        self.counts.append(self._ready())
        self._watch = self._api.watch(ENDPOINT_SLICES, self._namespace, version, seconds=1200)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._whole = self._thread.is_alive()
        self._watch.close()
        self._thread.join(timeout=10)

    def fewest(self) -> int:
        assert self._whole, "the watch of endpoints ended too early: some counts are missing"
        return min(self.counts)

    def _follow(self) -> None:
        for event in self._watch:
            if event["type"] == "ERROR":
                return
            labels = event["object"]["metadata"].get("labels") or {}
            if event["type"] == "BOOKMARK" or labels.get("kubernetes.io/service-name") != self._service:
                continue
            name = event["object"]["metadata"]["name"]
            if event["type"] == "DELETED":
                self._slices.pop(name, None)
            else:
                self._slices[name] = event["object"]
            self.counts.append(self._ready())

    def _ready(self) -> int:
        found = (each for item in self._slices.values() for each in item.get("endpoints") or [])
        return sum(bool(each["conditions"].get("ready")) for each in found)
