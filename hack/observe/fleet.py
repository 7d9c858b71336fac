"""The fleet that is observed: four sets at different points of a rollout, one with an image that never works."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from hack.demo import objects
from hack.demo.objects import NAMESPACE, Json, create
from kubectl_scaleset.client import Client
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS, UPGRADE_POLICIES

WEB, API, SEARCH, DB = "web", "api", "search", "db"


@dataclass(frozen=True, slots=True)
class Set:
    """A set of the fleet, with an image and a policy of its own."""

    name: str
    replicas: int
    pause: str
    health_timeout: str


SETS: Final = (
    Set(WEB, replicas=10, pause="PT2S", health_timeout="PT15S"),
    Set(API, replicas=20, pause="PT8S", health_timeout="PT30S"),
    Set(SEARCH, replicas=12, pause="PT3S", health_timeout="PT30S"),
    Set(DB, replicas=6, pause="PT2S", health_timeout="PT30S"),
)


class Fleet:
    """Creates the sets and publishes versions; what comes of it is for Prometheus to tell."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self) -> None:
        """All sets, with version 1.0.0. Instances come within seconds."""
        objects.await_service_account(self._client)
        for each in SETS:
            policy, scale_set = _objects(each)
            create(self._client, UPGRADE_POLICIES, policy)
            self.publish(each.name, "1.0.0")
            create(self._client, SCALE_SETS, scale_set)

    def publish(self, name: str, number: str, *, works: bool = True) -> None:
        """A new version of the image of that set."""
        image = objects.image(number, tag="" if works else f"{number}-bad", offer=name)
        create(self._client, GALLERY_IMAGE_VERSIONS, image)

    def suspend(self, name: str) -> None:
        """No batch starts from now on."""
        self._client.patch(SCALE_SETS, NAMESPACE, name, {"spec": {"suspend": True}})


def _objects(each: Set) -> tuple[Json, Json]:
    """The demo's, with names and times of this set."""
    policy, scale_set = deepcopy(objects.fleet())
    policy["metadata"]["name"] = scale_set["spec"]["upgradePolicyRef"]["name"] = each.name
    policy["spec"]["rollingUpgradePolicy"]["pauseTimeBetweenBatches"] = each.pause
    policy["spec"]["healthTimeout"] = each.health_timeout
    scale_set["metadata"]["name"] = scale_set["spec"]["imageReference"]["offer"] = each.name
    scale_set["spec"]["replicas"] = each.replicas
    return policy, scale_set
