"""Limits the cost of the garbage collector. It stops the event loop, and the operator creates no garbage that needs it.

Modules, models of the Kubernetes API and records of pods live as long as the process, and a full collection walks all
of them: 53 ms with 10,000 pods, in the middle of other work. So existing objects are set aside, and collections are
rarer, since parsed JSON has many containers and no cycles.
"""

import gc

ALLOCATIONS = 10_000
"""Net new containers before a collection of the youngest; Python's default of 700 is ten pods of a list."""


def look_less() -> None:
    """Make collections rarer; called at the start, after all imports."""
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, middle, old)


def set_aside() -> None:
    """Exclude existing objects from collection; called once, after the first lists."""
    gc.collect()
    gc.freeze()
