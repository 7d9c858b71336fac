"""The commands of a page of docs/, played word for word."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hack.chart.manifest import helm as pinned_helm
from tests.cluster.harness.cluster import ROOT, Cluster


def commands(page: str, heading: str) -> list[str]:
    """What stands behind `$` in the console blocks under a heading, lines that go on put together."""
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\$ (.+)$", section, re.MULTILINE)
    assert found, f"docs/{page} has no commands under {heading!r}"
    return found


def play(
    page: str, heading: str, program: Path, cluster: Cluster, *, instead: Mapping[str, str] | None = None
) -> list[str]:
    """Plays them with that helm; `instead` fills in what a page leaves open. Returns what each command says."""
    path = f"{program.parent}{os.pathsep}{pinned_helm().parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path}
    said = []
    for command in commands(page, heading):
        filled = command
        for name, value in (instead or {}).items():
            filled = filled.replace(name, value)
        done = subprocess.run(
            shlex.split(filled), check=False, capture_output=True, text=True, cwd=ROOT, env=environment
        )
        assert done.returncode == 0, f"{filled}: {done.stderr}"
        said.append(done.stdout)
    return said
