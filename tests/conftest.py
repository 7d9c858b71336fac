"""How tests run, whoever starts them.

How properties are tested: the same examples in every run, so that what fails in CI fails on a desk.

`HYPOTHESIS_PROFILE=search` draws new ones every time. No limits of time in either: a loaded machine proves nothing.
"""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", parent=settings.get_profile("same"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A shell that starts us in the background has SIGINT ignored, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
