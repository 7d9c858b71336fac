"""The explorer finds mistakes about what the user asks for: each of these is put into the planner, and is caught."""

from dataclasses import replace

import pytest

from scaleset.planner import by_hand, outdated, requests
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.state import Rollout
from scaleset.planner.step import Step
from tests.exploration.mutants import Case, Patch, explored_and_caught
from tests.exploration.states import Place, steady
from tests.exploration.test_asked import asked
from tests.exploration.test_model import edited
from tests.simulation.world import policy


def restarting(replicas: int) -> list[Place]:
    return asked("restart", steady(replicas))


def rolling_by_hand(replicas: int) -> list[Place]:
    return asked("model_rollout", edited(replicas)[0])


def remembers_a_failed_restart(patch: Patch) -> None:
    patch.setattr(Rollout, "judges", property(lambda _: True))


def skips_an_instance(patch: Patch) -> None:
    restart = outdated._to_restart
    patch.setattr(outdated, "_to_restart", lambda facts, run: {n: b for n, b in restart(facts, run).items() if n})


def takes_any_pod_for_a_restarted_one(patch: Patch) -> None:
    same = Build.same_as
    patch.setattr(Build, "same_as", lambda build, pod: same(replace(build, restart=None), pod))


def begins_a_restart_again_and_again(patch: Patch) -> None:
    patch.setattr(requests, "handled", lambda facts, _request, _value: facts.state)


def ignores_the_policys_suspend(patch: Patch) -> None:
    patch.setattr(Snapshot, "suspension", property(lambda _: None))


def forgets_a_request_that_it_cannot_begin_yet(patch: Patch) -> None:
    """What waits for the end of a rollout is never asked again."""
    patch.setattr(by_hand, "_waits", lambda _facts, _start: True)


def loses_what_the_batch_of_a_start_wants(patch: Patch) -> None:
    start = by_hand.start

    def mutant(facts: Facts) -> Step:
        return replace(start(facts), again=False)

    patch.setattr(by_hand, "start", mutant)


CASES: list[Case] = [
    (remembers_a_failed_restart, "4.7", {"replicas": 2, "budget": 1, "kinds": {"slow"}, "roots": restarting}),
    (skips_an_instance, "S14", {"replicas": 2, "roots": restarting}),
    (takes_any_pod_for_a_restarted_one, "S14", {"replicas": 1, "roots": restarting}),
    (begins_a_restart_again_and_again, "L1", {"replicas": 1, "roots": restarting}),
    (ignores_the_policys_suspend, "S2", {"replicas": 2, "budget": 1, "kinds": {"requests"}}),
    (forgets_a_request_that_it_cannot_begin_yet, "L1", {"replicas": 1, "roots": rolling_by_hand}),
    (
        loses_what_the_batch_of_a_start_wants,
        "L1",
        {"replicas": 1, "budget": 2, "kinds": {"lose", "slow"}, "roots": restarting},
    ),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """Not by an exception somewhere, but by the invariant that it breaks."""
    mutant(monkeypatch)
    explored_and_caught(caught_by, **{"by": policy(), **how})
