"""The promises notice mistakes: each of these is put into the planner, and a life or an exploration tells."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from scaleset.planner import decide as decisions
from scaleset.planner import outdated, scaling, shrinking, status, triggers
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import number
from scaleset.planner.state import NOBODY, Rollout, ScaleIn
from scaleset.planner.step import Step
from scaleset.planner.targets import Target
from tests.exploration import lives
from tests.exploration.mutants import Patch, explored_and_caught, instead

# --- VERSION


def shows_the_highest_version(patch: Patch) -> None:
    def mutant(facts: Facts) -> str:
        return max((i.build.version for i in facts.instances.values() if i.build is not None), key=number, default="")

    patch.setattr(status, "_versions", mutant)


def shows_what_a_run_last_proved(patch: Patch) -> None:
    moves_the_current_version_only_when_a_run_completes(patch)
    patch.setattr(status, "_versions", lambda facts: facts.state.current_version or "")


def moves_the_current_version_only_when_a_run_completes(patch: Patch) -> None:
    patch.setattr(scaling, "_settle_current", lambda facts: facts.step())


# --- what failed


def forgets_what_failed_with_any_edit_of_the_policy(patch: Patch) -> None:
    patch.setattr(outdated, "judged_by", lambda facts, _model: f"judged-{hash(facts.policy.model_dump_json())}")


def forgets_what_failed_with_any_edit_of_the_spec(patch: Patch) -> None:
    patch.setattr(outdated, "judged_by", lambda facts, _model: f"judged-{facts.snapshot.generation}")


def forgets_what_failed_when_its_version_is_gone(patch: Patch) -> None:
    requests = triggers.asked

    def mutant(facts: Facts) -> Step:
        there = {entry.version for entry in facts.snapshot.catalogue}
        kept = tuple(f for f in facts.state.failed_targets if f.version in there)
        forgotten = facts.step(replace(facts.state, failed_targets=kept))
        return forgotten.then(requests(facts.after(forgotten)))

    instead(patch, decisions, "PARTS", requests, mutant)


def never_lifts_what_failed(patch: Patch) -> None:
    patch.setattr(outdated, "judged_by", lambda _facts, _model: "judged-")


def takes_all_at_once_to_what_failed(patch: Patch) -> None:
    """In mode Automatic the end of a pin is a change of the model to the version that failed."""

    def mutant(facts: Facts) -> Step:
        if facts.policy.mode != "Automatic":
            return facts.step()
        return triggers._apply_where_admitted(facts, outdated.by_model(facts, outdated.model_target(facts)))

    patch.setattr(triggers, "_bring_all", mutant)


def unpins_to_what_failed(patch: Patch) -> None:
    """A run of the model brings it, since only runs of the image are remembered."""
    remembered = outdated.remembered

    def mutant(facts: Facts, target: Target) -> Any:
        pinned = {model.name for model in facts.models.values() if not model.reference.moving}
        runs = {instance.build.model for instance in facts.instances.values() if instance.build is not None}
        return None if runs & pinned else remembered(facts, target)

    patch.setattr(outdated, "remembered", mutant)


def lets_new_instances_run_what_failed(patch: Patch) -> None:
    patch.setattr(scaling, "_unproven", lambda _state, _version, _image: False)


# --- scaling in


def takes_all_that_are_more_than_wanted(patch: Patch) -> None:
    patch.setattr(shrinking, "_next", lambda _facts, _scale_in, going: frozenset(going))


def takes_the_next_before_the_first_are_gone(patch: Patch) -> None:
    patch.setattr(shrinking, "leaving", lambda _facts: NOBODY)


def never_forgets_the_largest_size(patch: Patch) -> None:
    patch.setattr(shrinking, "_next", _as_if_it_came_from(10))


def _as_if_it_came_from(size: int) -> Callable[..., frozenset[int]]:
    chosen = shrinking._next

    def mutant(facts: Facts, scale_in: ScaleIn, going: Sequence[int]) -> frozenset[int]:
        return chosen(facts, replace(scale_in, size=size), going)

    return mutant


# --- a release


def rolls_the_model_after_the_image(patch: Patch) -> None:
    _of_each_run(patch, lambda run: replace(run, with_model=False, target=run.target))
    target_for = Target.build_for

    def mutant(target: Target, current: Any) -> Any:
        return replace(target_for(target, current), model=current.model) if target.reference == "latest" else current

    patch.setattr(Target, "build_for", mutant)


def rolls_the_model_first(patch: Patch) -> None:
    due = triggers._due
    patch.setattr(triggers, "_due", lambda facts: due(facts)[::-1])


def _of_each_run(patch: Patch, change: Callable[[Rollout], Rollout]) -> None:
    due = triggers._due
    patch.setattr(triggers, "_due", lambda facts: [change(run) for run in due(facts)])


def fails(*harmless: str, mode: str = "Manual") -> Callable[[], object]:
    """A version fails and is left alone, whatever harmless things happen."""
    return partial(lives.fails_and_is_left_alone, lifts="healthTimeout", mode=mode, harmless=list(harmless))


CHANGES = partial(lives.changes_its_versions, 5, mode="Manual")
DOWN = [("pin", 0), ("apply", "*")]
HALF_WAY = [("pin", 0), ("apply", "0")]
SHRINKS = partial(lives.shrinks, 10, percent=20, most=None)
TWICE = [("scale", 4), *[("let go", 0)] * 6, ("scale", 0)]
RELEASE = partial(
    lives.releases,
    replicas=3,
    mode="Rolling",
    method="recreate",
    percent=34,
    release="at one moment",
    protected=frozenset(),
    deaths=(),
)

CASES: list[tuple[Callable[[Patch], None], str, Callable[[], object]]] = [
    (shows_the_highest_version, "2: VERSION is", partial(CHANGES, script=HALF_WAY)),
    (shows_what_a_run_last_proved, "2: VERSION is 1.0.0, and all run", partial(CHANGES, script=DOWN)),
    (moves_the_current_version_only_when_a_run_completes, "2: the current version", partial(CHANGES, script=DOWN)),
    (forgets_what_failed_with_any_edit_of_the_policy, "S8: a failed target is tried again", fails("a pause")),
    (forgets_what_failed_with_any_edit_of_the_spec, "S8: a failed target is tried again", fails("protection")),
    (forgets_what_failed_when_its_version_is_gone, "4.7: a run to what failed", fails("publishing it again")),
    (never_lifts_what_failed, "healthTimeout does not lead to 2.0.0", fails()),
    (takes_all_at_once_to_what_failed, "is taken to 2.0.0, which failed", fails("a pin and its end", mode="Automatic")),
    (unpins_to_what_failed, "S8: a failed target is tried again", fails("a pin and its end", mode="Rolling")),
    (lets_new_instances_run_what_failed, "is born on 2.0.0, which failed", fails("scaling")),
    (takes_all_that_are_more_than_wanted, "scaling in takes", partial(SHRINKS, script=[("scale", 5)])),
    (takes_the_next_before_the_first_are_gone, "scaling in takes", partial(SHRINKS, script=[("scale", 5)])),
    (never_forgets_the_largest_size, "2: scaling in has", partial(SHRINKS, script=TWICE)),
    (rolls_the_model_first, "4.1: ", RELEASE),
    (rolls_the_model_after_the_image, "4.1: ", RELEASE),
]


@pytest.mark.parametrize(("mutant", "noticed_by", "life"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_life_notices_this_mistake(mutant, noticed_by, life, monkeypatch):
    """And without it the same life keeps every promise."""
    life()
    mutant(monkeypatch)
    with pytest.raises(AssertionError) as found:
        life()
    assert noticed_by in str(found.value).splitlines()[0]


def test_an_exploration_notices_that_the_highest_version_is_shown(monkeypatch):
    """At the end of a rollout that stopped half-way."""
    shows_the_highest_version(monkeypatch)
    explored_and_caught("2: VERSION", replicas=2, budget=1, kinds={"user", "flap"})
