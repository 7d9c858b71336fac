"""How many instances there are and which (docs/behaviour.md, Instances).

A new instance takes the lowest free id. Scaling in removes first what `scaleInPolicy` prefers, then unhealthy instances
where it says so, then the highest ids, and skips protected instances. While a rollout runs or has failed, a new
instance gets the version that a completed rollout last proved. Otherwise it gets the version that its image reference
means now.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from scaleset.planner.facts import Facts, in_order
from scaleset.planner.gallery import is_number, number, same
from scaleset.planner.instances import Build, Pod
from scaleset.planner.placement import scale_in_order
from scaleset.planner.state import (
    NOBODY,
    Batch,
    Code,
    Kind,
    Rollout,
    ScaleIn,
    State,
    beside_each_other,
    dropped,
    extra,
)
from scaleset.planner.step import Step


def adopt(facts: Facts) -> Step:
    """Record the builds of pods that the state does not know: new ones, or all of them after a restore without status.
    If the model of a recorded build does not exist, the pod's own build is used where it makes sense: no pod was ever
    created from the recorded one. The previous build of an instance is forgotten once its pod runs and no batch or
    request has it in hand.
    """
    return in_order(facts, _record_builds, _first_version, _settle_current, _forget_previous)[1]


def _record_builds(facts: Facts) -> Step:
    leaving = facts.rollout.leaving if facts.rollout is not None else NOBODY
    in_hand = facts.in_hand
    unknown = {
        number: build
        for number, pod in facts.snapshot.pods.items()
        if (number not in facts.state.builds or _made_up(facts, number, in_hand))
        and number not in leaving
        and not pod.deleting
        and (build := build_of(facts, pod)) is not None
    }
    if not unknown:
        return facts.step()
    return facts.step(replace(facts.state, builds={**facts.state.builds, **unknown}))


def _forget_previous(facts: Facts) -> Step:
    state, pods, rollout = facts.state, facts.snapshot.pods, facts.rollout
    busy = state.applying | (rollout.may_go_back if rollout is not None else NOBODY)
    arrived = {n for n in state.previous.keys() - busy if n in pods and state.builds[n].same_as(pods[n])}
    if not arrived:
        return facts.step()
    return facts.step(replace(state, previous={n: b for n, b in state.previous.items() if n not in arrived}))


def _made_up(facts: Facts, number: int, in_hand: frozenset[int]) -> bool:
    """Whether the recorded build of an instance outside any batch names a model that does not exist."""
    return number not in in_hand and facts.state.builds[number].model not in facts.models


def build_of(facts: Facts, pod: Pod) -> Build | None:
    """The build that the labels of a pod name; None if they make no sense."""
    model = facts.models.get(pod.model)
    if model is None or not is_number(pod.version):
        return None
    image = pod.asked_image or pod.image(model.instance_container)
    return Build(pod.model, pod.version, image, os_type=pod.os_type)


def _first_version(facts: Facts) -> Step:
    """The version that the set was created with. After a restore without status, the version that most instances run,
    and of two equally frequent ones the higher.
    """
    if facts.state.current_version is not None:
        return facts.step()
    spelled = {(number(build.version), build.image): build.version for build in facts.state.builds.values()}
    builds = Counter((number(build.version), build.image) for build in facts.state.builds.values())
    if builds:
        most, _ = max(builds.items(), key=lambda item: (item[1], item[0]))
        version, image = spelled[most], most[1]
    elif facts.wanted is not None and facts.wanted.version and facts.wanted.image:
        version, image = facts.wanted.version, facts.wanted.image
    else:
        return facts.step()
    return facts.step(replace(facts.state, current_version=version, current_image=image))


def _settle_current(facts: Facts) -> Step:
    """Without a rollout, the current version is the one that all unprotected instances run, however they got it (a pin
    needs no rollout). A version whose rollout failed or was cancelled never becomes current.
    """
    state, pods, protected = facts.state, facts.snapshot.pods, facts.protected
    if facts.rollout is not None or state.applying:
        return facts.step()
    mine = {number: build for number, build in state.builds.items() if number not in protected}
    ran = {(number(build.version), build.image) for build in mine.values()}
    if len(ran) != 1 or any(n not in pods or not build.same_as(pods[n]) for n, build in mine.items()):
        return facts.step()
    first = mine[min(mine)]
    version, image = first.version, first.image
    if _unproven(state, version, image) or (version, image) == (state.current_version, state.current_image):
        return facts.step()
    return facts.step(replace(state, current_version=version, current_image=image))


def scale(facts: Facts) -> Step:
    """Decide which ids the set has. Surplus instances without a pod leave at once; the others leave in batches
    (`shrinking`), sized by the original size of the set. Under a refused spec no instance with a pod leaves, since
    neither its size nor its protection counts.
    """
    going = to_go(facts)
    if not going:
        return facts.step()
    gone = frozenset(going) - facts.snapshot.pods.keys()
    beside = beside_each_other(facts.state)
    scale_in = facts.state.scale_in or ScaleIn(len(facts.state.builds) - len(beside), facts.now)
    left = without(facts.state, gone | {new for new, old in beside.items() if old in gone})
    return facts.step(replace(left, scale_in=scale_in))


def to_go(facts: Facts) -> list[int]:
    """Surplus instances that may go, in the order in which they go."""
    surplus = len(facts.state.builds) - extra(facts.state) - facts.replicas
    return _first_to_go(facts, beside_each_other(facts.state))[:surplus] if surplus > 0 else []


def kept_by_protection(facts: Facts) -> int:
    """Number of surplus instances that stay because they are protected from scaling in."""
    surplus = len(facts.state.builds) - extra(facts.state) - facts.replicas
    return max(0, surplus - len(to_go(facts)))


def _first_to_go(facts: Facts, beside: Collection[int]) -> list[int]:
    """The instances that scaling in may remove, in order; `beside` are not counted and go with the old instances they
    replace.
    """
    spec, ages = facts.snapshot.spec, facts.snapshot.ages
    policy = spec.scale_in_policy
    staying = {i.id for i in spec.protected_instances if i.keeps_from_scale_in}
    counted = [n for n in facts.state.builds if n not in beside]
    removable = {n: ages.get(n, facts.state.ages.get(n, facts.now)) for n in counted if n not in staying}
    order = [n for n in dict.fromkeys(policy.preferred_instances or ()) if n in removable]
    others = removable.keys() - set(order)
    unhealthy = {n for n in others if policy.prioritize_unhealthy_instances and facts.instances[n].bad}
    for group in (unhealthy, others - unhealthy):
        present = [n for n in counted if n not in group and n not in order]
        order += scale_in_order({n: removable[n] for n in group}, present, zones=len(spec.zones), rule=policy.rule)
    return order


def without(state: State, gone: frozenset[int]) -> State:
    """The state after those instances were scaled in; they also leave the running batch."""
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
    """Surge pairs without removed instances: a reused id belongs to a new instance."""
    pairs = {new: old for new, old in batch.pairs.items() if new not in gone and old not in gone}
    return replace(batch, surge=frozenset(pairs), replaces=frozenset(pairs.values()))


def new_build(facts: Facts) -> Build | None:
    """The build of an instance that does not exist yet; None if there is no image for it."""
    wanted = facts.wanted
    if wanted is None:
        return None
    version, image, os_type = wanted.version, wanted.image, wanted.os_type
    current = facts.state.current_version
    cautious = wanted.model.reference.moving and (
        version is None or _image_rollout_runs(facts.state) or _unproven(facts.state, version, image)
    )
    if cautious and current is not None and _same_definition(facts):
        version = _not_older(facts, current)
        image, os_type = facts.known_image(version), facts.known_os_type(version)
    if version is None or image is None:
        return None
    return Build(wanted.model.name, version, image, os_type=os_type)


def _not_older(facts: Facts, current: str) -> str:
    """The proven version, unless all instances were pinned to a higher one since (a pin needs no rollout). A version
    whose rollout did not complete is not proven, even if all instances run it.
    """
    lowest = min((build.version for build in facts.state.builds.values()), key=number, default=current)
    return current if _unproven(facts.state, lowest, facts.known_image(lowest)) else max(current, lowest, key=number)


def _image_rollout_runs(state: State) -> bool:
    return state.rollout is not None and state.rollout.kind is Kind.IMAGE and state.rollout.running


def _unproven(state: State, version: str, image: str | None) -> bool:
    """Whether a rollout to that version runs, or ended but not as Completed."""
    if any(same(failed.version, version) and failed.image in (None, image) for failed in state.failed_targets):
        return True
    rollout: Rollout | None = state.rollout
    if rollout is None or rollout.kind is not Kind.IMAGE:
        return False
    to_it = same(rollout.target.version, version) and image in (None, rollout.target.image)
    return to_it and rollout.code is not Code.COMPLETED


def _same_definition(facts: Facts) -> bool:
    """Whether the instances' models name the same image definition as the wanted one: versions of different definitions
    cannot be compared.
    """
    mine = facts.goal.model.reference.definition
    used = {build.model for build in facts.state.builds.values()}
    return all(facts.models[name].reference.definition == mine for name in used if name in facts.models)
