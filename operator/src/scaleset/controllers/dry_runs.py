"""Would the API server take this pod? Asked before a model is accepted and before a batch deletes anything (semantics
1.3, 4.3).

A dry run passes admission, quota and webhooks and keeps nothing. The pod bears the name of an instance, so that rules
which go by name apply; if that pod exists, AlreadyExists comes last and means that everything else was passed. A
quota counts the old pod and the new one: its refusal matters only where the new pod asks for more than the one that
it replaces.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from scaleset.controllers.projections import JSON, plain
from scaleset.kube.client import Client
from scaleset.kube.errors import AlreadyExists, Forbidden, Invalid, NotFound, Unavailable
from scaleset.kube.resources import PODS
from scaleset.planning import pods, surge
from scaleset.planning.pods import Identity
from scaleset.planning.snapshot import DryRun, Verdict

ACCEPTED = Verdict(accepted=True)


async def ask(client: Client, owner: Identity, dry_run: DryRun, *, now: float) -> Verdict:
    """The API server's verdict. Unavailable when there is none."""
    body = pods.pod(owner, dry_run.model, dry_run.build, dry_run.instance, previous=None, created_at=now)
    try:
        await client.create(PODS, owner.namespace, body, dry_run=True)
    except AlreadyExists:
        return ACCEPTED
    except Forbidden as error:
        quota = surge.QUOTA in error.message
        if quota and await _asks_for_no_more(client, owner, body):
            return ACCEPTED
        return Verdict(accepted=False, message=plain(error.message), quota=quota)
    except Invalid as error:
        return Verdict(accepted=False, message=plain(error.message))
    except NotFound as error:
        return Verdict(accepted=False, message=plain(error.message))
    except Unavailable as error:
        # A webhook that is down comes as 500; without any status nobody has said anything about the pod.
        if error.status != 500:
            raise
        return Verdict(accepted=False, message=plain(error.message))
    return ACCEPTED


async def _asks_for_no_more(client: Client, owner: Identity, body: JSON) -> bool:
    """Whether the pod of that name, which will be gone by then, asks for as much as the new one."""
    try:
        old = await client.get(PODS, owner.namespace, body["metadata"]["name"])
    except NotFound:
        return False
    had, wants = requested(old["spec"]), requested(body["spec"])
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
