"""Where the story is played: what it needs of a cluster and an operator, and nothing about how they are started."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hack.ended import NotPossibleError
from kubectl_scaleset.client import Client

ROOT = Path(__file__).parents[2]


class Place(Protocol):
    """One cluster with its operator. `delete` may be called at any time.

    `target` is that of make. `title` and `about` are what is said before it starts. `health_timeout`: seconds that an
    instance gets to become healthy there. `patience`: what is waited for takes so many times as long as with simulated
    nodes.
    """

    name: str
    kubeconfig: Path
    target: str
    title: str
    about: str
    health_timeout: int
    patience: int

    def start_cluster(self) -> None:
        """Returns once the API server answers."""

    def start_operator(self, client: Client) -> None:
        """With our custom resources. Returns once it is ready."""

    def operator_runs(self) -> bool: ...

    def operator_log(self, count: int) -> list[str]:
        """Its last lines."""

    def keep(self) -> None:
        """From now on the cluster outlives this process."""

    def delete(self) -> None: ...

    def delete_command(self) -> str:
        """For the reader to copy, as the next two."""

    def kubectl(self, name: str) -> str:
        """How to call kubectl on a cluster of that name."""

    def metrics_command(self) -> str: ...


class Script:
    """A script that is run to its end, and ended when the demo is interrupted meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> str:
        """What it said. Raises when it failed."""
        self._running = subprocess.Popen(
            [self._path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said, _ = self._running.communicate()
        if self._running.returncode:
            where = self._path.relative_to(ROOT)
            raise NotPossibleError(f"{where} {' '.join(arguments)} failed:\n{said.rstrip()}")
        return said

    def end(self) -> None:
        """The whole group, because bash waits for what it runs."""
        if self._running is not None and self._running.poll() is None:
            os.killpg(self._running.pid, 15)
            self._running.wait()


def told(command: Sequence[str | Path], **environment: str) -> list[str]:
    """Lines of standard output of a script that says on the terminal what it does, and why it failed."""
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    if ended.returncode:
        raise NotPossibleError("")  # it said why
    return ended.stdout.split()
