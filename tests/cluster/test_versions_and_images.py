"""A version is its number and its image: what was asked for is what is recorded, remembered and compared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.harness.api import IMAGES, REVISIONS, SCALE_SETS, Json
from tests.cluster.harness.manifests import DIGEST, REGISTRY
from tests.cluster.harness.recorder import World
from tests.cluster.harness.scene import Scene, progress, ready, runs
from tests.cluster.harness.trace import Seen
from tests.cluster.harness.webhook import MIRROR, mirroring

ASKED = "scaleset.dev/image"
FAST = f"{REGISTRY}:1.0.0-fast@{DIGEST}"
OTHER = f"{REGISTRY}:1.1.0-other-fast@{DIGEST}"


def unpublish(scene: Scene, version: str) -> None:
    scene.delete(IMAGES, f"server-{version}")
    scene.wait(lambda world: f"server-{version}" not in world.all(IMAGES), f"{version} is gone")


def images(scene: Scene) -> list[str]:
    pods = scene.world.pods
    return [pods[name]["spec"]["containers"][0]["image"] for name in sorted(pods)]


def test_a_failed_version_published_again_with_another_image_is_tried_again(scene: Scene) -> None:
    scene.create(replicas=5)
    scene.publish("1.1.0", "bad")
    scene.rollout("Faulted", "1.1.0")
    scene.healthy(5, version="1.0.0")
    unpublish(scene, "1.1.0")
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0", run="2")["progress"] == progress(5, 0, 0, 0)
    scene.healthy(5, version="1.1.0")


def test_a_failed_version_published_again_with_the_same_image_is_not(scene: Scene) -> None:
    scene.create(replicas=3)
    scene.publish("1.1.0", "bad")
    scene.rollout("Faulted", "1.1.0")
    scene.healthy(3, version="1.0.0")
    before = scene.uids()
    unpublish(scene, "1.1.0")
    scene.publish("1.1.0", "bad")
    scene.never(lambda _: scene.uids() != before, "it is tried again", seconds=4)


def test_two_images_of_one_version_are_not_up_to_date(scene: Scene) -> None:
    scene.create(replicas=5)
    scene.publish("1.1.0", "fast")
    scene.rollout("Completed", "1.1.0")
    scene.healthy(5, version="1.1.0")
    scene.condition("UpToDate", "Current")
    unpublish(scene, "1.1.0")
    scene.publish("1.1.0", image=OTHER)
    assert scene.rollout("Completed", "1.1.0", run="2")["progress"] == progress(5, 0, 0, 0)
    scene.wait(lambda _: images(scene) == [OTHER] * 5, "all run the new image")
    scene.healthy(5, version="1.1.0")
    scene.condition("UpToDate", "Current")


def test_what_was_asked_for_is_recorded_and_not_what_a_webhook_made_of_it(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.recorder.exempt("S4", "a webhook, and later its absence, changes the images")
    with mirroring(scene.cluster, scene.namespace):
        scene.scale(4)
        scene.healthy(4)
        made = scene.world.pods["web-2"]
        assert made["spec"]["containers"][0]["image"] == MIRROR + FAST
        assert made["metadata"]["annotations"][ASKED] == FAST
        before = scene.uids()
        scene.quiet(seconds=2)
        assert scene.uids() == before
    # The mirror is gone.
    scene.lose_pod("web-2")
    scene.healthy(4)
    assert scene.world.pods["web-2"]["spec"]["containers"][0]["image"] == FAST
    assert not any(MIRROR in recorded(seen) for seen in scene.recorder.trace().of("scalesets"))
    # And an upgrade goes on from there.
    scene.publish("1.1.0", "fast")
    assert scene.rollout("Completed", "1.1.0")["progress"] == progress(4, 0, 0, 0)
    assert all(ready(pod) and runs(pod) == "1.1.0" for pod in scene.world.pods_of("web"))


def test_a_webhook_that_rewrites_images_is_no_reason_to_replace_instances(scene: Scene) -> None:
    """Created, upgraded and compared through the mirror."""
    scene.recorder.exempt("S4", "a webhook changes the images")
    with mirroring(scene.cluster, scene.namespace):
        scene.create(replicas=3)
        scene.publish("1.1.0", "fast")
        assert scene.rollout("Completed", "1.1.0")["progress"] == progress(3, 0, 0, 0)
        scene.healthy(3, version="1.1.0")
        before = scene.uids()
        scene.condition("UpToDate", "Current")
        scene.quiet(seconds=2)
        assert scene.uids() == before
    assert not any(MIRROR in recorded(seen) for seen in scene.recorder.trace().of("scalesets"))


@contextmanager
def changed_in_place_through_a_mirror(scene: Scene) -> Iterator[None]:
    """Three instances: whatever becomes of their images, their pods are the same at the end."""
    scene.recorder.exempt("S4", "a webhook changes the images")
    scene.policy(replacementMethod="InPlaceIfPossible")
    with mirroring(scene.cluster, scene.namespace):
        scene.create(replicas=3)
        before = scene.uids()
        yield
        assert scene.uids() == before


def test_images_are_changed_in_place_through_a_mirror(scene: Scene) -> None:
    with changed_in_place_through_a_mirror(scene):
        scene.publish("1.1.0", "fast")
        assert scene.rollout("Completed", "1.1.0")["progress"] == progress(3, 0, 0, 0)
        scene.healthy(3, version="1.1.0")
        new = f"{REGISTRY}:1.1.0-fast@{DIGEST}"
        assert images(scene) == [MIRROR + new] * 3
        assert {pod["metadata"]["annotations"][ASKED] for pod in scene.world.pods.values()} == {new}
        scene.condition("UpToDate", "Current")
        scene.quiet(seconds=2)
    assert not any(MIRROR in recorded(seen) for seen in scene.recorder.trace().of("scalesets"))


def test_a_version_that_is_bad_goes_back_in_place_through_a_mirror(scene: Scene) -> None:
    with changed_in_place_through_a_mirror(scene):
        scene.publish("1.1.0", "bad")
        found = scene.rollout("Faulted", "1.1.0")
        assert (found["progress"], found["restored"]) == (progress(0, 1, 0, 2), "0")
        scene.healthy(3, version="1.0.0")
        scene.quiet(seconds=2)


def recorded(seen: Seen) -> str:
    """What a set says that its instances are to run."""
    status = seen.object.get("status") or {}
    return json.dumps([status.get("builds"), status.get("previousBuilds"), status.get("currentImage")])


def observed(world: World) -> bool:
    found = world.all(SCALE_SETS)["web"]
    return bool(found["status"]["observedGeneration"] >= found["metadata"]["generation"])


def of_version(scene: Scene, name: str) -> Json:
    found: Json = scene.world.all(IMAGES).get(name, {}).get("status") or {}
    return found


def reason(scene: Scene, name: str) -> str:
    conditions = of_version(scene, name).get("conditions") or ()
    return next((str(each["reason"]) for each in conditions if each["type"] == "Ready"), "")


def test_two_spellings_of_one_version_are_one_version(scene: Scene) -> None:
    """A duplicate, a pin in other words and a publication anew replace nobody; a version of four numbers does."""
    scene.create(replicas=3)
    before = scene.uids()
    scene.publish("01.0", image=FAST)
    scene.wait(lambda _: reason(scene, "server-01.0") == "Duplicate", "it is a duplicate")
    for text in ("1.0.0", "1", "001.0.0.0"):
        scene.change(imageReference={"version": text})
        scene.wait(observed, "the operator has seen it")
    models = {each["metadata"]["name"] for each in scene.api.list(REVISIONS, scene.namespace)}
    assert len(models) == 2, "latest, and one pin however it is spelled"
    scene.change(imageReference={"version": "latest"})
    scene.condition("UpToDate", "Current")
    unpublish(scene, "1.0.0")
    scene.never(lambda _: scene.uids() != before, "a pod is replaced", seconds=2)
    scene.publish("1.0.0.1", "fast")
    assert scene.rollout("Completed", "1.0.0.1")["progress"] == progress(3, 0, 0, 0)
    scene.healthy(3, version="1.0.0.1")


def test_a_version_counts_the_sets_in_which_it_failed(scene: Scene) -> None:
    scene.create(replicas=2)
    scene.create(replicas=2, name="other")
    scene.publish("1.1", "bad")
    for name in ("web", "other"):
        scene.rollout("Faulted", "1.1", name=name)
    scene.wait(lambda _: of_version(scene, "server-1.1").get("failedScaleSets") == 2, "both are counted")
    scene.delete(SCALE_SETS, "other")
    scene.wait(lambda _: of_version(scene, "server-1.1").get("failedScaleSets") == 1, "one is left")
    assert "failedScaleSets" not in of_version(scene, "server-1.0.0")
