"""How properties are tested: the same examples in every run, so that what fails in CI fails on a desk.

`HYPOTHESIS_PROFILE=search` draws new ones every time. No limits of time in either: a loaded machine proves nothing.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", parent=settings.get_profile("same"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
