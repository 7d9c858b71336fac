"""The bits that ran: a restored or lost instance gets the digest that it ran, wherever its tag points by now.

Each pod of a `-moving` tag shows another digest, as if the tag had been moved before each pull.
"""

from typing import Any

from tests.cluster.harness.api import Json
from tests.cluster.harness.manifests import REGISTRY, image_version, scale_set
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, has_model, says

MOVING = "moving"


def tagged(version: str, behaviour: str) -> Json:
    """A version that is published by its tag."""
    return image_version(version, behaviour=behaviour, image=f"{REGISTRY}:{version}-{behaviour}")


def create(scene: Scene, *, behaviour: str = MOVING, replicas: int = 3, **policy: Any) -> dict[str, str]:
    """A healthy set on a tag; returns the digest that each pod runs, once the status has them all."""
    scene.policy(**policy)
    scene.apply(tagged("1.0.0", behaviour), scale_set(replicas=replicas))
    scene.healthy(replicas, version="1.0.0")
    digests = {pod["metadata"]["name"]: ran(pod) for pod in scene.world.pods_of("web")}
    assert len(set(digests.values())) == replicas
    scene.wait(lambda world: kept(world) == digests, "the status has the digests", timeout=15)
    return digests


def ran(pod: Json) -> str:
    """The digest that the status of the pod shows."""
    return str(pod["status"]["containerStatuses"][0]["imageID"]).partition("@")[2]


def asked(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def kept(world: World) -> dict[str, str]:
    """What the status of the set has, by pod. Every range of these tests is a single instance."""
    rows = world.status("web").get("builds") or []
    return {f"web-{each['instances']}": each["digest"] for row in rows for each in row.get("digests") or []}


def test_a_restored_instance_runs_the_digest_that_it_ran(scene: Scene) -> None:
    digests = create(scene)
    tag = f"{REGISTRY}:1.0.0-{MOVING}"
    assert {asked(pod) for pod in scene.world.pods_of("web")} == {tag}
    scene.apply(tagged("1.1.0", "bad"))
    assert scene.rollout("Faulted", "1.1.0")["restored"] == "0"
    scene.healthy(3, version="1.0.0")
    pods = {pod["metadata"]["name"]: pod for pod in scene.world.pods_of("web")}
    assert asked(pods["web-0"]) == f"{tag}@{digests['web-0']}"
    assert [asked(pods[name]) for name in ("web-1", "web-2")] == [tag, tag]
    assert {name: ran(pod) for name, pod in pods.items()} == digests
    assert pods["web-0"]["metadata"]["annotations"]["scaleset.dev/image"] == tag
    assert kept(scene.world) == digests
    scene.quiet(seconds=3)


def test_a_lost_instance_comes_back_with_it_and_a_new_one_gets_the_tag(scene: Scene) -> None:
    digests = create(scene)
    scene.lose_pod("web-1")
    scene.healthy(3)
    assert ran(scene.world.pods["web-1"]) == digests["web-1"]
    scene.scale(4)
    scene.healthy(4)
    assert asked(scene.world.pods["web-3"]) == f"{REGISTRY}:1.0.0-{MOVING}"
    assert says(scene.world, "UpToDate")["status"] == "True"


def test_a_restore_in_place_puts_the_digest_back(scene: Scene) -> None:
    digests = create(scene, replacementMethod="InPlaceIfPossible")
    before = scene.uids()
    scene.apply(tagged("1.1.0", "bad"))
    scene.rollout("Faulted", "1.1.0")
    scene.healthy(3, version="1.0.0")
    assert scene.uids() == before
    assert ran(scene.world.pods["web-0"]) == digests["web-0"]


def test_a_digest_that_is_gone_gives_way_to_the_tag_once(scene: Scene) -> None:
    digests = create(scene, behaviour="moving-gone", healthTimeout="PT20S")
    tag = f"{REGISTRY}:1.0.0-moving-gone"
    lost = scene.delete_pod("web-1")
    text = scene.event("DigestNotPulled", f"{tag}@{digests['web-1']}, cannot be run: container os: ImagePullBackOff")
    assert text.endswith("They are made again with its tag, which may mean another image.")
    scene.wait(
        lambda world: (pod := world.pods.get("web-1")) and pod["metadata"]["uid"] != lost and asked(pod) == tag,
        "the tag is tried",
    )
    scene.healthy(3)
    assert len(scene.world.events("DigestNotPulled")) == 1
    new = ran(scene.world.pods["web-1"])
    assert new not in digests.values()
    scene.wait(lambda world: kept(world) == {**digests, "web-1": new}, "the new digest is kept", timeout=15)


def test_a_new_model_and_a_restart_use_the_tag(scene: Scene) -> None:
    digests = create(scene, mode="Rolling", replicas=2)
    before = {has_model(pod) for pod in scene.world.pods_of("web")}
    scene.change_template(change="1")
    scene.wait(lambda world: not before & {has_model(pod) for pod in world.pods_of("web")}, "the model is new")
    scene.healthy(2)
    scene.ask("restart-at", "now")
    scene.wait(lambda world: world.status("web")["rollingUpgrade"]["kind"] == "Restart", "they are restarted")
    scene.rollout("Completed")
    scene.healthy(2)
    pods = scene.world.pods_of("web")
    assert {asked(pod) for pod in pods} == {f"{REGISTRY}:1.0.0-{MOVING}"}
    assert not {ran(pod) for pod in pods} & set(digests.values())
