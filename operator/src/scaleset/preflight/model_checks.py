"""What the API server is asked about a model before anything is made from it, and what the answers mean.

The questions are dry runs of the objects of one instance:

1. Does it make the same instances as a model that is stored? Then it is that model, and nothing is rolled.
2. Has it fields that Kubernetes does not know? Those are dropped in silence, so a misspelt limit is no limit. A new
   model is refused for it; one that runs already is warned about and never stopped.
3. Are its claims valid? A quota on claims says nothing about the model: an instance that has its claims needs none.

Whether the pod itself is admitted is asked as it is before a batch (`controllers.dry_runs`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scaleset.kube.errors import ApiError, Invalid
from scaleset.kube.resources import CLAIMS, PODS
from scaleset.planner import disks
from scaleset.planner.instances import Build
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import ModelCheck, Verdict
from scaleset.preflight import sameness
from scaleset.preflight.conversation import Answer, Call, Questions, verdict
from scaleset.records.projections import plain

JSON = dict[str, Any]


NAMED = 5
"""Fields that a sentence names; more do not fit a condition that somebody reads."""
_STRICT = "strict decoding error"
_FIELD = re.compile(r'(?:unknown|duplicate) field "([^"]+)"')
_CONTAINER = re.compile(r"spec\.((?:initC|c)ontainers)\[(\d+)\]\.(.+)")


def converse(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Verdict | None]:
    """Everything that is asked about a model but whether its pod is admitted."""
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
    """Under a name that nobody has, since an answer that says AlreadyExists shows no object. All models are asked
    about as if they were the new one: rules that go by our labels see no difference.
    """
    build = Build(asked.model.name, asked.build.version, asked.build.image)
    return sameness.bodies(owner, model, build, asked.beside, now=now)


# --- is it one that is stored?


def _same_as(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Revision | None]:
    """The first stored model that makes the same instances."""
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
    """What is stored is asked for before and after, so that two defaults, of an API server before and after its
    upgrade, are not taken for a difference. Without an answer (a quota has no room, a webhook is down) the two are
    taken to differ: to wait for it might be to wait for ever.
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
    """The object; None when it is refused. Raises what says nothing about it."""
    if isinstance(answer, ApiError):
        verdict(answer)
        return None
    found: JSON = answer
    return found


# --- fields that nobody knows


def _unknown_fields(owner: Identity, model: Revision, asked: ModelCheck, *, now: float) -> Questions[tuple[str, ...]]:
    """Fields of the template and of the claim templates that the API server would drop, in words. Reading an object
    comes before everything else, so any other refusal says that all of them are known.
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
    """By the names of containers: what is before them in the pod is ours, so their numbers are not those of the
    template.
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
    more = len(unknown) - NAMED
    listed = ", ".join(unknown[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return plain(f"the spec has fields that Kubernetes does not know and would drop: {listed}")


def _warning(unknown: Sequence[str]) -> str:
    if not unknown:
        return ""
    said = _named(unknown)
    return f"{said[0].upper()}{said[1:]}. The model runs without them; correct the spelling, or remove them."


# --- claims


def _claims_refused(owner: Identity, asked: ModelCheck, *, now: float) -> Questions[Verdict | None]:
    """Why the API server would not create a claim of the model; None when it would."""
    templates: Iterable[Mapping[str, Any]] = asked.model.data.get("volumeClaimTemplates") or ()
    bodies = sameness.bodies(owner, asked.model, asked.build, asked.instance, now=now)[1:]
    for template, body in zip(templates, bodies, strict=True):
        answer = yield from _ask(body)
        said = verdict(answer) if isinstance(answer, ApiError) else None
        if said is not None and not said.accepted and not said.quota:
            name = template["metadata"]["name"]
            return Verdict(accepted=False, message=f"claim template {name}: {said.message}")
    return None
