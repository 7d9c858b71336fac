"""Is the model of the spec a new one, and would the API server accept it?

A stored model (a ControllerRevision) was accepted once. Any other model is checked by dry run first. If the API server
makes the same instances from it as from a stored model, it *is* that model: the revision and its name stay, and nothing
is replaced. The status keeps the result of the check (`State.checked`), so that a restart does not repeat it.

A refused model is checked again later, since a quota may be lifted. A model that runs already is never refused for its
content: it may be older than the rule. It only gets a warning.
"""

from dataclasses import dataclass, replace

from scaleset.planner import disks, revisions
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Build
from scaleset.planner.plan import ModelCheck, Needs
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from scaleset.planner.state import Checked, State
from scaleset.planner.step import Step
from scaleset.planner.targets import INVALID, Acceptance

NOT_STORED = "ModelNotStored"
_CANDIDATES = 4
"""Stored models that a new one is compared with, each by two or three dry runs."""


def known(facts: Facts) -> Revision:
    """The model of the spec. If it is stored, or known to equal a stored one, the stored one."""
    asked, checked = facts.snapshot.model, facts.state.checked
    newest = facts.newest
    if newest is not None and disks.aligned(asked, newest).content == newest.content:
        return newest
    same = facts.models.get(checked.model) if checked is not None and checked.asked == asked.name else None
    return facts.models.get(asked.name) or same or revisions.stored(facts.models, asked) or asked


@dataclass(frozen=True, slots=True)
class Judged:
    """The model to use, or why it cannot be used, and what must be checked or remembered about it."""

    model: Revision
    refused: Acceptance | None
    step: Step


def judge(facts: Facts, model: Revision, found: GalleryVersion) -> Judged:
    """Whether the API server accepts the model; `found` is the version for the dry run."""
    if model.number:
        if (problem := other_disks(facts, model)) is not None:
            return Judged(model, problem, facts.step())
        return Judged(model, _unstored(facts, model), _check_running(facts, model, found))
    verdict = facts.snapshot.verdicts.get(model.name)
    if verdict is None or _stale(facts, verdict):
        return Judged(model, Acceptance("Pending", "The model is being checked."), _need_check(facts, model, found))
    if not verdict.accepted:
        return Judged(model, _refuse(verdict), facts.step())
    chosen = facts.models.get(verdict.same_as, model)
    if (problem := other_disks(facts, chosen)) is not None:
        return Judged(model, problem, facts.step())
    if chosen is model and (ends := _ends_by_itself(model)) is not None:
        return Judged(model, Acceptance("ModelRefused", ends), facts.step())
    return Judged(chosen, None, _remember(facts, chosen, verdict.warning))


def warning(state: State, asked: Revision) -> str:
    """A warning about the accepted model, which runs nevertheless."""
    checked = state.checked
    return checked.warning if checked is not None and checked.asked == asked.name else ""


def numbered(facts: Facts, model: Revision) -> Revision:
    """The model to store, with its number. A model that was used before becomes the newest again."""
    newest = _newest(facts)
    return model if model.number and model.number >= newest else replace(model, number=newest + 1)


def _newest(facts: Facts) -> int:
    return max((model.number for model in facts.models.values()), default=0)


def _check_running(facts: Facts, model: Revision, found: GalleryVersion) -> Step:
    """Check a running model once: an operator that did not check may have stored it."""
    asked, checked = facts.snapshot.model.name, facts.state.checked
    if checked is not None and (checked.asked, checked.model) == (asked, model.name):
        return facts.step()
    verdict = facts.snapshot.verdicts.get(model.name)
    if verdict is None or _stale(facts, verdict):
        return _need_check(facts, model, found)
    if verdict.accepted and not verdict.unanswered:
        return _remember(facts, model, verdict.warning)
    return facts.step()


def _unstored(facts: Facts, model: Revision) -> Acceptance | None:
    """The refusal of a known model that could not be renumbered. It has to be the newest, or the next refusal falls
    back to another one.
    """
    verdict = facts.snapshot.verdicts.get(model.name)
    waits = verdict is not None and verdict.reason == NOT_STORED and not _stale(facts, verdict)
    if verdict is None or not waits or model.number == _newest(facts):
        return None
    return _refuse(verdict)


def _stale(facts: Facts, verdict: Verdict) -> bool:
    return verdict.retry_at is not None and facts.now >= verdict.retry_at


def _need_check(facts: Facts, model: Revision, found: GalleryVersion) -> Step:
    candidates = () if model.number else _candidates(facts)
    check = ModelCheck(
        model=model,
        build=Build(model.name, found.version, found.image, os_type=found.os_type),
        instance=facts.snapshot.spec.first_id,
        beside=_free(facts, (model, *candidates)),
        stored=candidates,
        runs=bool(model.number),
    )
    return facts.need(Needs(verdict=check))


def _candidates(facts: Facts) -> tuple[Revision, ...]:
    """Stored models that a new one may be another spelling of: the newest, the running ones, the earlier ones."""
    newest, used = _newest(facts), {build.model for build in facts.state.builds.values()}
    stored = [model for model in facts.models.values() if model.number]
    stored.sort(key=lambda model: (model.number == newest, model.name in used, model.number), reverse=True)
    return tuple(stored[:_CANDIDATES])


def _free(facts: Facts, models: tuple[Revision, ...]) -> int:
    """The lowest id without a pod and without claims."""
    snapshot = facts.snapshot
    names = {name for model in models for name in model.claim_names}
    number = snapshot.spec.first_id
    while (
        number in snapshot.pods
        or number in snapshot.foreign_pods
        or any(snapshot.owner.claim(name, number) in snapshot.claims for name in names)
    ):
        number += 1
    return number


def other_disks(facts: Facts, model: Revision) -> Acceptance | None:
    """Whether the model changes a claim template that the newest model has by the same name."""
    newest = facts.newest
    problem = None if newest is None or newest.name == model.name else disks.changed(model, newest)
    return None if problem is None else Acceptance(INVALID, problem)


def _ends_by_itself(model: Revision) -> str | None:
    """Why the model is refused if its pods end by themselves, as in a StatefulSet: all instances would end at the same
    moment.
    """
    if (model.template.get("spec") or {}).get("activeDeadlineSeconds") is None:
        return None
    return (
        "Remove activeDeadlineSeconds from spec.template.spec: an instance is meant to run for ever. "
        "Instances stay on the model before."
    )


def _remember(facts: Facts, model: Revision, said: str) -> Step:
    checked = Checked(facts.snapshot.model.name, model.name, said)
    if checked == facts.state.checked:
        return facts.step()
    step = facts.step(replace(facts.state, checked=checked))
    return step.with_event("UnknownFields", said, warning=True) if said else step


def _refuse(verdict: Verdict) -> Acceptance:
    said, kept = verdict.message.rstrip("."), "Instances stay on the model before."
    if verdict.reason == NOT_STORED:
        text = (
            f"The API server refuses to store the model as a ControllerRevision (apps/v1): {said}. {kept} Raise the "
            "quota or change the rule that refuses it; it is tried again by itself."
        )
        return Acceptance("ModelNotStored", text)
    return Acceptance("ModelRefused", f"The API server refuses pods of this model: {said}. {kept}")
