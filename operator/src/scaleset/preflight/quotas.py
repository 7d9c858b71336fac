"""ResourceQuotas: the figures of a refusal, the pods that a quota counts, and whether there is room for new objects.

A refusal names one quota and its exceeded resources, each with the requested amount, the used amount and the limit. The
other resources of that quota have room. Nothing is known about other quotas.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from scaleset.preflight.usage import CLAIM_COUNTS, NOTHING, POD_COUNTS, Usage, added, amounts

_EXCEEDED = re.compile(r"exceeded quota: ([^,\s]+), requested: (\S+), used: (\S+), limited: ([^\s\]]+)")
_QOS = ("cpu", "memory")


class Exceeded(NamedTuple):
    """The figures of one refusal by a quota."""

    quota: str
    requested: Usage
    used: Usage
    """Without the request."""
    limited: Usage


def exceeded(message: str) -> Exceeded | None:
    """The figures of a refusal; None if they cannot be parsed."""
    found = _EXCEEDED.findall(message)
    if len(found) != 1:
        return None
    name, *lists = found[0]
    try:
        requested, used, limited = (amounts(dict(_pair(part) for part in each.split(","))) for each in lists)
    except ValueError:
        return None
    same = requested.keys() == used.keys() == limited.keys()
    return Exceeded(name, requested, used, limited) if same else None


def _pair(text: str) -> tuple[str, str]:
    name, found, amount = text.partition("=")
    if not found:
        raise ValueError(f"expected a resource and its amount, found {text[:80]!r}")
    return name, amount


class Traits(NamedTuple):
    """The properties of a pod that scopes of a quota select by."""

    terminating: bool
    best_effort: bool
    priority: str
    elsewhere: bool
    """Whether its affinity selects pods of other namespaces."""


def traits(pod: Mapping[str, Any]) -> Traits:
    """The traits of a pod as the API server returned it, or, without a status, as it will be sent."""
    spec = pod["spec"]
    quality = (pod.get("status") or {}).get("qosClass")
    return Traits(
        spec.get("activeDeadlineSeconds") is not None,
        quality == "BestEffort" if quality else not _asks(spec),
        str(spec.get("priorityClassName") or ""),
        _looks_elsewhere(spec.get("affinity") or {}),
    )


def _asks(spec: Mapping[str, Any]) -> bool:
    """Whether any container of the pod requests CPU or memory."""
    holders = (spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    lists = ((each.get("resources") or {}).get(kind) for each in holders for kind in ("requests", "limits"))
    return any(amount for each in lists for name, amount in amounts(each).items() if name in _QOS)


def _looks_elsewhere(affinity: Mapping[str, Any]) -> bool:
    terms: list[Mapping[str, Any]] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms += found.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += (each.get("podAffinityTerm") or {} for each in preferred)
    return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms)


class Scope(NamedTuple):
    """One selector of a quota."""

    name: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, pod: Traits) -> bool:
        """Whether the scope matches such a pod."""
        known = {
            "Terminating": pod.terminating,
            "NotTerminating": not pod.terminating,
            "BestEffort": pod.best_effort,
            "NotBestEffort": not pod.best_effort,
            "CrossNamespacePodAffinity": pod.elsewhere,
        }
        return self.selects(pod.priority) if self.name == "PriorityClass" else known.get(self.name, False)

    def selects(self, value: str) -> bool:
        """Whether the scope matches an object with that class name, or without a class."""
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        return bool(value) == (self.operator != "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Quota:
    """A ResourceQuota. `used` lacks resources that were not counted yet."""

    name: str
    hard: Usage
    used: Usage
    scopes: tuple[Scope, ...] = ()

    def counts(self, pod: Traits) -> bool:
        """Whether the quota counts such a pod."""
        return all(scope.holds(pod) for scope in self.scopes)

    def counts_claim(self, claim: Mapping[str, Any]) -> bool:
        """Whether the quota counts that claim."""
        chosen = str(claim["spec"].get("volumeAttributesClassName") or "")
        return all(scope.name == "VolumeAttributesClass" and scope.selects(chosen) for scope in self.scopes)

    @property
    def concerns_pods(self) -> bool:
        """Whether the quota may limit pods."""
        return any(map(of_pods, self.hard))

    @property
    def concerns_claims(self) -> bool:
        """Whether the quota limits claims."""
        return any(map(_of_claims, self.hard))


def of_pods(name: str) -> bool:
    """Whether pods consume that resource."""
    compute = name in ("cpu", "memory", "ephemeral-storage") or name.startswith(("requests.", "limits.", "hugepages-"))
    return name in POD_COUNTS or (compute and not _of_claims(name))


def _of_claims(name: str) -> bool:
    return name in (*CLAIM_COUNTS, "requests.storage") or ".storageclass.storage.k8s.io/" in name


def quota(raw: Mapping[str, Any]) -> Quota:
    """Record of a ResourceQuota. If its limits were just changed, the lower limit counts: the API server is about to
    apply the new ones.
    """
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    wanted, hard = amounts(spec.get("hard")), amounts(status.get("hard"))
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    scopes = [Scope(str(name), "Exists") for name in spec.get("scopes") or ()]
    scopes += [Scope(each["scopeName"], each["operator"], tuple(each.get("values") or ())) for each in selected]
    lowest = {
        name: min(each[name] for each in (wanted, hard) if name in each) for name in sorted(wanted.keys() | hard.keys())
    }
    return Quota(raw["metadata"]["name"], lowest, amounts(status.get("used")), tuple(scopes))


@dataclass(frozen=True, slots=True)
class Size:
    """The size of each new pod. Amounts outside `known` are guesses."""

    amounts: Usage
    traits: Traits
    known: frozenset[str]
    """Resources whose amount is certain."""
    whole: bool = False
    """Whether the API server returned the whole pod: then no amount is a guess."""

    def knows(self, name: str) -> bool:
        return self.whole or name in self.known


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a batch: pods that go, `pods` new ones of one size, and claims."""

    pods: int
    size: Size
    leaving: tuple[tuple[Traits, Usage], ...] = ()
    """Pods that will be gone by then, with their present size."""
    claims: tuple[Mapping[str, Any], ...] = ()
    claim_usage: tuple[Usage, ...] = ()
    named: Mapping[str, Exceeded] = field(default_factory=dict)
    """Refusals by single quotas, by name."""

    def left(self, found: Quota | None) -> Usage:
        """The amounts that leaving pods free in that quota; in an unknown quota, only pods like the new ones count."""
        return added(
            usage
            for like, usage in self.leaving
            if (found.counts(like) if found is not None else like == self.size.traits)
        )


def obstacle(quotas: Iterable[Quota], change: Change) -> str | None:
    """Why there is no room, or no certain room."""
    known = {found.name: found for found in quotas}
    for name, said in change.named.items():
        read = known.get(name)
        left, hard = change.left(read), read.hard if read is not None else {}
        for resource, asked in said.requested.items():
            needed, used, limit = change.pods * asked, said.used[resource], said.limited[resource]
            limit = min(limit, hard.get(resource, limit))  # A quota that was just lowered: the refusal went by the old.
            if not _fits(used, left.get(resource, NOTHING), needed, limit):
                return _no_room(name, resource, used, limit, left, needed)
    for found in known.values():
        if (text := _in_quota(found, change)) is not None:
            return text
    return None


def _in_quota(found: Quota, change: Change) -> str | None:
    size = change.size
    left = change.left(found)
    pods = size.amounts if found.counts(size.traits) else {}
    claims = added(
        usage for claim, usage in zip(change.claims, change.claim_usage, strict=True) if found.counts_claim(claim)
    )
    said = change.named.get(found.name)
    for resource, limit in found.hard.items():
        one = pods.get(resource, NOTHING)
        needed = change.pods * one + claims.get(resource, NOTHING)
        if not needed or (said is not None and resource in said.requested):
            continue
        used = found.used.get(resource)
        if used is None:
            return f"ResourceQuota {found.name} has not counted {resource} yet."
        if not _fits(used, left.get(resource, NOTHING), needed, limit):
            return _no_room(found.name, resource, used, limit, left, needed)
        if one and not size.knows(resource) and used + one > limit:
            return (
                f"ResourceQuota {found.name} may have no room: {resource} is used up ({shown(used)} of "
                f"{shown(limit)}), and what the new pod counts for there is not certain. "
                "Write it into the resources of each container, or raise the quota."
            )
    return None


def _fits(used: Decimal, left: Decimal, needed: Decimal, limit: Decimal) -> bool:
    return used - left + needed <= limit


def _no_room(name: str, resource: str, used: Decimal, limit: Decimal, left: Usage, needed: Decimal) -> str:
    freed = left.get(resource, NOTHING)
    replaced = f", of which {shown(freed)} will be free," if freed else ""
    return (
        f"ResourceQuota {name} has no room: {resource} is {shown(used)} of {shown(limit)}{replaced} "
        f"and {shown(needed)} is needed."
    )


def shown(amount: Decimal) -> str:
    """An amount as Kubernetes writes it."""
    if amount != amount.to_integral_value():
        return f"{(amount * 1000).normalize():f}m"
    number = int(amount)
    for exponent, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if number and number % 1024**exponent == 0:
            return f"{number // 1024**exponent}{suffix}"
    return str(number)


def guess(
    body: Mapping[str, Any],
    counted: Usage,
    *,
    before: tuple[Usage, ...],
    named: Usage,
    same_model: bool,
    like: Traits | None,
) -> Size:
    """The size of a new pod that was refused, so that the API server did not return it.

    `body` is the sent pod and `counted` its size if it is stored unchanged; `before` is the size of the pods that it
    replaces, `named` the figures of refusals. Certain amounts are those of the refusals, and those that every container
    requests explicitly, if they agree with the refusals. If only the image changes, the previous size is certain as
    well, if it agrees.
    """
    certain = POD_COUNTS | named.keys()
    said = {name: amount for name, amount in named.items() if name not in POD_COUNTS}
    explicit = {name for name in counted if _explicit(body, name)}
    agree = all(counted[name] == said[name] for name in said if name in explicit)
    if agree and not body["spec"].get("runtimeClassName"):
        certain |= explicit
    largest = {name: max(each.get(name, NOTHING) for each in (counted, *before)) for name in added((counted, *before))}
    found = {name: counted[name] if name in certain and name in counted else amount for name, amount in largest.items()}
    if same_model and before and said and all(each.get(name) == said[name] for name in said for each in before):
        found, certain = largest, certain | largest.keys()
    sent = traits(body)
    if like is not None:
        sent = sent._replace(best_effort=sent.best_effort and like.best_effort, priority=sent.priority or like.priority)
    return Size(found | named, sent, frozenset(certain))


def _explicit(body: Mapping[str, Any], name: str) -> bool:
    """Whether the pod itself, or each of its containers, sets the amount: then no LimitRange adds one."""
    if name in POD_COUNTS:
        return True
    limits = name.startswith("limits.")
    base = name.removeprefix("limits.").removeprefix("requests.")

    def says(holder: Mapping[str, Any]) -> bool:
        resources = holder.get("resources") or {}
        return base in (resources.get("limits") or {}) or (not limits and base in (resources.get("requests") or {}))

    spec = body["spec"]
    return says(spec) or all(map(says, (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))))
