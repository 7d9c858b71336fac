"""The rules as promtool sees them. The cases are plain files for `promtool test rules`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hack.monitoring.rules import ROOT, SOURCE

PROMTOOL = shutil.which("promtool")
CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH; hack/observe/install.sh prometheus")


def promtool(*arguments: str | Path) -> str:
    ended = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_the_rules_are_valid():
    assert "10 rules found" in promtool("check", "rules", "--lint-fatal", SOURCE)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_alert_fires_when_it_should_and_only_then(path):
    assert "SUCCESS" in promtool("test", "rules", path)
