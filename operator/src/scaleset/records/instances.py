"""The pods that are instances of a set."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scaleset.planner.instances import Pod

if TYPE_CHECKING:  # the plugin shows instances without the models
    from scaleset.records.custom_objects import ScaleSetObject


def owned(pods: Iterable[Pod], seen: "ScaleSetObject") -> tuple[dict[int, Pod], dict[int, str]]:
    """Pods of a set by instance id, and a sentence for each foreign object that has one of its names."""
    mine: dict[int, Pod] = {}
    foreign_pods: dict[int, str] = {}
    for pod in pods:
        number = instance_number(seen.name, pod.name)
        if number is None:
            continue
        if pod.owner == seen.uid:
            mine[number] = pod
        else:
            foreign_pods[number] = not_ours(pod.name)
    return mine, foreign_pods


def not_ours(name: str) -> str:
    """The sentence about a pod that has the name of an instance and another owner."""
    return f"Pod {name} exists but does not belong to this ScaleSet. Delete it."


def instance_number(set_name: str, pod_name: str) -> int | None:
    """The id in an instance's name; None for any other name."""
    prefix, _, number = pod_name.rpartition("-")
    if prefix != set_name or not number.isascii() or not number.isdecimal() or len(number) > 4:
        return None
    return int(number) if number == str(int(number)) else None
