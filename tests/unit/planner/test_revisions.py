"""The model of a ScaleSet and its revisions."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner.revisions import Revision, describe, expendable, without_nulls
from tests.simulation.scenes import apply_model, new_model, running
from tests.simulation.world import policy, spec

TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "app"}, {"name": "side", "image": "x"}]}}


def name_of(**changes: Any) -> str:
    return describe("web", spec(**changes)).name


@pytest.mark.parametrize(
    "changes",
    [
        {"podManagementPolicy": "OrderedReady"},
        {"ordinals": {"start": 3}},
        {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}},
        {"scaleInPolicy": {"preferredInstances": [3], "prioritizeUnhealthyInstances": True}},
    ],
)
def test_which_instances_there_are_and_in_which_order_is_no_part_of_a_model(changes):
    assert describe("web", spec(**changes)) == describe("web", spec())


@pytest.mark.parametrize(
    "changes",
    [
        {"template": {"spec": {"containers": [{"name": "app", "env": []}]}}},
        {"template": TEMPLATE},
        {"template": TEMPLATE, "instanceContainer": "side"},
        {"imageReference": {"publisher": "contoso", "offer": "web", "sku": "preview", "version": "latest"}},
        {"imageReference": {"publisher": "contoso", "offer": "web", "sku": "stable", "version": "1.0.0"}},
        {"health": {"source": "InstanceState"}},
        {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
        {"serviceName": "web"},
        {"location": "west"},
    ],
)
def test_what_instances_are_made_from_is_part_of_the_model(changes):
    assert name_of(**changes) != name_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": 3},
        {"suspend": True},
        {"upgradePolicyRef": {"name": "other"}},
        {"protectedInstances": [{"id": 1}]},
        {"singlePlacementGroup": False},
    ],
)
def test_what_is_not_about_instances_is_no_model_change(changes):
    assert name_of(**changes) == name_of()


IGNORED = {
    "name": "web",
    "generateName": "web-",
    "namespace": "shop",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "uid": "1",
    "resourceVersion": "2",
    "generation": 3,
    "ownerReferences": [{"kind": "ReplicaSet", "name": "old"}],
    "managedFields": [{"manager": "kubectl"}],
}


def test_what_a_stateful_set_ignores_in_its_templates_changes_nothing():
    base = spec().template
    template = {"metadata": IGNORED, "spec": {**base["spec"], "hostname": "a", "subdomain": "b"}}
    assert name_of(template=template) == name_of(template={**base, "metadata": {}})
    disk: dict[str, Any] = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    printed = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**IGNORED, "name": "data"},
        "spec": disk["spec"],
        "status": {"phase": "Pending"},
    }
    assert name_of(volumeClaimTemplates=[printed]) == name_of(volumeClaimTemplates=[disk])
    assert name_of(serviceName="") == name_of()


def test_what_it_does_not_ignore_counts():
    base = spec().template
    for metadata in ({"labels": {"a": "b"}}, {"annotations": {"a": "b"}}, {"finalizers": ["a/b"]}):
        assert name_of(template={**base, "metadata": metadata}) != name_of(template={**base, "metadata": {}})


@pytest.mark.parametrize("chosen", [None, "app", "side"])
def test_the_image_of_the_instance_container_is_no_part_of_the_model(chosen):
    """That of the version is run. Those of other containers count."""

    def name(app: str, side: str) -> str:
        containers = [{"name": "app", "image": app}, {"name": "side", "image": side}]
        return name_of(template={"spec": {"containers": containers}}, instanceContainer=chosen)

    ignored = "side" if chosen == "side" else "app"
    assert (name("a:1", "b:1") == name("a:2", "b:1")) is (ignored == "app")
    assert (name("a:1", "b:1") == name("a:1", "b:2")) is (ignored == "side")


def with_image(image: str) -> dict[str, Any]:
    base = spec().template["spec"]
    return {"spec": {**base, "containers": [{**base["containers"][0], "image": image}]}}


def test_a_model_that_an_older_operator_stored_with_the_image_is_carried_on():
    """It has another name than it would get today; no instance is replaced for that, whatever the image says now."""
    world = running(3, by=policy(mode="Automatic"))
    (name,) = world.models
    old = Revision("web-old", 1, {**world.models[name].data, "template": with_image("old:1")}, "uid-old")
    world.models = {"web-old": old}
    world.pods = {number: replace(pod, model="web-old") for number, pod in world.pods.items()}
    world.status["builds"] = [{**build, "model": "web-old"} for build in world.status["builds"]]
    world.change(template=with_image("other:2"))
    world.writes.clear()
    world.run(60)
    assert {pod.model for pod in world.pods.values()} == {"web-old"}
    assert list(world.models) == ["web-old"]
    assert not [write for write in world.writes if write.split()[0] in ("delete", "create", "change", "store")]
    assert world.status["updatedReplicas"] == 3


def test_nulls_and_defaults_change_nothing():
    """Clients write `creationTimestamp: null`; what the API server fills in never counts as a change of the model."""
    base = spec().template
    template = {**base, "metadata": {"creationTimestamp": None}}
    assert without_nulls(template)["metadata"] == {}
    with_null = {"spec": {**base["spec"], "volumes": None}}
    assert name_of(template=with_null) == name_of()


def test_what_the_spec_does_not_say_the_model_does_not_either():
    """Else an operator with one field more would find every model changed."""
    assert describe("web", spec(updateDomains=5)).data.keys() == {"template", "imageReference"}


def test_claim_templates_are_kept_as_kubernetes_writes_them():
    """Claims are made from them, perhaps by a later operator."""
    disk = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}}
    assert describe("web", spec(volumeClaimTemplates=[disk])).data["volumeClaimTemplates"] == [disk]


def test_the_order_of_keys_changes_nothing():
    backwards = dict(reversed(list(spec().template["spec"]["containers"][0].items())))
    assert name_of(template={"spec": {"containers": [backwards]}}) == name_of()


def test_a_name_fits_a_label_value():
    """The model's name is a label of every pod: at most 63 characters, however long the set's name is."""
    assert len(describe("a" * 59, spec()).name) <= 63
    assert describe("a" * 59, spec()).name != describe("a" * 58, spec()).name


@pytest.mark.parametrize(("chosen", "container"), [(None, "app"), ("side", "side")])
def test_the_instance_container_is_the_one_asked_for_else_the_first(chosen, container):
    assert describe("web", spec(template=TEMPLATE, instanceContainer=chosen)).instance_container == container


def test_ten_revisions_and_whatever_an_instance_uses_are_kept():
    models = tuple(Revision(f"m{n}", n, {}) for n in range(1, 16))
    gone = expendable((*models, Revision("new", 0, {})), frozenset({"m2", "m4", "m15"}))
    assert [model.name for model in gone] == ["m1", "m3", "m5"]


def test_going_back_to_an_earlier_model_finds_its_revision():
    """The same content has the same name; it becomes the newest again."""
    world = running(2)
    first = world.model.name
    new_model(world, "2")
    world.settle()
    assert len(world.models) == 2
    world.change(template=spec().template)
    world.settle()
    assert world.model.name == first
    assert len(world.models) == 2
    assert max(world.models.values(), key=lambda m: m.number).name == first


def test_revisions_that_nobody_needs_are_discarded():
    world = running(2, by=policy(automatic=False))
    for number in range(14):
        new_model(world, f"r{number}")
        world.settle()
    in_use = {pod.model for pod in world.pods.values()}
    assert in_use <= world.models.keys()
    assert len(world.models) == 11
    apply_model(world, "*")
    world.run(30)
    new_model(world, "last")
    world.settle()
    assert not in_use & world.models.keys()
    assert len(world.models) == 10


def test_a_revision_is_stored_before_a_status_names_it():
    """The order of writes: a pod or a status never refers to a model that is nowhere."""
    world = running(2, by=policy(mode="Automatic"))
    new_model(world)
    world.settle()
    store = next(n for n, name in enumerate(world.writes) if name.startswith("store"))
    assert store < world.writes.index("status") < world.writes.index("delete 0")


def test_a_model_without_parts_has_empty_ones():
    """A revision that somebody else wrote must not stop us."""
    model = Revision("m", 1, {})
    assert model.instance_container is None
    assert model.claim_names == ()
    assert model.reference.moving
    assert replace(model, data={"imageReference": None}).reference.definition == (None, "", "", "")
