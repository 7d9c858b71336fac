"""The bits that ran: a tag is moved in a real registry, and a restored instance runs what it ran before."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.recorder import World
from tests.kind.harness.cluster import BUILD_INSTANCES, KindCluster, output
from tests.kind.harness.registry import reachable_registry
from tests.kind.harness.stage import REPOSITORY, Stage
from tests.registry import delete

pytestmark = pytest.mark.timeout(1800)

GOOD, OTHER, BAD = "3.0.0", "3.1.0", "3.2.0-bad"
"""Builds that are not on the node: what was loaded there has the name of an imported image."""


class Tags:
    """A test's own tags in the one repository. Of an image with names in several repositories a runtime shows the first
    name only, so that the digest would be of another repository than the version's.
    """

    def __init__(self, repository: str, prefix: str) -> None:
        self.repository, self.prefix = repository, prefix

    def point(self, tag: str, build: str) -> str:
        """The tag means that build from now on; returns its reference."""
        reference = f"{self.repository}:{self.prefix}-{tag}"
        output(["docker", "tag", f"{REPOSITORY}:{build}", reference])
        output(["docker", "push", reference])
        return reference


@pytest.fixture(scope="module")
def place(cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry."""
    output([BUILD_INSTANCES, GOOD, OTHER, BAD])
    with reachable_registry(cluster, tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def tags(place: str, lone_stage: Stage) -> Tags:
    return Tags(f"{place}/web", lone_stage.namespace)


def create(stage: Stage, tags: Tags, *, replicas: int = 2, **policy: Any) -> dict[str, str]:
    """A healthy set on a tag that is pulled at each start, and what each of its pods runs."""
    stage.policy(**policy)
    stage.publish("1.0.0", image=tags.point("1.0.0", GOOD))
    body = scale_set(replicas=replicas)
    body["spec"]["imageReference"].update(offer="web", sku="stable")
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5}
    container = {"name": "web", "imagePullPolicy": "Always", "readinessProbe": probe}
    body["spec"]["template"]["spec"] = {"terminationGracePeriodSeconds": 20, "containers": [container]}
    stage.apply(body)
    stage.healthy(replicas, version="1.0.0")
    ran = {pod["metadata"]["name"]: image_id(pod) for pod in stage.world.pods_of("web")}
    (digest,) = {each.partition("@")[2] for each in ran.values()}
    stage.wait(lambda world: kept(world) == {digest}, "the status has the digest")
    return ran


def image_id(pod: Json) -> str:
    found = str(pod["status"]["containerStatuses"][0]["imageID"])
    assert found.startswith("localhost:"), f"the runtime names the image otherwise: {found}"
    return found


def asked(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def kept(world: World) -> set[str]:
    rows = world.status("web").get("builds") or []
    return {each["digest"] for row in rows for each in row.get("digests") or []}


def test_bad_1_1_0_is_published_while_the_tag_of_1_0_0_is_moved(lone_stage: Stage, tags: Tags) -> None:
    """The restored instance and a lost one run the old digest; an instance that is added runs what the tag means."""
    before = create(lone_stage, tags)
    tag = tags.point("1.0.0", OTHER)
    lone_stage.publish("1.1.0", image=tags.point("1.1.0", BAD))
    assert lone_stage.rollout("Faulted", "1.1.0")["restored"] == "0"
    lone_stage.healthy(2, version="1.0.0")
    restored = lone_stage.world.pods["web-0"]
    assert asked(restored) == f"{tag}@{before['web-0'].partition('@')[2]}"
    assert image_id(restored) == before["web-0"]
    lone_stage.lose_pod("web-1")
    lone_stage.healthy(2)
    assert image_id(lone_stage.world.pods["web-1"]) == before["web-1"]
    lone_stage.scale(3)
    lone_stage.healthy(3)
    assert image_id(lone_stage.world.pods["web-2"]) not in before.values()


def test_a_restore_in_place_puts_the_old_digest_back(lone_stage: Stage, tags: Tags) -> None:
    before = create(lone_stage, tags, replacementMethod="InPlaceIfPossible")
    uids = lone_stage.uids()
    tags.point("1.0.0", OTHER)
    lone_stage.publish("1.1.0", image=tags.point("1.1.0", BAD))
    lone_stage.rollout("Faulted", "1.1.0")
    lone_stage.healthy(2, version="1.0.0")
    assert lone_stage.uids() == uids
    assert image_id(lone_stage.world.pods["web-0"]) == before["web-0"]


def test_a_digest_that_the_registry_does_not_have_gives_way_to_the_tag(lone_stage: Stage, tags: Tags) -> None:
    before = create(lone_stage, tags)
    tag = tags.point("1.0.0", OTHER)
    delete(before["web-1"])
    lost = lone_stage.delete_pod("web-1")
    lone_stage.event("DigestNotPulled", f"{tag}@{before['web-1'].partition('@')[2]}, cannot be run")
    lone_stage.wait(
        lambda world: (pod := world.pods.get("web-1")) and pod["metadata"]["uid"] != lost and asked(pod) == tag,
        "the tag is tried",
    )
    lone_stage.healthy(2)
    assert image_id(lone_stage.world.pods["web-1"]) not in before.values()
