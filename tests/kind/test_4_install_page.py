"""The commands of docs/start/install.md about kind, as they stand there, in a cluster of their own."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cluster import ROOT
from tests.commands import printed
from tests.kind.harness.cluster import UP, run

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("images")]
SECTION = "## Install with Helm into kind"


def commands() -> list[str]:
    """What follows the prompts of the section."""
    section = (ROOT / "docs" / "start" / "install.md").read_text().partition(f"{SECTION}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def name() -> Iterator[str]:
    """Of a cluster that is gone afterwards, whatever became of it."""
    name = f"install-{os.getpid()}"
    yield name
    run([UP, "--delete", name])


def test_the_commands_of_the_page_work(name: str) -> None:
    """All in one shell that ends at the first error. Only the name of the cluster is another."""
    given = commands()
    assert len(given) == 10
    script = "\n".join(["set -euxo pipefail", *given]).replace("kind/scaleset.", f"kind/{name}.")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    told = {"KIND": name, "SCALESET_WATCH_PID": str(os.getpid())}
    output = printed("/bin/bash", "-c", script, env=environment | told)
    assert re.search(r"^web +5 .*1\.0\.0 \(4\), 1\.1\.0 \(1\) +1", output, re.MULTILINE), output[-3000:]
