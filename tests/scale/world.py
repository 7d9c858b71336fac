"""A hundred sets of a hundred, one of a thousand and one of five, on simulated nodes."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

from tests.cluster.harness.api import IMAGES, PODS, POLICIES, SCALE_SETS, Api, Json, condition
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy

SETS_A_NAMESPACE = 10


class World:
    """Namespaces of ten sets each; every namespace has its own gallery, so that it is published to by itself."""

    def __init__(self, api: Api, *, sets: int, size: int) -> None:
        self.api, self.sets, self.size = api, sets, size
        self.places = [(f"fleet-{n // SETS_A_NAMESPACE}", f"web-{n}") for n in range(sets)]

    @property
    def namespaces(self) -> list[str]:
        return sorted({namespace for namespace, _ in self.places})

    def furnish(self, namespace: str) -> None:
        """A policy and a first version, ready at once."""
        self.api.apply(POLICIES, namespace, upgrade_policy(healthTimeout="PT5M"))
        self.publish(namespace, "1.0.0", "fast")

    def publish(self, namespace: str, version: str, behaviour: str = "") -> None:
        self.api.create(IMAGES, namespace, image_version(version, behaviour=behaviour))

    def add(self, namespace: str, name: str, replicas: int) -> None:
        body = scale_set(name, replicas=replicas, singlePlacementGroup=replicas <= 100)
        self.api.create(SCALE_SETS, namespace, body)

    def wait_current(self, places: Iterable[tuple[str, str]], version: str, *, timeout: float) -> None:
        """Until all of those sets are healthy on that version, by their status."""
        wanted, deadline = set(places), monotonic() + timeout
        while missing := wanted - {_place(each) for each in self.api.list(SCALE_SETS) if _current(each, version)}:
            if monotonic() > deadline:
                raise SystemExit(f"{len(missing)} sets are not on {version} after {timeout:g} s: {sorted(missing)[:5]}")
            sleep(1.0)

    def poke(self, namespace: str, names: Iterable[str], text: str) -> None:
        """An event of each of these pods that means nothing."""
        body: Json = {"metadata": {"annotations": {"example.com/poke": text}}}
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda name: self.api.patch(PODS, namespace, name, body), names))


def _place(found: Json) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _current(found: Json, version: str) -> bool:
    """All there, healthy and updated, and no rollout under way."""
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    counts = (status.get("replicas"), status.get("healthyReplicas"), status.get("updatedReplicas"))
    return (
        counts == (wanted, wanted, wanted)
        and status.get("currentVersion") == version
        and condition(found, "Progressing") != "True"
    )
