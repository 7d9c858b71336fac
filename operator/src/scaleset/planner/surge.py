"""Max surge: a batch's new instances are created beside the old ones, which go once the new ones are healthy
(docs/behaviour.md, Rolling upgrade).

The engine is the same: the new instances are the batch. This module has the differences. It chooses the ids of the new
instances, and removes failed ones, since the instance to be replaced still runs. Without room for more pods the old
instances go first. A quota shows the lack of room at once; the scheduler has until the deadline, since nodes may be
added. Any other refusal would also affect a recreated old pod, so it fails the new instance and leaves the old one
alone. The number of healthy instances never drops. Only for sets without claims: a data disk belongs to its instance.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from scaleset.api import names
from scaleset.planner import deadlines
from scaleset.planner.facts import Facts
from scaleset.planner.instances import Build
from scaleset.planner.placement import place
from scaleset.planner.ranges import abridged
from scaleset.planner.scaling import build_of, to_go, without
from scaleset.planner.state import NOBODY, Batch, Rollout, Waiting, dropped, moved
from scaleset.planner.step import Step

QUOTA = "exceeded quota"
"""Reason that Kubernetes gives for a pod without room."""


def ids(facts: Facts, rollout: Rollout, moves: Mapping[int, Build]) -> tuple[int, ...]:
    """Ids of the new instances of a batch; empty when not surging.

    Each instance gets a free id of its zone, ascending, so that new and old instances pair one for one in order of
    their ids. There is no surge if such an id would make a host name too long, or while the API server refuses to
    delete a surplus pod: each batch would leave one more.
    """
    model = facts.models[moves[min(moves)].model]
    if not rollout.policy.rolling.max_surge or rollout.without_surge or model.claim_names:
        return ()
    pods = facts.snapshot.pods
    surplus = (pods.keys() - facts.state.builds.keys()).union(to_go(facts))
    if any(pods[number].uid in facts.snapshot.delete_errors for number in surplus if number in pods):
        return ()
    taken = set(facts.state.builds) | set(facts.snapshot.pods) | set(facts.snapshot.foreign_pods)
    zones = len(facts.snapshot.spec.zones)
    new: list[int] = []
    for old in sorted(moves):
        zone = place(old, zones=zones, update_domains=1).zone
        above = count(new[-1] + 1 if new else facts.snapshot.spec.first_id)
        new.append(next(n for n in above if n not in taken and place(n, zones=zones, update_domains=1).zone == zone))
    if len(facts.snapshot.owner.instance(new[-1])) > names.MAX_HOST_NAME:
        return ()
    return tuple(new)


def keep_protected(facts: Facts) -> Step:
    """Remove the new instances whose old ones were protected meanwhile: a protected instance stays."""
    batch = facts.running.batch
    if batch is None:
        return facts.step()
    staying = facts.protected & facts.state.builds.keys()  # An old instance that was let go already is not kept.
    taken_back = frozenset(new for new, old in batch.pairs.items() if old in staying)
    return facts.step(without(facts.state, taken_back))


def fall_back(facts: Facts) -> Step:
    """Take down the old instances first where there is no room beside the others."""
    rollout = facts.running
    batch = rollout.batch
    if batch is None:
        return facts.step()
    verifying = {new: old for new, old in batch.pairs.items() if new in rollout.verifying}
    unschedulable = {new: old for new, old in verifying.items() if _without_node(facts, new)}
    if not any(_due(facts, rollout, batch, new) for new in unschedulable):
        unschedulable = {}
    if unschedulable and not facts.fresh:
        return facts.need_fresh()
    refused = {
        new: old
        for new, old in verifying.items()
        if new in unschedulable or (facts.instances[new].pod is None and QUOTA in (facts.refusal(new) or ""))
    }
    if not refused:
        return facts.step()
    words = facts.refusal(min(refused)) or facts.instances[min(refused)].message
    recorded = facts.state.builds
    olds = frozenset(refused.values()) & recorded.keys()
    builds = {old: recorded[new] for new, old in refused.items() if old in olds}
    if builds:
        verdict = facts.held_admission(builds)
        if verdict is None:
            return facts.need_admission(builds)
        if not verdict.accepted:
            return facts.step()
    previous = {old: recorded[old] for old in olds}
    changed = replace(
        rollout,
        batch=replace(
            batch,
            instances=(batch.instances - refused.keys()) | olds,
            surge=batch.surge - refused.keys(),
            replaces=batch.replaces - frozenset(refused.values()),
        ),
        in_progress=(rollout.in_progress - refused.keys()) | olds,
        without_surge=rollout.without_surge or bool(unschedulable),
    )
    state = moved(without(facts.state, frozenset(refused)), builds)
    text = f"No room for more instances, replacing {abridged(olds)} without surge: {words}"
    step = facts.step(replace(state, rollout=changed, previous={**state.previous, **previous}))
    return step.with_event("SurgeRefused", text, warning=True)


def _without_node(facts: Facts, number: int) -> bool:
    """Whether the scheduler has not found a node for a new instance."""
    pod = facts.instances[number].pod
    return pod is not None and not pod.deleting and pod.unschedulable


def _due(facts: Facts, rollout: Rollout, batch: Batch, number: int) -> bool:
    """Whether the scheduler has had its time. The first deadline counts for the whole batch: new instances that wait on
    would take the nodes that the old ones of the others leave.
    """
    due = deadlines.of_batch(facts, number, started=batch.started, timeout=rollout.policy.health_timeout)
    return due is not None and facts.now >= due


def let_go(facts: Facts) -> Step:
    """Remove the instances that are not needed any more. The rollout waits while some of their pods are not deleted
    yet.
    """
    leaving = facts.running.leaving
    gone = facts.step(dropped(facts.state, leaving))
    going = still_there(facts)
    if not going:
        return gone
    waiting = Waiting("BatchInProgress", f"Waiting for instances {abridged(going)} to be deleted.")
    explained = replace(facts.running, waiting=deadlines.refused(facts, going) or waiting)
    return gone.to(replace(gone.state, rollout=explained))


def still_there(facts: Facts) -> list[int]:
    """Instances that the running batch lets go and whose pods are not terminating yet."""
    pods = facts.snapshot.pods
    return [n for n in sorted(facts.running.leaving) if n in pods and not pods[n].deleting]


def keep_old_ones(facts: Facts) -> Step:
    """Keep old instances that should have gone by now: their successor has broken meanwhile, or the API server refuses
    the delete and the run is to end or twice the health timeout is over. They count as failed, and their successors go.
    """
    rollout, pods = facts.running, facts.snapshot.pods
    broken, held = _broken_or_held(facts)
    kept = {**held, **broken}
    builds = {old: build for old in kept.values() if (build := build_of(facts, pods[old])) is not None}
    if not builds:
        return facts.step()
    if not facts.fresh:
        return facts.need_fresh()
    olds = frozenset(builds)
    news = frozenset(new for new, old in kept.items() if old in olds)
    messages = {
        old: facts.instances[new].message if new in broken else facts.snapshot.delete_errors[pods[old].uid]
        for new, old in kept.items()
        if old in olds
    }
    state = without(facts.state, news)
    left = state.rollout or rollout
    left = replace(left, messages={**rollout.messages, **messages})
    if left.batch is not None:
        left = replace(left, batch=replace(left.batch, instances=(left.batch.instances - news) | olds))
    if rollout.ending is None or broken:
        unblamed = olds - frozenset(broken.values())
        left = replace(left, failed=left.failed | olds, never_ran=left.never_ran | unblamed)
    return facts.step(replace(moved(state, builds), rollout=left))


def _broken_or_held(facts: Facts) -> tuple[dict[int, int], dict[int, int]]:
    """Old instances to keep, by the id of their successor: first those with a broken successor, then those that the API
    server has refused to delete for too long.
    """
    rollout, pods = facts.running, facts.snapshot.pods
    batch = rollout.batch
    if batch is None:
        return {}, {}
    there = {
        new: old
        for new, old in batch.pairs.items()
        if old in rollout.leaving and old in pods and not pods[old].deleting
    }
    broken = {new: old for new, old in there.items() if new in facts.instances and facts.instances[new].bad}
    held = {new: old for new, old in there.items() if pods[old].uid in facts.snapshot.delete_errors}
    patient = rollout.ending is None and facts.now < batch.started + 2 * rollout.policy.health_timeout
    return broken, {} if patient else held


def finish(facts: Facts, batch: Batch) -> Step:
    """Remove failed new instances; each failure counts for the instance that was to be replaced."""
    rollout = facts.running
    failed = {new: old for new, old in batch.pairs.items() if new in rollout.failed}
    olds = frozenset(failed.values())
    back = olds if rollout.restores else NOBODY
    healthy = frozenset(old for old in back if old in facts.instances and facts.instances[old].healthy)
    counted = replace(
        rollout,
        failed=(rollout.failed - failed.keys()) | olds,
        restored=rollout.restored | healthy,
        restore_failed=rollout.restore_failed | (back - healthy),
        never_ran=frozenset(failed.get(number, number) for number in rollout.never_ran),
        messages={failed.get(number, number): text for number, text in rollout.messages.items()},
    )
    return facts.step(without(replace(facts.state, rollout=counted), frozenset(failed)))
