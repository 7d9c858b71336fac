"""What a real API server says of everything that the chart renders."""

import subprocess
from pathlib import Path

import pytest
import yaml

from hack.chart import ROOT
from tests.chart.conftest import Kubectl
from tests.chart.helm import CONFIGURATIONS, FOREIGN_KINDS, FULL, Helm, Json, the
from tests.cluster.harness.api import SERVICE_ACCOUNTS, Api, Kind
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import POLICY_RULES, until

DRY_RUN = (
    *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
    *("--validate=strict", "--warnings-as-errors", "-f", "-"),
)
RUNTIME_CLASSES = Kind("runtimeclasses", "node.k8s.io", namespaced=False)
FULL_VALUES: Json = yaml.safe_load(FULL.read_text())


@pytest.fixture(scope="module")
def served(released: Cluster, foreign_crds: list[Path]) -> Cluster:
    """With the CRDs of other operators, and what the objects name: a dry run makes none."""
    for path in foreign_crds:
        released.api.apply_file(path)
    released.make_namespace("monitoring")
    runtime = {"metadata": {"name": FULL_VALUES["runtimeClassName"]}, "handler": "sandbox"}
    released.api.create(RUNTIME_CLASSES, None, runtime)
    for account in ("r-scaleset-operator", FULL_VALUES["serviceAccount"]["name"]):
        released.api.create(SERVICE_ACCOUNTS, "ops", {"metadata": {"name": account}})
    return released


def test_the_api_server_is_of_the_version_that_was_asked_for(cluster: Cluster, kubectl: Kubectl):
    """That of today, or KUBE's."""
    source = f"source {ROOT}/hack/cluster/versions.sh; echo $KUBE"
    pinned = subprocess.run(["/bin/bash", "-c", source], check=True, capture_output=True, text=True).stdout.strip()
    assert f"Server Version: {pinned}" in kubectl("version").splitlines()


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    "values",
    [
        {},
        FULL_VALUES,
        {**FULL_VALUES, "metrics": {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}}},
        {"watchNamespaces": ["shop", "bank"]},
        {"replicaCount": 1, "leaderElection": {"enabled": False}, "admissionPolicy": {"enabled": True}},
        *(yaml.safe_load(path.read_text()) for path in CONFIGURATIONS.values()),
    ],
    ids=["without", "full", "podmonitor", "listed", "alone", *CONFIGURATIONS],
)
def test_every_object_is_accepted(helm: Helm, chart: Path, kubectl: Kubectl, values: Json):
    """As a dry run, warnings included: those of Pod Security, of deprecated versions, of unknown fields."""
    text = helm.text(values, chart=chart, apis=FOREIGN_KINDS)
    said = kubectl(*DRY_RUN, text=text)
    objects = [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]
    assert len(said.splitlines()) == len(objects) > 10


@pytest.mark.usefixtures("served")
def test_the_charts_own_rules_and_dashboards_are_accepted(helm: Helm, kubectl: Kubectl):
    """Of the chart itself, not of the copy with samples."""
    values = {"metrics": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}}
    rules = yaml.safe_load((ROOT / "charts" / "scaleset-operator" / "files" / "scaleset-rules.yaml").read_text())
    text = helm.text(values)
    rendered = the([*yaml.load_all(text, Loader=yaml.CSafeLoader)], "PrometheusRule")["spec"]
    assert [group["name"] for group in rendered["groups"]] == [group["name"] for group in rules["groups"]]
    assert "prometheusrule.monitoring.coreos.com/r-scaleset-operator serverside" in kubectl(*DRY_RUN, text=text)


@pytest.mark.usefixtures("served")
def test_the_manifest_without_helm_is_accepted(kubectl: Kubectl):
    text = (ROOT / "deploy" / "install.yaml").read_text()
    assert "helm.sh/chart" not in text
    assert "kind: CustomResourceDefinition" not in text, "deleting the operator's file ends no set"
    assert "deployment.apps/scaleset-operator serverside-applied" in kubectl(*DRY_RUN, text=text)


def test_the_admission_policy_has_no_mistake_of_type(released: Cluster, api: Api):
    """The API server checks its expressions against the schema of pods."""
    name = "all-scaleset-operator-pods"

    def checked() -> Json | None:
        status = api.get(POLICY_RULES, None, name).get("status") or {}
        return status.get("typeChecking") if status.get("observedGeneration") else None

    until(lambda: checked() is not None, timeout=60, message="the policy is checked")
    assert checked() == {}


CONFIG_MAPS = Kind("configmaps")


def test_dry_runs_left_nothing_behind(released: Cluster, api: Api):
    assert not [each for each in api.list(CONFIG_MAPS, "ops") if each["metadata"]["name"] != "kube-root-ca.crt"]
