"""How programs of hack/ end, and those that they started: an exit code for each way, and no stack trace."""

import signal
import subprocess
import sys
from types import FrameType
from typing import Any


class NotPossibleError(Exception):
    """It cannot be done here; the message says what is missing. Empty: that was said already."""


ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end it as Ctrl-C does: what was started is cleaned up."""
    for number in ENDINGS:
        signal.signal(number, _end)


def undisturbed() -> None:
    """From now on: a second Ctrl-C leaves nothing half deleted."""
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, signal.SIG_IGN)


def end(process: subprocess.Popen[Any], *, seconds: float) -> None:
    """SIGTERM, and SIGKILL for a process that still runs after so many seconds."""
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def not_possible(error: NotPossibleError) -> int:
    """The exit code."""
    if str(error):
        print(error, file=sys.stderr, flush=True)
    return 1


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
