"""Dry runs of a model before objects are created from it, and the meaning of the answers.

The questions are dry runs of the objects of one instance:

1. Does it produce the same instances as a stored model? Then it is that model, and no rollout starts.
2. Has it fields that Kubernetes does not know? Those are dropped silently, so a misspelt limit is no limit. A new model
   is refused for it; a running model only gets a warning.
3. Are its claims valid? A quota on claims is not about the model: an instance that has its claims needs no new ones.

The admission of the pod itself is checked as before a batch (`preflight.admission`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scaleset.kube.errors import ApiError, Invalid
from scaleset.kube.resources import CLAIMS, JSON, PODS
from scaleset.planner import disks
from scaleset.planner.plan import ModelCheck
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from scaleset.preflight import sameness
from scaleset.preflight.conversation import Answer, Call, Questions, verdict
from scaleset.records.projections import listed, plain

_STRICT = "strict decoding error"
_FIELD = re.compile(r'(?:unknown|duplicate) field "([^"]+)"')
_CONTAINER = re.compile(r"spec\.((?:initC|c)ontainers)\[(\d+)\]\.(.+)")


def converse(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Verdict | None]:
    """All checks of a model except the admission of its pod."""
    unknown = yield from _unknown_fields(owner, asked.model, asked, now=now)
    if asked.runs:
        return Verdict(accepted=True, warning=_warning(unknown))
    same = yield from _same_as(owner, asked, now=now)
    if same is not None:
        had: tuple[str, ...] = ()
        if unknown:
            had = yield from _unknown_fields(owner, same, asked, now=now)
        if set(unknown) <= set(had):
            return Verdict(accepted=True, same_as=same.name, warning=_warning(unknown))
    if unknown:
        return Verdict(accepted=False, message=f"{_named(unknown)}. Correct the spelling, or remove them")
    return (yield from _claims_refused(owner, asked, now=now))


def _bodies(owner: Identity, model: Revision, asked: ModelCheck, *, now: float) -> list[JSON]:
    """The objects of an instance under a free name, since an answer AlreadyExists returns no object. All models are
    tried as if they were the new one, so that rules about the operator's labels see no difference.
    """
    build = replace(asked.build, model=asked.model.name)
    return sameness.bodies(owner, model, build, asked.beside, now=now)


# --- does it equal a stored model?


def _same_as(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Revision | None]:
    """The first stored model that produces the same instances."""
    for model in asked.stored:
        aligned = disks.aligned(asked.model, model)
        if sameness.outside(owner, model) == sameness.outside(owner, aligned):
            mine = _bodies(owner, aligned, asked, now=now)
            theirs = _bodies(owner, model, asked, now=now)
            if (yield from _all_same(mine, theirs)):
                return model
    return None


def _all_same(mine: Sequence[JSON], theirs: Sequence[JSON]) -> Questions[bool]:
    for asked, known in zip(mine, theirs, strict=True):
        if asked != known and not (yield from _same(asked, known)):
            return False
    return True


def _same(asked: JSON, known: JSON) -> Questions[bool]:
    """Whether two models produce the same instances. The stored model is tried before and after the new one, so that
    the defaults of an API server during its upgrade do not count as a difference. Without an answer (a quota has no
    room, a webhook is down) the models count as different, since the wait might never end.
    """
    before = _object((yield from _ask(known)))
    found = _object((yield from _ask(asked))) if before is not None else None
    if before is None or found is None:
        return False
    if sameness.same(found, before):
        return True
    again = _object((yield from _ask(known)))
    return again is not None and sameness.same(found, before, again=again)


def _ask(body: JSON, *, strict: bool = False) -> Questions[Answer]:
    (answer,) = yield [Call("try", PODS if body["kind"] == "Pod" else CLAIMS, body, strict=strict)]
    return answer


def _object(answer: Answer) -> JSON | None:
    """The object; None if it is refused. Raises an error that is not about the object."""
    if isinstance(answer, ApiError):
        verdict(answer)
        return None
    found: JSON = answer
    return found


# --- unknown fields


def _unknown_fields(owner: Identity, model: Revision, asked: ModelCheck, *, now: float) -> Questions[tuple[str, ...]]:
    """A sentence about fields of the template and of the claim templates that the API server would drop. The server
    parses an object before every other check, so any other refusal means that all fields are known.
    """
    found: list[str] = []
    bodies = _bodies(owner, model, asked, now=now)
    names = ("", *model.claim_names)
    for name, body in zip(names, bodies, strict=True):
        answer = yield from _ask(body, strict=True)
        if isinstance(answer, Invalid) and _STRICT in answer.message:
            found += _fields(answer.message, body) if not name else _of_claim(answer.message, name)
        elif isinstance(answer, ApiError):
            verdict(answer)
    return tuple(found)


def _fields(message: str, body: Mapping[str, Any]) -> list[str]:
    """Unknown fields with containers by name: the operator adds containers before them, so their numbers differ from
    the template.
    """
    words = []
    for path in _FIELD.findall(message):
        if (found := _CONTAINER.fullmatch(path)) is None:
            words.append(f"template.{path}")
            continue
        kind, index, field = found.groups()
        containers = body["spec"].get(kind) or []
        name = containers[int(index)]["name"] if int(index) < len(containers) else index
        words.append(f"{field} of {'container' if kind == 'containers' else 'init container'} {name}")
    return words or [plain(message)]


def _of_claim(message: str, name: str) -> list[str]:
    return [f"{path} of claim template {name}" for path in _FIELD.findall(message)] or [plain(message)]


def _named(unknown: Sequence[str]) -> str:
    return plain(f"the spec has fields that Kubernetes does not know and would drop: {listed(unknown)}")


def _warning(unknown: Sequence[str]) -> str:
    if not unknown:
        return ""
    said = _named(unknown)
    return f"{said[0].upper()}{said[1:]}. The model runs without them; correct the spelling, or remove them."


# --- claims


def _claims_refused(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Verdict | None]:
    """Why the API server refuses a claim of the model; None if it accepts all."""
    templates: Iterable[Mapping[str, Any]] = asked.model.data.get("volumeClaimTemplates") or ()
    bodies = sameness.bodies(owner, asked.model, asked.build, asked.instance, now=now)[1:]
    for template, body in zip(templates, bodies, strict=True):
        answer = yield from _ask(body)
        said = verdict(answer) if isinstance(answer, ApiError) else None
        if said is not None and not said.accepted and not said.quota:
            name = template["metadata"]["name"]
            return Verdict(accepted=False, message=f"claim template {name}: {said.message}")
    return None
