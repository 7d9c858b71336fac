"""Where the chart's images and pull secrets come from, and what its notes warn of."""

import base64

import pytest
import yaml

from hack.chart import CHART
from hack.chart.description import MARK, description
from tests.chart.helm import Helm, Json, of_kind, the

VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
DIGEST = "sha256:" + "0" * 64


def images(objects: list[Json]) -> set[str]:
    specs = [the(objects, "Deployment")["spec"]["template"]["spec"], the(objects, "Pod")["spec"]]
    return {container["image"] for spec in specs for container in spec["containers"]}


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, f"scaleset-operator:{VERSION}"),
        ({"image": {"registry": "r.example"}}, f"r.example/scaleset-operator:{VERSION}"),
        ({"image": {"registry": "r.example:5000/mirror/"}}, f"r.example:5000/mirror/scaleset-operator:{VERSION}"),
        ({"global": {"imageRegistry": "g.example"}}, f"g.example/scaleset-operator:{VERSION}"),
        (
            {"global": {"imageRegistry": "g.example"}, "image": {"registry": "r.example", "repository": "a/b"}},
            f"g.example/a/b:{VERSION}",
        ),
        # Who has always named a host in the repository keeps it, whatever a parent chart hands down.
        (
            {"global": {"imageRegistry": "g.example"}, "image": {"repository": "r.example/a/b"}},
            f"r.example/a/b:{VERSION}",
        ),
        ({"global": {"imageRegistry": "g.example"}, "image": {"repository": "localhost/b"}}, f"localhost/b:{VERSION}"),
        ({"image": {"registry": "r.example", "digest": DIGEST}}, f"r.example/scaleset-operator@{DIGEST}"),
    ],
    ids=str,
)
def test_the_registry_of_the_image(helm: Helm, values: Json, image: str):
    assert images(helm.render(values)) == {image}


def test_global_pull_secrets_are_those_of_every_pod(helm: Helm):
    given = {
        "global": {"imagePullSecrets": ["all", {"name": "twice"}], "storageClass": "not ours"},
        "imagePullSecrets": [{"name": "twice"}, {"name": "own"}],
        "replication": {"imagePullSecrets": [{"name": "instances"}]},
    }
    objects = helm.render(given)
    own = [{"name": name} for name in ("all", "twice", "own")]
    assert the(objects, "Deployment")["spec"]["template"]["spec"]["imagePullSecrets"] == own
    assert the(objects, "Pod")["spec"]["imagePullSecrets"] == own
    prepull = the(objects, "ServiceAccount", "r-scaleset-operator-prepull")
    assert prepull["imagePullSecrets"] == [{"name": name} for name in ("all", "twice", "instances")]
    assert "imagePullSecrets" not in str(helm.render())


def test_pods_may_live_in_the_network_of_their_node(helm: Helm):
    values = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet", "runtimeClassName": "sandbox"}
    spec = the(helm.render(values), "Deployment")["spec"]["template"]["spec"]
    assert spec["hostNetwork"] is True
    assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert spec["runtimeClassName"] == "sandbox"


def test_containers_before_and_beside_the_operator(helm: Helm):
    values = {
        "initContainers": [{"name": "first", "image": "a"}],
        "extraContainers": [{"name": "beside", "image": "b"}],
        "envFrom": [{"secretRef": {"name": "proxy"}}],
    }
    spec = the(helm.render(values), "Deployment")["spec"]["template"]["spec"]
    assert spec["initContainers"] == values["initContainers"]
    assert [each["name"] for each in spec["containers"]] == ["operator", "beside"]
    assert spec["containers"][0]["envFrom"] == values["envFrom"]


def test_a_budget_by_what_has_to_stay(helm: Helm):
    for given in (1, 0, "50%"):
        spec = the(helm.render({"podDisruptionBudget": {"minAvailable": given}}), "PodDisruptionBudget")["spec"]
        assert spec["minAvailable"] == given
        assert "maxUnavailable" not in spec


def test_roles_to_bind(helm: Helm):
    roles = {each["metadata"]["name"]: each for each in of_kind(helm.render(), "ClusterRole")}
    assert roles["r-scaleset-operator-publisher"]["rules"] == [
        {"apiGroups": ["scaleset.dev"], "resources": ["galleryimageversions"], "verbs": ["create"]}
    ]
    assert not [name for name in roles if name.endswith(("-editor", "-viewer"))]
    per_kind = of_kind(helm.render({"rbac": {"perKindClusterRoles": True}}), "ClusterRole")
    names = {each["metadata"]["name"].removeprefix("r-scaleset-operator-") for each in per_kind}
    kinds = ("scaleset", "upgradepolicy", "galleryimageversion")
    assert {f"{kind}-{role}" for kind in kinds for role in ("viewer", "editor")} <= names
    for each in per_kind:
        if each["metadata"]["name"].endswith(("-editor", "-viewer")):
            assert not [label for label in each["metadata"]["labels"] if "aggregate" in label]
            for rule in each["rules"]:
                assert ("create" not in rule["verbs"]) or not rule["resources"][0].endswith("/status")


# NOTES


NOTES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {text: {{ include "scaleset-operator/templates/NOTES.txt" . | toJson }}}
"""


def notes(helm: Helm, values: Json) -> str:
    """As an object, since helm shows them only where it installs."""
    text: str = the(helm.render({**values, "extraObjects": [NOTES]}), "ConfigMap", "notes")["data"]["text"]
    return text


def test_the_notes_name_the_plugin_and_warn_of_nothing_where_all_is_well(helm: Helm):
    said = notes(helm, {"image": {"registry": "r.example"}})
    assert "kubectl scaleset" in said
    assert "CAUTION" not in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"registry": ""}}, f"the image scaleset-operator:{VERSION} names no registry"),
        ({"image": {"tag": "latest"}}, "the tag `latest` may move"),
        ({"crds": {"keep": False}}, "`helm uninstall` deletes the CRDs"),
        ({"replicaCount": 0}, "replicaCount is 0"),
        ({"replicaCount": 1, "leaderElection": {"enabled": False}}, "Set strategy.type to Recreate"),
        ({"hostNetwork": True}, "The NetworkPolicy has no effect"),
        ({"podDisruptionBudget": {"minAvailable": 2}}, "no node with one can be drained"),
        ({"metrics": {"service": {"type": "NodePort"}}}, "of type NodePort"),
    ],
    ids=str,
)
def test_the_notes_warn_of_one_risky_value(helm: Helm, values: Json, words: str):
    image = {"registry": "r.example", **values.get("image", {})}
    said = notes(helm, {**values, "image": image})
    (caution,) = [line for line in said.splitlines() if line.startswith("CAUTION: ")]
    assert words in caution


# What a catalogue of charts shows


def test_chart_yaml_says_what_a_catalogue_asks_for():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["home"].startswith("https://")
    assert chart["sources"]
    assert chart["maintainers"]
    kind, _, picture = chart["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(picture) == (CHART / "icon.svg").read_bytes().strip()
    about = chart["annotations"]
    (image,) = yaml.safe_load(about["artifacthub.io/images"])
    assert image == {"name": "scaleset-operator", "image": f"scaleset-operator:{VERSION}"}
    crds = yaml.safe_load(about["artifacthub.io/crds"])
    assert {each["kind"] for each in crds} == {"ScaleSet", "UpgradePolicy", "GalleryImageVersion"}
    examples = yaml.safe_load(about["artifacthub.io/crdsExamples"])
    assert {each["kind"] for each in examples} == {each["kind"] for each in crds}
    for each in yaml.safe_load(about["artifacthub.io/links"]):
        assert each["url"].startswith(chart["home"])


def test_a_chart_yaml_without_its_mark_is_refused():
    with pytest.raises(ValueError, match="needs the line"):
        description("name: x\n", icon=b"", crds=[], examples=[])
    assert MARK in (CHART / "Chart.yaml").read_text()
