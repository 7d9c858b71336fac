"""The commands of the README's section on kind, as they stand there, in a cluster of their own."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cluster import ROOT
from tests.kind.harness.cluster import UP, run

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("images")]
SECTION = "### Install with Helm into kind"


def commands() -> list[str]:
    """What follows the prompts of the section."""
    section = (ROOT / "README.md").read_text().partition(f"{SECTION}\n")[2].partition("\n##")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def name() -> Iterator[str]:
    """Of a cluster that is gone afterwards, whatever became of it."""
    name = f"readme-{os.getpid()}"
    yield name
    run([UP, "--delete", name])


def test_the_commands_of_the_readme_work(name: str) -> None:
    """All in one shell that ends at the first error. Only the name of the cluster is another."""
    given = commands()
    assert len(given) == 10
    script = "\n".join(["set -euxo pipefail", *given]).replace("kind/scaleset.", f"kind/{name}.")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env=environment | {"KIND": name, "SCALESET_WATCH_PID": str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-8000:]
    assert re.search(r"^web +5 .*1\.0\.0 \(4\), 1\.1\.0 \(1\) +1", ended.stdout, re.MULTILINE), ended.stdout[-3000:]
