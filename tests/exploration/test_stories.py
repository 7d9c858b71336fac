"""Stories of one set in which everything may happen at any moment: see `stories`.

`make test-unit` plays a few hundred, the same in each run. `make stories` (`STORIES=20000`) draws new ones.
"""

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaleset.api import names
from scaleset.planner import wakes
from scaleset.planner.facts import Facts
from scaleset.planner.snapshot import Verdict
from tests.exploration.promises import CONDEMNED, KEPT_BACK, MIXED, ONE_VERSION, TERMINATING
from tests.exploration.stories import Line, Story
from tests.simulation.outcomes import code, condition
from tests.simulation.scenes import running, surged_over_a_refusal, two_upgraded
from tests.simulation.watched import Watched
from tests.simulation.world import policy, spec

EXAMPLES = int(os.environ.get("STORIES", "300"))
ENOUGH = 100
"""Stories in which everything that promises are about comes up."""
SITUATIONS = {CONDEMNED, KEPT_BACK, MIXED, ONE_VERSION, TERMINATING}

MOMENTS = st.sampled_from([None, None, 0.0, 0.5, 1.5, 1.5, 3.0, 8.0, 31.0, 299.0, 301.0, 400.0, 700.0, 4000.0])
NUMBERS = st.integers(0, 7)
SUFFIXES = st.sampled_from(["", "", "", "-bad", "-bad", "-late", "-crash", "-evict"])
SHAPES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["Manual", "Manual", "Manual", "Rolling", "Automatic"]),
        "batch": st.sampled_from([20, 20, 34, 50, 100]),
        "room": st.sampled_from([20, 20, 50, 100]),
        "limit": st.sampled_from([20, 20, 0, 50]),
        "priority": st.booleans(),
        "pause": st.sampled_from(["PT0S", "PT0S", "PT1M"]),
        "back": st.booleans(),
        "keep": st.sampled_from([False, False, False, True]),
        "method": st.sampled_from(["recreate", "recreate", "in place", "only in place", "surge", "surge"]),
        "deadline": st.sampled_from([None, None, None, "PT30M"]),
    }
)
WORDS = st.sampled_from(["exceeded quota: pods", "admission webhook denied the request", None])


def line(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Line]:
    return st.tuples(st.just(name), MOMENTS, *arguments)


LINES = st.one_of(
    line("publishes", SUFFIXES),
    line("publishes", SUFFIXES),
    line("publishes", SUFFIXES),
    line("passes"),
    line("passes"),
    line("dies", st.integers(1, 4)),
    line("remembers"),
    line("decides_from_an_old_view"),
    line("sickens", NUMBERS),
    line("breaks", NUMBERS),
    line("heals"),
    line("is_lost", NUMBERS),
    line("is_deleted", NUMBERS),
    line("is_evicted", NUMBERS),
    line("evicts", NUMBERS),
    line("rejects", NUMBERS),
    line("does_not_end", NUMBERS),
    line("is_deaf", NUMBERS),
    line("loses_its_node", NUMBERS),
    line(
        "refuses", st.sampled_from(["create", "create", "delete", "delete", "change", "dry run", "model"]), WORDS,
        st.one_of(st.none(), NUMBERS),
    ),
    line("excludes", st.booleans()),
    line("withdraws"),
    line("moves_the_tags"),
    line("collects_garbage"),
    line("publishes_again", SUFFIXES),
    line("scales", NUMBERS),
    line("prefers", st.frozensets(NUMBERS, max_size=2), st.booleans()),
    line("protects", st.frozensets(NUMBERS, max_size=2), st.booleans()),
    line("suspends", st.booleans()),
    line("cancels"),
    line("starts"),
    line("asks", st.sampled_from([names.ANNOTATION_RESTART, names.ANNOTATION_MODEL_ROLLOUT, names.ANNOTATION_RETRY])),
    line("goes_back", st.integers(1, 3)),
    line("halts", st.booleans()),
    line("applies", st.sampled_from(["*", "0", "1-3"])),
    line("edits_the_model", st.integers(0, 1)),
    line("pins", st.one_of(st.none(), st.integers(1, 3))),
    line("edits_the_policy", st.one_of(SHAPES, SHAPES, SHAPES, st.none())),
)  # fmt: skip
SETS = st.fixed_dictionaries(
    {
        "replicas": st.sampled_from([5, 3, 1, 2, 6, 0]),
        "born": st.sampled_from(["", "", "", "", "-bad"]),
        "zones": st.sampled_from([0, 0, 2]),
        "ordered": st.sampled_from([False, False, True]),
        "direction": st.sampled_from(["Ascending", "Ascending", "Descending"]),
        "claims": st.sampled_from([False, False, True]),
        "source": st.sampled_from(["ReadinessProbe", "ReadinessProbe", "InstanceState", "PodCondition"]),
        "shape": SHAPES,
    }
)


@pytest.mark.timeout(0 if "STORIES" in os.environ else 300)
def test_whatever_happens_it_ends_well():
    """No exception, every invariant at every write, every promise, and an end that the contract knows."""
    came_up: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(of=SETS, script=st.lists(LINES, min_size=1, max_size=14))
    def play(of, script):
        story = Story(**of)
        story.tell(script)
        story.ends()
        came_up.update(story.world.came_up)

    play()
    if EXAMPLES >= ENOUGH:
        assert came_up.keys() >= SITUATIONS, f"these never came up: {SITUATIONS - came_up.keys()}"


def test_an_instance_refused_in_one_run_and_surged_over_in_the_next_wedges_nothing():
    w = surged_over_a_refusal()
    assert code(w) == "RollingForward"
    w.quota = lambda _: None
    w.run(8000)
    assert code(w) == "Completed"
    assert {pod.version for pod in w.pods.values()} == {"3.0.0"}
    assert len(w.pods) == 5


def test_a_run_that_is_refused_at_its_first_batch_is_tried_again_with_nothing_else_happening():
    w = running(5)
    w.admit = lambda _: Verdict(accepted=False, message="exceeded quota", quota=True)
    w.publish("2.0.0")
    assert w.step().wake_at is not None
    w.run(10)
    assert code(w) == "Faulted"
    assert "exceeded quota" in condition(w, "Progressing")["message"] or "BackOff" in str(w.status)
    w.admit = lambda _: Verdict(accepted=True)
    w.run(120)
    assert code(w) == "Completed"
    assert {pod.version for pod in w.pods.values()} == {"2.0.0"}


def test_scaling_in_goes_on_beside_a_pod_whose_node_is_lost():
    """Once it has had its grace period and the health timeout, it counts in no batch."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": True, "limit": 20, "room": 20}
    story = Story(shape={**shape, "back": False, "batch": 20, "method": "surge"})
    story.tell([("loses_its_node", None, 0), ("scales", None, 0), ("starts", None), ("publishes", 4000.0, "")])
    assert set(story.world.pods) == {0}
    story.ends()


def test_an_instance_whose_pods_ended_in_a_row_is_broken_and_holds_up_no_batch_of_its_own():
    """Nobody waits for the next of its pods, though that still starts when the batch begins that replaces it."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 100}
    story = Story(replicas=5, born="-bad", shape={**shape, "back": False, "batch": 20, "method": "recreate"})
    story.tell([("evicts", None, 0), ("publishes", 299.0, ""), ("publishes", None, ""), ("passes", 299.0)])
    story.ends()


def test_an_instance_and_the_new_one_beside_it_are_one_for_scaling_in():
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20}
    story = Story(replicas=5, source="InstanceState", shape={**shape, "back": False, "batch": 20, "method": "surge"})
    story.tell([("publishes", 0.0, ""), ("scales", None, 0)])
    story.ends()
    assert story.world.writes.index("delete 5") == story.world.writes.index("delete 0") + 1


def test_a_fix_that_the_api_server_refuses_is_not_yet_the_current_version():
    """A set born broken takes the next version without a rollout; with its first instance that version is current."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20}
    story = Story(replicas=5, born="-bad", shape={**shape, "back": False, "batch": 20, "method": "recreate"})
    story.tell([("refuses", None, "dry run", "exceeded quota: pods", None), ("publishes", 0.0, "")])
    assert story.world.state.current_version == "1.0.0"
    story.world.admit = lambda _: Verdict(accepted=True)
    story.world.run(600)
    assert (story.world.state.current_version, all(map(story.world.up, range(5)))) == ("2.0.0", True)


def test_an_instance_that_leaves_its_batch_may_be_replaced_at_once_in_the_same_write():
    """Its pod does not end, mode Automatic takes all to a new model, and with that the rollout is superseded."""
    shape = {"pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20, "back": False, "batch": 20}
    story = Story(replicas=5, shape={**shape, "mode": "Manual", "method": "recreate"})
    automatic = {**shape, "mode": "Automatic", "method": "recreate"}
    story.tell([("does_not_end", None, 0), ("edits_the_policy", None, automatic), ("publishes", 0.0, "")])
    story.tell([("edits_the_model", 301.0, 0)])
    story.ends()


def test_where_no_pod_may_be_deleted_surges_pile_up_no_pods():
    """A webhook refuses each delete. The first new instance stays, and the next tries take the old one in its place."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 100}
    story = Story(replicas=1, source="InstanceState", shape={**shape, "back": True, "batch": 20, "method": "surge"})
    story.tell([("refuses", 400.0, "delete", "admission webhook denied the request", None), ("publishes", 8000.0, "")])
    assert len(story.world.pods) == 2
    story.ends()


def test_who_leaves_a_surging_batch_and_does_not_end_is_nobody_that_scaling_in_took():
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20}
    story = Story(replicas=5, shape={**shape, "back": False, "batch": 20, "method": "surge"})
    story.tell([("publishes", None, ""), ("does_not_end", None, 0), ("does_not_end", 3.0, 1)])
    story.ends()


@pytest.mark.parametrize("breaks", ["sickens", "breaks"])
def test_an_instance_that_was_seen_healthy_after_its_change_in_place_does_not_start_any_more(breaks):
    """It loses its readiness in the second in which it was changed, and the version is withdrawn."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20}
    story = Story(replicas=5, shape={**shape, "back": False, "batch": 20, "method": "in place"})
    story.tell([("publishes", None, ""), ("publishes", 1.5, ""), (breaks, None, 0), ("withdraws", 700.0)])
    story.ends()


def test_one_instance_that_fails_does_not_condemn_the_version_that_the_others_run_already():
    """A set born broken is repaired version by version; the last one fails on what three of five run."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 50, "room": 20}
    story = Story(
        replicas=5,
        born="-bad",
        source="InstanceState",
        shape={**shape, "back": False, "batch": 20, "method": "recreate"},
    )
    story.tell([("publishes", 0.0, ""), ("publishes", None, "-crash")])
    story.ends()


def test_a_run_that_an_edit_of_the_policy_let_begin_goes_on_when_the_edit_is_taken_back():
    """The version failed by limits, which are widened for as long as it takes another run to begin."""
    strict = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": False, "limit": 0, "room": 20}
    before = {**strict, "back": False, "batch": 20, "method": "recreate"}
    story = Story(replicas=5, shape={**before, "method": "in place"})
    story.tell([("is_deaf", None, 0), ("scales", None, 6), ("rejects", None, 0), ("publishes", 4000.0, "")])
    story.tell([("edits_the_policy", 400.0, {**before, "limit": 50, "room": 50, "batch": 34})])
    story.tell([("edits_the_policy", None, before)])
    story.ends()


def test_a_pinned_version_is_the_current_one_as_soon_as_all_pods_of_it_exist():
    """Not only when the first of them is ready, which may never be."""
    shape = {"mode": "Automatic", "pause": "PT0S", "keep": False, "priority": False, "limit": 20, "room": 20}
    story = Story(replicas=5, shape={**shape, "back": False, "batch": 20, "method": "recreate"})
    story.tell([("publishes", 30.0, ""), ("pins", 0.5, 1)])
    story.ends()


def test_a_version_is_judged_by_what_ran_when_it_failed():
    """The other instance runs the version, too, and is repaired with a newer one in the same write."""
    shape = {"mode": "Manual", "pause": "PT0S", "keep": False, "priority": True, "limit": 20, "room": 20}
    story = Story(replicas=2, born="-bad", shape={**shape, "back": False, "batch": 20, "method": "recreate"})
    story.tell([("publishes", None, "-bad"), ("starts", 0.0), ("publishes", None, "")])
    story.ends()


# --- mistakes that a story notices


def test_a_story_notices_that_nobody_is_woken(monkeypatch):
    """The world wakes nobody who did not ask for it."""
    monkeypatch.setattr(wakes, "next_look", lambda _facts: None)
    w = running(5)
    w.admit = lambda _: Verdict(accepted=False, message="exceeded quota", quota=True)
    w.publish("2.0.0")
    w.run(10)
    w.admit = lambda _: Verdict(accepted=True)
    w.run(20_000)
    assert code(w) == "Faulted"


def two_break_whatever_they_run() -> None:
    """The first two of six break on the new version, and are no better on the one before."""
    w = Watched(spec=spec(replicas=6), policy=policy(rolling={"maxUnhealthyInstancePercent": 100}))
    w.publish("1.0.0")
    w.run(30)
    w.publish("2.0.0")
    two_upgraded(w)
    for number in (0, 1):
        w.breaks(number)
    w.run(1000)
    assert code(w) == "Faulted"
    assert w.versions[0] == "1.0.0"
    assert w.versions[1] == "2.0.0"


def test_what_makes_nobody_healthy_is_not_taken_back_from_the_next():
    two_break_whatever_they_run()


def test_a_story_notices_that_all_are_taken_back_though_nobody_became_healthy(monkeypatch):
    monkeypatch.setattr(Facts, "last_batch", None)  # Each batch that is taken back is the first one.
    with pytest.raises(AssertionError, match="it made nobody healthy"):
        two_break_whatever_they_run()
