"""When to decide again without an event: the earliest moment at which the decision may be a different one.

Every deadline and every wait of a decision is listed here once, so that no part of a decision has to request a wake-up.
A superfluous wake-up costs one decision that changes nothing.
"""

from collections.abc import Iterator

from scaleset.planner import gallery
from scaleset.planner.deadlines import KILLING_SECONDS, given_up
from scaleset.planner.facts import Facts
from scaleset.planner.health import changed, healthy_since
from scaleset.planner.instances import Instance, Pod
from scaleset.planner.state import ROW_SECONDS, Rollout


def next_look(facts: Facts) -> float | None:
    """The earliest moment; None if nothing is waited for."""
    later = (at for at in _moments(facts) if at > facts.now)
    return min(later, default=None)


def _moments(facts: Facts) -> Iterator[float]:
    yield from _of_instances(facts)
    yield from _of_answers(facts)
    yield from _of_scaling_in(facts)
    if facts.rollout is not None:
        yield from _of_rollout(facts, facts.rollout)
    if (expiry := gallery.next_expiry(facts.snapshot.catalogue, now=facts.now)) is not None:
        yield expiry
    retry = facts.state.retry
    if retry is not None and facts.rollout is None:
        yield retry.time + retry.delay
        for instance in facts.instances.values():  # The gate has to be open for the length of the back-off.
            since = healthy_since(instance.pod, by=facts.health_source) if instance.pod is not None else None
            if since is not None:
                yield max(since, retry.time) + retry.delay


def _of_instances(facts: Facts) -> Iterator[float]:
    """The health timeout of starting, unhealthy and terminating instances, and the back-off of ended pods."""
    timeout = facts.health_timeout
    ending = facts.rollout.ending if facts.rollout is not None else None
    for instance in facts.instances.values():
        pod = instance.pod
        if pod is not None and instance.starting:
            yield pod.begun + timeout
        if instance.bad and instance.since is not None:
            yield instance.since + timeout
    for pod in facts.snapshot.pods.values():
        if pod.deleting:
            yield given_up(pod, timeout=KILLING_SECONDS if ending is None else 0.0)
            yield given_up(pod, timeout=timeout)
    for number in facts.state.applying:
        clock = facts.state.clocks.get(number)
        yield (facts.now if clock is None or clock.since is None else clock.since) + timeout
    for ended in facts.state.ended.values():
        yield ended.time + ended.delay
        yield ended.time + ROW_SECONDS


def _of_answers(facts: Facts) -> Iterator[float]:
    """When refused dry runs are repeated: of models, and of batches."""
    rollout = facts.rollout
    surging = rollout is not None and rollout.batch is not None and bool(rollout.batch.surge)
    declined = facts.snapshot.declined if facts.blocked or surging else {}
    for verdict in (*facts.snapshot.verdicts.values(), *declined.values()):
        if verdict.retry_at is not None:
            yield verdict.retry_at


def _of_scaling_in(facts: Facts) -> Iterator[float]:
    scale_in = facts.state.scale_in
    if scale_in is None:
        return
    yield scale_in.started + facts.health_timeout
    if scale_in.waiting is not None:
        yield scale_in.waiting + 2 * facts.health_timeout
    for instance in facts.instances.values():
        pod = instance.pod
        if pod is not None and not instance.healthy:
            yield max(pod.begun, changed(pod, by=facts.health_source, now=facts.now)) + facts.health_timeout


def _of_rollout(facts: Facts, rollout: Rollout) -> Iterator[float]:
    """The pause, the deadlines of the batch, and the time that an instance has to stay healthy or unhealthy."""
    timeout, batch = rollout.policy.health_timeout, rollout.batch
    if rollout.next_batch is not None:
        yield rollout.next_batch
    if rollout.deadline is not None and rollout.held_since is None:
        yield rollout.deadline
    if batch is not None:
        yield batch.started + timeout
        yield batch.started + 2 * timeout
        yield (batch.restore_started or batch.started) + timeout
    for clock in facts.state.clocks.values():
        if clock.since is not None:
            yield clock.since + timeout
            yield clock.since + timeout + rollout.policy.min_ready_time
    for number in (rollout.in_progress | rollout.upgraded) & facts.instances.keys():
        instance = facts.instances[number]
        if instance.pod is not None:
            yield from _of_upgraded(facts, rollout, instance, instance.pod)


def _of_upgraded(facts: Facts, rollout: Rollout, instance: Instance, pod: Pod) -> Iterator[float]:
    timeout = rollout.policy.health_timeout
    since = healthy_since(pod, by=facts.health_source)
    if since is not None and instance.id in rollout.in_progress:
        yield since + rollout.policy.min_ready_time
    if since is not None and rollout.error is not None:
        yield since + timeout
    if instance.bad and instance.since is not None:
        yield instance.since + timeout
    if pod.deleting:
        yield given_up(pod, timeout=timeout)
