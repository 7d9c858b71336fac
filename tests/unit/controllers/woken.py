"""Whom events wake, for tests."""

from typing import Any

from scaleset.controllers.caches import Caches
from scaleset.controllers.concurrency_limit import ConcurrencyLimit
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube.client import Client

Json = dict[str, Any]


class World:
    """Caches that events fill, and what they woke. Without a client nothing is sent."""

    def __init__(self, wakes: Wakes | None = None, *, client: Client | None = None) -> None:
        self.woken: list[tuple[str, Any]] = []
        self.version = 0
        wakes = wakes or Wakes(
            scale_sets=lambda key: self.woken.append(("set", key)),
            instances=lambda key, _: self.woken.append(("set", key)),
            versions=lambda key: self.woken.append(("version", key)),
            replications=lambda key, _: self.woken.append(("version", key)),
            policies=lambda key: self.woken.append(("policy", key)),
        )
        self.wakes = wakes
        self.caches: Caches = watch(client, wakes)  # type: ignore[arg-type] # None where nothing is sent
        self.turns = ConcurrencyLimit(self.caches, wake=lambda key: self.woken.append(("set", key)))

    def raw(self, body: Json, *, namespace: str = "a", deleting: bool = False, **status: Any) -> Json:
        self.version += 1
        metadata = {
            **body["metadata"],
            "namespace": namespace,
            "uid": f"{body['kind']}/{namespace}/{body['metadata']['name']}",
            "resourceVersion": str(self.version),
            "generation": self.version,
        }
        if deleting:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return {**body, "metadata": metadata, "status": status}

    def tell(self, body: Json, *, kind: str = "MODIFIED", **how: Any) -> set[Any]:
        """Whom an event wakes."""
        self.woken.clear()
        caches = {
            "ScaleSet": self.caches.scale_sets,
            "UpgradePolicy": self.caches.policies,
            "GalleryImageVersion": self.caches.versions,
        }
        caches[body["kind"]].seen(kind, self.raw(body, **how))  # type: ignore[attr-defined] # all three have it
        return set(self.woken)
