"""The same pod in other words is the same model: nothing is rolled, and no revision is made."""

from typing import Any

import pytest

from tests.cluster.harness.api import QUOTAS, REVISIONS, SCALE_SETS, Json
from tests.cluster.harness.scene import Scene, has_model

CONTAINER: Json = {
    "name": "os",
    "image": "placeholder",
    "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    "resources": {"requests": {"cpu": "500m"}},
}
SPELLINGS: dict[str, Json] = {
    "an-empty-map": {"template": {"metadata": {"annotations": {}}}},
    "a-quantity": {"template": {"spec": {"containers": [{**CONTAINER, "resources": {"requests": {"cpu": "0.5"}}}]}}},
    "defaults-of-a-container": {
        "template": {
            "spec": {
                "containers": [
                    {**CONTAINER, "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
                ]
            }
        }
    },
    "an-image-that-is-never-used": {
        "template": {"spec": {"containers": [{**CONTAINER, "image": "something-else:2"}]}},
    },
    "a-default-of-the-pod": {"template": {"spec": {"securityContext": {}}}},
    "what-is-the-default-of-ours": {"instanceContainer": "os", "extensions": []},
}


def rolling(scene: Scene, *, replicas: int = 2, **spec: Any) -> str:
    """A healthy set in mode Rolling; returns the name of its model."""
    scene.policy(automatic=False, mode="Rolling")
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
    scene.create(replicas=replicas, **{"template": template, **spec})
    return has_model(scene.world.pods["web-0"])


def observed(scene: Scene, **spec: Any) -> None:
    """Changes the spec, and waits until the operator has looked at it and accepts it."""
    scene.change(**spec)
    generation = scene.api.get(SCALE_SETS, scene.namespace, "web")["metadata"]["generation"]

    def seen(world: Any) -> bool:
        found = world.status("web")
        return bool(found.get("observedGeneration") == generation and accepted(found))

    scene.wait(seen, "the new spec is accepted")


def accepted(status: Json) -> bool:
    return any(each["type"] == "Accepted" and each["status"] == "True" for each in status.get("conditions") or [])


def revisions(scene: Scene) -> dict[str, int]:
    return {each["metadata"]["name"]: each["revision"] for each in scene.api.list(REVISIONS, scene.namespace)}


def same(scene: Scene, before: dict[str, str], model: str) -> None:
    """Nothing rolled, and nothing will."""
    scene.never(lambda _: scene.uids() != before, "an instance is replaced")
    assert revisions(scene) == {model: 1}
    assert scene.says("UpToDate")["status"] == "True"
    assert not scene.world.status("web").get("rollingUpgrade")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_rolls_nothing(scene: Scene, spelling: str) -> None:
    model = rolling(scene)
    before = scene.uids()
    observed(scene, **SPELLINGS[spelling])
    same(scene, before, model)
    gone = scene.delete_pod("web-1")
    scene.wait(lambda _: scene.uids().get("web-1", gone) != gone, "a lost one comes back")
    scene.healthy(2)
    assert {has_model(pod) for pod in scene.world.pods_of("web")} == {model}


def test_spelling_after_spelling_and_back_again_and_then_a_change(scene: Scene) -> None:
    model = rolling(scene)
    before = scene.uids()
    for spelling in (*SPELLINGS.values(), SPELLINGS["a-quantity"]):
        observed(scene, **spelling)
    observed(scene, template={"spec": {"containers": [CONTAINER]}})
    same(scene, before, model)
    changed = {**CONTAINER, "resources": {"requests": {"cpu": "0.6"}}}
    observed(scene, template={"spec": {"containers": [changed]}})
    scene.rollout("Completed")
    scene.healthy(2)
    assert len(revisions(scene)) == 2
    # Another spelling of the first model finds it, and the instances go back to it.
    observed(scene, template={"metadata": {"annotations": None}, "spec": {"containers": [CONTAINER]}})
    scene.rollout("Completed", run="2")
    assert {has_model(pod) for pod in scene.world.pods_of("web")} == {model}


def test_going_back_in_other_words_spares_the_instances_that_were_not_reached(scene: Scene) -> None:
    scene.policy(automatic=False)
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
    scene.create(replicas=2, template=template)
    before = scene.uids()
    observed(scene, template={"spec": {"containers": [{**CONTAINER, "args": ["-v"]}]}})
    assert scene.says("UpToDate")["status"] == "False"
    observed(scene, template=SPELLINGS["a-quantity"]["template"])
    scene.condition("UpToDate", "Current")
    assert scene.uids() == before
    assert len(revisions(scene)) == 2


def test_without_room_for_one_more_pod_it_is_taken_for_another_model(scene: Scene) -> None:
    """The API server gives no answer to compare, and to wait for one might be to wait for ever."""
    rolling(scene)
    scene.quota(pods="2")
    observed(scene, **SPELLINGS["a-quantity"])
    scene.rollout("Completed")
    scene.healthy(2)
    assert len(revisions(scene)) == 2
    scene.delete(QUOTAS, "quota")


def test_in_the_same_words_for_a_pod_no_room_is_needed(scene: Scene) -> None:
    model = rolling(scene)
    before = scene.uids()
    scene.quota(pods="2")
    observed(scene, **SPELLINGS["an-image-that-is-never-used"])
    same(scene, before, model)
