"""The explorer finds mistakes about deadlines, verdicts, ways back and what is remembered, as in `test_mutants`."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import batch_judge, breach, deadlines, outdated, pod_diff, rollout, rollout_end
from scaleset.planner import decide as decisions
from scaleset.planner.facts import Facts
from scaleset.planner.state import Clock, Ended, Rollout, State
from scaleset.planner.step import Step
from tests.exploration.mutants import Case, Patch, explored_and_caught, exploring, instead
from tests.exploration.test_model import HALF
from tests.simulation.world import policy


def judges_deadlines_on_old_pods(patch: Patch) -> None:
    judge = batch_judge.judge

    def mutant(facts: Facts) -> Step:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Facts, "fresh", property(lambda _: True))
            return judge(facts)

    instead(patch, rollout, "BATCH", judge, mutant)


def restores_what_broke_after_its_batch(patch: Patch) -> None:
    def mutant(facts: Facts) -> Step:
        step = rollout.advance(facts)
        facts = facts.after(step)
        for number in facts.rollout.successful if facts.rollout is not None else ():
            if facts.instances[number].bad:
                back = replace(step.state.builds[number], version="1.0.0")
                step = step.to(replace(step.state, builds={**step.state.builds, number: back}))
        return step

    instead(patch, decisions, "PARTS", rollout.advance, mutant)


def restores_the_healthy_ones_of_the_batch_too(patch: Patch) -> None:
    restore = batch_judge.restore

    def mutant(state: State, restoring: set[int]) -> State:
        return restore(state, set(state.previous) if restoring else restoring)

    patch.setattr(batch_judge, "restore", mutant)


def tries_failed_versions_again(patch: Patch) -> None:
    patch.setattr(outdated, "remembered", lambda _facts, _target: None)


def forgets_what_failed(patch: Patch) -> None:
    patch.setattr(outdated, "remember", lambda facts, _rollout, _reason: facts.state)


def ignores_the_gate_after_a_batch(patch: Patch) -> None:
    patch.setattr(breach, "found", lambda _facts, _rollout: None)


def has_no_deadline(patch: Patch) -> None:
    verdict = batch_judge._verdict
    patch.setattr(batch_judge, "_verdict", lambda *known: (verdict(*known)[0], None))


def has_a_deadline_at_once(patch: Patch) -> None:
    verdict = batch_judge._verdict

    def mutant(facts: Facts, *known: Any) -> tuple[bool, float | None]:
        healthy, due = verdict(facts, *known)
        return healthy, None if due is None else facts.now

    patch.setattr(batch_judge, "_verdict", mutant)


def counts_the_deadline_from_the_present_pod(patch: Patch) -> None:
    def mutant(facts: Facts, number: int) -> Clock:
        pod = facts.instances[number].pod
        return Clock(facts.now if pod is None else pod.begun)

    patch.setattr(deadlines, "_in_batch", mutant)


def begins_anew_however_often_others_delete_its_pod(patch: Patch) -> None:
    patch.setattr(deadlines, "MOST_LOST", 99)


def makes_ended_pods_again_at_once(patch: Patch) -> None:
    patch.setattr(pod_diff, "_made_again", lambda facts, _number: Ended(1, facts.now))


def keeps_no_note_of_ended_pods(patch: Patch) -> None:
    replaced = pod_diff._to_be_replaced
    patch.setattr(pod_diff, "_to_be_replaced", lambda facts: (replaced(facts)[0], facts.state.ended))


def blames_an_image_that_never_ran(patch: Patch) -> None:
    patch.setattr(batch_judge, "_ran", lambda _instance: True)


def remembers_an_image_that_never_ran(patch: Patch) -> None:
    patch.setattr(outdated, "try_later", lambda facts, run: outdated.remember(facts, run, rollout_end.UPGRADED))


def forgives_an_image_that_ran(patch: Patch) -> None:
    patch.setattr(batch_judge, "_ran", lambda _instance: False)


def forgets_the_way_back_after_each_batch(patch: Patch) -> None:
    patch.setattr(Rollout, "may_go_back", property(lambda run: run.in_progress))


def takes_back_in_an_outage(patch: Patch) -> None:
    patch.setattr(breach, "_outage", lambda _facts, _rollout: False)


def takes_back_who_is_healthy(patch: Patch) -> None:
    patch.setattr(breach, "_broken_later", lambda _facts, run: run.successful)


def gives_up_before_the_grace_period_is_over(patch: Patch) -> None:
    patch.setattr(deadlines, "given_up", lambda pod, *, timeout: pod.begun - timeout)


def puts_back_whoever_waits_in_a_run_that_is_to_end(patch: Patch) -> None:
    patch.setattr(batch_judge, "_stuck", lambda _facts, _number: True)


def puts_back_who_is_stuck_in_a_run_that_goes_on(patch: Patch) -> None:
    def mutant(facts: Facts) -> Step:
        run = facts.running
        back = {n for n in run.verifying & facts.state.previous.keys() if batch_judge._stuck(facts, n)}
        shrunk = replace(facts.state, rollout=replace(run, in_progress=run.in_progress - back))
        return facts.step(batch_judge.restore(shrunk, back))

    instead(patch, rollout, "BATCH", batch_judge.put_back, mutant)


def leaves_who_could_not_be_restored_on_the_failed_version(patch: Patch) -> None:
    patch.setattr(batch_judge, "_go_on_replacing", lambda state, _batch, _ids: state)


CASES: list[Case] = [
    (judges_deadlines_on_old_pods, "S10", exploring(2, budget=1)),
    (restores_what_broke_after_its_batch, "S1", exploring(3, "flap")),
    (restores_the_healthy_ones_of_the_batch_too, "S10", exploring(4, budget=1, by=policy(rolling=HALF))),
    (tries_failed_versions_again, "S8", exploring(2)),
    (forgets_what_failed, "4.7: the target is remembered, or tried again, wrongly", exploring(2)),
    (ignores_the_gate_after_a_batch, "S3", exploring(2)),
    (has_no_deadline, "L1", exploring(1)),
    (has_a_deadline_at_once, "S10", exploring(1)),
    (counts_the_deadline_from_the_present_pod, "S10: the clock", exploring(1, "quota")),
    (begins_anew_however_often_others_delete_its_pod, "S10: the clock", exploring(1, "lose", budget=3)),
    (makes_ended_pods_again_at_once, "made again at once", exploring(1, "evict", budget=2)),
    (keeps_no_note_of_ended_pods, "nothing is written down", exploring(1, "evict")),
    (blames_an_image_that_never_ran, "its image is misjudged", exploring(1, "quota", "slow", budget=2)),
    (remembers_an_image_that_never_ran, "4.7: the target", exploring(1, "quota", "slow", budget=2)),
    (forgives_an_image_that_ran, "its image is misjudged", exploring(1)),
    (forgets_the_way_back_after_each_batch, "the way back of an upgraded", exploring(2)),
    (takes_back_in_an_outage, "4.", exploring(3, "flap", budget=2)),
    (takes_back_who_is_healthy, "S10: a healthy instance", exploring(4, "flap")),
    (gives_up_before_the_grace_period_is_over, "failed too early", exploring(1)),
    (puts_back_whoever_waits_in_a_run_that_is_to_end, "failed too early", exploring(1, "user")),
    (puts_back_who_is_stuck_in_a_run_that_goes_on, "failed too early", exploring(1, "quota")),
    (leaves_who_could_not_be_restored_on_the_failed_version, "S4", exploring(1, "keep", "slow", budget=2)),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """Not by an exception somewhere, but by the invariant that it breaks."""
    mutant(monkeypatch)
    explored_and_caught(caught_by, **how)
