"""The fleet that is observed: four sets at different points of a rollout, one with an image that never works."""

from copy import deepcopy
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from hack.demo import objects
from hack.demo.api import IMAGES, POLICIES, SCALE_SETS, SERVICE_ACCOUNTS, Api, Json
from hack.demo.place import NotPossibleError

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

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self) -> None:
        """All sets, with version 1.0.0. Instances come within seconds."""
        deadline = monotonic() + 30
        while not self._api.list(SERVICE_ACCOUNTS)[0]:  # pods are refused until then
            if monotonic() > deadline:
                raise NotPossibleError("The namespace had no service account within 30 seconds.")
            sleep(0.1)
        for each in SETS:
            policy, scale_set = _objects(each)
            self._api.apply(POLICIES, policy)
            self.publish(each.name, "1.0.0")
            self._api.apply(SCALE_SETS, scale_set)

    def publish(self, name: str, number: str, *, works: bool = True) -> None:
        """A new version of the image of that set."""
        self._api.apply(IMAGES, objects.image(number, tag="" if works else f"{number}-bad", offer=name))

    def suspend(self, name: str) -> None:
        """No batch starts from now on."""
        (each,) = (each for each in SETS if each.name == name)
        _, scale_set = _objects(each)
        scale_set["spec"]["suspend"] = True
        self._api.apply(SCALE_SETS, scale_set)


def _objects(each: Set) -> tuple[Json, Json]:
    """The demo's, with names and times of this set."""
    policy, scale_set = deepcopy(objects.fleet())
    policy["metadata"]["name"] = scale_set["spec"]["upgradePolicyRef"]["name"] = each.name
    policy["spec"]["rollingUpgradePolicy"]["pauseTimeBetweenBatches"] = each.pause
    policy["spec"]["healthTimeout"] = each.health_timeout
    scale_set["metadata"]["name"] = scale_set["spec"]["imageReference"]["offer"] = each.name
    scale_set["spec"]["replicas"] = each.replicas
    return policy, scale_set
