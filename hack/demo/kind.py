"""The demo in kind: a real kubelet with real containers, and the operator as Helm installs it."""

import os
import secrets
import subprocess
from pathlib import Path
from typing import Self

from hack.ended import NotPossibleError
from kubectl_scaleset.client import Client

from .place import ROOT, Script, told

SCRIPTS = ROOT / "hack" / "kind"
CHART = ROOT / "charts" / "scaleset-operator"
OPERATOR = "scaleset-operator"
NAMESPACE = "scaleset-system"
TAGS = ["1.0.0", "1.1.0", "1.2.0-bad", "1.2.1"]


class Kind:
    """A `Place` with one real node and the operator's image in it."""

    target = "kind-demo"
    title = "start a kind cluster and install the operator with Helm"
    health_timeout = 30
    patience = 4

    def __init__(self, binaries: Path, images: list[str]) -> None:
        self.binaries, self._images = binaries, images
        self.name = f"demo-{secrets.token_hex(2)}"
        self.about = (
            f"Cluster {self.name} is a real node in a container: kubelet, containers, probes and volumes. "
            "Takes about a minute."
        )
        folder = Path(os.environ.get("SCALESET_KIND") or ROOT / ".work" / "kind").absolute()
        self.kubeconfig = folder / f"{self.name}.kubeconfig"
        self._mark = folder / f"{self.name}.watched-by-{os.getpid()}"
        self._script = Script(SCRIPTS / "up.sh")

    @classmethod
    def prepared(cls) -> Self:
        """With an engine, the tools, the node's image and ours: minutes the first time, with a line for each."""
        told([SCRIPTS / "engine.sh"])
        binaries = Path(*told([ROOT / "hack" / "cluster" / "build.sh"], WITH_KIND="1", WITH_HELM="1"))
        told([SCRIPTS / "up.sh", "--node-image"])
        operator = told([ROOT / "hack" / "image" / "build.sh"])
        return cls(binaries, [*operator, *told([SCRIPTS / "instance" / "build.sh", *TAGS])])

    def start_cluster(self) -> None:
        self._script.run("--watch-pid", str(os.getpid()), self.name)

    def start_operator(self, client: Client) -> None:  # noqa: ARG002 - the chart has the custom resources
        self._script.run("--load", self.name, *self._images)
        options = ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"]
        self._call("helm", "install", OPERATOR, str(CHART), *options)

    def operator_runs(self) -> bool:
        """The kubelet sees to that; a rollout that does not go on is noticed by its deadline."""
        return True

    def operator_log(self, count: int) -> list[str]:
        if not self.kubeconfig.exists():
            return []
        try:
            said = self._call("kubectl", "--namespace", NAMESPACE, "logs", f"deployment/{OPERATOR}", f"--tail={count}")
        except NotPossibleError as error:
            said = str(error)
        return said.splitlines()[-count:]

    def keep(self) -> None:
        self._mark.unlink(missing_ok=True)

    def delete(self) -> None:
        self._script.end()
        self._script.run("--delete", self.name)

    def delete_command(self) -> str:
        return f"make kind-down KIND={self.name}"

    def kubectl(self, name: str) -> str:
        kubeconfig = self.kubeconfig.with_name(f"{name}.kubeconfig")
        if kubeconfig.is_relative_to(Path.cwd()):
            kubeconfig = kubeconfig.relative_to(Path.cwd())
        return f"KUBECONFIG={kubeconfig} {self.binaries}/kubectl"

    def metrics_command(self) -> str:
        return f"{self.kubectl(self.name)} --namespace {NAMESPACE} port-forward service/{OPERATOR}-metrics 8080"

    def _call(self, tool: str, *arguments: str) -> str:
        ended = subprocess.run(
            [self.binaries / tool, *arguments],
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise NotPossibleError(f"{tool} {' '.join(arguments)} failed:\n{ended.stderr.rstrip()}")
        return ended.stdout
