"""Nodes in regions of a test's own, and what becomes of images on them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from .api import IMAGES, NODES, PODS, Api, ApiError, Items, Json
from .recorder import World
from .trace import Seen

REGION_LABEL = "topology.kubernetes.io/region"
PREPULL_LABEL = "scaleset.dev/prepull"


class Regions:
    """`with Regions(api, "me") as regions:` its nodes are gone afterwards. Region `west` is called `me-west`."""

    def __init__(self, api: Api, prefix: str) -> None:
        self._api, self._prefix = api, prefix
        self._made: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in sorted(self._made):
            with suppress(ApiError):
                self.remove(name)

    def name(self, region: str) -> str:
        return f"{self._prefix}-{region}"

    def add(self, region: str, count: int = 1, *, works: bool = True, system: str = "linux") -> list[str]:
        """New nodes, which nobody can pull on unless they work. They are Ready a moment later."""
        first = len(self._made)
        names = [f"{self.name(region)}-{'' if works else 'nopull-'}{first + n}" for n in range(count)]
        for name in names:
            labels = {"kubernetes.io/os": system, "type": "kwok", REGION_LABEL: self.name(region)}
            metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
            self._api.create(NODES, None, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
            self._made.add(name)
        for name in names:
            self._api.wait(NODES, None, name, _usable, timeout=20, message=f"node {name} is Ready")
        return names

    def remove(self, name: str) -> None:
        self._api.delete(NODES, None, name)
        self._made.discard(name)

    def targets(self, *regions: str) -> Json:
        """A publishing profile with replicationMode Full."""
        return {"replicationMode": "Full", "targetRegions": [{"name": self.name(region)} for region in regions]}


@contextmanager
def node_in(api: Api, region: str) -> Iterator[str]:
    """The last node of the cluster, in that region meanwhile. It stays: pods of other scenes may be on it."""
    node = max(node["metadata"]["name"] for node in api.list(NODES))
    api.patch(NODES, None, node, {"metadata": {"labels": {REGION_LABEL: region}}})
    try:
        yield node
    finally:
        api.patch(NODES, None, node, {"metadata": {"labels": {REGION_LABEL: None}}})


def prepulls(api: Api, namespace: str, version: Json) -> Items:
    """The pods in that namespace that pull the image of a version."""
    return api.list(PODS, namespace, selector=f"{PREPULL_LABEL}={version['metadata']['uid']}")


def replication(version: Json | None) -> dict[str, Json]:
    """What a version's status says of its regions."""
    status = ((version or {}).get("status") or {}).get("replicationStatus") or {}
    return {each["region"]: each for each in status.get("summary") or []}


def state(world: World, name: str, region: str) -> str:
    """The state of a version in a region; an empty string if nothing is said of it."""
    return str(replication(world.all(IMAGES).get(name)).get(region, {}).get("state", ""))


def states(seen: list[Seen], name: str, region: str) -> Iterator[tuple[Seen, str]]:
    """Every state that a version had there, with the event that first said so."""
    last = ""
    for each in seen:
        if each.kind == "galleryimageversions" and each.name == name:
            now = str(replication(each.object).get(region, {}).get("state", ""))
            if now != last:
                yield each, now
            last = now


def _usable(node: Json | None) -> bool:
    if node is None or node["spec"].get("taints"):
        return False
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
