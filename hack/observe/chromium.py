"""Pictures of pages, rendered by headless Chromium."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hack.ended import NotPossibleError

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
# Without the last four it tries to reach its maker at every start.
FLAGS: Final = (
    "--headless",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def screenshot(url: str, path: Path, *, width: int, height: int, settle: int = 3000) -> None:
    """Writes a PNG of the page as it is after `settle` milliseconds of its own time."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise NotPossibleError(
            "Chromium was not found on PATH: install it (hack/observe/install.sh does it as root on Debian)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with TemporaryDirectory() as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command += [f"--virtual-time-budget={settle}", f"--screenshot={path}", url]
        if os.getuid() == 0:
            command.insert(1, "--no-sandbox")  # it refuses to run as root with one
        ended = subprocess.run(
            command,
            env={**os.environ, "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    if ended.returncode or not path.exists():
        raise NotPossibleError(f"Chromium made no picture of {url}:\n{ended.stdout[-1000:]}")
