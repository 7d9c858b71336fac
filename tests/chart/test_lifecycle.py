"""helm install, upgrade, uninstall and install again: CRDs, custom resources, pods and claims stay."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import Kubectl
from tests.chart.helm import CONFIGURATIONS, Helm, HelmError, Json, given
from tests.chart.pages import play
from tests.chart.releases import DEPLOYMENTS
from tests.cluster.harness.api import CLAIMS, CRDS, IMAGES, NAMESPACES, PODS, POLICIES, SCALE_SETS, Api, Kind
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.crds import finishing_deletions
from tests.cluster.harness.fleet import until
from tests.cluster.harness.manifests import claim, image_version, pod, scale_set, upgrade_policy

pytestmark = pytest.mark.timeout(240)

OPS = "scaleset-system"
DEPLOY = ROOT / "deploy"
KEPT = (CRDS, POLICIES, IMAGES, SCALE_SETS, PODS, CLAIMS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of its own: CRDs come and go here."""
    with Cluster(f"lifecycle-{os.getpid()}", tmp_path_factory.mktemp("cluster"), nodes=3, crds=False) as cluster:
        cluster.make_namespace("shop")
        with finishing_deletions(cluster.api):
            yield cluster


@pytest.fixture
def installer(program: Path, cluster: Cluster) -> Iterator[Helm]:
    """helm, and at the end neither releases nor CRDs."""
    helm = Helm(program, cluster.kubeconfig)
    yield helm
    for name in helm.run("list", "--namespace", OPS, "--short").split():
        helm.run("uninstall", name, "--namespace", OPS, "--wait")
    for name, found in crds(cluster.api).items():
        if "deletionTimestamp" not in found["metadata"]:  # else it is going, and may be gone before we ask for it
            cluster.api.delete(CRDS, None, name)
    until(lambda: not crds(cluster.api), timeout=60, message="the CRDs are gone")


def crds(api: Api) -> dict[str, Json]:
    return {each["metadata"]["name"]: each for each in api.list(CRDS) if each["spec"]["group"] == "scaleset.dev"}


def do(installer: Helm, verb: str, chart: Path, values: Json | None = None, *options: str) -> str:
    with given(values) as files:
        where = ("--namespace", OPS, "--create-namespace", "--wait", "--timeout", "3m")
        return installer.run(verb, "scaleset-operator", chart, *where, *options, *files)


def vanish(api: Api, kind: Kind, name: str) -> None:
    """What a test before left behind: pods and claims outlive the definitions here."""
    if api.find(kind, "shop", name) is not None:
        api.delete(kind, "shop", name)
        until(lambda: api.find(kind, "shop", name) is None, timeout=60, message="it is gone")


def some_set(api: Api) -> dict[str, str]:
    """A set with a policy, a version, a pod and a claim. Returns the uids of everything that must survive."""
    for kind, name in ((PODS, "web-0"), (CLAIMS, "data-web-0")):
        vanish(api, kind, name)
    api.create(POLICIES, "shop", upgrade_policy())
    api.create(IMAGES, "shop", image_version("1.0.0"))
    owner = api.create(SCALE_SETS, "shop", scale_set(replicas=1))
    api.create(CLAIMS, "shop", claim("data-web-0"))
    instance = pod("web-0", "1.0.0-fast")
    reference = {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web", "controller": True}
    instance["metadata"]["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"]}]
    api.create(PODS, "shop", instance)
    return uids(api)


def uids(api: Api) -> dict[str, str]:
    """Of everything that must survive."""
    found = {}
    for kind in KEPT:
        for each in api.list(kind, None if kind is CRDS else "shop"):
            if kind is not CRDS or each["spec"]["group"] == "scaleset.dev":
                found[f"{kind.plural}/{each['metadata']['name']}"] = each["metadata"]["uid"]
    return found


def test_whatever_helm_does_crds_resources_pods_and_claims_stay(
    installer: Helm, api: Api, chart: Path, kubectl: Kubectl
):
    said = do(installer, "install", chart)
    assert "Your first three commands:" in said
    assert "serves all namespaces" in said
    manifests = re.findall(r"^kubectl create -f - <<'EOF'\n(.*?)\nEOF\n", said, re.DOTALL | re.MULTILINE)
    assert len(manifests) == 2
    for text in manifests:
        kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
    deployment = api.get(DEPLOYMENTS, OPS, "scaleset-operator")
    assert deployment["status"]["readyReplicas"] == 2
    before = some_set(api)
    assert len(before) == 8

    do(installer, "upgrade", chart, {"replicaCount": 3, "commonLabels": {"round": "two"}})
    assert uids(api) == before
    assert api.get(DEPLOYMENTS, OPS, "scaleset-operator")["status"]["readyReplicas"] == 3
    assert {each["metadata"]["labels"]["round"] for each in crds(api).values()} == {"two"}

    assert "kept due to the resource policy" in installer.run(
        "uninstall", "scaleset-operator", "--namespace", OPS, "--wait"
    )
    assert uids(api) == before
    assert api.find(DEPLOYMENTS, OPS, "scaleset-operator") is None

    do(installer, "install", chart)
    assert uids(api) == before
    assert api.get(DEPLOYMENTS, OPS, "scaleset-operator")["status"]["readyReplicas"] == 2


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_configuration_installs_where_another_was_removed(installer: Helm, api: Api, chart: Path, name: str):
    """As `ct install` does it, on a cluster that serves none of the kinds of others."""
    do(installer, "install", chart, yaml.safe_load(CONFIGURATIONS[name].read_text()))
    deployment = api.get(DEPLOYMENTS, OPS, "scaleset-operator")
    assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"]
    installer.run("uninstall", "scaleset-operator", "--namespace", OPS, "--wait")
    until(lambda: not crds(api), timeout=60, message="the definitions are gone, so that the next one brings them")


def by_kubectl(api: Api, kubectl: Kubectl) -> None:
    """The operator without Helm."""
    if api.find(NAMESPACES, None, OPS) is not None:
        kubectl("delete", "namespace", OPS, "--wait")
    kubectl("apply", "--server-side", "-f", DEPLOY / "crds.yaml", "-f", DEPLOY / "install.yaml")
    kubectl("--namespace", OPS, "rollout", "status", "deployment/scaleset-operator", "--timeout=3m")


def test_from_kubectl_to_helm_and_back_as_documented(
    installer: Helm, program: Path, cluster: Cluster, api: Api, chart: Path, kubectl: Kubectl
):
    """Sets, pods and claims stay all the way. Without the marks helm refuses what is not its own."""
    by_kubectl(api, kubectl)
    before = some_set(api)
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        do(installer, "install", chart)
    play("uninstall.md", "From kubectl to Helm", program, cluster)
    assert "scaleset-operator" in installer.run("list", "--namespace", OPS, "--short")
    assert uids(api) == before
    do(installer, "upgrade", chart, {"commonLabels": {"round": "two"}})
    assert {each["metadata"]["labels"]["round"] for each in crds(api).values()} == {"two"}
    play("uninstall.md", "From Helm to kubectl", program, cluster)
    kubectl("--namespace", OPS, "rollout", "status", "deployment/scaleset-operator", "--timeout=3m")
    assert uids(api) == before
    for each in crds(api).values():
        assert "helm" not in str(each["metadata"].get("annotations"))
        assert "managed-by" not in str(each["metadata"].get("labels"))
    kubectl("delete", "--wait", "-f", DEPLOY / "install.yaml")


def test_crds_that_are_not_kept_go_with_the_release(installer: Helm, api: Api, chart: Path):
    assert "CAUTION: crds.keep is false" in do(installer, "install", chart, {"crds": {"keep": False}})
    assert len(crds(api)) == 3
    installer.run("uninstall", "scaleset-operator", "--namespace", OPS, "--wait")
    until(lambda: not crds(api), timeout=60, message="the CRDs are gone")


def test_the_manifest_installs_without_helm(installer: Helm, api: Api, kubectl: Kubectl):
    """And goes again, with everything but sets, their pods and claims. The fixture's end takes the CRDs away."""
    by_kubectl(api, kubectl)
    before = some_set(api)
    assert len(crds(api)) == 3
    kubectl("delete", "--wait", "-f", DEPLOY / "install.yaml")
    assert uids(api) == before
    assert "metadata" in api.get(SCALE_SETS, "shop", "web")
    assert "deletionTimestamp" not in api.get(PODS, "shop", "web-0")["metadata"]
