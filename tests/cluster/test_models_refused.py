"""What the API server says against a model: its fields, its claims, and the ControllerRevision that keeps it."""

from typing import Any

import pytest

from tests.cluster.harness.api import REVISIONS, SCALE_SETS, ApiError, Json
from tests.cluster.harness.fleet import refusing
from tests.cluster.harness.manifests import claim, scale_set
from tests.cluster.harness.scene import Scene, has_model

MISSPELT: Json = {"resource": {"requests": {"cpu": "500m"}}, "securitycontext": {"runAsNonRoot": True}}


def container(**fields: Any) -> Json:
    found: Json = scale_set()["spec"]["template"]["spec"]["containers"][0]
    return {**found, **fields}


def pod_of(*containers: Json, **spec: Any) -> Json:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers), **spec}}


def refused(scene: Scene, *, because: str = "ModelRefused") -> str:
    said = str(scene.condition("Accepted", because)["message"])
    assert scene.event(because)
    return said


# --- fields that nobody knows


def test_a_new_set_with_misspelt_fields_is_refused_and_they_are_named(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=1, template=pod_of(container(**MISSPELT))))
    said = refused(scene)
    assert "resource of container os" in said
    assert "securitycontext of container os" in said
    assert "Correct the spelling, or remove them." in said
    scene.never(lambda world: world.pods, "a pod is created")
    scene.change(template=pod_of(container(resources=MISSPELT["resource"])))
    scene.healthy(1, version="1.0.0")


def test_a_misspelt_field_in_a_running_set_changes_nothing(scene: Scene) -> None:
    """Though the pods that the API server makes of it are those of before."""
    scene.policy(mode="Rolling")
    scene.create(replicas=2)
    before = scene.uids()
    first = {"name": "first", "image": "first:1", "comand": ["true"]}
    scene.change(template=pod_of(container(), nodeselector={"a": "b"}, initContainers=[first]))
    said = refused(scene)
    assert "template.spec.nodeselector" in said
    assert "comand of init container first" in said
    assert "Instances stay on the model before." in said
    gone = scene.delete_pod("web-1")
    scene.wait(lambda _: scene.uids().get("web-1", gone) != gone, "a lost one comes back all the same")
    scene.scale(3)
    scene.wait(lambda world: len(world.pods_of("web")) == 3, "it still scales")
    assert scene.uids()["web-0"] == before["web-0"]
    scene.change(template={"spec": {"nodeselector": None, "initContainers": None}})
    scene.healthy(3)
    assert scene.uids()["web-0"] == before["web-0"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"storageClass": "fast"}, "spec.storageClass of claim template data"),
        ({"accessModes": ["Sometimes"]}, 'claim template data: .*Unsupported value: "Sometimes"'),
        ({"resources": {"requests": {"storage": "0"}}}, "claim template data: .*must be greater than zero"),
        ({"resources": {"requests": {"storage": "much"}}}, "claim template data: .*quantities must match"),
    ],
    ids=["misspelt", "access-mode", "nothing", "no-quantity"],
)
def test_a_claim_template_that_makes_no_claims_is_refused_as_a_model(scene: Scene, wrong: Json, words: str) -> None:
    import re

    template = claim("data")
    scene.policy()
    scene.publish("1.0.0", "fast")
    bad = {"metadata": template["metadata"], "spec": {**template["spec"], **wrong}}
    scene.apply(scale_set(replicas=1, volumeClaimTemplates=[bad]))
    said = refused(scene)
    assert re.search(words, said), said
    scene.never(lambda world: world.pods or world.claims, "a pod or a claim is created")
    # What a template asks for is fixed: another one, with a name of its own, takes its place.
    scene.change(volumeClaimTemplates=[{"metadata": {"name": "disk"}, "spec": template["spec"]}])
    scene.healthy(1)


def test_a_quota_on_claims_keeps_no_model_from_instances_that_have_theirs(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    template = claim("data")
    scene.create(replicas=2, volumeClaimTemplates=[{"metadata": template["metadata"], "spec": template["spec"]}])
    claims = scene.claims()
    scene.quota(persistentvolumeclaims="2")
    scene.change_template(change="1")
    scene.rollout("Completed")
    scene.healthy(2)
    assert scene.claims() == claims


# --- what ends by itself


def test_a_deadline_of_all_instances_is_refused_as_in_a_stateful_set(scene: Scene) -> None:
    scene.policy()
    with pytest.raises(ApiError, match="remove activeDeadlineSeconds: an instance is meant to run for ever"):
        scene.apply(scale_set(replicas=1, template=pod_of(container(), activeDeadlineSeconds=8)))
    scene.publish("1.0.0", "fast")
    scene.apply(scale_set(replicas=1, template=pod_of(container(), activeDeadlineSeconds=None)))
    scene.healthy(1)


def test_ephemeral_containers_are_refused_by_the_pod(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.apply(
        scale_set(replicas=1, template=pod_of(container(), ephemeralContainers=[{"name": "debug", "image": "d:1"}]))
    )
    assert "ephemeralContainers: Forbidden" in refused(scene)


# --- a ControllerRevision that is refused


def test_a_new_set_says_why_its_model_cannot_be_stored(scene: Scene) -> None:
    scene.policy()
    scene.publish("1.0.0", "fast")
    scene.quota(**{"count/controllerrevisions.apps": "0"})
    scene.apply(scale_set(replicas=2))
    said = refused(scene, because="ModelNotStored")
    assert "exceeded quota: quota" in said
    assert "ControllerRevision" in said
    generation = scene.api.get(SCALE_SETS, scene.namespace, "web")["metadata"]["generation"]
    assert scene.world.status("web")["observedGeneration"] == generation
    scene.lift_quota()
    scene.healthy(2)


def test_a_model_that_cannot_be_stored_stops_neither_healing_nor_scaling(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=2)
    model = has_model(scene.world.pods["web-0"])
    before = scene.uids()
    scene.quota(**{"count/controllerrevisions.apps": "1"})
    scene.change_template(change="1")
    assert "exceeded quota: quota" in refused(scene, because="ModelNotStored")
    generation = scene.api.get(SCALE_SETS, scene.namespace, "web")["metadata"]["generation"]
    assert scene.world.status("web")["observedGeneration"] == generation
    assert scene.says("Ready")["reason"] == "ModelNotStored"
    gone = scene.delete_pod("web-1")
    scene.wait(lambda _: scene.uids().get("web-1", gone) != gone, "a lost one comes back")
    scene.scale(4)
    scene.wait(lambda world: len(world.pods_of("web")) == 4, "it scales out")
    scene.scale(3)
    scene.wait(lambda world: len(world.pods_of("web")) == 3, "it scales in")
    assert scene.uids()["web-0"] == before["web-0"]
    assert {has_model(pod) for pod in scene.world.pods_of("web")} == {model}
    scene.lift_quota()
    scene.rollout("Completed", timeout=60)
    scene.healthy(3)


def test_revisions_bear_the_labels_of_the_template(scene: Scene) -> None:
    """So that a rule of the cluster which asks for labels on workloads does not refuse them."""
    scene.policy()
    asks = "has(object.metadata.labels) && 'team' in object.metadata.labels"
    with refusing(scene.api, scene.namespace, "controllerrevisions", "CREATE", unless=asks, group="apps"):
        scene.create(
            replicas=1,
            template={"metadata": {"labels": {"app": "web", "team": "a"}}, "spec": {"containers": [container()]}},
        )
    (kept,) = scene.api.list(REVISIONS, scene.namespace)
    assert kept["metadata"]["labels"]["scaleset.dev/name"] == "web"
    assert kept["metadata"]["labels"]["team"] == "a"


def test_a_revision_that_cannot_be_numbered_anew_stops_nothing(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=2)
    old = has_model(scene.world.pods["web-0"])
    scene.change_template(change="1")
    scene.rollout("Completed", run="1")
    new = has_model(scene.world.pods["web-0"])
    with refusing(scene.api, scene.namespace, "controllerrevisions", "UPDATE", group="apps"):
        scene.change(template={"metadata": {"annotations": None}})
        assert "refused by the test" in refused(scene, because="ModelNotStored")
        gone = scene.delete_pod("web-1")
        scene.wait(lambda _: scene.uids().get("web-1", gone) != gone, "a lost one comes back")
        scene.scale(3)
        scene.wait(lambda world: len(world.pods_of("web")) == 3, "it scales out")
        assert {has_model(pod) for pod in scene.world.pods_of("web")} == {new}
    scene.rollout("Completed", run="2", timeout=60)
    scene.healthy(3)
    assert {has_model(pod) for pod in scene.world.pods_of("web")} == {old}


def test_an_old_revision_that_cannot_be_deleted_stops_nothing(scene: Scene) -> None:
    scene.policy(mode="Rolling")
    scene.create(replicas=1)
    with refusing(scene.api, scene.namespace, "controllerrevisions", "DELETE", group="apps"):
        for change in range(11):
            scene.change_template(change=str(change))
            scene.rollout("Completed", run=str(change + 1))
        assert len(scene.api.list(REVISIONS, scene.namespace)) == 12
        gone = scene.delete_pod("web-0")
        scene.wait(lambda _: scene.uids().get("web-0", gone) != gone, "a lost one comes back")
        scene.scale(2)
        scene.healthy(2)
    scene.change_template(change="last")
    scene.rollout("Completed", run="12")
    scene.wait(lambda _: len(scene.api.list(REVISIONS, scene.namespace)) <= 11, "old ones go again", timeout=90)
