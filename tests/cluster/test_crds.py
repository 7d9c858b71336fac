"""The CRDs as a real API server and kubectl take them, and the samples on top of them."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaleset.api.scale_set_status import ScaleSetStatus, handled
from tests.cluster.harness.api import CRDS, NAMESPACES, SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import Cluster

ROOT = Path(__file__).parents[2]
CRD_FILES = sorted((ROOT / "crds").glob("*.yaml"))
SAMPLES = sorted((ROOT / "deploy" / "samples").rglob("*.yaml"))
KINDS = ["scalesets", "upgradepolicies", "galleryimageversions"]


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster) -> Any:
    """Runs kubectl; returns what it says, and fails the test if it fails."""
    binaries = Path(os.environ.get("KUBE_BINARIES", Path.home() / ".cache" / "kube-binaries"))
    program = max(binaries.glob("v*/kubectl"))

    def run(*arguments: str | Path) -> str:
        command = [program, f"--kubeconfig={cluster.kubeconfig}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("path", CRD_FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("how", [(), ("--server-side", "--force-conflicts")], ids=["client-side", "server-side"])
def test_both_kinds_of_apply_take_the_crds(kubectl, path, how):
    assert "customresourcedefinition" in kubectl("apply", *how, "-f", path)


@pytest.mark.parametrize("plural", KINDS)
def test_the_schema_is_structural_and_complete(api: Api, plural):
    crd = api.get(CRDS, None, f"{plural}.scaleset.dev")
    conditions = {each["type"]: each["status"] for each in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("name", ["sset", "upol", "giv", "scaleset-operator"])
def test_short_names_and_the_category(kubectl, name):
    kubectl("get", name, "--all-namespaces")


@pytest.mark.parametrize("name", ["scaleset", "upgradepolicy", "galleryimageversion"])
def test_one_object_is_found_by_the_name_of_its_kind(kubectl, name):
    """A category of that name would stand in the way."""
    assert kubectl("get", name, "missing", "--ignore-not-found") == ""


@pytest.mark.parametrize("plural", KINDS)
def test_explain_describes_every_field(kubectl, plural):
    text = kubectl("explain", f"{plural}.spec", "--recursive")
    assert "FIELDS" in text
    assert "<no description>" not in kubectl("explain", f"{plural}.spec")


def test_explain_gives_unit_and_default(kubectl):
    text = " ".join(kubectl("explain", "sset.spec.health.probe.intervalInSeconds").split())
    assert "Seconds from one probe to the next, 5 to 60. Default: 5." in text


@pytest.fixture(scope="module")
def sample_namespace(cluster: Cluster) -> Iterator[str]:
    yield cluster.make_namespace("samples")
    cluster.api.delete(NAMESPACES, None, "samples")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_apply_as_they_are(kubectl, sample_namespace, path):
    kubectl("apply", "--namespace", sample_namespace, "-f", path)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_pods_of_the_samples_are_accepted(kubectl, sample_namespace, tmp_path, path):
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] != "ScaleSet":
            continue
        template = document["spec"]["template"]
        volumes = [
            {"name": claim["metadata"]["name"], "emptyDir": {}}
            for claim in document["spec"].get("volumeClaimTemplates", [])
        ]
        spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *volumes]}
        metadata = {**template.get("metadata", {}), "name": "trial"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        for container in spec["containers"]:
            container.setdefault("image", "example.com/web:1.0.0")
        file = tmp_path / "pod.json"
        file.write_text(json.dumps(pod))
        kubectl("create", "--dry-run=server", "--validate=strict", "--namespace", sample_namespace, "-f", file)


def scale_set(name: str) -> Json:
    return {
        "apiVersion": "scaleset.dev/v1beta1",
        "kind": "ScaleSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "imageReference": {"publisher": "example", "offer": "web", "sku": "stable", "version": "latest"},
            "upgradePolicyRef": {"name": "careful"},
            "template": {"spec": {"containers": [{"name": "web", "image": "example.com/web:1.0.0"}]}},
        },
    }


def test_columns(kubectl, api: Api, sample_namespace):
    api.create(SCALE_SETS, sample_namespace, scale_set("columns"))
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "RollingForward",
        "message": "",
        "lastTransitionTime": "2027-01-31T00:00:00Z",
    }
    status = {
        "replicas": 3,
        "healthyReplicas": 2,
        "updatedReplicas": 1,
        "selector": "scaleset.dev/name=columns",
        "currentVersion": "1.0.0",
        "latestVersion": "1.1.0",
        "targetVersion": "1.1.0",
        "versions": "1.0.0",
        "conditions": [ready],
        "rollingUpgrade": {
            "id": "x",
            "kind": "Image",
            "startedBy": "Platform",
            "runningStatus": {"code": "RollingForward"},
            "batch": {"number": 2},
        },
    }
    api.patch(SCALE_SETS, sample_namespace, "columns", {"status": status}, subresource="status")
    header, line = kubectl("get", "sset", "columns", "--namespace", sample_namespace, "--output=wide").splitlines()
    titles = ["NAME", "DESIRED", "HEALTHY", "UPDATED", "VERSION", "TARGET", "STATUS", "AGE"]
    assert header.split() == [*titles, "BATCH", "LATEST", "POLICY", "SELECTOR"]
    shown = dict(zip(header.split(), line.split(), strict=True))
    assert shown["STATUS"] == "RollingForward"
    assert (shown["HEALTHY"], shown["BATCH"], shown["POLICY"]) == ("2", "2", "careful")
    header = kubectl("get", "sset", "columns", "--namespace", sample_namespace).splitlines()[0]
    assert header.split() == titles


def test_the_scale_subresource_reports_the_selector(kubectl, api: Api, sample_namespace):
    scale = json.loads(
        kubectl("get", "sset", "columns", "--namespace", sample_namespace, "--subresource=scale", "-o", "json")
    )
    assert scale["status"] == {"replicas": 3, "selector": "scaleset.dev/name=columns"}
    kubectl("scale", "sset", "columns", "--namespace", sample_namespace, "--replicas=4")
    assert api.get(SCALE_SETS, sample_namespace, "columns")["spec"]["replicas"] == 4


def test_a_long_status_is_never_refused(api: Api, sample_namespace):
    """What the models cut is what the schema allows."""
    long = "ß" * 100_000
    instance = {"id": 0, "version": long, "state": long, "message": long}
    condition = {"type": "Ready", "status": "False", "reason": long, "message": long}
    everything = ScaleSetStatus.model_validate(
        {
            "instances": [instance] * 60,
            "conditions": [condition],
            "builds": [{"model": long, "version": long, "image": long, "instances": "0-9,11"}],
            "rollingUpgrade": {
                "id": long,
                "kind": "Image",
                "startedBy": "User",
                "runningStatus": {"code": "Faulted"},
                "error": {"code": long, "message": long, "details": [{"code": long, "message": long}] * 60},
                "messages": [instance] * 60,
                "waitingFor": {"reason": long, "message": long},
            },
            "lastHandledStart": handled(long),
        }
    )
    api.create(SCALE_SETS, sample_namespace, scale_set("long"))
    body = {"status": everything.to_raw()}
    stored = api.patch(SCALE_SETS, sample_namespace, "long", body, subresource="status")
    assert ScaleSetStatus.parse(stored) == everything
