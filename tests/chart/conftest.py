"""Fixtures of the chart's tests: helm, a copy of the chart with sample rules and dashboards, a cluster without CRDs."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.chart import CHART
from hack.chart.manifest import helm as pinned_helm
from tests.chart.helm import Helm
from tests.chart.releases import ALL, LISTED, LISTED_NAMESPACES, RESTRICTED, install
from tests.cluster.harness.api import NAMESPACES, Api
from tests.cluster.harness.cluster import Cluster

Kubectl = Callable[..., str]

RULES = """\
groups:
  - name: sample
    rules:
    - alert: Sample
      expr: up == 0
      annotations: {summary: "{{ $labels.namespace }}/{{ $labels.name }} is down", runbook_url: docs/runbooks/Sample.md}
"""
GRAFANA_DASHBOARDS = Path(__file__).parent / "grafanadashboards.yaml"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
AUTOSCALER = "k8s.io/autoscaler/vertical-pod-autoscaler@v1.8.1"


@pytest.fixture(scope="session")
def program() -> Path:
    """The pinned helm, or the one that HELM names."""
    return Path(os.environ["HELM"]).resolve() if "HELM" in os.environ else pinned_helm()


@pytest.fixture(scope="session")
def helm(program: Path) -> Helm:
    """Without a cluster."""
    return Helm(program)


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with a rule, before its own, and a dashboard that the tests know."""
    copy = tmp_path_factory.mktemp("chart") / CHART.name
    shutil.copytree(CHART, copy)
    rules = copy / "files" / "scaleset-rules.yaml"
    rules.write_text(RULES + rules.read_text().partition("groups:\n")[2])
    shutil.rmtree(copy / "files" / "dashboards", ignore_errors=True)
    (copy / "files" / "dashboards").mkdir()
    (copy / "files" / "dashboards" / "fleet.json").write_text(json.dumps({"title": "{{name}}"}))
    return copy


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane without our CRDs: the chart brings them."""
    with Cluster(f"chart-{os.getpid()}", tmp_path_factory.mktemp("cluster"), nodes=3, crds=False) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def released(cluster: Cluster, program: Path, chart: Path) -> Cluster:
    """The cluster with a release that serves all namespaces and one that serves two listed ones."""
    for name in ("ops", ALL.own, LISTED.own):
        cluster.make_namespace(name)
        cluster.api.patch(NAMESPACES, None, name, {"metadata": {"labels": RESTRICTED}})
    for name in (ALL.serves, *LISTED_NAMESPACES):
        cluster.make_namespace(name)
    for release in (ALL, LISTED):
        install(Helm(program, cluster.kubeconfig), release, chart)
    return cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Api:
    return cluster.api


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster) -> Kubectl:
    """Runs kubectl; returns what it says, and fails the test if it fails, or if it does not fail with those words."""

    binary = pinned_helm().parent / "kubectl"

    def run(*arguments: str | Path, text: str = "", refused: str = "") -> str:
        command = [binary, f"--kubeconfig={cluster.kubeconfig}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=text)
        if refused:
            assert done.returncode, f"not refused: {done.stdout}"
            assert refused in done.stderr, done.stderr
        else:
            assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def foreign_crds() -> list[Path]:
    """The CRDs of the Prometheus operator and of the autoscaler, from their Go modules; of the first only those that
    the chart has objects of. That of grafana-operator is no Go module: ours has the fields that the chart sets, as
    grafana-operator has them.
    """
    folder = go_module(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    monitoring = [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in kinds]
    return [*monitoring, GRAFANA_DASHBOARDS, go_module(AUTOSCALER) / "deploy" / "vpa-v1-crd-gen.yaml"]


def go_module(module: str) -> Path:
    """Its folder, downloaded where it is missing."""
    done = subprocess.run(
        ["/usr/bin/env", "go", "mod", "download", "-json", module],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    return Path(json.loads(done.stdout)["Dir"])
