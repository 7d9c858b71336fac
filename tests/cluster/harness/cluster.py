"""A real control plane for a test session, started and deleted by hack/cluster/up.sh."""

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import yaml

from .api import NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, Api, Items, Json

ROOT = Path(__file__).parents[3]
UP = ROOT / "hack" / "cluster" / "up.sh"


def kubernetes_minor() -> int:
    """Of the version that the clusters of this session have: that of today, or KUBE's."""
    script = f"source {ROOT}/hack/cluster/versions.sh; echo $KUBE_MINOR"
    return int(subprocess.run(["/bin/bash", "-c", script], check=True, capture_output=True, text=True).stdout)


class Cluster:
    """`with Cluster("name", directory) as cluster:` its nodes are simulated. Afterwards it is gone, even by kill -9.

    `crds=False` for tests of how our CRDs get there; `options` are further ones of up.sh.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        nodes: int = 10,
        start: str = "1s",
        crds: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        self.name, self.nodes, self.start, self.crds, self.options = name, nodes, start, crds, options
        self.kubeconfig = directory / "kubeconfig"
        self.audit_log = directory / "audit.log"
        self.api: Api

    def __enter__(self) -> Self:
        # The first time this builds the Kubernetes binaries (minutes), with a line for each on the terminal.
        subprocess.run(
            [
                *(UP, "--kubeconfig", self.kubeconfig, "--audit", self.audit_log, "--start", self.start),
                *("--watch-pid", str(os.getpid()), *self.options, self.name, str(self.nodes)),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        self.api = Api(self.kubeconfig)
        for path in sorted((ROOT / "crds").glob("*.yaml")) if self.crds else ():
            self.api.apply_file(path)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        subprocess.run(
            [UP, "--delete", "--kubeconfig", self.kubeconfig, self.name], check=True, stdin=subprocess.DEVNULL
        )

    def make_namespace(self, name: str) -> str:
        """A namespace that is ready for pods: they are refused until its default service account is there."""
        self.api.create(NAMESPACES, None, {"metadata": {"name": name}})
        message = f"namespace {name} gets its default service account"
        self.api.wait(SERVICE_ACCOUNTS, name, "default", bool, timeout=120, message=message)
        return name

    def kubeconfig_of(self, namespace: str, account: str, directory: Path) -> Path:
        """A kubeconfig with nothing but a token of that service account."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        found = config["clusters"][0]["cluster"]
        if authority := found.pop("certificate-authority", None):
            found["certificate-authority-data"] = base64.b64encode(Path(authority).read_bytes()).decode()
        config["users"][0]["user"] = {"token": self.api.create_token(namespace, account)}
        path = directory / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def lose_node(self, name: str) -> None:
        """The node reports no more: Ready=Unknown, its pods Ready=False.

        In a real cluster the node controller does both, after minutes; set by hand it happens now and looks the same.
        """
        self.api.label(NODES, None, name, lost="true")
        conditions = self.api.get(NODES, None, name)["status"]["conditions"]
        lost = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        self.api.patch(
            NODES, None, name, {"status": {"conditions": _with_ready(conditions, lost)}}, subresource="status"
        )
        for pod in self.api.list(PODS):
            if pod["spec"].get("nodeName") == name:
                conditions = _with_ready(pod["status"].get("conditions") or [], {"status": "False"})
                where = pod["metadata"]["namespace"], pod["metadata"]["name"]
                self.api.patch(PODS, *where, {"status": {"conditions": conditions}}, subresource="status")

    def find_node(self, name: str) -> None:
        """The node reports again. Pods that lost Ready meanwhile stay so; their containers were never restarted."""
        self.api.label(NODES, None, name, lost=None)


def _with_ready(conditions: Items, change: Json) -> Items:
    return [{**each, **change} if each["type"] == "Ready" else each for each in conditions]
