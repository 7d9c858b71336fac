"""What the garbage collector may cost: nothing of ours is garbage that only it finds, and it stops the event loop.

Modules, models of the Kubernetes API and records of pods live as long as the process, and a full collection goes
through all of them: 53 ms with 10,000 pods, in the middle of whatever runs. What is there already is set aside, and
lists in JSON, which are all containers and no cycles, make it look less often.
"""

import gc

ALLOCATIONS = 10_000
"""Containers made, less those gone, before it looks at the youngest; Python's own 700 are ten pods of a list."""


def look_less() -> None:
    """From the start on, when everything is imported."""
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, middle, old)


def set_aside() -> None:
    """Once, when everything was listed: what is known now is not looked at again."""
    gc.collect()
    gc.freeze()
