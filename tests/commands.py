"""Commands as a person runs them from the repository's folder."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def printed(
    *command: str | Path, env: Mapping[str, str] | None = None, given: str = "", timeout: float | None = None
) -> str:
    """What it prints, on both of its outputs, with that as its input. It has to succeed."""
    ended = ran(*command, env=env, given=given, timeout=timeout)
    assert ended.returncode == 0, ended.stdout[-20_000:]
    return ended.stdout


def ran(
    *command: str | Path,
    folder: Path = ROOT,
    env: Mapping[str, str] | None = None,
    given: str = "",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """How it ended, with what it printed on both of its outputs as one."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
    )
