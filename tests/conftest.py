"""How tests run, whoever starts them.

How properties are tested: the same examples in every run, so that what fails in CI fails on a desk.

`HYPOTHESIS_PROFILE=search` draws new ones every time. No limits of time in either: a loaded machine proves nothing.
"""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", parent=settings.get_profile("same"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A shell that starts us in the background has SIGINT ignored, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Iterator[Callable[[str], None]]:
    """Prints whether or not pytest captures: the figures of a test."""
    lines: list[str] = []
    yield lines.append
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *(f"  {line}" for line in lines), sep="\n")  # noqa: T201 - this is what the test is for
