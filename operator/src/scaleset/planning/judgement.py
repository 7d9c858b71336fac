"""Is the model that the spec asks for a new one, and would the API server take it? (semantics 1.3)

A model that is stored (a ControllerRevision) was accepted once. One that is not is asked about first; if the API server
makes the same instances of it as of a stored one, it *is* that one: the revision and its name stay, and nothing is
replaced. What was found out about the model of the spec is kept in the status (`State.checked`), so that a restart
asks nothing again.

A refusal is asked about again later, since a quota may be lifted. A model that runs already is never refused for what
it holds, only warned about: it may be older than the rule.
"""

from dataclasses import replace

from scaleset.planning import disks, models
from scaleset.planning.draft import INVALID, Acceptance, Draft
from scaleset.planning.gallery import GalleryVersion
from scaleset.planning.instances import Build
from scaleset.planning.models import Model
from scaleset.planning.snapshot import ModelCheck, Verdict
from scaleset.planning.state import Checked

NOT_STORED = "ModelNotStored"
_CANDIDATES = 4
"""Stored models that a new one is compared with, each by two or three dry runs."""


def known(draft: Draft) -> Model:
    """The model that the spec asks for: the stored one, if it is stored or known to be the same as one."""
    asked, checked = draft.snapshot.model, draft.state.checked
    newest = draft.newest
    if newest is not None and disks.aligned(asked, newest).content == newest.content:
        return newest
    same = draft.models.get(checked.model) if checked is not None and checked.asked == asked.name else None
    return draft.models.get(asked.name) or same or models.stored(draft.models, asked) or asked


def judge(draft: Draft, model: Model, found: GalleryVersion) -> tuple[Model, Acceptance | None]:
    """The model to go by, and why it cannot be; `found` is the version that the API server is asked with."""
    if model.number:
        if (problem := other_disks(draft, model)) is not None:
            return model, problem
        _check_running(draft, model, found)
        return model, _unstored(draft, model)
    verdict = draft.snapshot.verdicts.get(model.name)
    if verdict is None or _stale(draft, verdict):
        _need_check(draft, model, found)
        return model, Acceptance("Pending", "The model is being checked.")
    if not verdict.accepted:
        return model, _refuse(draft, verdict)
    chosen = draft.models.get(verdict.same_as, model)
    if (problem := other_disks(draft, chosen)) is not None:
        return model, problem
    if chosen is model and (ends := _ends_by_itself(model)) is not None:
        return model, Acceptance("ModelRefused", ends)
    _remember(draft, chosen, verdict.warning)
    return chosen, None


def warning(draft: Draft) -> str:
    """What is wrong with the accepted model, though it runs."""
    checked = draft.state.checked
    return checked.warning if checked is not None and checked.asked == draft.snapshot.model.name else ""


def keep(draft: Draft, model: Model) -> None:
    """Store a new model; one that was used before becomes the newest again."""
    newest = _newest(draft)
    if not model.number or model.number < newest:
        numbered = replace(model, number=newest + 1)
        draft.models[model.name] = numbered
        draft.store.append(numbered)


def _newest(draft: Draft) -> int:
    return max((model.number for model in draft.models.values()), default=0)


def _check_running(draft: Draft, model: Model, found: GalleryVersion) -> None:
    """Once for each model of the spec: it may have been stored by an operator that did not check."""
    asked, checked = draft.snapshot.model.name, draft.state.checked
    if checked is not None and (checked.asked, checked.model) == (asked, model.name):
        return
    verdict = draft.snapshot.verdicts.get(model.name)
    if verdict is None or _stale(draft, verdict):
        _need_check(draft, model, found)
    elif verdict.unanswered:
        draft.wake(verdict.retry_at)
    elif verdict.accepted:
        _remember(draft, model, verdict.warning)


def _unstored(draft: Draft, model: Model) -> Acceptance | None:
    """A model that was used before has to become the newest again, or the next refusal falls back on another one."""
    verdict = draft.snapshot.verdicts.get(model.name)
    waits = verdict is not None and verdict.reason == NOT_STORED and not _stale(draft, verdict)
    if verdict is None or not waits or model.number == _newest(draft):
        return None
    return _refuse(draft, verdict)


def _stale(draft: Draft, verdict: Verdict) -> bool:
    return verdict.retry_at is not None and draft.now >= verdict.retry_at


def _need_check(draft: Draft, model: Model, found: GalleryVersion) -> None:
    candidates = () if model.number else _candidates(draft)
    check = ModelCheck(
        model=model,
        build=Build(model.name, found.version, found.image),
        instance=0,
        beside=_free(draft, (model, *candidates)),
        stored=candidates,
        runs=bool(model.number),
    )
    draft.needs = replace(draft.needs, verdict=check)


def _candidates(draft: Draft) -> tuple[Model, ...]:
    """What a new model may be another spelling of: the newest one, those that instances run, those before."""
    newest, used = _newest(draft), {build.model for build in draft.state.builds.values()}
    stored = [model for model in draft.models.values() if model.number]
    stored.sort(key=lambda model: (model.number == newest, model.name in used, model.number), reverse=True)
    return tuple(stored[:_CANDIDATES])


def _free(draft: Draft, models: tuple[Model, ...]) -> int:
    """The lowest id of which neither a pod nor a claim is there."""
    snapshot = draft.snapshot
    names = {name for model in models for name in model.claim_names}
    number = 0
    while (
        number in snapshot.pods
        or number in snapshot.strangers
        or any(snapshot.owner.claim(name, number) in snapshot.claims for name in names)
    ):
        number += 1
    return number


def other_disks(draft: Draft, model: Model) -> Acceptance | None:
    """Whether the model wants other disks by the names of those that the newest one has."""
    newest = draft.newest
    problem = None if newest is None or newest.name == model.name else disks.changed(model, newest)
    return None if problem is None else Acceptance(INVALID, problem)


def _ends_by_itself(model: Model) -> str | None:
    """As in a StatefulSet: instances are meant to run for ever, and all of them would end at one moment."""
    if (model.template.get("spec") or {}).get("activeDeadlineSeconds") is None:
        return None
    return (
        "Remove activeDeadlineSeconds from spec.template.spec: an instance is meant to run for ever. "
        "Instances stay on the model before."
    )


def _remember(draft: Draft, model: Model, said: str) -> None:
    checked = Checked(draft.snapshot.model.name, model.name, said)
    if checked != draft.state.checked:
        draft.state = replace(draft.state, checked=checked)
        if said:
            draft.tell("UnknownFields", said, warning=True)


def _refuse(draft: Draft, verdict: Verdict) -> Acceptance:
    draft.wake(verdict.retry_at)
    said, kept = verdict.message.rstrip("."), "Instances stay on the model before."
    if verdict.reason == NOT_STORED:
        text = (
            f"The API server refuses to store the model as a ControllerRevision (apps/v1): {said}. {kept} Raise the "
            "quota or change the rule that refuses it; it is tried again by itself."
        )
        return Acceptance("ModelNotStored", text)
    return Acceptance("ModelRefused", f"The API server refuses pods of this model: {said}. {kept}")
