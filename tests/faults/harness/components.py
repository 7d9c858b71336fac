"""The processes of a test's own control plane, killed, frozen and started again: those of the cluster that is given."""

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from time import monotonic, monotonic_ns, sleep
from typing import IO, Self

import yaml

from hack.ports import reserve_port
from tests.cluster.harness.api import NAMESPACES, PODS, SCALE_SETS, SERVICE_ACCOUNTS, Api, ApiError
from tests.cluster.harness.cluster import ROOT, Cluster

from .link import EtcdLink


class Component:
    """One of etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok-controller."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        state = Path(os.environ.get("SCALESET_CLUSTERS", ROOT / ".work" / "clusters"))
        self.folder = state / "clusters" / cluster.name
        self._pid_file = self.folder / "pids" / f"{name}.pid"
        self._log = self.folder / "logs" / f"{name}.log"
        documents = yaml.safe_load_all((self.folder / "kwok.yaml").read_text())
        (found,) = (each for body in documents for each in body.get("components") or () if each["name"] == name)
        self.command: list[str] = [found["binary"], *found["args"]]

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    @property
    def lives(self) -> bool:
        return _lives(self.pid)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """With -9; returns when it is gone. `ControlPlane.answers` gives back the ports that are held for it."""
        PORTS.hold()
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        deadline = monotonic() + 20
        while _lives(pid):
            assert monotonic() < deadline, f"process {pid} does not go"
            sleep(0.02)

    def start(self) -> None:
        """As it was started before. It is nobody's child, so that whoever deletes the cluster finds it gone at once."""
        command = f"{shlex.join(self.command)} >>{shlex.quote(str(self._log))} 2>&1 & echo -n $!"
        shell = subprocess.run(
            ["/usr/bin/setsid", "/bin/sh", "-c", command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        self._pid_file.write_text(shell.stdout)

    def back_up(self, target: Path) -> None:
        """A copy of etcd's data as it is at this moment."""
        self.freeze()
        try:
            shutil.copytree(self.folder / "etcd", target)
        finally:
            self.thaw()

    def restore(self, source: Path) -> None:
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(source, self.folder / "etcd")


class _Ports:
    """While they are held, nobody starts a cluster (hack/cluster/up.sh): it would take the ports of what is dead for a
    while for free ones.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def hold(self) -> None:
        if self._file is None:
            self._file = (Path(gettempdir()) / "scaleset-cluster-ports.lock").open("a")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class ControlPlane:
    """All of them. When the API server is back the others begin anew, or they would be what is measured: client-go
    waits 30 s, or up to twice that, between two tries of a watch, so they may sleep on for a minute.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.server, self.etcd = Component(cluster, "kube-apiserver"), Component(cluster, "etcd")
        self._nodes = Component(cluster, "kwok-controller")
        self._others = [Component(cluster, name) for name in ("kube-controller-manager", "kube-scheduler")]

    def lose_server(self) -> None:
        """Kills the API server. Who plays the nodes stands still meanwhile: a new one would not know what was begun."""
        self._nodes.freeze()
        self.server.kill()

    def answers(self, *, timeout: float = 90) -> None:
        """Waits until the API server can read from etcd and write to it; then the others run."""
        try:
            _wait(self._no_answer, timeout, "the API server does not answer")
            for component in self._others:
                if component.lives:
                    component.kill()
            self._start_others()
            self._nodes.thaw()
            self._remind_nodes()
        finally:
            PORTS.release()

    def whole(self, *, timeout: float = 120) -> None:
        """Waits until the others work as well: one that lost its lease may end a while after the outage."""
        PORTS.release()
        probe = f"probe-{monotonic_ns()}"
        self._cluster.api.create(NAMESPACES, None, {"metadata": {"name": probe}})

        def problem() -> Exception | None:
            self._start_others()
            return _problem_of(lambda: self._cluster.api.get(SERVICE_ACCOUNTS, probe, "default"))

        _wait(problem, timeout, "nobody makes service accounts")

    def _remind_nodes(self) -> None:
        """Who plays the nodes gives up what was not carried out, and looks at a pod again when it changes."""
        for pod in self._cluster.api.list(PODS):
            metadata = pod["metadata"]
            body = {"metadata": {"uid": metadata["uid"], "annotations": {"tests/reminded": str(monotonic_ns())}}}
            with suppress(ApiError):  # it is gone, or another one
                self._cluster.api.patch(PODS, metadata["namespace"], metadata["name"], body)

    def _start_others(self) -> None:
        for component in (*self._others, self._nodes):
            if not component.lives:
                component.start()

    def _no_answer(self) -> Exception | None:
        def ask() -> None:
            self._cluster.api.list(NAMESPACES)
            self._cluster.api.try_create(NAMESPACES, None, {"metadata": {"name": "probe"}})

        return _problem_of(ask)


class SecondServer:
    """`with SecondServer(cluster) as second:` another API server at `second.address`, on the same etcd, with the same
    audit log. Inside of `second.behind()` it lags behind.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._first = Component(cluster, "kube-apiserver")
        (etcd,) = (part for part in self._first.command if part.startswith("--etcd-servers="))
        self.link = EtcdLink(int(etcd.rpartition(":")[2]))
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._port = reserve_port(self)
        self.address = f"https://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.link.__enter__()
        other = {"--secure-port": self._port, "--etcd-servers": f"http://127.0.0.1:{self.link.port}"}
        names = [part.partition("=")[0] for part in self._first.command]
        command = [
            f"{name}={other[name]}" if name in other else part
            for name, part in zip(names, self._first.command, strict=True)
        ]
        with (self._first.folder / "logs" / "kube-apiserver-2.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", *command],
                cwd=self._first.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._answers()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)
        self.link.__exit__()

    @contextmanager
    def behind(self) -> Iterator[None]:
        """Its caches, and what it says in watches, stand still; at the end they catch up."""
        with self.link.behind():
            yield

    def _answers(self, *, timeout: float = 120) -> None:
        config = yaml.safe_load(self._cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = self.address
        kubeconfig = self._first.folder / "second.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        api = Api(kubeconfig)

        def problem() -> Exception | None:
            assert self._process is not None
            assert self._process.poll() is None, "the second API server ended: see logs/kube-apiserver-2.log"
            return _problem_of(lambda: api.list(SCALE_SETS))

        try:
            _wait(problem, timeout, "the second API server does not answer")
        finally:
            api.close()


PORTS = _Ports()


def _wait(problem: Callable[[], Exception | None], timeout: float, message: str) -> None:
    deadline = monotonic() + timeout
    while found := problem():
        assert monotonic() < deadline, f"{message}: {found}"
        sleep(0.2)


def _problem_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is down
        return error
    return None


def _lives(pid: int) -> bool:
    """While one of its threads is there it has its ports, though the first one may be gone already."""
    process = Path("/proc") / str(pid)
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
