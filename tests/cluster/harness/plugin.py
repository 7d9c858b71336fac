"""`kubectl scaleset` as its users run it, and users who may do only so much."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubectl_scaleset.__main__ import run

from .api import SCALE_SETS, SERVICE_ACCOUNTS, Api, Json, Kind
from .cluster import ROOT

RBAC = "rbac.authorization.k8s.io"
ROLES, BINDINGS = Kind("roles", RBAC), Kind("rolebindings", RBAC)
TIMEOUT = 120.0
_SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    error: str


class Plugin:
    """Runs the plugin as a process of its own, with a kubeconfig whose context names the namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.namespace = namespace
        self.folder = folder

    def __call__(self, *arguments: str, code: int | None = 0) -> Answer:
        """Run it to its end, in this process: starting one takes longer than most verbs. `code` is the exit code that
        it must have, None for any.
        """
        out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        before = os.environ.get("KUBECONFIG")
        os.environ["KUBECONFIG"] = str(self.kubeconfig)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), contextlib.chdir(self.folder):
                ended = run(arguments)
        finally:
            os.environ.pop("KUBECONFIG")
            if before is not None:
                os.environ["KUBECONFIG"] = before
        return self._checked(Answer(ended, _text(out), _text(error)), arguments, code)

    def process(self, *arguments: str, code: int | None = 0) -> Answer:
        """Run it to its end as a process of its own."""
        process = self.start(*arguments)
        out, error = process.communicate(timeout=TIMEOUT)
        return self._checked(Answer(process.returncode, out, error), arguments, code)

    @staticmethod
    def _checked(answer: Answer, arguments: tuple[str, ...], code: int | None) -> Answer:
        assert "Traceback" not in answer.error, answer.error
        assert code is None or answer.code == code, f"{' '.join(arguments)}: {answer}"
        return answer

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Run it beside the test."""
        return subprocess.Popen(
            self.command(*arguments),
            **{
                "env": self.environment(),
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "encoding": "utf-8",
                **options,
            },
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kubectl_scaleset", *arguments]

    def environment(self, **changes: str) -> dict[str, str]:
        """Plugin and kubectl on the PATH, the test's kubeconfig, warnings as a user would see them."""
        path = os.pathsep.join([str(_SCRIPTS), str(kubectl().parent), os.environ["PATH"]])
        own = {"KUBECONFIG": str(self.kubeconfig), "PATH": path, "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "error"}
        return {**os.environ, **own, **changes}


def wait_for_web(api: Api, plugin: Plugin, when: Callable[[Json], object], *, timeout: float = 90.0) -> Json:
    """The set `web` of the plugin's namespace, once it has a status that is as it should be."""
    found = api.wait(
        SCALE_SETS,
        plugin.namespace,
        "web",
        lambda each: each is not None and bool(each.get("status")) and bool(when(each)),
        timeout=timeout,
        message="the set is as it should be",
    )
    assert found is not None
    return found


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def kubectl() -> Path:
    """The kubectl of the embedded cluster, else the machine's."""
    done = subprocess.run([ROOT / "hack/cluster/build.sh"], check=True, capture_output=True, text=True)
    found = Path(done.stdout.strip()) / "kubectl"
    return found if found.exists() else Path(shutil.which("kubectl") or "kubectl")


def limited(plugin: Plugin, api: Api, name: str, rules: Sequence[Mapping[str, Any]]) -> Path:
    """A kubeconfig of a service account that may do only that in the plugin's namespace."""
    namespace = plugin.namespace
    api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})
    role = {"metadata": {"name": name}, "rules": list(rules)}
    api.create(ROLES, namespace, {"apiVersion": f"{RBAC}/v1", "kind": "Role", **role})
    binding: Json = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    api.create(BINDINGS, namespace, binding)
    config = yaml.safe_load(plugin.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": api.create_token(namespace, name)}
    path = plugin.folder / f"{name}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
