"""Would the API server accept everything that a batch needs? Checked before the batch deletes a pod.

A dry run passes admission, webhooks and quotas and stores nothing. One pod of each build is tried under the name of its
instance, so that rules about names apply, and each missing claim. AlreadyExists comes last and means that every other
check was passed.

A quota counts the old pods beside the new ones, and each dry run by itself. So its figures are compared with the final
state: used - the pods that go, as admitted + everything that comes <= limit. A refusal names one quota. Whether the
other quotas were checked is not known, so they are read as well. An uncertain result counts as a refusal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scaleset.api import names
from scaleset.kube.errors import AlreadyExists, ApiError, Forbidden
from scaleset.kube.resources import CLAIMS, JSON, PODS, QUOTAS
from scaleset.planner import pod_builder
from scaleset.planner.plan import DryRun
from scaleset.planner.pod_builder import Identity
from scaleset.planner.snapshot import Newcomer, Verdict
from scaleset.preflight import quotas, usage
from scaleset.preflight.conversation import ACCEPTED, Answer, Call, Questions, verdict
from scaleset.preflight.quotas import Change, Exceeded, Quota, Size
from scaleset.records.projections import owning_sets, plain

ROUNDS, AT_ONCE = 5, 8
"""Number of repetitions of a dry run, and how many are sent at a time. If several quotas are exceeded, chance decides
which one is named, and not evenly: the API server walks a small Go map, in which the same one of two comes first seven
times of eight. An unnamed quota is missed once in 200 times; then the uncertain result counts as a refusal.
"""


def questions(owner: Identity, asked: DryRun, *, now: float) -> Questions[Verdict]:
    """The requests to the API server, and finally its verdict. An error without a verdict is raised."""
    batch = asked.batch or (Newcomer(asked.instance, asked.build),)
    run = _Run(owner, asked, batch, now)
    refused = yield from _try_pods(run)
    if refused is None:
        refused = yield from _try_claims(run)
    if refused is not None:
        return refused
    alone = len(batch) == 1 and len(run.claims) <= 1
    if alone and not run.refusals:
        return ACCEPTED
    return (yield from _count(run))


@dataclass(slots=True)
class _Run:
    """The answers so far."""

    owner: Identity
    asked: DryRun
    batch: tuple[Newcomer, ...]
    now: float
    admitted: JSON | None = None
    """A new pod as the API server would create it."""
    refusals: list[str] = field(default_factory=list)
    """Refusals of quotas."""
    claims: list[JSON] = field(default_factory=list)
    """New claims as the API server would create them."""

    def body(self, newcomer: Newcomer) -> JSON:
        return pod_builder.pod(
            self.owner, self.asked.model, newcomer.build, newcomer.instance, previous=None, created_at=self.now
        )

    def record(self, answer: Answer) -> Verdict | None:
        """Record the answer about a pod; a refusal by anything but a quota is final."""
        if not isinstance(answer, ApiError):
            self.admitted = answer
            return None
        said = verdict(answer)
        if said.quota:
            self.refusals.append(answer.message)
        return None if said.quota or said.accepted else said

    def doubt(self, why: str) -> Verdict:
        """A refusal with the server's words, if there are any, and a sentence of the operator."""
        words = [plain(text).rstrip(".") + "." for text in self.refusals[:1]]
        return Verdict(accepted=False, message=" ".join([*words, why]), quota=True)


def _try_pods(run: _Run) -> Questions[Verdict | None]:
    kinds = {newcomer.build: newcomer for newcomer in reversed(run.batch)}
    for answer in (yield [Call("try", PODS, run.body(newcomer)) for newcomer in kinds.values()]):
        if (refused := run.record(answer)) is not None:
            return refused
    return None


def _try_claims(run: _Run) -> Questions[Verdict | None]:
    """Try the missing claims. No claim is deleted for a new one, so a quota's refusal is final. An existing claim has
    to belong to the set.
    """
    wanted = [
        pod_builder.claim(run.owner, run.asked.model, name, each.instance) for each in run.batch for name in each.claims
    ]
    if not wanted:
        return None
    there = []
    for body, answer in zip(wanted, (yield [Call("try", CLAIMS, body) for body in wanted]), strict=True):
        if isinstance(answer, AlreadyExists):
            there.append(Call("get", CLAIMS, name=body["metadata"]["name"]))
        elif isinstance(answer, ApiError):
            return verdict(answer)
        else:
            run.claims.append(answer)
    for found in (yield there) if there else ():
        if isinstance(found, ApiError):
            raise found
        if (why := _not_usable(run.owner, found)) is not None:
            return Verdict(accepted=False, message=why)
    return None


def _not_usable(owner: Identity, claim: Mapping[str, Any]) -> str | None:
    metadata = claim["metadata"]
    if (metadata.get("labels") or {}).get(names.LABEL_NAME) != owner.name:
        return (
            f"PersistentVolumeClaim {metadata['name']} exists but is not ours. "
            f"Label it {names.LABEL_NAME}={owner.name} to hand it over."
        )
    if metadata.get("deletionTimestamp"):
        return f"PersistentVolumeClaim {metadata['name']} is being deleted."
    owners = owning_sets(metadata)
    if owners and owner.uid not in owners:
        return f"PersistentVolumeClaim {metadata['name']} names another ScaleSet as its owner and is deleted with it."
    return None


def _count(run: _Run) -> Questions[Verdict]:
    """Whether the quotas have room for everything."""
    (listed,) = yield [Call("list", QUOTAS)]
    if isinstance(listed, Forbidden):
        if not run.refusals:
            return ACCEPTED  # Each pod fits by itself; the role of an older chart must not stop every upgrade.
        return run.doubt("Other quotas of the namespace cannot be read: the operator's role lacks list resourcequotas.")
    found = [each for each in map(quotas.quota, _sound(listed)) if _matters(each, run)]
    if not found and not run.refusals:
        return ACCEPTED
    (present,) = yield [Call("list", PODS, selector=f"{names.LABEL_NAME}={run.owner.name}")]
    mine = {pod["metadata"]["name"]: pod for pod in _sound(present) if _owned(run.owner, pod)}
    leaving = [mine[name] for name in map(run.owner.instance, (n.instance for n in run.batch)) if name in mine]
    if run.refusals:
        refused = yield from _name_others(run, found, leaving)
        if refused is not None:
            return refused
    elif run.admitted is None:
        # Each pod would fit, but no answer shows its size: the API server does not return an existing object.
        free = next(n for n in range(len(mine) + len(run.batch) + 1) if run.owner.instance(n) not in mine)
        (answer,) = yield [Call("try", PODS, run.body(replace(run.batch[0], instance=free)))]
        run.admitted = None if isinstance(answer, ApiError) else answer
    return _compare(run, found, leaving)


def _name_others(run: _Run, found: list[Quota], leaving: list[JSON]) -> Questions[Verdict | None]:
    """Repeat the dry run if the size of a new pod is uncertain in a quota that was not named, until each refusing quota
    has probably been named.
    """
    again = Call("try", PODS, run.body(run.batch[0]))
    for _ in range(ROUNDS):
        size = _size(run, leaving)
        if all(_known(each, size, run) for each in found):
            break
        for answer in (yield [again] * AT_ONCE):
            if (refused := run.record(answer)) is not None:
                return refused
    return None


def _compare(run: _Run, found: list[Quota], leaving: list[JSON]) -> Verdict:
    """Compare the present and the coming objects with the limits."""
    if any(quotas.exceeded(text) is None for text in run.refusals):
        return run.doubt("What it says of amounts is not understood.")
    change = Change(
        len(run.batch),
        _size(run, leaving),
        tuple((quotas.traits(pod), usage.of_pod(pod, now=run.now)) for pod in leaving),
        tuple(run.claims),
        tuple(map(usage.of_claim, run.claims)),
        _named(run),
    )
    why = quotas.obstacle(found, change)
    return ACCEPTED if why is None else run.doubt(why)


def _matters(found: Quota, run: _Run) -> bool:
    return found.concerns_pods or (bool(run.claims) and found.concerns_claims)


def _known(found: Quota, size: Size, run: _Run) -> bool:
    """Whether the size of a new pod in that quota is certain."""
    asked = filter(quotas.of_pods, found.hard)
    return found.name in _named(run) or not found.counts(size.traits) or all(map(size.knows, asked))


def _sound(answer: Answer) -> Iterable[JSON]:
    if isinstance(answer, ApiError):
        raise answer
    listed: Iterable[JSON] = answer
    return listed


def _owned(owner: Identity, pod: JSON) -> bool:
    references = pod["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and each.get("uid") == owner.uid for each in references)


def _named(run: _Run) -> dict[str, Exceeded]:
    said = [figures for text in run.refusals if (figures := quotas.exceeded(text)) is not None]
    return {each.quota: each for each in said}


def _size(run: _Run, leaving: list[JSON]) -> Size:
    if run.admitted is not None and not run.refusals:
        counted = usage.of_pod(run.admitted, now=run.now)
        return Size(counted, quotas.traits(run.admitted), frozenset(counted), whole=True)
    body = _defaulted(run.body(run.batch[0]))
    models = {(pod["metadata"].get("labels") or {}).get(names.LABEL_MODEL) for pod in leaving}
    if leaving and leaving[0]["spec"].get("runtimeClassName") == body["spec"].get("runtimeClassName"):
        body["spec"]["overhead"] = leaving[0]["spec"].get("overhead")
    return quotas.guess(
        body,
        usage.of_pod(body, now=run.now),
        before=tuple(usage.of_pod(pod, now=run.now) for pod in leaving),
        named={name: amount for each in _named(run).values() for name, amount in each.requested.items()},
        same_model=models == {run.asked.model.name},
        like=quotas.traits(leaving[0]) if leaving else None,
    )


def _defaulted(body: JSON) -> JSON:
    """The pod with defaulted requests: a resource with only a limit requests that limit, as in the API server."""
    spec = body["spec"]
    for each in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = each.get("resources") or {}
        limits = resources.get("limits") or {}
        each["resources"] = {"limits": limits, "requests": {**limits, **(resources.get("requests") or {})}}
    return body
