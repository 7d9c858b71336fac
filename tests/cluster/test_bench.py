"""The benchmark in small, as a user runs it: it must not rot between two whole runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import Results
from bench.timeline import MILESTONES
from tests.cluster.harness.cluster import ROOT


@pytest.mark.timeout(600)  # four rollouts, each with a controller that is started twice
def test_two_contenders_with_five_instances(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    command = [sys.executable, "-m", "bench", "--only", "ours,deployment", "--sizes", "5", "--no-bad-image"]
    done = subprocess.run([*command, "--rows", rows], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results.load(rows)
    pods = {(row.contender, row.limits): row.writes.get("pods") for row in results.rollouts}
    assert pods == {
        ("ours", "defaults"): 10,
        ("ours-in-place", "defaults"): 5,
        ("deployment", "defaults"): 10,
        ("deployment", "raised"): 10,
    }
    assert {row.most_unavailable for row in results.rollouts} == {1}
    assert all((row.overhead or 0) > 0 for row in results.rollouts)
    assert "ScaleSet in place" in done.stdout


@pytest.mark.timeout(600)  # six rollouts
def test_two_contenders_in_turns(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    command = [
        sys.executable,
        "-m",
        "bench",
        "--only",
        "ours,deployment",
        "--sizes",
        "5",
        "--turns",
        "2",
        "--busy",
        "1",
    ]
    done = subprocess.run([*command, "--rows", rows], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    taken = [(turn.round, turn.contender) for turn in Results.load(rows).turns]
    assert taken == [(number, name) for number in (1, 2) for name in ("ours", "ours-in-place", "deployment")]
    assert "In turns, N=5, beside 1 busy loops" in done.stdout
    assert "ScaleSet in place ÷ Deployment" in done.stdout


@pytest.mark.timeout(300)
def test_the_timeline_of_a_batch(tmp_path: Path) -> None:
    """What the API server, the scheduler and the simulated nodes say of a real rollout, in its order."""
    rows = tmp_path / "rows.json"
    command = [sys.executable, "-m", "bench", "--only", "ours", "--sizes", "10", "--timeline", "1"]
    done = subprocess.run([*command, "--rows", rows], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.contender: line for line in Results.load(rows).timelines}
    assert {name: line.batches for name, line in lines.items()} == {"ours": 4, "ours-in-place": 4}
    recreated = [lines["ours"].milestones[name] for name in MILESTONES]
    assert recreated[:5] == sorted(recreated[:5])
    assert recreated[-3:] == sorted(recreated[-3:])
    assert "the last is bound" not in lines["ours-in-place"].milestones
