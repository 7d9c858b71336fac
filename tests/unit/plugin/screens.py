"""Records what people see on terminals of 60, 100 and 160 columns, in tmux, during real rollouts: docs/cli/*.txt.

    python -m tests.unit.plugin.screens     (five minutes; needs tmux)

Look at the difference before you commit it.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from tests.cluster.harness.api import POLICIES, SCALE_SETS, Api
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.unit.plugin.record import Json, batch, code, publish, ready, session, status, tell

FOLDER = ROOT / "docs" / "cli"
WIDTHS = (60, 100, 160)
HEIGHT = 40
SCENES = ("list", "rollout", "fault", "many")
TIMEOUT = 300.0
MANY = 200
TMUX = shutil.which("tmux") or "tmux"


def main() -> None:
    if not shutil.which(TMUX):
        raise SystemExit("tmux was not found: install it (Debian, Ubuntu: apt-get install tmux).")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Cluster("cli-screens", Path(folder), start="3s") as cluster:
        cluster.make_namespace("demo")
        operator = Operator(
            kubeconfig=cluster.kubeconfig,
            namespaces=[],
            log=Path(folder) / "operator.log",
            arguments=["--leader-elect", "--leader-election-namespace", "demo"],
        )
        with operator.at_work(), session(cluster) as (environment, place):
            record(cluster.api, Terminals(environment, place))


class Terminals:
    """One tmux server with a terminal of each width."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._folder = folder
        self._socket = str(folder / "tmux")
        self._servers = 0

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [TMUX, "-u", "-f", "/dev/null", "-S", self._socket, *arguments],
            env=self._environment,
            cwd=self._folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    @contextmanager
    def running(self, command: str) -> Iterator[None]:
        """That command in every terminal of a server of its own."""
        self._servers += 1
        self._socket = str(self._folder / f"tmux-{self._servers}")
        for width in WIDTHS:
            size = ["-x", str(width), "-y", str(HEIGHT)]
            self._tmux("new-session", "-d", "-s", str(width), *size, f"PS1= bash --norc -c '{command}; sleep 600'")
        try:
            yield
        finally:
            self._tmux("kill-server")

    def shown(self, width: int) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p", "-t", str(width)).rstrip() + "\n"

    def keep(self, name: str, command: str, *, words: str) -> None:
        """Write the screens down as soon as each of them has these words."""
        for width in WIDTHS:
            deadline = monotonic() + TIMEOUT
            while words not in (screen := self.shown(width)):
                if monotonic() > deadline:
                    raise SystemExit(f"{words!r} was not seen on {width} columns within {TIMEOUT:g} s:\n{screen}")
                sleep(0.1)
            path = FOLDER / f"{name}-{width}.txt"
            path.write_text(f"$ {command}\n{screen}")
            tell(f"recorded {path.relative_to(ROOT)}")


def record(api: Api, terminals: Terminals) -> None:
    api.apply(POLICIES, "demo", upgrade_policy(healthTimeout="PT10S"))
    publish_in(api, "1.0.0", "fast")
    for name, replicas in (("web", 10), ("many", MANY), ("pinned", 3)):
        version = "1.0.0" if name == "pinned" else "latest"
        api.create(SCALE_SETS, "demo", scale_set(name, replicas=replicas, version=version))
    until(api, "web", lambda found: status(found).get("healthyReplicas") == 10 and ready(found) == "Healthy")
    until(api, "many", lambda found: status(found).get("healthyReplicas") == MANY and ready(found) == "Healthy")
    api.patch(SCALE_SETS, "demo", "many", {"spec": {"suspend": True}})
    scene(terminals, "rollout", "kubectl scaleset get web -w", api, version="1.1.0", words="batch 3 of 5")
    until(api, "web", lambda found: code(found) == "Completed")
    scene(terminals, "fault", "kubectl scaleset get web -w", api, version="1.2.0", words="Next:", behaviour="pullfail")
    until(api, "web", lambda found: code(found) == "Faulted" and ready(found) == "Faulted")
    api.patch(SCALE_SETS, "demo", "many", {"spec": {"imageReference": {"version": "1.1.0"}, "suspend": False}})
    api.patch(
        SCALE_SETS,
        "demo",
        "many",
        {"metadata": {"annotations": {"scaleset.dev/start-model-rollout-at": "now"}}},
    )
    command = "kubectl scaleset get many -w"
    with terminals.running(command):
        terminals.keep("many", command, words="batch 2 of 5")
    with terminals.running("kubectl scaleset list"):
        terminals.keep("list", "kubectl scaleset list", words="web")


def scene(
    terminals: Terminals, name: str, command: str, api: Api, *, version: str, words: str, behaviour: str = ""
) -> None:
    """A rollout to that version, seen from its first batch on."""
    publish_in(api, version, behaviour)
    until(api, "web", lambda found: code(found) == "RollingForward" and batch(found) >= 1)
    with terminals.running(command):
        terminals.keep(name, command, words=words)


def publish_in(api: Api, version: str, behaviour: str = "") -> None:
    publish(api, version, behaviour, namespace="demo")


def until(api: Api, name: str, when: Callable[[Json], object]) -> None:
    def seen(found: Json | None) -> bool:
        return found is not None and bool(when(found))

    api.wait(SCALE_SETS, "demo", name, seen, timeout=TIMEOUT, message=f"{name} is ready for its picture")


if __name__ == "__main__":
    main()
