"""The explorer finds bugs: each of these is put into the planner, and each has to be caught.

Mistakes about batches, gates, runs and writes; `test_verdict_mutants`, `test_in_place_mutants` and
`test_feature_mutants` hold the others.
"""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import batch_judge, batches, gates, outdated, pod_diff, rollout, rollout_end, triggers
from scaleset.planner import decide as decisions
from scaleset.planner.batches import batch_limit
from scaleset.planner.decide import decide
from scaleset.planner.facts import Facts
from scaleset.planner.plan import Deletion, Plan
from scaleset.planner.snapshot import Snapshot
from scaleset.planner.state import NOBODY
from scaleset.planner.step import Step
from tests.exploration import moves
from tests.exploration.mutants import Case, Patch, explored_and_caught, exploring, instead
from tests.exploration.states import Place
from tests.exploration.test_model import edited
from tests.simulation.world import policy

# The gate leaves more room than the size of a batch.
ROOMY = policy(rolling={"maxUnhealthyInstancePercent": 50})


def rounds_batches_up(patch: Patch) -> None:
    patch.setattr(batches, "batch_limit", lambda replicas, percent: max(1, -(-replicas * percent // 100)))


def closes_the_gate_at_exactly_the_limit(patch: Patch) -> None:
    patch.setattr(gates, "exceeds", lambda part, whole, percent: part > 0 and part * 100 >= percent * whole)


def opens_the_gate_always(patch: Patch) -> None:
    patch.setattr(gates.Gate, "open", property(lambda _: True))


def decides_on_old_pods(patch: Patch) -> None:
    patch.setattr(Facts, "fresh", property(lambda _: True))


def deletes_before_it_writes(patch: Patch) -> None:
    def mutant(snapshot: Snapshot) -> Plan:
        plan = decide(snapshot)
        running = plan.state.rollout
        if not plan.deletions or running is None:
            return plan
        return replace(plan, state=replace(plan.state, rollout=replace(running, in_progress=NOBODY)))

    patch.setattr(moves, "decide", mutant)


def writes_the_status_last(patch: Patch) -> None:
    steps = moves._steps

    def mutant(place: Place, plan: Plan) -> tuple[moves.Step, ...]:
        return tuple(sorted(steps(place, plan), key=lambda step: step.verb == "status"))

    patch.setattr(moves, "_steps", mutant)


def restarts_what_is_broken(patch: Patch) -> None:
    rule = pod_diff._authorised
    patch.setattr(pod_diff, "_authorised", lambda instance, replaceable: rule(instance, replaceable) or instance.bad)


def deletes_by_name(patch: Patch) -> None:
    patch.setattr(pod_diff, "_deletion", lambda number, pod: Deletion(number, pod.name, ""))


def forgets_the_way_back(patch: Patch) -> None:
    start = rollout._start_batch

    def mutant(facts: Facts, running: Any, moves: Any, extra: Any) -> Step:
        step = start(facts, running, moves, extra)
        return step.to(replace(step.state, previous={}))

    patch.setattr(rollout, "_start_batch", mutant)


def rolls_to_withdrawn_versions(patch: Patch) -> None:
    patch.setattr(rollout, "_withdrawn", lambda _facts, _rollout: None)


def completes_without_the_newcomers(patch: Patch) -> None:
    instead(patch, rollout, "BATCH", rollout.join, lambda facts: facts.step())


def completes_without_those_replaced_at_once(patch: Patch) -> None:
    patch.setattr(rollout, "replacing", lambda _facts, _rollout: None)


def rolls_while_suspended(patch: Patch) -> None:
    patch.setattr(rollout, "REASONS_TO_WAIT", (rollout.starting,))


def does_not_wait_for_starting_instances(patch: Patch) -> None:
    instead(patch, rollout, "REASONS_TO_WAIT", rollout.starting, lambda _facts, _rollout: None)
    patch.setattr(triggers, "starting", lambda _facts, _rollout: None)


def starts_the_next_batch_before_the_end_of_this(patch: Patch) -> None:
    def mutant(facts: Facts) -> Step:
        step = rollout.advance(facts)
        facts = facts.after(step)
        running = facts.rollout
        early = running is not None and running.in_progress and running.pending and facts.fresh
        admitted = rollout.admit(facts, running) if running is not None and early else None
        return step.then(admitted) if admitted is not None else step

    instead(patch, decisions, "PARTS", rollout.advance, mutant)


def counts_more_instances_than_there_are(patch: Patch) -> None:
    patch.setattr(batches, "batch_limit", lambda replicas, percent: batch_limit(replicas + 5, percent))


def wakes_up_for_nothing(patch: Patch) -> None:
    requests = triggers.asked
    instead(patch, decisions, "PARTS", requests, lambda facts: replace(requests(facts), again=True))


def cancels_in_the_middle_of_a_batch(patch: Patch) -> None:
    judge = batch_judge.judge

    def mutant(facts: Facts) -> Step:
        running = facts.running
        if running.ending is None:
            return judge(facts)
        dropped = facts.roll(replace(running, in_progress=NOBODY))
        return dropped.then(judge(facts.after(dropped)))

    instead(patch, rollout, "BATCH", judge, mutant)


def ends_without_a_reason(patch: Patch) -> None:
    end = rollout_end._end
    patch.setattr(rollout_end, "_end", lambda facts, state, run, code, _error: end(facts, state, run, code, None))


def lets_any_broken_one_through_a_closed_gate(patch: Patch) -> None:
    patch.setattr(outdated, "pass_closed_gate", lambda _facts, _rollout, candidates: list(candidates))


def lets_a_healthy_one_through_a_closed_gate(patch: Patch) -> None:
    patch.setattr(outdated, "pass_closed_gate", lambda _facts, _rollout, candidates: list(candidates))
    patch.setattr(batches, "only_broken", batches.together)


CASES: list[Case] = [
    (rounds_batches_up, "S1", exploring(6, by=ROOMY)),
    (closes_the_gate_at_exactly_the_limit, "4.2", exploring(5, "flap")),
    (opens_the_gate_always, "S2", exploring(3, "flap")),
    (decides_on_old_pods, "S2", exploring(2, budget=1)),
    (deletes_before_it_writes, "S1", exploring(2)),
    (writes_the_status_last, "S1", exploring(2)),
    (restarts_what_is_broken, "S1", exploring(2, "flap")),
    (deletes_by_name, "S7", exploring(1)),
    (forgets_the_way_back, "the way back", exploring(1)),
    (rolls_to_withdrawn_versions, "S8", exploring(2, "user")),
    (completes_without_the_newcomers, "S14", exploring(2, "user")),
    (
        completes_without_those_replaced_at_once,
        "S14",
        exploring(1, "user", by=policy(mode="Automatic", automatic=False), roots=edited),
    ),
    (rolls_while_suspended, "S2", exploring(2, "user")),
    (does_not_wait_for_starting_instances, "S2", exploring(3, "lose")),
    (starts_the_next_batch_before_the_end_of_this, "S1", exploring(3)),
    (counts_more_instances_than_there_are, "S1", exploring(5, by=ROOMY)),
    (wakes_up_for_nothing, "L1", exploring(1)),
    (cancels_in_the_middle_of_a_batch, "S", exploring(2, "user")),
    (ends_without_a_reason, "S14", exploring(1)),
    (lets_any_broken_one_through_a_closed_gate, "S2: admitted with the gate closed", exploring(3, "flap")),
    (lets_a_healthy_one_through_a_closed_gate, "S2: admitted with the gate closed", exploring(3, "flap")),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """Not by an exception somewhere, but by the invariant that it breaks."""
    mutant(monkeypatch)
    explored_and_caught(caught_by, **how)
