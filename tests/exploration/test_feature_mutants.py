"""The explorer finds bugs in zones, max surge and protection, too: as in `test_mutants`, each has to be caught."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import batch_judge, batches, ordered_creation, rollout, scaling, surge
from scaleset.planner import decide as decisions
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Instance
from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import NOBODY, Batch, Rollout
from scaleset.planner.step import Step
from tests.exploration.mutants import Case, Patch, explored_and_caught, exploring, instead
from tests.exploration.states import newborn
from tests.exploration.test_features import SURGE, SURGE_HALF, downwards, guarded, ordered, tight, zoned
from tests.exploration.test_model import HALF, image
from tests.simulation.world import policy

HALVES = policy(rolling=HALF)
TOGETHER = policy(
    rolling={
        "maxSurge": True,
        "enableCrossZoneUpgrade": True,
        "maxBatchInstancePercent": 100,
        "maxUnhealthyInstancePercent": 100,
    }
)


def creates_all_at_once(patch: Patch) -> None:
    patch.setattr(ordered_creation, "queued", lambda judged: judged)


def goes_up(patch: Patch) -> None:
    patch.setattr(batches.Rules, "turn", lambda _rules, instance: (False, 0, 0, instance.id))


def mixes_zones(patch: Patch) -> None:
    patch.setattr(batches.Rules, "group", lambda _rules, _instance: (0, 0))


def surges_into_any_zone(patch: Patch) -> None:
    def mutant(facts: Facts, _rollout: Rollout, chosen: tuple[int, ...]) -> tuple[int, ...]:
        taken = facts.state.builds.keys() | facts.snapshot.pods.keys()
        free = [number for number in range(20) if number not in taken]
        return tuple(free[: len(chosen)])

    patch.setattr(surge, "ids", mutant)


def lets_the_old_ones_go_at_once(patch: Patch) -> None:
    patch.setattr(Rollout, "leaving", property(lambda r: r.batch.replaces if r.batch and r.running else NOBODY))
    judge = batch_judge.judge

    def mutant(facts: Facts) -> Step:
        gone = surge.let_go(facts)
        return gone.then(judge(facts.after(gone)))

    instead(patch, rollout, "BATCH", judge, mutant)


def lets_the_old_one_of_a_failed_one_go(patch: Patch) -> None:
    def leaving(run: Rollout) -> frozenset[int]:
        if run.batch is None or run.in_progress or not run.running:
            return NOBODY
        return run.batch.replaces

    patch.setattr(Rollout, "leaving", property(leaving))
    patch.setattr(surge, "keep_old_ones", lambda facts: facts.step())


def waits_for_room(patch: Patch) -> None:
    instead(patch, rollout, "BATCH", surge.fall_back, lambda facts: facts.step())


def does_not_hear_that_there_is_no_room(patch: Patch) -> None:
    ask = Facts.admission

    def mutant(facts: Facts, dry_run: Any) -> Verdict | None:
        return None if ask(facts, dry_run) is None else Verdict(accepted=True)

    patch.setattr(Facts, "admission", mutant)


def never_surges(patch: Patch) -> None:
    patch.setattr(surge, "ids", lambda _facts, _rollout, _chosen: ())


def scales_new_ones_in_again(patch: Patch) -> None:
    patch.setattr(scaling, "extra", lambda _state: 0)
    patch.setattr(scaling, "beside_each_other", lambda _state: {})


def forgets_which_old_one_is_whose(patch: Patch) -> None:
    patch.setattr(
        Batch, "pairs", property(lambda b: dict(zip(sorted(b.surge), sorted(b.replaces)[::-1], strict=False)))
    )


def upgrades_protected_ones(patch: Patch) -> None:
    patch.setattr(Facts, "protected", property(lambda _facts: NOBODY))


def spares_those_protected_from_scale_in_only(patch: Patch) -> None:
    named = property(lambda facts: frozenset(i.id for i in facts.snapshot.spec.protected_instances))
    patch.setattr(Facts, "protected", named)


def scales_protected_ones_in(patch: Patch) -> None:
    patch.setattr(
        scaling, "_first_to_go", lambda facts, beside: sorted(facts.state.builds.keys() - set(beside), reverse=True)
    )


def scales_in_whoever_is_not_protected_from_everything(patch: Patch) -> None:
    def mutant(facts: Facts, beside: Any) -> list[int]:
        return sorted(facts.state.builds.keys() - set(beside) - facts.protected, reverse=True)

    patch.setattr(scaling, "_first_to_go", mutant)


def drops_who_is_protected_in_mid_batch(patch: Patch) -> None:
    """Leaves it with a new build that nobody judges any more."""
    judge = batch_judge.judge

    def mutant(facts: Facts) -> Step:
        run = facts.running
        dropped = facts.roll(replace(run, in_progress=run.in_progress - facts.protected))
        return dropped.then(judge(facts.after(dropped)))

    instead(patch, rollout, "BATCH", judge, mutant)


def counts_protected_ones_as_pending(patch: Patch) -> None:
    def mutant(facts: Facts) -> Step:
        step = rollout.advance(facts)
        facts = facts.after(step)
        run = facts.rollout
        return step if run is None else step.then(facts.roll(replace(run, pending=run.pending | facts.protected)))

    instead(patch, decisions, "PARTS", rollout.advance, mutant)


def takes_the_lowest_ids_of_any_zone(patch: Patch) -> None:
    def mutant(candidates: Any, _rules: Any) -> list[Instance]:
        return sorted(candidates, key=lambda i: i.id)

    patch.setattr(batches, "_first_group", mutant)


def ignores_protection_in_a_surge(patch: Patch) -> None:
    instead(patch, rollout, "BATCH", surge.keep_protected, lambda facts: facts.step())


def replaces_who_was_protected_before_its_pod_was_touched(patch: Patch) -> None:
    put_back = batch_judge.put_back

    def mutant(facts: Facts) -> Step:
        return put_back(facts) if facts.running.ending is not None else facts.step()

    instead(patch, rollout, "BATCH", put_back, mutant)


def takes_the_new_one_of_an_old_one_that_is_gone(patch: Patch) -> None:
    keep = surge.keep_protected

    def mutant(facts: Facts) -> Step:
        step = keep(facts)
        facts = facts.after(step)
        pairs = facts.running.batch.pairs if facts.running.batch is not None else {}
        gone = frozenset(new for new, old in pairs.items() if old in facts.protected)
        return step.then(facts.step(scaling.without(facts.state, gone)))

    instead(patch, rollout, "BATCH", keep, mutant)


def zones(replicas: int) -> list[Any]:
    return zoned(2, *image(replicas))


def protected(replicas: int) -> list[Any]:
    return guarded(*image(replicas))


CASES: list[Case] = [
    (
        creates_all_at_once,
        "order: 1 is created before [0] are healthy",
        exploring(2, roots=lambda n: ordered(newborn(n, bad=False)._replace(tainted=True))),
    ),
    (
        goes_up,
        "order: a lower id goes before a higher one",
        exploring(4, by=HALVES, roots=lambda n: downwards(*image(n))),
    ),
    (mixes_zones, "4.3: a batch mixes zones", exploring(5, by=HALVES, roots=zones)),
    (takes_the_lowest_ids_of_any_zone, "4.3: a batch mixes zones", exploring(4, by=SURGE_HALF, roots=zones)),
    (surges_into_any_zone, "of another zone", exploring(3, by=SURGE, roots=zones)),
    (lets_the_old_ones_go_at_once, "and 1 is not upgraded", exploring(1, by=SURGE)),
    (lets_the_old_one_of_a_failed_one_go, "4.6: 0 goes and 1 is not upgraded", exploring(1, by=SURGE)),
    (
        does_not_hear_that_there_is_no_room,
        "4.6: surges though there is no room",
        exploring(1, "quota", by=SURGE, roots=lambda n: tight(*image(n))),
    ),
    (waits_for_room, "waits for room", exploring(1, "quota", by=SURGE)),
    (never_surges, "4.6: there is room, and it does not surge", exploring(1, by=SURGE)),
    (scales_new_ones_in_again, "4.6: 2 goes and did not fail", exploring(2, by=SURGE)),
    (forgets_which_old_one_is_whose, "of another zone", exploring(2, by=TOGETHER, roots=zones)),
    (upgrades_protected_ones, "4.3: a protected instance is in a batch", exploring(1, roots=protected)),
    (spares_those_protected_from_scale_in_only, "S14: Completed without instance", exploring(2, roots=protected)),
    (scales_protected_ones_in, "is protected and scaled in", exploring(2, "user", roots=protected)),
    (
        scales_in_whoever_is_not_protected_from_everything,
        "is protected and scaled in",
        exploring(2, "user", roots=protected),
    ),
    (drops_who_is_protected_in_mid_batch, "S10: instance 0 failed too early", exploring(2, "protect")),
    (counts_protected_ones_as_pending, "S14: a protected instance counts as pending", exploring(2, roots=protected)),
    (ignores_protection_in_a_surge, "1.3: 0 is protected and goes", exploring(1, "protect", by=SURGE)),
    (
        replaces_who_was_protected_before_its_pod_was_touched,
        "1.3: a protected instance loses its pod",
        exploring(1, "protect", "crash", budget=2),
    ),
    (takes_the_new_one_of_an_old_one_that_is_gone, "goes though", exploring(1, "protect", by=SURGE)),
]


@pytest.mark.parametrize(("mutant", "caught_by", "how"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_planner_with_this_mistake_is_caught(mutant, caught_by, how, monkeypatch):
    """By the invariant that it breaks."""
    mutant(monkeypatch)
    explored_and_caught(caught_by, **how)
