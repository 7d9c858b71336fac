"""Commands as a person runs them from the repository's folder."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def printed(
    *command: str | Path, env: Mapping[str, str] | None = None, given: str = "", timeout: float | None = None
) -> str:
    """What it prints, on both of its outputs, with that as its input. It has to succeed."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=env,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert ended.returncode == 0, ended.stdout[-20_000:]
    return ended.stdout
