"""What a person sees of a scene: the real kubectl, and the plugin as kubectl finds it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .plugin import TIMEOUT, Answer, Plugin, kubectl, limited
from .scene import Scene


class Screen:
    """Each command is a process of its own: scenes are played at the same time."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self._api = scene.api
        self._plugin = Plugin(scene.cluster.kubeconfig, scene.namespace, folder)
        self._kubectl = str(kubectl())

    def kubectl(self, *arguments: str, code: int = 0) -> Answer:
        """Run it to its end; `code` is the exit code that it must have."""
        done = subprocess.run(
            [self._kubectl, *arguments],
            env=self._plugin.environment(),
            cwd=self._plugin.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=TIMEOUT,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in answer.error, answer.error
        assert answer.code == code, f"kubectl {' '.join(arguments)}: {answer}"
        return answer

    def scaleset(self, *arguments: str, code: int = 0) -> Answer:
        """`kubectl scaleset ...`."""
        return self.kubectl("scaleset", *arguments, code=code)

    def row(self, name: str = "web", *, kind: str = "scalesets", wide: bool = False) -> dict[str, str]:
        """The line of `kubectl get`, by column."""
        options = ["-o", "wide"] if wide else []
        heads, cells = self.kubectl("get", kind, name, *options).out.splitlines()
        found = list(re.finditer(r"\S+", heads))
        ends = [*(each.start() for each in found[1:]), None]
        return {each[0]: cells[each.start() : end].strip() for each, end in zip(found, ends, strict=True)}

    def cells(self, *columns: str, name: str = "web") -> tuple[str | None, ...]:
        """Those columns of a set; None where there is no such column."""
        row = self.row(name)
        return tuple(row.get(column) for column in columns)

    def may(self, user: str, *rules: dict[str, Any]) -> str:
        """A kubeconfig of somebody who may do only that."""
        return str(limited(self._plugin, self._api, user, rules))


@contextmanager
def screen_of(scene: Scene) -> Iterator[Screen]:
    """A screen in front of that scene."""
    with TemporaryDirectory() as folder:
        yield Screen(scene, Path(folder))
