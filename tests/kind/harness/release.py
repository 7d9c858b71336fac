"""The operator as people run it: a Helm release, two replicas, its image on the node."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import yaml

from tests.cluster.harness.api import DEPLOYMENTS, LEASES, NAMESPACES, PODS, Json
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.fleet import until
from tests.cluster.harness.scene import ready

from .cluster import KindCluster

CHART = ROOT / "charts" / "scaleset-operator"
NAME = "scaleset-operator"
NAMESPACE = "scaleset-system"
IMAGE = f"scaleset-operator:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"
LABELS = f"app.kubernetes.io/name={NAME},app.kubernetes.io/component=operator"
DEADLINE = "300s"


class Release:
    """One release, called as the README calls it. `install` also upgrades, as `helm upgrade --install` does."""

    def __init__(self, cluster: KindCluster) -> None:
        self.cluster = cluster
        self.install_seconds = 0.0

    def install(self, chart: Path = CHART, *values: str) -> None:
        """Returns when Helm says that every replica is ready. The namespace enforces Pod Security `restricted`."""
        if self.cluster.api.find(NAMESPACES, None, NAMESPACE) is None:
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            self.cluster.api.create(NAMESPACES, None, {"metadata": {"name": NAMESPACE, "labels": labels}})
        began = monotonic()
        self.cluster.helm("upgrade", "--install", NAME, str(chart), "--namespace", NAMESPACE, *values,
                          "--wait", "--timeout", DEADLINE)  # fmt: skip
        self.install_seconds = monotonic() - began

    def uninstall(self) -> None:
        """Afterwards no pod of it is left."""
        self.cluster.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait", "--timeout", DEADLINE)
        until(lambda: not self.pods(), timeout=120, message="the operator's pods are gone")

    def pods(self) -> list[Json]:
        return self.cluster.api.list(PODS, NAMESPACE, selector=LABELS)

    def ready(self) -> bool:
        """Whether all of its replicas are."""
        found = self.cluster.api.find(DEPLOYMENTS, NAMESPACE, NAME)
        return found is not None and sum(map(ready, self.pods())) == found["spec"]["replicas"]

    def holder(self) -> str:
        """The pod that holds the lease; an empty string when nobody does."""
        lease = self.cluster.api.find(LEASES, NAMESPACE, NAME) or {"spec": {}}
        identity: str = lease["spec"].get("holderIdentity") or ""
        return identity.rpartition("_")[0]

    def log(self) -> str:
        """What its containers said, those that ended and were started again included."""
        return "\n".join(self._logs())

    def _logs(self) -> Iterator[str]:
        for pod in self.pods():
            name = pod["metadata"]["name"]
            restarted = any(each["restartCount"] for each in pod["status"].get("containerStatuses") or [])
            for which in [["--previous"], []] if restarted else [[]]:
                with contextlib.suppress(AssertionError):  # it went away while we asked
                    said = self.cluster.kubectl("--namespace", NAMESPACE, "logs", name, *which)
                    yield from (f"{name}: {line}" for line in said.splitlines())
