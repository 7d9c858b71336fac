"""The operator as its users run it: a process of its own, told from outside what to do."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import urllib3

from hack.ended import end
from hack.ports import reserve_port


class Operator:
    """One `scaleset-operator` process at a time; `start` after `kill` or `terminate` keeps ports, arguments and log."""

    def __init__(
        self,
        *,
        kubeconfig: Path,
        namespaces: list[str],
        log: Path,
        arguments: list[str],
        program: Sequence[str] = (sys.executable, "-m", "scaleset"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_path = log
        self.metrics_address = f"127.0.0.1:{reserve_port(self)}"
        self.health_address = f"127.0.0.1:{reserve_port(self)}"
        self._environment = dict(environment or {})
        self._command = [*program, "--kubeconfig", str(kubeconfig)]
        for namespace in namespaces:
            self._command += ["--namespace", namespace]
        self._command += ["--metrics-bind-address", self.metrics_address, "--health-bind-address", self.health_address]
        self._command += arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        assert self._process is None or self._process.poll() is not None, "the operator is running already"
        with self.log_path.open("ab") as log:
            environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"} | self._environment
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def wait_ready(self, timeout: float = 30) -> None:
        """Until /readyz says yes. There is nothing to watch but the endpoint itself, so it is asked again and again."""
        deadline = monotonic() + timeout
        while monotonic() < deadline:
            code = self._running().poll()
            assert code is None, f"the operator ended with code {code} before it was ready:\n{self.log()[-3000:]}"
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self.health("/readyz") == 200:
                    return
            sleep(0.05)
        raise AssertionError(f"the operator was not ready within {timeout:g} s:\n{self.log()[-3000:]}")

    @contextlib.contextmanager
    def at_work(self, *, timeout: float = 30) -> Iterator[Self]:
        """Started, ready within that time, and stopped at the end."""
        self.start()
        try:
            self.wait_ready(timeout)
            yield self
        finally:
            self.stop()

    def health(self, path: str = "/healthz") -> int:
        """The HTTP status of a health endpoint."""
        return self._get(f"{self.health_address}{path}").status

    def metrics(self) -> str:
        return self._get(f"{self.metrics_address}/metrics").data.decode()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT freeze and thaw it, as a starved or paused machine does."""
        self._running().send_signal(number)

    def kill(self) -> None:
        """As the kernel does it when memory is short: nothing is tidied up."""
        process = self._running()
        process.kill()
        process.wait(timeout=10)

    def terminate(self, timeout: float = 20) -> int:
        """As a Deployment does it. Returns the exit code."""
        process = self._running()
        process.terminate()
        return process.wait(timeout=timeout)

    def restart(self) -> None:
        """A clean end and a new start, until it is ready again."""
        self.terminate()
        self.start()
        self.wait_ready()

    def stop(self) -> None:
        """Whatever its state: afterwards no process is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            end(self._process, seconds=10)

    def wait_exit(self, timeout: float) -> int:
        """The exit code of a process that ends by itself, e.g. after it lost its lease."""
        return self._running().wait(timeout=timeout)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the operator was not started"
        return self._process

    def _get(self, address: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager() as pool:
            return pool.request("GET", f"http://{address}", retries=False, timeout=5)


Start = Callable[..., Operator]
"""What the fixture `operator` is: starts one with the arguments that are given."""
