"""A kind cluster for a test session, started and deleted by hack/kind/up.sh, and the tools that go with it."""

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.cluster.harness.api import Api
from tests.cluster.harness.cluster import ROOT, Cluster

UP = ROOT / "hack" / "kind" / "up.sh"
BUILD_BINARIES = ROOT / "hack" / "cluster" / "build.sh"
BUILD_INSTANCES = ROOT / "hack" / "kind" / "instance" / "build.sh"
BUILD_OPERATOR = ROOT / "hack" / "image" / "build.sh"


class KindCluster(Cluster):
    """`with KindCluster("name", directory) as cluster:` with a real node. Afterwards it is gone, even by kill -9."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        self.node = f"{name}-control-plane"
        self.tools: Path

    def __enter__(self) -> Self:
        self.tools = Path(output([BUILD_BINARIES], WITH_KIND="1", WITH_HELM="1"))
        run(
            [UP, "--kubeconfig", self.kubeconfig, "--audit", self.audit_log, "--watch-pid", str(os.getpid()), self.name]
        )
        self.api = Api(self.kubeconfig)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        run([UP, "--delete", "--kubeconfig", self.kubeconfig, self.name])

    def load(self, *images: str) -> None:
        """Copies images from the docker engine onto the node."""
        run([UP, "--load", self.name, *images])

    def kubectl(self, *arguments: str, timeout: float = 120) -> str:
        """What kubectl prints. A failure shows what it said."""
        return output([self.tools / "kubectl", *arguments], timeout=timeout, KUBECONFIG=str(self.kubeconfig))

    def helm(self, *arguments: str, timeout: float = 600) -> str:
        return output([self.tools / "helm", *arguments], timeout=timeout, KUBECONFIG=str(self.kubeconfig))

    def on_node(self, script: str) -> str:
        """What a shell script prints that runs on the node, as root."""
        return output(["docker", "exec", self.node, "sh", "-euc", script])


def run(command: list[str | Path]) -> None:
    """Starts a script of ours; what it says goes to the terminal."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def output(command: list[str | Path], *, timeout: float = 3600, **environment: str) -> str:
    """What a command prints, without the last line break."""
    ended = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
    )
    said = f"{ended.stdout}\n{ended.stderr}".strip()
    assert ended.returncode == 0, f"{' '.join(map(str, command))} ended with {ended.returncode}:\n{said[-6000:]}"
    return ended.stdout.rstrip("\n")
