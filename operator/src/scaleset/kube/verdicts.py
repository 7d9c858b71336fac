"""What the answer to a dry run of a pod means (semantics 1.3, 4.3)."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from scaleset.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound, Unavailable
from scaleset.planning import surge
from scaleset.planning.snapshot import Verdict
from scaleset.records.projections import plain

ACCEPTED = Verdict(accepted=True)


def verdict(error: ApiError) -> Verdict:
    """The API server's verdict in an error; raises the error again if it says nothing about the pod.

    The pod bears the name of an instance: that it exists is said last, after everything else was passed.
    """
    if isinstance(error, AlreadyExists):
        return ACCEPTED
    # A webhook that is down comes as 500; without any status nobody has said anything about the pod.
    said = isinstance(error, Forbidden | Invalid | NotFound) or (isinstance(error, Unavailable) and error.status == 500)
    if not said:
        raise error
    quota = isinstance(error, Forbidden) and surge.QUOTA in error.message
    return Verdict(accepted=False, message=plain(error.message), quota=quota)


def asks_for_no_more(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the new pod, beside which the old one will be gone, counts for no more in a quota."""
    had, wants = requested(old["spec"]), requested(new["spec"])
    return all(amount <= had.get(name, Decimal(0)) for name, amount in wants.items())


def requested(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod counts for in a quota: sums over its containers, or the largest init container where that is more."""
    totals: dict[str, Decimal] = {}
    for kind in ("requests", "limits"):
        running = _sum(_resources(spec.get("containers"), kind))
        for starting in _resources(spec.get("initContainers"), kind):
            for name, amount in starting.items():
                running[name] = max(running.get(name, Decimal(0)), amount)
        totals.update({f"{kind}.{name}": amount for name, amount in running.items()})
    return totals


def _resources(containers: Iterable[Mapping[str, Any]] | None, kind: str) -> list[dict[str, Decimal]]:
    found = []
    for container in containers or ():
        amounts = ((container.get("resources") or {}).get(kind)) or {}
        if kind == "requests":
            amounts = {**((container.get("resources") or {}).get("limits") or {}), **amounts}
        found.append({name: parse_quantity(str(amount)) for name, amount in amounts.items()})
    return found


def _sum(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total
