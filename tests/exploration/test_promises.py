"""What users are promised of a whole life of a set: see `promises`. Every story is asked it, too.

Each property plays lives in which its situation comes up, and says so; `test_promise_mutants` holds the mistakes that
they notice.
"""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exploration import lives
from tests.exploration.promises import CONDEMNED, KEPT_BACK, MIXED, ONE_VERSION, TERMINATING

EXAMPLES = 25


@pytest.fixture
def came_up() -> Counter[str]:
    """What happened in the lives of a test."""
    return Counter()


def test_version_is_that_of_the_majority_when_nothing_runs(came_up):
    """However the instances came by it: by a run, a pin, a request, or a run that failed half-way."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        replicas=st.integers(1, 7),
        mode=st.sampled_from(["Automatic", "Rolling", "Manual"]),
        script=st.lists(lives.CHANGES_OF_VERSION, min_size=1, max_size=6),
    )
    def play(replicas, mode, script):
        came_up.update(lives.changes_its_versions(replicas, mode=mode, script=script))

    play()
    assert came_up[ONE_VERSION]
    assert came_up[MIXED]
    assert came_up[lives.DOWN], "no fleet went back by a pin"


@pytest.mark.parametrize("lifts", sorted(lives.LIFTING))
def test_what_failed_is_tried_again_by_nothing_but_what_lifts_it(came_up, lifts):
    """Not by a pause, a batch size, a pin and its end, a lost pod, an operator that dies, scaling or suspending, in any
    order; but by a start by hand and by an edit of a limit, a timeout, the health source or the template.
    """

    @settings(max_examples=4, deadline=None)
    @given(
        mode=st.sampled_from(["Automatic", "Rolling", "Manual"]),
        harmless=st.permutations(sorted(lives.HARMLESS)),
    )
    def play(mode, harmless):
        came_up.update(lives.fails_and_is_left_alone(mode=mode, harmless=harmless, lifts=lifts))

    play()
    assert came_up[CONDEMNED]
    assert came_up[KEPT_BACK]
    assert came_up[lifts]
    assert set(lives.HARMLESS) <= set(came_up)


def test_scaling_in_never_has_more_than_a_batch_terminating(came_up):
    """Whatever size is asked for meanwhile, whoever protects, and in whatever order the pods end."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        replicas=st.integers(2, 12),
        percent=st.sampled_from([20, 20, 34, 50]),
        most=st.sampled_from([None, None, 2, "50%"]),
        script=st.lists(lives.SIZES, min_size=1, max_size=12),
    )
    def play(replicas, percent, most, script):
        came_up.update(lives.shrinks(replicas, percent=percent, most=most, script=script))

    play()
    assert came_up[TERMINATING], "nobody ever waited for a batch to end"


def test_a_release_of_image_and_template_replaces_each_instance_once(came_up):
    """In one edit or two, by whatever method, in batches of any size, and with operators that die in the middle."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        replicas=st.integers(1, 7),
        mode=st.sampled_from(["Rolling", "Rolling", "Manual"]),
        method=st.sampled_from(["recreate", "in place", "surge"]),
        percent=st.sampled_from([20, 34, 50, 100]),
        release=st.sampled_from(sorted(lives.RELEASES)),
        protected=st.frozensets(st.integers(0, 6), max_size=2),
        deaths=st.lists(st.integers(1, 4), max_size=6),
    )
    def play(**how):
        came_up.update(lives.releases(**how))

    play()
    assert set(lives.RELEASES) <= set(came_up)
    assert came_up["replaced"] > EXAMPLES
    assert came_up["died"], "no operator died in the middle"
