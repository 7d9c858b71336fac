"""`make test` on a machine that lacks something ends with what was left out, and how to have it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str, left_out: Path) -> str:
    # Without a PATH no promtool is found, whatever this machine has.
    environment = {**os.environ, "LEFT_OUT": str(left_out), "PATH": str(left_out.parent)}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_last_line_says_what_was_left_out(tmp_path: Path) -> None:
    left_out = tmp_path / "left-out"
    assert run("hack.left_out", left_out=left_out) == "All tests were run; nothing was left out.\n"
    alone = ("-p", "no:cacheprovider", "-p", "no:xdist", "-q", "tests/observability/test_alert_rules.py")
    run("pytest", *alone, left_out=left_out)
    told = run("hack.left_out", left_out=left_out)
    count, _, rest = told.partition(" tests were left out. ")
    assert int(count) > 10
    assert rest == f"{count}: promtool is not on PATH; hack/observe/install.sh prometheus.\n"
