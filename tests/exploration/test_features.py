"""Every state that small sets with zones, max surge, protection and an order reach; as `test_model`, with these.

The surroundings of test_model disturb here too: the operator killed after any write, stale views, broken and lost
pods, a quota (which a dry run tells of, or does not), and the user, who also gives and takes protection.
"""

import pytest

from tests.exploration.explorer import EVERYTHING
from tests.exploration.states import Place
from tests.exploration.test_model import FAULTS, HALF, MORE, OWN_FAULTS, births, edited, image, play
from tests.simulation.world import policy

ALL = EVERYTHING | {"protect"}
PROTECT = frozenset({"protect", "crash"})
USER = frozenset({"user", "crash"})
SURGE = policy(rolling={"maxSurge": True})
SURGE_HALF = policy(rolling={**HALF, "maxSurge": True})
CROSS = policy(rolling={**HALF, "enableCrossZoneUpgrade": True})


def zoned(zones: int, *places: Place) -> list[Place]:
    return [place._replace(zones=zones) for place in places]


def ordered(*places: Place) -> list[Place]:
    return [place._replace(ordered=True) for place in places]


def downwards(*places: Place) -> list[Place]:
    return [place._replace(descends=True) for place in places]


def tight(*places: Place) -> list[Place]:
    """With a dry run that sees the quota, and with one that does not."""
    return [place._replace(foreseen=foreseen) for place in places for foreseen in (False, True)]


def guarded(*places: Place) -> list[Place]:
    """With the first or the last instance protected, in either flavour."""
    return [
        place._replace(protected=((number, everything),))
        for place in places
        for number in {0, place.replicas - 1}
        for everything in (False, True)
    ]


CASES = {
    "zones, batches of one zone": (policy(rolling=HALF), USER, 1, zoned(2, *image(4))),
    "zones, batches across": (CROSS, OWN_FAULTS, 1, zoned(2, *image(4))),
    "three zones": (policy(rolling=HALF), OWN_FAULTS, 1, zoned(3, *image(6))),
    "surge": (SURGE, ALL, 1, [*image(1), *image(2)]),
    "surge and a quota": (SURGE, FAULTS, 1, tight(*image(2))),
    "surge, two faults": (SURGE, FAULTS, 2, tight(*image(1))),
    "surge, batches of half": (SURGE_HALF, OWN_FAULTS, 1, image(4)),
    "surge in zones": (SURGE_HALF, FAULTS, 1, zoned(2, *image(3))),
    "surge of models": (policy(mode="Rolling", rolling={"maxSurge": True}), FAULTS, 1, edited(2)[:1]),
    "protection": (policy(), USER | {"protect"}, 1, guarded(*image(2))),
    "protection given and taken": (policy(), PROTECT, 2, [*image(2), *image(3)]),
    "protection, mode Automatic": (policy(mode="Automatic"), PROTECT, 1, guarded(*edited(2))),
    "protection and surge": (SURGE, PROTECT, 1, guarded(*image(2))),
    "one after the other": (policy(), EVERYTHING, 1, ordered(*image(2))),
    "one after the other, just created": (policy(), OWN_FAULTS, 1, ordered(*births(3))),
    "one after the other, mode Rolling": (policy(mode="Rolling"), USER, 1, ordered(*edited(2))),
    "one after the other, surge": (SURGE, USER, 1, ordered(*image(2))),
    "a limit of time": (policy(rolling=HALF, upgradeTimeout="PT1H"), frozenset({"slow", "crash"}), 2, image(4)),
    "a limit of time, and the user": (policy(rolling=HALF, upgradeTimeout="PT1H"), USER, 2, image(2)),
    "a limit of time, two faults": (policy(upgradeTimeout="PT1H"), EVERYTHING, 1, image(3)),
    "downwards": (policy(rolling=HALF), USER, 1, downwards(*image(4))),
}


@pytest.mark.timeout(0 if MORE else 300)
@pytest.mark.parametrize("name", CASES)
def test_with(name, record_property):
    """One disturbance or two anywhere in upgrades of such sets."""
    play(name, CASES[name], record_property)
