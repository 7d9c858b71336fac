"""replicationMode Full: an image is on the nodes of a region before `latest` means it there.

Each scenario has nodes and regions of its own. The operator serves the whole cluster from namespace `default`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.harness.api import IMAGES, Json
from tests.cluster.harness.fleet import until
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.regions import Regions, prepulls, replication, state, states
from tests.cluster.harness.scene import Scene

pytestmark = pytest.mark.timeout(240)

OWN = "default"
NEXT = "server-1.1.0"


@contextmanager
def regions_of(scene: Scene) -> Iterator[Regions]:
    with Regions(scene.api, scene.namespace) as regions:
        yield regions


def version(scene: Scene, name: str = NEXT) -> Json:
    return scene.api.get(IMAGES, scene.namespace, name)


def reaches(scene: Scene, region: str, wanted: str, *, timeout: float = 30) -> Json:
    """Waits until the version has that state in the region; returns what is said of it."""
    scene.wait(lambda world: state(world, NEXT, region) == wanted, f"{NEXT} is {wanted} in {region}", timeout=timeout)
    return replication(scene.world.all(IMAGES).get(NEXT))[region]


def pulls(scene: Scene, count: int) -> None:
    """Waits until so many pods pull the image."""
    found = version(scene)
    until(lambda: len(prepulls(scene.api, OWN, found)) == count, timeout=20, message=f"{count} pods pull")


def test_a_region_counts_once_all_its_nodes_have_the_image(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        regions.add("west", 10)
        scene.create(replicas=3, location=west)
        scene.publish("1.1.0", publishingProfile=regions.targets("west"))
        scene.rollout("Completed", "1.1.0")
        scene.healthy(3, version="1.1.0")
        seen = scene.recorder.trace().of("galleryimageversions", "scalesets")
        course = list(states(seen, NEXT, west))
        assert [word for _, word in course][-2:] == ["Replicating", "Completed"]
        told = next(
            each
            for each in seen
            if each.kind == "scalesets" and (each.object.get("status") or {}).get("latestVersion") == "1.1.0"
        )
        assert told.order > course[-1][0].order
        published = next(each for each in seen if each.name == NEXT)
        assert course[-1][0].at - published.at < 15  # two rounds of five; 1 s on an idle machine
        assert replication(version(scene))[west] == {
            "region": west,
            "state": "Completed",
            "progress": 100,
            "details": "10 nodes have the image.",
        }
        assert version(scene)["status"]["replicationStatus"]["aggregatedState"] == "Completed"
        pulls(scene, 0)
        scene.quiet(seconds=6)


def test_regions_go_their_own_ways(scene: Scene) -> None:
    """A node of the east cannot reach the registry: the west rolls, the east stays until that node is gone."""
    with regions_of(scene) as regions:
        west, east = regions.name("west"), regions.name("east")
        regions.add("west", 2)
        regions.add("east", 6)
        scene.create(replicas=2, location=west)
        scene.create(replicas=2, name="db", location=east)
        (broken,) = regions.add("east", works=False)
        scene.publish("1.1.0", publishingProfile=regions.targets("west", "east"))
        scene.rollout("Completed", "1.1.0")
        scene.wait(
            lambda world: replication(world.all(IMAGES).get(NEXT))[east]["progress"] == 85,
            "the others of the east have it",
        )
        assert replication(version(scene))[east]["details"] == "6 of 7 nodes have the image."
        pulls(scene, 1)
        failed = reaches(scene, east, "Failed", timeout=90)
        assert failed["details"].startswith(
            f"1 of 7 nodes could not pull the image and will be asked again. {broken}: "
        )
        assert "ImagePullBackOff: Back-off pulling image" in failed["details"]
        assert version(scene)["status"]["replicationStatus"]["aggregatedState"] == "Failed"
        pulls(scene, 0)
        scene.healthy(2, version="1.0.0", name="db")
        assert scene.world.status("db")["latestVersion"] == "1.0.0"
        regions.remove(broken)
        reaches(scene, east, "Completed")
        scene.rollout("Completed", "1.1.0", name="db")
        scene.healthy(2, version="1.1.0", name="db")
        pulls(scene, 0)


def test_a_failed_node_is_asked_again(scene: Scene) -> None:
    with regions_of(scene) as regions:
        regions.add("west", works=False)
        scene.publish("1.1.0", publishingProfile=regions.targets("west"))
        pulls(scene, 1)
        (first,) = prepulls(scene.api, OWN, version(scene))
        reaches(scene, regions.name("west"), "Failed", timeout=90)
        pulls(scene, 0)
        until(
            lambda: (
                [each["metadata"]["uid"] for each in prepulls(scene.api, OWN, version(scene))]
                not in ([], [first["metadata"]["uid"]])
            ),
            timeout=60,
            message="another pod pulls",
        )
        assert state(scene.world, NEXT, regions.name("west")) == "Failed"


def test_an_image_that_nobody_can_pull_is_failed_everywhere(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        regions.add("west", 2)
        scene.create(replicas=1, location=west)
        scene.publish("1.1.0", "pullfail", publishingProfile=regions.targets("west"))
        reaches(scene, west, "Failed", timeout=90)
        scene.wait(
            lambda world: "2 of 2 nodes" in replication(world.all(IMAGES).get(NEXT))[west].get("details", ""),
            "neither node can pull it",
        )
        scene.healthy(1, version="1.0.0")
        scene.publish("1.2.0", "fast", publishingProfile=regions.targets("west"))
        scene.rollout("Completed", "1.2.0")


def test_an_exact_version_waits_as_well(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        regions.add("west", 1)
        (broken,) = regions.add("west", works=False)
        scene.policy()
        scene.publish("1.1.0", "fast", publishingProfile=regions.targets("west"))
        scene.apply(scale_set(replicas=2, version="1.1.0", location=west))
        scene.condition("Accepted", "ImageNotFound")
        assert scene.world.pods_of("web") == []
        regions.remove(broken)
        scene.healthy(2, version="1.1.0")


def test_new_nodes_do_not_take_completed_back(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        regions.add("west", 1)
        scene.publish("1.1.0", publishingProfile=regions.targets("west"))
        reaches(scene, west, "Completed")
        regions.add("west", works=False)
        scene.never(lambda world: state(world, NEXT, west) != "Completed", "Completed was taken back", seconds=3)
        pulls(scene, 0)


def test_a_region_without_nodes_is_unknown_until_there_are_some(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        scene.publish("1.1.0", publishingProfile=regions.targets("west"))
        assert reaches(scene, west, "Unknown")["details"] == "No node is in this region."
        regions.add("west", 1)
        reaches(scene, west, "Completed")


def test_a_version_deleted_in_the_middle_leaves_nothing(scene: Scene) -> None:
    with regions_of(scene) as regions:
        regions.add("west", works=False)
        scene.publish("1.1.0", publishingProfile=regions.targets("west"))
        pulls(scene, 1)
        found = version(scene)
        scene.delete(IMAGES, NEXT)
        until(lambda: not prepulls(scene.api, OWN, found), timeout=20, message="no pod is left")


def test_a_version_that_becomes_shallow_counts_at_once_and_leaves_nothing(scene: Scene) -> None:
    with regions_of(scene) as regions:
        west = regions.name("west")
        regions.add("west", 1)
        scene.create(replicas=1, location=west)
        regions.add("west", works=False)
        profile = regions.targets("west")
        scene.publish("1.1.0", publishingProfile=profile)
        pulls(scene, 1)
        scene.api.patch(
            IMAGES, scene.namespace, NEXT, {"spec": {"publishingProfile": profile | {"replicationMode": "Shallow"}}}
        )
        scene.wait(lambda world: world.status("web").get("latestVersion") == "1.1.0", "the version counts")
        pulls(scene, 0)
