"""The objects of an instance as they are sent to the API server."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import pod_builder
from scaleset.planner.instances import Build, Pod
from scaleset.planner.revisions import Revision, describe
from tests.simulation.world import EPOCH, OWNER, spec

BUILD = Build("web-model", "1.0.0", "example.com/web:1.0.0")


def manifest(*, number: int = 7, previous: Build | None = None, **changes: Any) -> dict[str, Any]:
    return pod_builder.pod(OWNER, describe("web", spec(**changes)), BUILD, number, previous=previous, created_at=EPOCH)


def container(pod: dict[str, Any], name: str = "app") -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in pod["spec"]["containers"] if c["name"] == name)
    return found


def test_identity():
    """Name, host name and labels; owned by the set itself, which PDB, HPA and kubectl rely on."""
    pod = manifest()
    assert pod["metadata"]["name"] == "web-7"
    assert pod["metadata"]["namespace"] == "shop"
    assert pod["spec"]["hostname"] == "web-7"
    assert pod["metadata"]["labels"] == {
        "scaleset.dev/name": "web",
        "scaleset.dev/instance-id": "7",
        "scaleset.dev/image-version": "1.0.0",
        "scaleset.dev/model": "web-model",
        "scaleset.dev/update-domain": "0",
        "apps.kubernetes.io/pod-index": "7",
        "statefulset.kubernetes.io/pod-name": "web-7",
        "app.kubernetes.io/managed-by": "scaleset-operator",
    }
    assert pod["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "scaleset.dev/v1beta1",
            "kind": "ScaleSet",
            "name": "web",
            "uid": "uid-web",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_the_users_labels_stay_and_ours_win():
    template = spec().template
    forged = {"scaleset.dev/name": "forged", "apps.kubernetes.io/pod-index": "0"}
    metadata = {"labels": {"team": "shop", **forged}, "annotations": {"note": "x"}}
    pod = manifest(template={**template, "metadata": metadata})
    assert pod["metadata"]["labels"]["team"] == "shop"
    assert pod["metadata"]["labels"]["scaleset.dev/name"] == "web"
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "7"
    assert pod["metadata"]["annotations"]["note"] == "x"


def test_the_way_back_and_the_age_travel_with_the_pod():
    pod = manifest(previous=Build("web-old", "0.9.0", "example.com/web:0.9.0"))
    annotations = pod["metadata"]["annotations"]
    assert json.loads(annotations["scaleset.dev/previous"]) == {
        "model": "web-old",
        "version": "0.9.0",
        "image": "example.com/web:0.9.0",
    }
    assert annotations["scaleset.dev/created-at"] == "2027-01-15T08:00:00Z"
    assert "scaleset.dev/previous" not in manifest()["metadata"]["annotations"]


def test_a_restarted_pod_bears_the_time_of_the_restart():
    build = replace(BUILD, restart=EPOCH)
    restarted = pod_builder.pod(OWNER, describe("web", spec()), build, 7, previous=None, created_at=EPOCH)
    assert restarted["metadata"]["annotations"]["scaleset.dev/restarted-at"] == "2027-01-15T08:00:00Z"
    assert "scaleset.dev/restarted-at" not in manifest()["metadata"]["annotations"]


def test_the_instance_container_gets_the_image_whatever_it_asks_for():
    template = {"spec": {"containers": [{"name": "app", "image": "old:1"}, {"name": "side", "image": "envoy:1"}]}}
    pod = manifest(template=template)
    assert container(pod)["image"] == "example.com/web:1.0.0"
    assert container(pod, "side")["image"] == "envoy:1"
    other = manifest(template=template, instanceContainer="side")
    assert container(other, "side")["image"] == "example.com/web:1.0.0"
    assert container(other)["image"] == "old:1"


def test_containers_without_an_image_get_that_of_the_version():
    """Tools of the same image: a pod of two versions would be one that nobody tested."""
    init = [{"name": "migrate"}, {"name": "setup", "image": "busybox:1"}, {"name": "proxy", "image": ""}]
    template = {"spec": {"containers": [{"name": "app"}, {"name": "worker"}], "initContainers": init}}
    spec = manifest(template=template)["spec"]
    images = {each["name"]: each["image"] for each in (*spec["initContainers"], *spec["containers"])}
    version = "example.com/web:1.0.0"
    assert images == {"migrate": version, "setup": "busybox:1", "proxy": version, "app": version, "worker": version}


def test_hostname_and_subdomain_of_the_template_are_ignored():
    """As in a StatefulSet; also where an older schema let them through into a stored model."""
    model = describe("web", spec())
    template = {**model.data["template"], "spec": {**model.template["spec"], "hostname": "a", "subdomain": "b"}}
    stored = Revision(model.name, 1, {**model.data, "template": template})
    made = pod_builder.pod(OWNER, stored, BUILD, 7, previous=None, created_at=EPOCH)["spec"]
    assert (made["hostname"], "subdomain" in made) == ("web-7", False)


def test_finalizers_of_the_templates_are_those_of_pods_and_claims():
    base = spec().template
    assert "finalizers" not in manifest()["metadata"]
    pod = manifest(template={**base, "metadata": {"finalizers": ["example.com/drain"]}})
    assert pod["metadata"]["finalizers"] == ["example.com/drain"]
    disk = {"metadata": {"name": "data", "finalizers": ["example.com/keep"]}, "spec": {}}
    model = describe("web", spec(volumeClaimTemplates=[disk]))
    assert pod_builder.claim(OWNER, model, "data", 0)["metadata"]["finalizers"] == ["example.com/keep"]


MANAGED_BY = "app.kubernetes.io/managed-by"


def test_who_manages_an_object_is_the_users_to_say():
    """On the pod, the claims and the revision; a claim template has the last word about its claims."""
    template = {**spec().template, "metadata": {"labels": {MANAGED_BY: "Helm"}}}
    disks = [
        {"metadata": {"name": "data"}, "spec": {}},
        {"metadata": {"name": "logs", "labels": {MANAGED_BY: "backup"}}, "spec": {}},
    ]
    model = describe("web", spec(template=template, volumeClaimTemplates=disks))
    assert manifest(template=template)["metadata"]["labels"][MANAGED_BY] == "Helm"
    assert pod_builder.revision(OWNER, model, 1)["metadata"]["labels"][MANAGED_BY] == "Helm"
    found = [pod_builder.claim(OWNER, model, name, 7)["metadata"]["labels"][MANAGED_BY] for name in model.claim_names]
    assert found == ["Helm", "backup"]


def test_the_template_itself_is_not_changed():
    """The model is shared by all decisions."""
    model = describe("web", spec(serviceName="web"))
    before = deepcopy(dict(model.data))
    pod_builder.pod(OWNER, model, BUILD, 0, previous=None, created_at=EPOCH)
    assert model.data == before


def test_a_service_gives_a_stable_name():
    assert manifest(serviceName="web-hosts")["spec"]["subdomain"] == "web-hosts"
    assert "subdomain" not in manifest()["spec"]


@pytest.mark.parametrize(
    ("location", "selector"), [(None, None), ("default", None), ("west", {"topology.kubernetes.io/region": "west"})]
)
def test_instances_are_scheduled_to_the_region(location, selector):
    """Nodes without the label form region `default`, which no selector can name."""
    assert manifest(location=location)["spec"].get("nodeSelector") == selector


def test_the_users_node_selector_stays():
    template = {"spec": {**spec().template["spec"], "nodeSelector": {"disk": "ssd"}}}
    pod = manifest(template=template, location="west")
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd", "topology.kubernetes.io/region": "west"}


def test_claims_become_volumes_of_the_same_name():
    """Like a StatefulSet, also where the template names a volume alike."""
    claims = [{"metadata": {"name": "data"}, "spec": {}}]
    template = {"spec": {**spec().template["spec"], "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data"}]}}
    pod = manifest(volumeClaimTemplates=claims, template=template)
    assert pod["spec"]["volumes"] == [
        {"name": "tmp", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-7"}},
    ]


def test_a_claim_bears_labels_and_no_owner():
    """S6: nothing, not even deleting the set, deletes data."""
    template = {
        "metadata": {"name": "data", "labels": {"tier": "gold"}, "annotations": {"a": "b"}},
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }
    labelled = {**spec().template, "metadata": {"labels": {"team": "shop", "tier": "web"}}}
    model = describe("web", spec(template=labelled, volumeClaimTemplates=[template]))
    claim = pod_builder.claim(OWNER, model, "data", 7)
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert claim["metadata"] == {
        "name": "data-web-7",
        "namespace": "shop",
        "labels": {
            "team": "shop",
            "tier": "gold",
            "scaleset.dev/name": "web",
            "scaleset.dev/instance-id": "7",
            "app.kubernetes.io/managed-by": "scaleset-operator",
        },
        "annotations": {"a": "b"},
    }
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"]}


def test_a_claim_of_a_set_that_takes_its_disks_along_names_it_as_its_owner():
    """An owner that does not control it: it is only collected with the set."""
    model = describe("web", spec(volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}]))
    owned = pod_builder.claim(OWNER._replace(owns_claims=True), model, "data", 7)
    assert owned["metadata"]["ownerReferences"] == [
        {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web", "uid": "uid-web"}
    ]


@pytest.mark.parametrize(
    ("probe", "check"),
    [
        ({"protocol": "tcp", "port": 5432}, {"tcpSocket": {"port": 5432}}),
        (
            {"protocol": "http", "requestPath": "/healthz"},
            {"httpGet": {"path": "/healthz", "port": 80, "scheme": "HTTP"}},
        ),
        (
            {"protocol": "https", "requestPath": "/h"},
            {"httpGet": {"path": "/h", "port": 443, "scheme": "HTTPS"}},
        ),
        (
            {"protocol": "http", "requestPath": "/h", "port": 8080},
            {"httpGet": {"path": "/h", "port": 8080, "scheme": "HTTP"}},
        ),
    ],
)
def test_the_health_extension_is_a_readiness_probe(probe, check):
    plain = {"spec": {"containers": [{"name": "app"}]}}
    rendered = container(manifest(template=plain, health={"probe": probe}))
    assert rendered["readinessProbe"] == {**check, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 1}
    assert "startupProbe" not in rendered


def test_as_many_probes_as_asked_for_change_the_state_and_the_grace_period_is_a_startup_probe():
    plain = {"spec": {"containers": [{"name": "app"}]}}
    probe = {
        "protocol": "tcp",
        "port": 1,
        "intervalInSeconds": 10,
        "numberOfProbes": 3,
        "gracePeriodInSeconds": 95,
    }
    rendered = container(manifest(template=plain, health={"probe": probe}))
    assert (rendered["readinessProbe"]["successThreshold"], rendered["readinessProbe"]["failureThreshold"]) == (3, 3)
    assert (rendered["startupProbe"]["periodSeconds"], rendered["startupProbe"]["failureThreshold"]) == (10, 10)


def test_a_revision_keeps_the_model():
    model = describe("web", spec())
    revision = pod_builder.revision(OWNER, model, 3)
    assert (revision["apiVersion"], revision["kind"]) == ("apps/v1", "ControllerRevision")
    assert (revision["metadata"]["name"], revision["revision"], revision["data"]) == (model.name, 3, model.data)
    assert revision["metadata"]["ownerReferences"][0]["uid"] == "uid-web"


def test_a_template_without_the_instance_container_is_an_error_with_its_name():
    model = Revision("m", 1, {"template": {"spec": {"containers": [{"name": "a"}]}}, "instanceContainer": "b"})
    with pytest.raises(ValueError, match="no container 'b'"):
        pod_builder.pod(OWNER, model, BUILD, 0, previous=None, created_at=EPOCH)


@pytest.mark.parametrize(("container", "image"), [("b", "y"), ("c", "x"), (None, "x")])
def test_the_image_of_a_pod_is_that_of_the_named_container_else_of_the_first(container, image):
    seen = Pod("shop", "web-0", "u", "1", "uid-web", "web", "m", "1.0.0", EPOCH, images=(("a", "x"), ("b", "y")))
    assert seen.image(container) == image
