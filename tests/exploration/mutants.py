"""How mutants are tried: a mistake is put into the planner, and the explorer has to catch it.

A checker that never fails proves nothing. Every mutant is a mistake that somebody could make in one line; every case
names the invariant that catches it and the smallest exploration that does.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from scaleset.api.upgrade_policy import UpgradePolicySpec
from tests.exploration.explorer import EVERYTHING, Explorer, FoundError
from tests.exploration.states import Place
from tests.exploration.test_model import image
from tests.simulation.world import policy

Patch = pytest.MonkeyPatch
Case = tuple[Callable[[Patch], None], str, dict[str, Any]]
"""A mutant, the invariant that it breaks, and what to explore."""


def exploring(replicas: int, *kinds: str, budget: int | None = None, **how: Any) -> dict[str, Any]:
    """What to explore: so many instances, and `budget` events of these kinds (of all kinds if none is named).

    Without a budget it is one event of the kinds that are named, and none if none is.
    """
    events = len(kinds[:1]) if budget is None else budget
    return {"replicas": replicas, "budget": events, "kinds": kinds or EVERYTHING, **how}


def instead(patch: Patch, owner: Any, name: str, part: Callable[..., Any], mutant: Callable[..., Any]) -> None:
    """Puts a mutant into the place of a part of a decision, in the tuple `owner.name` of such parts."""
    parts = getattr(owner, name)
    assert part in parts, f"{name} has no {part.__name__} any more: this mistake changes nothing"
    patch.setattr(owner, name, tuple(mutant if each is part else each for each in parts))


def explored_and_caught(caught_by: str, **how: Any) -> None:
    """Not by an exception somewhere, but by that invariant."""
    with pytest.raises(FoundError) as found:
        _explore(**how)
    assert caught_by in str(found.value).splitlines()[0]


def _explore(
    replicas: int,
    *,
    budget: int = 0,
    kinds: Iterable[str] = EVERYTHING,
    by: UpgradePolicySpec | None = None,
    roots: Callable[[int], list[Place]] = image,
) -> None:
    explorer = Explorer(by or policy(), kinds=frozenset(kinds), most=20_000)
    explorer.explore([place._replace(left=budget) for place in roots(replicas)])
