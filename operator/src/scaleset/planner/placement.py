"""In which zone and update domain an instance is.

Both follow from its id: instance i lives in zones[i % len], update domain (i // max(1, len(zones))) % updateDomains.
Zones cannot be changed, so an instance stays in its zone for life, and nothing has to be remembered.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the plugin shows instances without the models
    from scaleset.api.placement import ScaleInRule


@dataclass(frozen=True, slots=True)
class Place:
    """Zone (its index; 0 without zones) and update domain of an instance, both counted from 0."""

    zone: int
    update_domain: int


NOWHERE = Place(0, 0)


def place(number: int, *, zones: int, update_domains: int) -> Place:
    """The place of an instance, given the number of zones (0 for a set without zones) and of update domains."""
    zones = max(1, zones)
    return Place(number % zones, number // zones % update_domains)


def zone_name(number: int, zones: Sequence[str]) -> str | None:
    """Name of the instance's zone; None without zones."""
    return zones[number % len(zones)] if zones else None


def scale_in_order(
    removable: Mapping[int, float], staying: Sequence[int], *, zones: int, rule: "ScaleInRule"
) -> list[int]:
    """The instances in the order in which scaling in removes them.

    Zones are balanced first: each removal is from the zones that have most instances, protected ones (`staying`)
    counted. Among the tied zones together, Default takes the highest id; OldestVM and NewestVM go by age (`removable`
    maps ids to creation times).
    """
    queue = sorted(removable, key=lambda number: _turn(number, removable, rule))
    rank = {number: index for index, number in enumerate(queue)}
    modulus = max(1, zones)
    counts = Counter(number % modulus for number in (*removable, *staying))
    queues: dict[int, list[int]] = {}
    for number in reversed(queue):
        queues.setdefault(number % modulus, []).append(number)
    order: list[int] = []
    while queues:
        fullest = max(counts[zone] for zone in queues)
        number = min((queues[zone][-1] for zone in queues if counts[zone] == fullest), key=rank.__getitem__)
        zone = number % modulus
        order.append(queues[zone].pop())
        counts[zone] -= 1
        if not queues[zone]:
            del queues[zone]
    return order


def _turn(number: int, created: Mapping[int, float], rule: "ScaleInRule") -> tuple[float, int]:
    """Sort key; the smallest goes first."""
    if rule == "OldestVM":
        return created[number], number
    return (-created[number] if rule == "NewestVM" else 0.0), -number
