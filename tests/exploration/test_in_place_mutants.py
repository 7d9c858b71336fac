"""The explorer finds mistakes about images that are changed in running pods, as in `test_mutants`."""

from dataclasses import replace

import pytest

from scaleset.planner import batch_judge, health, in_place
from scaleset.planner.instances import Pod
from tests.exploration.mutants import Case, Patch, explored_and_caught, exploring
from tests.exploration.test_model import IN_PLACE, edited
from tests.exploration.test_mutants import writes_the_status_last
from tests.simulation.world import policy

CHANGING = policy(**IN_PLACE)


def takes_stale_ready_for_the_new_images(patch: Patch) -> None:
    rule = health.healthy_since

    def mutant(pod: Pod, *, by: str) -> float | None:
        return rule(replace(pod, current=True), by=by)

    patch.setattr(health, "healthy_since", mutant)
    patch.setattr(batch_judge, "healthy_since", mutant)


def changes_in_place_by_name(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(in_place, "change", lambda *known: replace(change(*known), uid=""))


def changes_whatever_became_of_the_pod(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(in_place, "change", lambda *known: replace(change(*known), resource_version=""))


def changes_in_place_what_needs_a_new_pod(patch: Patch) -> None:
    patch.setattr(in_place, "_difference", lambda _before, _after: None)


def counts_the_deadline_of_a_change_from_the_creation(patch: Patch) -> None:
    patch.setattr(Pod, "begun", property(lambda pod: pod.created))


def forgets_which_container_ran_before(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(
        in_place, "change", lambda facts, number, pod, build: change(facts, number, replace(pod, change=None), build)
    )


CASES: list[Case] = [
    (takes_stale_ready_for_the_new_images, "S14", exploring(1, by=CHANGING)),
    (changes_in_place_by_name, "S7", exploring(1, by=CHANGING)),
    (changes_whatever_became_of_the_pod, "S7", exploring(1, by=CHANGING)),
    (changes_in_place_what_needs_a_new_pod, "S4", exploring(1, by=policy(mode="Rolling", **IN_PLACE), roots=edited)),
    (counts_the_deadline_of_a_change_from_the_creation, "S10", exploring(1, by=CHANGING)),
    (forgets_which_container_ran_before, "S10", exploring(1, "slow", by=CHANGING)),
    (writes_the_status_last, "S1", exploring(1, by=CHANGING)),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """Not by an exception somewhere, but by the invariant that it breaks."""
    mutant(monkeypatch)
    explored_and_caught(caught_by, **how)
