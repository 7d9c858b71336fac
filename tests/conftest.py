"""How tests run, whoever starts them.

How properties are tested: the same examples in every run, so that what fails in CI fails on a desk.

`HYPOTHESIS_PROFILE=search` draws new ones every time. No limits of time in either: a loaded machine proves nothing.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", parent=settings.get_profile("same"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A shell that starts us in the background has SIGINT ignored, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Notes why tests were left out, for the last line of `make test` (hack/left_out.py)."""
    if path := os.environ.get("LEFT_OUT"):
        reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())]
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{reason}\n" for reason in reasons)


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Iterator[Callable[[str], None]]:
    """Prints whether or not pytest captures: the figures of a test."""
    lines: list[str] = []
    yield lines.append
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *(f"  {line}" for line in lines), sep="\n")  # noqa: T201 - this is what the test is for
