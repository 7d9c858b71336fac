"""Every state that small sets reach when the user asks for restarts, rollouts of the model, another try, or a halt.

The surroundings of test_model disturb here too. A request may come at any moment, together with others, and the
operator may be killed after any of its writes.
"""

import pytest

from tests.exploration.states import Place, steady
from tests.exploration.test_features import SURGE, guarded, tight, zoned
from tests.exploration.test_model import HALF, IN_PLACE, MORE, OWN_FAULTS, edited, image, play
from tests.simulation.world import policy

ASK = frozenset({"requests"})
CRASH = ASK | {"crash", "stale"}
FAULTS = OWN_FAULTS | {"lose", "keep", "quota"}


def asked(what: str, *places: Place) -> list[Place]:
    """The user has just asked for that."""
    return [place._replace(asked=(what,), tainted=True) for place in places]


def at_rest(*sizes: int) -> list[Place]:
    return [steady(size) for size in sizes]


CASES = {
    "anything asked at any moment": (policy(), CRASH, 2, [*image(1), *image(2)]),
    "anything asked while models change": (policy(mode="Rolling"), CRASH, 1, [*edited(2), *edited(3)]),
    "anything asked in mode Automatic": (policy(mode="Automatic"), CRASH, 2, edited(2)),
    "anything asked in mode Manual": (policy(automatic=False), CRASH | {"user"}, 1, edited(3)),
    "a restart": (policy(), FAULTS, 1, asked("restart", *at_rest(1, 3))),
    "a restart, two faults": (policy(), FAULTS, 2, asked("restart", *at_rest(2))),
    "a restart by halves": (policy(rolling=HALF), FAULTS, 1, asked("restart", *at_rest(4))),
    "a restart, in place otherwise": (policy(**IN_PLACE), FAULTS, 1, asked("restart", *at_rest(3))),
    "a restart with surge": (SURGE, FAULTS, 1, tight(*asked("restart", *at_rest(1, 2)))),
    "a restart in zones": (policy(rolling=HALF), OWN_FAULTS, 1, zoned(2, *asked("restart", *at_rest(4)))),
    "a restart and protection": (policy(), CRASH | {"protect"}, 1, guarded(*asked("restart", *at_rest(3)))),
    "a restart, and the user": (policy(mode="Rolling"), frozenset({"user", "crash"}), 1, asked("restart", *at_rest(2))),
    "a model by hand": (policy(), FAULTS, 1, asked("model_rollout", *edited(3))),
    "a model by hand, all at once otherwise": (policy(mode="Automatic"), FAULTS, 1, asked("model_rollout", *edited(3))),
}


@pytest.mark.timeout(0 if MORE else 300)
@pytest.mark.parametrize("name", CASES)
def test_with(name, record_property):
    """One disturbance or two anywhere after such a beginning."""
    play(name, CASES[name], record_property)
