"""The amounts that a pod or a claim uses in a ResourceQuota.

The rules are Kubernetes' own, see "Resource sharing within containers" and "Resource Quotas" in its documentation: the
containers and the restartable init containers together, or the largest init container where that is more; the pod's own
`resources` in their place; the overhead of its RuntimeClass on top. The object is the one that the API server returned,
including the changes of defaults, LimitRanges and webhooks.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from scaleset.kube.resources import JSON
from scaleset.records.projections import seconds

Usage = dict[str, Decimal]
"""Amounts by name of the resource, as quotas name them: `requests.cpu`, `pods`, `persistentvolumeclaims`."""

ONE = Decimal(1)
NOTHING = Decimal(0)
POD_COUNTS = frozenset({"pods", "count/pods"})
CLAIM_COUNTS = ("persistentvolumeclaims", "count/persistentvolumeclaims")
_BARE = ("cpu", "memory", "ephemeral-storage")
"""Resources that a quota may name without `requests.`, and may limit by `limits.`."""
_BY_POD = ("cpu", "memory")
_HUGE = "hugepages-"
_CLASS = ".storageclass.storage.k8s.io/"


def of_pod(pod: Mapping[str, Any], *, now: float) -> Usage:
    """The amounts that a pod uses. An ended pod, or one whose grace period is over, counts only as an object."""
    if _ended(pod, now):
        return {"count/pods": ONE}
    usage = dict.fromkeys(POD_COUNTS, ONE)
    for name, amount in total(pod, "requests").items():
        extended = "/" in name and "kubernetes.io/" not in name
        if name in _BARE or name.startswith(_HUGE):
            usage[name] = amount
        if name in _BARE or name.startswith(_HUGE) or extended:
            usage[f"requests.{name}"] = amount
    usage |= {f"limits.{name}": amount for name, amount in total(pod, "limits").items() if name in _BARE}
    return usage


def of_claim(claim: Mapping[str, Any]) -> Usage:
    """The amounts that a claim uses."""
    spec = claim["spec"]
    usage = dict.fromkeys(CLAIM_COUNTS, ONE)
    annotations = claim["metadata"].get("annotations") or {}
    storage_class = annotations.get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName")
    if storage_class:
        usage[f"{storage_class}{_CLASS}persistentvolumeclaims"] = ONE
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is not None:
        amount = parse_quantity(asked).to_integral_value(ROUND_CEILING)
        usage["requests.storage"] = amount
        if storage_class:
            usage[f"{storage_class}{_CLASS}requests.storage"] = amount
    return usage


def added(parts: Iterable[Mapping[str, Decimal]]) -> Usage:
    """The sum of all."""
    found: Usage = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found.get(name, NOTHING) + amount
    return found


def amounts(listed: Mapping[str, Any] | None) -> Usage:
    """Quantities as numbers. ValueError if one is none."""
    return {str(name): parse_quantity(amount) for name, amount in (listed or {}).items()}


def total(pod: Mapping[str, Any], kind: str) -> Usage:
    """The total `requests` or `limits` of the pod."""
    spec = pod["spec"]
    found = _of_containers(pod, kind)
    own = amounts((spec.get("resources") or {}).get(kind))
    found |= {name: amount for name, amount in own.items() if name in _BY_POD or name.startswith(_HUGE)}
    for name, amount in amounts(spec.get("overhead")).items():
        # A missing limit stays unlimited; a missing request counts from zero.
        if kind == "requests" or found.get(name):
            found[name] = found.get(name, NOTHING) + amount
    return found


def _of_containers(pod: Mapping[str, Any], kind: str) -> Usage:
    spec, status = pod["spec"], pod.get("status") or {}
    states = {
        state["name"]: state
        for field in ("containerStatuses", "initContainerStatuses")
        for state in status.get(field) or ()
    }
    conditions = status.get("conditions") or ()
    stuck = any(c["type"] == "PodResizePending" and c.get("reason") == "Infeasible" for c in conditions)
    found = added(_of(each, states.get(each["name"]), kind, stuck=stuck) for each in spec.get("containers") or ())
    sidecars: Usage = {}
    starting: Usage = {}
    for each in spec.get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            amount = _of(each, states.get(each["name"]), kind, stuck=stuck)
            found = added((found, amount))
            sidecars = needed = added((sidecars, amount))
        else:
            needed = added((sidecars, _of(each, None, kind, stuck=stuck)))
        starting = _larger(starting, needed)
    return _larger(found, starting)


def _of(container: Mapping[str, Any], state: Mapping[str, Any] | None, kind: str, *, stuck: bool) -> Usage:
    """The amounts of one container. During a resize the larger size counts; a resize without room on any node does not
    count.
    """
    asked = amounts((container.get("resources") or {}).get(kind))
    if state is None or state.get("resources") is None:
        return asked
    has = amounts(state["resources"].get(kind))
    if kind == "requests":
        has = _larger(has, amounts(state.get("allocatedResources")))
    return has if stuck else _larger(asked, has)


def _larger(one: Usage, other: Usage) -> Usage:
    return {name: max(one.get(name, NOTHING), other.get(name, NOTHING)) for name in (*one, *other)}


def _ended(pod: Mapping[str, Any], now: float) -> bool:
    metadata: JSON = pod["metadata"]
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return True
    due, grace = seconds(metadata.get("deletionTimestamp")), metadata.get("deletionGracePeriodSeconds")
    return due is not None and grace is not None and now > due + grace
