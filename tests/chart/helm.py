"""The real helm, and what it renders as objects."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from hack.chart import CHART

Json = dict[str, Any]
FULL = Path(__file__).parent / "full.yaml"
CONFIGURATIONS = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
"""Values that people have, by name, where chart-testing looks for them."""
FOREIGN_KINDS = (
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "grafana.integreatly.org/v1beta1/GrafanaDashboard",
    "autoscaling.k8s.io/v1/VerticalPodAutoscaler",
)
"""What a cluster serves with both operators of monitoring and the autoscaler, as helm is told of it."""


class HelmError(Exception):
    """helm said no; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """A helm program for one cluster, or for none."""

    program: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str | Path) -> str:
        """What it prints. HelmError if it fails."""
        cluster: list[str | Path] = [] if self.kubeconfig is None else ["--kubeconfig", self.kubeconfig]
        command = [self.program, *arguments, *cluster]
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise HelmError(done.stderr)
        return done.stdout

    def text(
        self, values: Json | None = None, *, chart: Path = CHART, release: str = "r", apis: Sequence[str] = ()
    ) -> str:
        """What a release in namespace `ops` is rendered to, without a cluster; `apis` beside Kubernetes' own."""
        served = [f"--api-versions={each}" for each in apis]
        with given(values) as options:
            return self.run("template", release, chart, "--namespace", "ops", *options, *served)

    def render(
        self, values: Json | None = None, *, chart: Path = CHART, release: str = "r", apis: Sequence[str] = ()
    ) -> list[Json]:
        """The same as objects, hooks included."""
        text = self.text(values, chart=chart, release=release, apis=apis)
        return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found]


@contextmanager
def given(values: Json | None) -> Iterator[list[str]]:
    """The options that hand values to helm."""
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        yield ["--values", file.name]


def of_kind(objects: list[Json], kind: str, name: str = "") -> list[Json]:
    """Objects of a kind, all or those of a name."""
    return [each for each in objects if each["kind"] == kind and name in ("", each["metadata"]["name"])]


def the(objects: list[Json], kind: str, name: str = "") -> Json:
    """The only object of a kind and name."""
    found = of_kind(objects, kind, name)
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]
