"""How many instances there are and which (semantics 2).

A new instance takes the lowest free id. Scaling in removes the highest ids first and passes protected instances over.
A new instance gets the version that a completed rollout last proved while a rollout runs or has failed, else what its
image reference means now.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import count

from scaleset.planning.draft import Draft, known_image
from scaleset.planning.gallery import is_number, number, same
from scaleset.planning.instances import Build, Pod
from scaleset.planning.placement import scale_in_order
from scaleset.planning.state import NOBODY, Batch, Code, Kind, Rollout, ScaleIn, State, dropped


def adopt(draft: Draft) -> None:
    """Record the builds of pods that the state does not know: new ones, or all of them after a restore without
    status. A recorded build whose model does not exist is none, where the pod's own makes sense: nothing was ever
    created from it. What an instance ran before is forgotten once its pod runs and no batch or request has it in hand.
    """
    leaving = draft.rollout.leaving if draft.rollout is not None else NOBODY
    in_hand = draft.state.applying | (draft.rollout.in_progress if draft.rollout is not None else NOBODY)
    unknown = {
        number: build
        for number, pod in draft.snapshot.pods.items()
        if (number not in draft.state.builds or _made_up(draft, number, in_hand))
        and number not in leaving
        and not pod.deleting
        and (build := build_of(draft, pod)) is not None
    }
    if unknown:
        draft.state = replace(draft.state, builds={**draft.state.builds, **unknown})
    if draft.state.current_version is None:
        _first_version(draft)
    _settle_current(draft)
    rollout = draft.rollout
    busy = draft.state.applying | (rollout.may_go_back if rollout is not None else NOBODY)
    pods, builds = draft.snapshot.pods, draft.state.builds
    arrived = {n for n in draft.state.previous.keys() - busy if n in pods and builds[n].same_as(pods[n])}
    if arrived:
        kept = {n: build for n, build in draft.state.previous.items() if n not in arrived}
        draft.state = replace(draft.state, previous=kept)


def _made_up(draft: Draft, number: int, in_hand: frozenset[int]) -> bool:
    """Whether the recorded build of an instance that stays as it is names a model that there is not."""
    return number not in in_hand and draft.state.builds[number].model not in draft.models


def build_of(draft: Draft, pod: Pod) -> Build | None:
    """The build that a pod says it runs; None where that makes no sense."""
    model = draft.models.get(pod.model)
    if model is None or not is_number(pod.version):
        return None
    return Build(pod.model, pod.version, pod.asked_image or pod.image(model.instance_container))


def _first_version(draft: Draft) -> None:
    """The version that the set was created with; after a restore without status, the one that most instances run, the
    higher one where there are as many of two.
    """
    spelled = {(number(build.version), build.image): build.version for build in draft.state.builds.values()}
    builds = Counter((number(build.version), build.image) for build in draft.state.builds.values())
    if builds:
        most, _ = max(builds.items(), key=lambda item: (item[1], item[0]))
        version, image = spelled[most], most[1]
    elif draft.wanted is not None and draft.wanted.version and draft.wanted.image:
        version, image = draft.wanted.version, draft.wanted.image
    else:
        return
    draft.state = replace(draft.state, current_version=version, current_image=image)


def _settle_current(draft: Draft) -> None:
    """While nothing rolls, the version that all unprotected instances run is the current one, however they came by it
    (a pin needs no rollout); but not one whose rollout failed or was cancelled.
    """
    state, pods, protected = draft.state, draft.snapshot.pods, draft.protected()
    if draft.rollout is not None or state.applying:
        return
    mine = {number: build for number, build in state.builds.items() if number not in protected}
    ran = {(number(build.version), build.image) for build in mine.values()}
    if len(ran) != 1 or any(n not in pods or not build.same_as(pods[n]) for n, build in mine.items()):
        return
    first = mine[min(mine)]
    version, image = first.version, first.image
    if not _unproven(state, version, image):
        draft.state = replace(state, current_version=version, current_image=image)


def scale(draft: Draft) -> None:
    """Settle which ids the set has. Surplus instances leave at once where they have no pod; the others do by batches
    (`shrinking`), which are a part of the size that the set comes from. By a refused spec none goes that has a pod:
    neither its size nor its protection counts.
    """
    if going := to_go(draft):
        gone = frozenset(going) - draft.snapshot.pods.keys()
        beside = beside_each_other(draft.state)
        scale_in = draft.state.scale_in or ScaleIn(len(draft.state.builds) - len(beside), draft.now)
        left = without(draft.state, gone | {new for new, old in beside.items() if old in gone})
        draft.state = replace(left, scale_in=scale_in)
    draft.look(sorted(draft.state.builds))
    free = free_ids(draft)
    draft.look([next(free) for _ in range(draft.replicas + extra(draft.state) - len(draft.state.builds))])


def to_go(draft: Draft) -> list[int]:
    """The instances that are more than wanted and may go, in the order in which they do."""
    surplus = len(draft.state.builds) - extra(draft.state) - draft.replicas
    return _first_to_go(draft, beside_each_other(draft.state))[:surplus] if surplus > 0 else []


def kept_by_protection(draft: Draft) -> int:
    """How many instances more than wanted stay because they are protected from scaling in."""
    surplus = len(draft.state.builds) - extra(draft.state) - draft.replicas
    return max(0, surplus - len(to_go(draft)))


def _first_to_go(draft: Draft, beside: Collection[int]) -> list[int]:
    """The instances that scaling in may remove, in that order; `beside` are not counted and go with their old ones."""
    spec, ages = draft.snapshot.spec, draft.snapshot.ages
    staying = {i.id for i in spec.protected_instances if i.keeps_from_scale_in}
    counted = [n for n in draft.state.builds if n not in beside]
    removable = {n: ages.get(n, draft.state.ages.get(n, draft.now)) for n in counted if n not in staying}
    present = [n for n in counted if n in staying]
    return scale_in_order(removable, present, zones=len(spec.zones), rule=spec.scale_in_policy.rule)


def extra(state: State) -> int:
    """How many instances there are on purpose beyond the number wanted: a surging batch has both old and new."""
    return len(beside_each_other(state))


def beside_each_other(state: State) -> dict[int, int]:
    """The new instances of a surging batch, with the old one that each of them is to replace."""
    rollout = state.rollout
    batch = rollout.batch if rollout is not None and rollout.running else None
    if batch is None:
        return {}
    return {new: old for new, old in batch.pairs.items() if new in state.builds and old in state.builds}


def free_ids(draft: Draft) -> Iterator[int]:
    """Ids that no instance has, lowest first."""
    return (number for number in count() if number not in draft.state.builds)


def without(state: State, gone: frozenset[int]) -> State:
    """The state after those instances were scaled in: they leave the running batch too."""
    if not gone:
        return state
    rollout = state.rollout
    if rollout is not None and rollout.running:
        rollout = replace(
            rollout,
            successful=rollout.successful - gone,
            failed=rollout.failed - gone,
            restored=rollout.restored - gone,
            restore_failed=rollout.restore_failed - gone,
            in_progress=rollout.in_progress - gone,
            pending=rollout.pending - gone,
            never_ran=rollout.never_ran - gone,
            batch=_unpaired(rollout.batch, gone) if rollout.batch is not None else None,
        )
    return replace(dropped(state, gone), rollout=rollout)


def _unpaired(batch: Batch, gone: frozenset[int]) -> Batch:
    """Who takes the id of an instance that went belongs to nobody else."""
    pairs = {new: old for new, old in batch.pairs.items() if new not in gone and old not in gone}
    return replace(batch, surge=frozenset(pairs), replaces=frozenset(pairs.values()))


def new_build(draft: Draft) -> Build | None:
    """The build of an instance that does not exist yet; None when there is no image for it."""
    wanted = draft.wanted
    if wanted is None:
        return None
    version, image = wanted.version, wanted.image
    current = draft.state.current_version
    cautious = wanted.model.reference.moving and (
        version is None or _image_rollout_runs(draft.state) or _unproven(draft.state, version, image)
    )
    if cautious and current is not None and _same_definition(draft):
        version = _not_older(draft, current)
        image = known_image(draft, version)
    if version is None or image is None:
        return None
    return Build(wanted.model.name, version, image)


def _not_older(draft: Draft, current: str) -> str:
    """The proven version, unless all instances were pinned to a higher one since (a pin needs no rollout). That all
    got to one whose rollout did not complete does not prove it.
    """
    lowest = min((build.version for build in draft.state.builds.values()), key=number, default=current)
    return current if _unproven(draft.state, lowest, known_image(draft, lowest)) else max(current, lowest, key=number)


def _image_rollout_runs(state: State) -> bool:
    return state.rollout is not None and state.rollout.kind is Kind.IMAGE and state.rollout.running


def _unproven(state: State, version: str, image: str | None) -> bool:
    """Whether a rollout to that version runs, or ended otherwise than Completed."""
    if any(same(failed.version, version) and failed.image in (None, image) for failed in state.failed_targets):
        return True
    rollout: Rollout | None = state.rollout
    if rollout is None or rollout.kind is not Kind.IMAGE:
        return False
    to_it = same(rollout.target.version, version) and image in (None, rollout.target.image)
    return to_it and rollout.code is not Code.COMPLETED


def _same_definition(draft: Draft) -> bool:
    """Whether the instances' models name the same image definition as the wanted one: versions of two of them do not
    compare.
    """
    mine = draft.goal.model.reference.definition
    used = {build.model for build in draft.state.builds.values()}
    return all(draft.models[name].reference.definition == mine for name in used if name in draft.models)
