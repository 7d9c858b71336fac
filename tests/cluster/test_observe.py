"""`make observe` as its user sees it: it prints where to look, the page is there, and Ctrl-C leaves nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
from time import monotonic

import pytest
import urllib3

from tests.cluster.harness.cluster import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on PATH; hack/observe/install.sh prometheus"
)


@pytest.mark.timeout(400)
def test_observe_shows_a_fleet_until_ctrl_c(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "hack.observe"],
        cwd=ROOT,
        env={**os.environ, "SCALESET_CLUSTERS": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    deadline = monotonic() + 300
    address = None
    try:
        while address is None and monotonic() < deadline:
            line = process.stdout.readline()
            assert line, f"it ended with code {process.wait()}:\n{''.join(said)}"
            said.append(line)
            address = re.search(r"http://127\.0\.0\.1:\d+/consoles/\S+", line)
        assert address, "".join(said)
        with urllib3.PoolManager() as pool:
            page = pool.request("GET", address[0], retries=False, timeout=30)
            assert page.status == 200
            assert all(f"<b>{name}</b>" in page.data.decode() for name in ("web", "api", "search", "db"))
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, "".join(said) + rest
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.NewConnectionError):
        pool.request("GET", address[0], retries=False, timeout=5)
