"""`make observe` as its user sees it: it prints where to look, the page is there, and Ctrl-C leaves nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
from time import monotonic, sleep

import pytest
import urllib3

from tests.cluster.harness.cluster import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on PATH; hack/observe/install.sh prometheus"
)


PATIENCE = 300
"""Seconds for what takes ten on an idle machine."""


@pytest.mark.timeout(2 * PATIENCE + 100)
def test_observe_shows_a_fleet_until_ctrl_c(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "hack.observe"],
        cwd=ROOT,
        env={**os.environ, "SCALESET_CLUSTERS": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said = looked_at(process)
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said + rest
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def looked_at(process: "subprocess.Popen[str]") -> str:
    """What it said until the address came, where all sets show in the end."""
    assert process.stdout is not None
    said = ""
    while not (address := re.search(r"http://127\.0\.0\.1:\d+/consoles/\S+", said)):
        line = process.stdout.readline()
        assert line, f"it ended with code {process.wait()}:\n{said}"
        said += line
    deadline = monotonic() + PATIENCE
    missing = ["web", "api", "search", "db"]
    with urllib3.PoolManager() as pool:
        while missing:
            assert monotonic() < deadline, f"{missing} not on the page within {PATIENCE} s"
            page = pool.request("GET", address[0], retries=False, timeout=30)
            assert page.status == 200
            missing = [name for name in missing if f"<b>{name}</b>" not in page.data.decode()]
            sleep(0.2)
    return said
