"""The explorer finds bugs: each of these is put into the planner, and each has to be caught.

A checker that never fails proves nothing. Every mutant is a mistake that somebody could make in one line.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scaleset.planner.draft import Draft

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner import (
    batches,
    breach,
    deadlines,
    desired,
    endings,
    gates,
    health,
    in_place,
    outdated,
    rollout,
    settling,
    starts,
)
from scaleset.planner.batches import batch_limit
from scaleset.planner.decide import decide
from scaleset.planner.instances import Instance, Pod
from scaleset.planner.snapshot import Deletion, Plan, Snapshot
from scaleset.planner.state import NOBODY, Batch, Clock, Ended, Rollout, State
from tests.exploration import moves
from tests.exploration.explorer import EVERYTHING, Explorer, FoundError
from tests.exploration.states import Place
from tests.exploration.test_model import HALF, IN_PLACE, edited, image
from tests.simulation.world import policy

Patch = pytest.MonkeyPatch
# The gate leaves more room than the size of a batch.
CHANGING = policy(**IN_PLACE)
ROOMY = policy(rolling={"maxUnhealthyInstancePercent": 50})


def rounds_batches_up(patch: Patch) -> None:
    patch.setattr(batches, "batch_limit", lambda replicas, percent: max(1, -(-replicas * percent // 100)))


def closes_the_gate_at_exactly_the_limit(patch: Patch) -> None:
    patch.setattr(gates, "exceeds", lambda part, whole, percent: part > 0 and part * 100 >= percent * whole)


def opens_the_gate_always(patch: Patch) -> None:
    patch.setattr(gates.Gate, "open", property(lambda _: True))


def decides_on_old_pods(patch: Patch) -> None:
    patch.setattr(Draft, "need_fresh", lambda _: True)


def judges_deadlines_on_old_pods(patch: Patch) -> None:
    settle = settling.settle

    def mutant(draft: Draft) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Draft, "need_fresh", lambda _: True)
            settle(draft)

    patch.setattr(settling, "settle", mutant)


def restores_what_broke_after_its_batch(patch: Patch) -> None:
    advance = rollout.advance

    def mutant(draft: Draft) -> None:
        advance(draft)
        running = draft.rollout
        for number in running.successful if running is not None else ():
            if draft.instances[number].bad:
                back = replace(draft.state.builds[number], version="1.0.0")
                draft.state = replace(draft.state, builds={**draft.state.builds, number: back})

    patch.setattr(rollout, "advance", mutant)


def restores_the_healthy_ones_of_the_batch_too(patch: Patch) -> None:
    restore = settling.restore

    def mutant(state: State, restoring: set[int]) -> State:
        return restore(state, set(state.previous) if restoring else restoring)

    patch.setattr(settling, "restore", mutant)


def tries_failed_versions_again(patch: Patch) -> None:
    patch.setattr(outdated, "remembered", lambda _draft, _target: None)


def forgets_what_failed(patch: Patch) -> None:
    patch.setattr(outdated, "remember", lambda _draft, _rollout, _reason: None)


def ignores_the_gate_after_a_batch(patch: Patch) -> None:
    patch.setattr(breach, "found", lambda _draft, _rollout, **_: None)


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
    rule = desired._to_be_replaced

    def mutant(draft: Draft, instance: Instance, pod: Pod, replaceable: frozenset[int]) -> bool:
        return rule(draft, instance, pod, replaceable) or (instance.bad and not pod.deleting)

    patch.setattr(desired, "_to_be_replaced", mutant)


def deletes_by_name(patch: Patch) -> None:
    patch.setattr(desired, "_deletion", lambda number, pod: Deletion(number, pod.name, ""))


def forgets_the_way_back(patch: Patch) -> None:
    start = rollout._start_batch

    def mutant(draft: Draft, running: Any, moves: Any, extra: Any) -> None:
        start(draft, running, moves, extra)
        draft.state = replace(draft.state, previous={})

    patch.setattr(rollout, "_start_batch", mutant)


def rolls_to_withdrawn_versions(patch: Patch) -> None:
    patch.setattr(rollout, "_withdrawn", lambda _draft, _rollout: None)


def completes_without_the_newcomers(patch: Patch) -> None:
    patch.setattr(rollout, "_join", lambda _draft: None)


def completes_without_those_replaced_at_once(patch: Patch) -> None:
    following = rollout._next

    def mutant(draft: Draft, *, last: Batch | None) -> None:
        applying = draft.state.applying
        draft.state = replace(draft.state, applying=NOBODY)
        following(draft, last=last)
        draft.state = replace(draft.state, applying=applying)

    patch.setattr(rollout, "_next", mutant)


def rolls_while_suspended(patch: Patch) -> None:
    patch.setattr(rollout, "_hold", lambda draft, _rollout: rollout.starting(draft))


def does_not_wait_for_starting_instances(patch: Patch) -> None:
    patch.setattr(rollout, "starting", lambda _draft: None)
    patch.setattr(starts, "starting", lambda _draft: None)


def has_no_deadline(patch: Patch) -> None:
    verdict = settling._verdict
    patch.setattr(settling, "_verdict", lambda *known: (verdict(*known)[0], None))


def has_a_deadline_at_once(patch: Patch) -> None:
    verdict = settling._verdict

    def mutant(draft: Draft, *known: Any) -> tuple[bool, float | None]:
        healthy, due = verdict(draft, *known)
        return healthy, None if due is None else draft.now

    patch.setattr(settling, "_verdict", mutant)


def starts_the_next_batch_before_the_end_of_this(patch: Patch) -> None:
    advance = rollout.advance

    def mutant(draft: Draft) -> None:
        advance(draft)
        running = draft.rollout
        if running is not None and running.in_progress and running.pending and draft.snapshot.fresh:
            rollout._admit(draft, running)

    patch.setattr(rollout, "advance", mutant)


def counts_more_instances_than_there_are(patch: Patch) -> None:
    patch.setattr(batches, "batch_limit", lambda replicas, percent: batch_limit(replicas + 5, percent))


def wakes_up_for_nothing(patch: Patch) -> None:
    scale = starts.requests

    def mutant(draft: Draft) -> None:
        draft.wake(draft.now)
        scale(draft)

    patch.setattr(starts, "requests", mutant)


def cancels_in_the_middle_of_a_batch(patch: Patch) -> None:
    settle = settling.settle

    def mutant(draft: Draft) -> None:
        running = draft.running
        if running.ending is not None:
            draft.update(replace(running, in_progress=NOBODY))
        settle(draft)

    patch.setattr(settling, "settle", mutant)


def ends_without_a_reason(patch: Patch) -> None:
    end = endings._end
    patch.setattr(endings, "_end", lambda draft, running, code, _error: end(draft, running, code, None))


def takes_stale_ready_for_the_new_images(patch: Patch) -> None:
    rule = health.healthy_since

    def mutant(pod: Pod, *, by: str) -> float | None:
        return rule(replace(pod, current=True), by=by)

    patch.setattr(health, "healthy_since", mutant)
    patch.setattr(settling, "healthy_since", mutant)


def changes_in_place_by_name(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(in_place, "change", lambda *known: replace(change(*known), uid=""))


def changes_whatever_became_of_the_pod(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(in_place, "change", lambda *known: replace(change(*known), resource_version=""))


def changes_in_place_what_needs_a_new_pod(patch: Patch) -> None:
    patch.setattr(in_place, "_differ_by_image", lambda _before, _after: True)


def counts_the_deadline_of_a_change_from_the_creation(patch: Patch) -> None:
    patch.setattr(Pod, "begun", property(lambda pod: pod.created))


def forgets_which_container_ran_before(patch: Patch) -> None:
    change = in_place.change
    patch.setattr(
        in_place, "change", lambda draft, number, pod, build: change(draft, number, replace(pod, change=None), build)
    )


def counts_the_deadline_from_the_present_pod(patch: Patch) -> None:
    def mutant(draft: Draft, number: int) -> Clock:
        pod = draft.instances[number].pod
        return Clock(draft.now if pod is None else pod.begun)

    patch.setattr(deadlines, "_in_batch", mutant)


def begins_anew_however_often_others_delete_its_pod(patch: Patch) -> None:
    patch.setattr(deadlines, "MOST_LOST", 99)


def makes_ended_pods_again_at_once(patch: Patch) -> None:
    def mutant(draft: Draft, number: int) -> bool:
        draft.state = replace(draft.state, ended={**draft.state.ended, number: Ended(1, draft.now)})
        return True

    patch.setattr(desired, "_made_again", mutant)


def keeps_no_note_of_ended_pods(patch: Patch) -> None:
    patch.setattr(desired, "_made_again", lambda _draft, _number: True)


def blames_an_image_that_never_ran(patch: Patch) -> None:
    patch.setattr(settling, "_ran", lambda _instance: True)


def remembers_an_image_that_never_ran(patch: Patch) -> None:
    patch.setattr(outdated, "try_later", lambda draft, run: outdated.remember(draft, run, endings.UPGRADED))


def forgives_an_image_that_ran(patch: Patch) -> None:
    patch.setattr(settling, "_ran", lambda _instance: False)


def forgets_the_way_back_after_each_batch(patch: Patch) -> None:
    patch.setattr(Rollout, "may_go_back", property(lambda run: run.in_progress))


def takes_back_in_an_outage(patch: Patch) -> None:
    patch.setattr(breach, "_outage", lambda _draft, _rollout: False)


def takes_back_who_is_healthy(patch: Patch) -> None:
    patch.setattr(breach, "_broken_later", lambda _draft, run: run.successful)


def lets_any_broken_one_through_a_closed_gate(patch: Patch) -> None:
    patch.setattr(outdated, "pass_closed_gate", lambda _draft, _rollout, candidates: list(candidates))


def lets_a_healthy_one_through_a_closed_gate(patch: Patch) -> None:
    patch.setattr(outdated, "pass_closed_gate", lambda _draft, _rollout, candidates: list(candidates))
    patch.setattr(batches, "only_broken", batches.together)


def gives_up_before_the_grace_period_is_over(patch: Patch) -> None:
    patch.setattr(deadlines, "given_up", lambda pod, *, timeout: pod.begun - timeout)


def puts_back_whoever_waits_in_a_run_that_is_to_end(patch: Patch) -> None:
    patch.setattr(settling, "_stuck", lambda _draft, _number: True)


def puts_back_who_is_stuck_in_a_run_that_goes_on(patch: Patch) -> None:
    def mutant(draft: Draft) -> None:
        run = draft.running
        back = {n for n in run.verifying & draft.state.previous.keys() if settling._stuck(draft, n)}
        draft.state = settling.restore(
            replace(draft.state, rollout=replace(run, in_progress=run.in_progress - back)), back
        )

    patch.setattr(settling, "_put_back", mutant)


def leaves_who_could_not_be_restored_on_the_failed_version(patch: Patch) -> None:
    patch.setattr(settling, "_go_on_replacing", lambda _draft, _batch, _ids: None)


CASES: list[tuple[Callable[[Patch], None], str, dict[str, Any]]] = [
    (rounds_batches_up, "S1", {"replicas": 6, "by": ROOMY}),
    (closes_the_gate_at_exactly_the_limit, "4.2", {"replicas": 5, "budget": 1, "kinds": {"flap"}}),
    (opens_the_gate_always, "S2", {"replicas": 3, "budget": 1, "kinds": {"flap"}}),
    (decides_on_old_pods, "S2", {"replicas": 2, "budget": 1}),
    (judges_deadlines_on_old_pods, "S10", {"replicas": 2, "budget": 1}),
    (restores_what_broke_after_its_batch, "S1", {"replicas": 3, "budget": 1, "kinds": {"flap"}}),
    (restores_the_healthy_ones_of_the_batch_too, "S10", {"replicas": 4, "budget": 1, "by": policy(rolling=HALF)}),
    (tries_failed_versions_again, "S8", {"replicas": 2}),
    (forgets_what_failed, "4.7: the target is remembered, or tried again, wrongly", {"replicas": 2}),
    (ignores_the_gate_after_a_batch, "S3", {"replicas": 2}),
    (deletes_before_it_writes, "S1", {"replicas": 2}),
    (writes_the_status_last, "S1", {"replicas": 2}),
    (restarts_what_is_broken, "S1", {"replicas": 2, "budget": 1, "kinds": {"flap"}}),
    (deletes_by_name, "S7", {"replicas": 1}),
    (forgets_the_way_back, "the way back", {"replicas": 1}),
    (rolls_to_withdrawn_versions, "S8", {"replicas": 2, "budget": 1, "kinds": {"user"}}),
    (completes_without_the_newcomers, "S14", {"replicas": 2, "budget": 1, "kinds": {"user"}}),
    (
        completes_without_those_replaced_at_once,
        "S14",
        {
            "replicas": 1,
            "budget": 1,
            "kinds": {"user"},
            "by": policy(mode="Automatic", automatic=False),
            "roots": edited,
        },
    ),
    (rolls_while_suspended, "S2", {"replicas": 2, "budget": 1, "kinds": {"user"}}),
    (does_not_wait_for_starting_instances, "S2", {"replicas": 3, "budget": 1, "kinds": {"lose"}}),
    (has_no_deadline, "L1", {"replicas": 1}),
    (has_a_deadline_at_once, "S10", {"replicas": 1}),
    (starts_the_next_batch_before_the_end_of_this, "S1", {"replicas": 3}),
    (counts_more_instances_than_there_are, "S1", {"replicas": 5, "by": ROOMY}),
    (wakes_up_for_nothing, "L1", {"replicas": 1}),
    (cancels_in_the_middle_of_a_batch, "S", {"replicas": 2, "budget": 1, "kinds": {"user"}}),
    (ends_without_a_reason, "S14", {"replicas": 1}),
    (takes_stale_ready_for_the_new_images, "S14", {"replicas": 1, "by": CHANGING}),
    (changes_in_place_by_name, "S7", {"replicas": 1, "by": CHANGING}),
    (changes_whatever_became_of_the_pod, "S7", {"replicas": 1, "by": CHANGING}),
    (
        changes_in_place_what_needs_a_new_pod,
        "S4",
        {"replicas": 1, "by": policy(mode="Rolling", **IN_PLACE), "roots": edited},
    ),
    (counts_the_deadline_of_a_change_from_the_creation, "S10", {"replicas": 1, "by": CHANGING}),
    (forgets_which_container_ran_before, "S10", {"replicas": 1, "budget": 1, "kinds": {"slow"}, "by": CHANGING}),
    (writes_the_status_last, "S1", {"replicas": 1, "by": CHANGING}),
    (counts_the_deadline_from_the_present_pod, "S10: the clock", {"replicas": 1, "budget": 1, "kinds": {"quota"}}),
    (
        begins_anew_however_often_others_delete_its_pod,
        "S10: the clock",
        {"replicas": 1, "budget": 3, "kinds": {"lose"}},
    ),
    (makes_ended_pods_again_at_once, "made again at once", {"replicas": 1, "budget": 2, "kinds": {"evict"}}),
    (keeps_no_note_of_ended_pods, "nothing is written down", {"replicas": 1, "budget": 1, "kinds": {"evict"}}),
    (
        blames_an_image_that_never_ran,
        "its image is misjudged",
        {"replicas": 1, "budget": 2, "kinds": {"quota", "slow"}},
    ),
    (remembers_an_image_that_never_ran, "4.7: the target", {"replicas": 1, "budget": 2, "kinds": {"quota", "slow"}}),
    (forgives_an_image_that_ran, "its image is misjudged", {"replicas": 1}),
    (forgets_the_way_back_after_each_batch, "the way back of an upgraded", {"replicas": 2}),
    (takes_back_in_an_outage, "4.", {"replicas": 3, "budget": 2, "kinds": {"flap"}}),
    (takes_back_who_is_healthy, "S10: a healthy instance", {"replicas": 4, "budget": 1, "kinds": {"flap"}}),
    (
        lets_any_broken_one_through_a_closed_gate,
        "S2: admitted with the gate closed",
        {"replicas": 3, "budget": 1, "kinds": {"flap"}},
    ),
    (
        lets_a_healthy_one_through_a_closed_gate,
        "S2: admitted with the gate closed",
        {"replicas": 3, "budget": 1, "kinds": {"flap"}},
    ),
    (gives_up_before_the_grace_period_is_over, "failed too early", {"replicas": 1}),
    (
        puts_back_whoever_waits_in_a_run_that_is_to_end,
        "failed too early",
        {"replicas": 1, "budget": 1, "kinds": {"user"}},
    ),
    (
        puts_back_who_is_stuck_in_a_run_that_goes_on,
        "failed too early",
        {"replicas": 1, "budget": 1, "kinds": {"quota"}},
    ),
    (
        leaves_who_could_not_be_restored_on_the_failed_version,
        "S4",
        {"replicas": 1, "budget": 2, "kinds": {"keep", "slow"}},
    ),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """Not by an exception somewhere, but by the invariant that it breaks."""
    mutant(monkeypatch)
    with pytest.raises(FoundError) as found:
        explore_mutant(**how)
    assert caught_by in str(found.value).splitlines()[0]


def explore_mutant(
    replicas: int,
    *,
    budget: int = 0,
    kinds: frozenset[str] = EVERYTHING,
    by: UpgradePolicySpec | None = None,
    roots: Callable[[int], list[Place]] = image,
) -> None:
    explorer = Explorer(by or policy(), kinds=frozenset(kinds), most=20_000)
    explorer.explore([place._replace(left=budget) for place in roots(replicas)])
