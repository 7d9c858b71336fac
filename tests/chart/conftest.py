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
from tests.cluster.harness.api import Api
from tests.cluster.harness.cluster import Cluster

Kubectl = Callable[..., str]

RULES = """\
groups:
- name: sample
  rules:
  - alert: Sample
    expr: up == 0
    annotations: {summary: "{{ $labels.namespace }}/{{ $labels.name }} is down"}
"""
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"


@pytest.fixture(scope="session")
def program() -> Path:
    return pinned_helm()


@pytest.fixture(scope="session")
def helm(program: Path) -> Helm:
    """Without a cluster."""
    return Helm(program)


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with a rule and a dashboard that the tests know."""
    copy = tmp_path_factory.mktemp("chart") / CHART.name
    shutil.copytree(CHART, copy)
    (copy / "files" / "scaleset-rules.yaml").write_text(RULES)
    shutil.rmtree(copy / "files" / "dashboards", ignore_errors=True)
    (copy / "files" / "dashboards").mkdir()
    (copy / "files" / "dashboards" / "fleet.json").write_text(json.dumps({"title": "{{name}}"}))
    return copy


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane without our CRDs: the chart brings them. Each module has its own, since CRDs are everybody's."""
    name = f"chart-{request.path.stem.replace('_', '-')}-{os.getpid()}"
    with Cluster(name, tmp_path_factory.mktemp("cluster"), nodes=3, crds=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Api:
    return cluster.api


@pytest.fixture(scope="module")
def installer(program: Path, cluster: Cluster) -> Helm:
    """helm for the cluster."""
    return Helm(program, cluster.kubeconfig)


@pytest.fixture(scope="module")
def kubectl(program: Path, cluster: Cluster) -> Kubectl:
    """Runs kubectl; returns what it says, and fails the test if it fails."""

    def run(*arguments: str | Path, text: str | None = None, refused: str = "") -> str:
        command = [program.parent / "kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=text or "")
        if refused:
            assert done.returncode, f"not refused: {done.stdout}"
            assert refused in done.stderr, done.stderr
        else:
            assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def monitoring_crds() -> list[Path]:
    """The Prometheus operator's own CRDs, from its Go module; only those that the chart has objects of."""
    done = subprocess.run(
        ["/usr/bin/env", "go", "mod", "download", "-json", PROMETHEUS_OPERATOR],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    folder = Path(json.loads(done.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    return [
        folder / f"monitoring.coreos.com_{kind}.yaml" for kind in ("servicemonitors", "podmonitors", "prometheusrules")
    ]
