"""Which pods are instances of a set."""

from collections.abc import Iterable

from scaleset.planner.instances import Pod
from scaleset.records.custom_objects import ScaleSetObject


def owned(pods: Iterable[Pod], seen: ScaleSetObject) -> tuple[dict[int, Pod], dict[int, str]]:
    """Pods of a set by instance id, and what sits on its names without being its own, with a sentence."""
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
    """What is said of a pod that has one of our names and another owner."""
    return f"Pod {name} exists but does not belong to this ScaleSet. Delete it."


def instance_number(set_name: str, pod_name: str) -> int | None:
    """The id in an instance's name; None for a name that is none."""
    prefix, _, number = pod_name.rpartition("-")
    if prefix != set_name or not number.isascii() or not number.isdecimal() or len(number) > 4:
        return None
    return int(number) if number == str(int(number)) else None
