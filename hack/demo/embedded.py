"""A cluster and its operator, for a demo: started here, and gone afterwards however the demo ends.

The cluster is watched by hack/cluster/reap.sh, which deletes it when this process is gone. The operator lives as long
as its cluster: a shell ends it once the kubeconfig is deleted. So `make cluster-down` ends both after KEEP=1.
"""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import urllib3

from hack.ended import NotPossibleError, end
from hack.ports import reserve_port
from kubectl_scaleset.client import Client

from . import objects
from .place import ROOT, Script, told

SCRIPTS = ROOT / "hack" / "cluster"
UNTIL_DELETED = 'while [ -e "$0" ] && kill -0 "$1"; do sleep 1; done; kill "$1"'


class Embedded:
    """A `Place` with simulated nodes and the operator as a process."""

    target = "demo"
    title = "start a Kubernetes control plane and the operator"
    health_timeout = 7
    patience = 1

    def __init__(self, binaries: Path, *, prefix: str = "demo") -> None:
        self.binaries = binaries
        self.name = f"{prefix}-{secrets.token_hex(2)}"
        self.about = (
            f"Cluster {self.name} is a real etcd, API server, scheduler and controller manager; only its nodes are "
            "simulated. Takes about five seconds."
        )
        self.folder = Path(os.environ.get("SCALESET_CLUSTERS") or ROOT / ".work" / "clusters").absolute()
        self.kubeconfig = self.folder / f"{self.name}.kubeconfig"
        self.metrics = f"127.0.0.1:{reserve_port(self)}"
        self.data = self.folder / "clusters" / self.name  # gone with the cluster
        self._log = self.data / "logs" / "operator.log"
        self._script = Script(SCRIPTS / "up.sh")
        self._operator: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepared(cls, *, prefix: str = "demo") -> Self:
        """With the Kubernetes binaries: the first time they are built or downloaded, with a line for each."""
        if shutil.which("bash") is None:
            raise NotPossibleError("bash was not found: the scripts that start the cluster need it.")
        return cls(Path(*told([SCRIPTS / "build.sh"])), prefix=prefix)

    def start_cluster(self) -> None:
        self._script.run("--watch-pid", str(os.getpid()), "--start", "1s", self.name, "5")

    def start_operator(self, client: Client) -> None:
        objects.install(client)
        health = f"127.0.0.1:{reserve_port(self)}"
        command = [sys.executable, "-m", "scaleset", "--kubeconfig", str(self.kubeconfig), "--no-leader-elect"]
        command += ["--metrics-bind-address", self.metrics, "--health-bind-address", health]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is for the demo, which then ends it in good order.
            self._operator = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        subprocess.Popen(
            ["sh", "-c", UNTIL_DELETED, str(self.kubeconfig), str(self._operator.pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = monotonic() + 30
        while self.operator_runs():
            if _answers(f"http://{health}/readyz"):
                return
            if monotonic() > deadline:
                raise NotPossibleError("The operator was not ready within 30 seconds.")
            sleep(0.05)
        raise NotPossibleError("The operator ended before it was ready.")

    def operator_runs(self) -> bool:
        return self._operator is not None and self._operator.poll() is None

    def operator_log(self, count: int) -> list[str]:
        if not self._log.exists():
            return []
        return self._log.read_text(errors="replace").splitlines()[-count:]

    def keep(self) -> None:
        """From now on the cluster outlives this process: its watcher ends without doing anything."""
        (self.folder / f"{self.name}.watched-by-{os.getpid()}").unlink(missing_ok=True)

    def delete(self) -> None:
        """The operator first, then its cluster."""
        if self._operator is not None and self._operator.poll() is None:
            end(self._operator, seconds=10)
        self._script.end()
        self._script.run("--delete", self.name)

    def delete_command(self) -> str:
        if "SCALESET_CLUSTERS" in os.environ:
            return f"SCALESET_CLUSTERS={self.folder} make cluster-down CLUSTER={self.name}"
        return f"make cluster-down CLUSTER={self.name}"

    def kubectl(self, name: str) -> str:
        kubeconfig = self.folder / f"{name}.kubeconfig"
        if kubeconfig.is_relative_to(Path.cwd()):
            kubeconfig = kubeconfig.relative_to(Path.cwd())
        return f"KUBECONFIG={kubeconfig} {self._kubectl()}"

    def metrics_command(self) -> str:
        return f"curl {self.metrics}/metrics"

    def _kubectl(self) -> str:
        if shutil.which("kubectl"):
            return "kubectl"
        cached = self.binaries / "kubectl"
        if cached.exists():
            return f"~/{cached.relative_to(Path.home())}" if cached.is_relative_to(Path.home()) else str(cached)
        return f"{self.binaries}/kwokctl kubectl"


def _answers(url: str) -> bool:
    try:
        with urllib3.PoolManager() as pool:
            return pool.request("GET", url, retries=False, timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False
