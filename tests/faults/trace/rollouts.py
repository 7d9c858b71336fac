"""S2, S3, S4, S8, S9 and S10 on the lives of pods: what was replaced, when, by what, and how well the others were."""

from collections import defaultdict
from collections.abc import Iterator

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import Seen, parse_duration

from .replay import Life, Moment, Replay, Timeline, Version, Why, server_time

REQUESTS = ("start-upgrade-at", "start-model-rollout-at", "retry-at")
"""Annotations with which a user gives a failed version another chance."""
DEADLINE_SLACK = 1.5
"""Seconds: the API server keeps whole seconds of a creation, and its clock is known to less than one."""


def s2_gate(replay: Replay, slack: float) -> Iterator[str]:
    """A healthy pod is taken for an upgrade only while at most maxUnhealthyInstancePercent of the set is not healthy.

    What was not healthy for less than `slack` seconds could not be known when the batch was decided. Pods that the
    operator itself is replacing are the batch.
    """
    for life, now in replay.moves(Why.UPGRADE, Why.MODEL, Why.RESTART):
        if life.healthy_for(now) <= 0 and not _was_healthy_just_before(life, now):
            continue
        count = replay.most_replicas(life.scale_set, now, slack)
        ill = sorted(_ill(replay, life, now, slack))
        percent = max(replay.percents(life.scale_set, "maxUnhealthyInstancePercent"))
        if len(ill) * 100 > percent * count:
            yield f"{life.name} was taken for an upgrade while {ill} of {count} were not healthy, {percent} % may be"


def _was_healthy_just_before(life: Life, now: Moment) -> bool:
    """Becoming unready and terminating is often one event."""
    return any(end is not None and end.order == now.order for _, end in life.healthy)


def _ill(replay: Replay, taken: Life, now: Moment, slack: float) -> set[int]:
    """Instances that are there and not healthy, and as many of those that are not there as the set has room for."""
    last = {life.instance: life for life in replay.of(taken.scale_set) if life.began.order <= now.order}
    del last[taken.instance]
    lost = {number: life for number, life in last.items() if life.gone is not None and life.gone.order <= now.order}
    ill = {
        number
        for number, life in last.items()
        if number not in lost and life.unhealthy_for(now) > slack and not _in_hand(replay, life, now)
    }
    room = replay.replicas(taken.scale_set, now.order) - 1 - (len(last) - len(lost))
    for number, life in sorted(lost.items()):
        assert life.gone is not None
        if life.by_operator:
            room -= life.why is not Why.AWAY  # it is being replaced
        elif now.at - life.gone.at > slack and room > 0:
            ill.add(number)
            room -= 1
    return ill


def _in_hand(replay: Replay, life: Life, now: Moment) -> bool:
    """Whether the operator is replacing it: it took this pod, or made it lately in place of one that it took."""
    if life.by_operator and life.going is not None and life.going.order <= now.order:
        return True
    taken = life.before is not None and life.before.by_operator
    return taken and now.at - life.began.at < timeouts(replay, life.scale_set)[1]


def s2_written_ahead(replay: Replay, slack: float) -> Iterator[str]:
    """Before a pod is taken to be replaced by another build, the status names its instance."""
    for life, _ in replay.moves(Why.UPGRADE, Why.RESTORE, Why.MODEL, Why.RESTART):
        if not replay.announced(life):
            yield f"{life.name} ({life.uid}) was deleted before the status said so"


def s3_nothing_after_a_breach(replay: Replay, slack: float) -> Iterator[str]:
    """Once more than maxUnhealthyUpgradedInstancePercent of the instances on a version with a model had to be restored,
    no further one is taken to it, and none again, until a user changes the policy or asks for it. A newer model gives
    the version another chance, also one that came while the older one was failing.
    """
    upgrades: defaultdict[tuple[str, Version, str], list[tuple[Life, Moment]]] = defaultdict(list)
    restores: defaultdict[tuple[str, Version, str], list[tuple[Life, Moment]]] = defaultdict(list)
    for life, now in replay.moves(Why.UPGRADE):
        assert life.after is not None
        upgrades[life.scale_set, life.after.version, life.after.model].append((life, now))
    for life, now in replay.moves(Why.RESTORE):
        restores[life.scale_set, life.version, life.model].append((life, now))
    for target, moves in upgrades.items():
        yield from _after_breach(replay, target, moves, restores=restores[target])


def _after_breach(
    replay: Replay,
    target: tuple[str, Version, str],
    moves: list[tuple[Life, Moment]],
    *,
    restores: list[tuple[Life, Moment]],
) -> Iterator[str]:
    name, version, _ = target
    percent = max(replay.percents(name, "maxUnhealthyUpgradedInstancePercent"))
    shown = ".".join(map(str, version))
    for _, breach in restores:
        failed = {life.instance for life, now in restores if now.order <= breach.order}
        reached = {life.instance for life, now in moves if now.order <= breach.order}
        if not len(failed) * 100 > percent * len(reached | failed):
            continue
        batch = {life.instance for life, now in moves if now.order <= breach.order and not _proven(life, breach)}
        for life, now in moves:
            if now.order <= breach.order or replay_allowed(replay, name, breach, now):
                continue
            gone = {number for number in reached | failed if _left(replay, name, number, breach, now)}
            if not len(failed - gone) * 100 > percent * len((reached | failed) - gone):
                continue
            if life.instance in failed - gone:
                yield f"{life.name} got {shown} again after it had failed there and been restored"
            elif len(batch | {life.instance}) > _limit(replay, name, now):
                yield f"{life.name} got {shown} after {sorted(failed)} of {sorted(reached)} had failed on it"
        return


def _left(replay: Replay, name: str, instance: int, since: Moment, until: Moment) -> bool:
    """Whether that instance was scaled in meanwhile: nobody counts it then, and its id may be another one's."""
    return any(
        life.instance == instance
        and life.going is not None
        and since.order < life.going.order <= until.order
        and life.why is Why.AWAY
        for life in replay.of(name)
    )


def _proven(life: Life, breach: Moment) -> bool:
    new = life.after
    return new is not None and new.healthy_at(breach)


def replay_allowed(replay: Replay, name: str, since: Moment, until: Moment) -> bool:
    """Whether a user did something in between that gives a failed version another chance."""

    def asked(order: int) -> Json:
        found = replay.sets[name].object(order)
        notes = (found.get("metadata") or {}).get("annotations") or {}
        spec = {key: value for key, value in (found.get("spec") or {}).items() if key != "replicas"}
        return {"spec": spec, **{name: notes.get(f"scaleset.dev/{name}") for name in REQUESTS}}

    changed = asked(since.order) != asked(until.order)
    return changed or replay.policy(name, since.order) != replay.policy(name, until.order)


def s4_one_target(replay: Replay, slack: float) -> Iterator[str]:
    """While an instance of a set is on its way to one version, none is taken to another one."""
    under_way: dict[str, list[Life]] = defaultdict(list)
    for life, now in replay.moves(Why.UPGRADE):
        others = under_way[life.scale_set]
        others[:] = [each for each in others if each.instance != life.instance and _unsettled(replay, each, now)]
        for each in others:
            if each.after is not None and life.after is not None and each.after.version != life.after.version:
                yield f"{life.name} goes to {life.after.version} while {each.name} goes to {each.after.version}"
        others.append(life)


def s4_healing_keeps_the_build(replay: Replay, slack: float) -> Iterator[str]:
    """A pod in place of one that the operator did not take runs what that one ran, unless its instance is in hand."""
    for life in replay.lives:
        before = life.before
        if before is None or before.by_operator or life.name in replay.trace.disturbed or before.going is None:
            continue
        if not replay.of(life.scale_set) or before.left:
            continue
        known = {(before.version, before.image)}
        if before.before is not None:
            known.add((before.before.version, before.before.image))  # it was being restored
        if (life.version, life.image) not in known and not replay.announced(before):
            yield f"{life.name} came back with {life.image}, and had {before.image}"


def _unsettled(replay: Replay, life: Life, now: Moment) -> bool:
    """Whether the instance, whose old pod this was, had not proven itself until then."""
    new = life.after
    if new is None:
        return False
    if any(start.order <= now.order for start, _ in new.healthy):
        return False
    return new.going is None and now.at - new.began.at < timeouts(replay, life.scale_set)[0] - DEADLINE_SLACK


def s8_only_eligible_versions(replay: Replay, slack: float) -> Iterator[str]:
    """The platform takes an instance only to a version that is published, not excluded and not past its life.

    `slack` seconds: a batch that was admitted before is finished.
    """
    for life, now in replay.moves(Why.UPGRADE):
        new = life.after
        assert new is not None
        reference = replay.spec(life.scale_set, now.order).get("imageReference") or {}
        if reference.get("version", "latest") != "latest":
            continue
        published = [t for t in replay.images.values() if any(_is(seen, new) for seen in t.all())]
        refused = [_refused(timeline, now, slack) for timeline in published]
        if all(refused):
            yield f"{life.name} was taken to {new.image}, which was {refused[0] if refused else 'never published'}"


def _is(image: Seen, life: Life) -> bool:
    return bool((image.object.get("spec") or {}).get("image") == life.image)


def _refused(timeline: Timeline, now: Moment, slack: float) -> str:
    """Why that version was not to be chosen then, and had not been for a while; empty if it might have been."""
    since: float | None = None
    reason = ""
    for seen in timeline.changes:
        if seen.order > now.order:
            break
        publishing = seen.object["spec"].get("publishingProfile") or {}
        excluded = "excluded from latest" if publishing.get("excludeFromLatest") else ""
        reason = "deleted" if seen.type == "DELETED" else excluded
        since = (seen.at if since is None else since) if reason else None
    return reason if since is not None and now.at - since > slack else ""


def s9_nothing_for_nothing(replay: Replay, slack: float) -> Iterator[str]:
    """A pod is not replaced by its equal, unless it had ended or a user has asked for a restart that had not reached
    it; and two status writes name two versions of the object: otherwise the first one changed nothing.
    """
    for life, now in replay.moves(Why.RESTART):
        notes = replay.sets[life.scale_set].object(now.order)["metadata"].get("annotations") or {}
        if "scaleset.dev/restart-at" not in notes:
            yield f"{life.name} ({life.uid}) was restarted and nobody had asked for it"
    for life, now in replay.moves(Why.SAME):
        if life.ended or life.relabelled or life.name in replay.trace.disturbed or _spec_changed(replay, life, now):
            continue
        yield f"{life.name} ({life.uid}) was deleted and made again just as it was"
    bases: set[tuple[str, str, str]] = set()
    for write in replay.trace.writes:
        if write.verb != "patch" or write.subresource != "status" or not write.took_effect:
            continue
        base = (write.resource, write.name, str((write.body.get("metadata") or {}).get("resourceVersion")))
        if base in bases:
            yield f"{write} changed nothing, or another one for the same version did"
        bases.add(base)


def _spec_changed(replay: Replay, life: Life, now: Moment) -> bool:
    """Whether the wish changed while it was under way: taken for something that nobody wants any more."""
    assert life.after is not None
    seen = [
        each for each in replay.sets[life.scale_set].all() if life.began.order < each.order <= life.after.began.order
    ]
    return len({each.object["metadata"].get("generation") for each in seen}) > 1 and now.order >= life.began.order


def s10_restores_in_time(replay: Replay, slack: float) -> Iterator[str]:
    """A pod that was never healthy goes back only when its instance's health timeout is over by the API server's clock,
    and only before another batch began. One that was healthy and is not any more goes back when too many of those that
    were taken to its version are not healthy.
    """
    for life, now in replay.moves(Why.RESTORE):
        if life.name in replay.trace.disturbed or life.taken is None:
            continue
        if replay.spec(life.scale_set, now.order).get("imageReference", {}).get("version", "latest") != "latest":
            continue
        age = server_time(life.taken) - _first_of_its_build(life).created
        shortest = timeouts(replay, life.scale_set)[0]
        broke_later = bool(life.healthy) and _breached(replay, life, now, slack)
        if age < shortest - DEADLINE_SLACK and not broke_later:
            yield f"{life.name} was restored {age:.1f} s after it began, it has {shortest:g} s"
        if life.healthy_for(now) > slack or any(
            end is not None and end.order == now.order and end.at - start.at > slack for start, end in life.healthy
        ):
            yield f"{life.name} was restored although it was healthy"
        later = [other for other, at in replay.moves(Why.UPGRADE) if _a_later_batch(life, other, at, now)]
        if later and not broke_later:
            yield f"{life.name} was restored after {later[0].name} of a later batch had been taken"


def _first_of_its_build(life: Life) -> Life:
    """The first pod that its instance had of that build: the deadline counts from there, whatever became of it."""
    first = life
    while (before := first.before) is not None and (before.version, before.model) == (first.version, first.model):
        first = before
    return first


def _breached(replay: Replay, life: Life, now: Moment, slack: float) -> bool:
    """Whether more than maxUnhealthyUpgradedInstancePercent of the instances that were taken to the version of that pod
    have gone back or were not healthy, then or `slack` seconds before.
    """
    reached, ill = set(), set()
    for other, at in replay.moves(Why.UPGRADE, Why.MODEL):
        new = other.after
        if other.scale_set != life.scale_set or at.order > now.order or new is None:
            continue
        if (new.version, new.model) == (life.version, life.model):
            gone = new.going is not None and new.going.order <= now.order
            if not gone and not new.was_healthy(now):
                continue  # Its batch still runs.
            reached.add(other.instance)
            if gone or new.healthy_for(now) <= slack:
                ill.add(other.instance)
    percent = min(replay.percents(life.scale_set, "maxUnhealthyUpgradedInstancePercent"))
    return len(ill) * 100 > percent * len(reached)


def _a_later_batch(life: Life, other: Life, at: Moment, now: Moment) -> bool:
    """Whether that upgrade began between the first health of this pod and its restore: so its batch was over."""
    if other.scale_set != life.scale_set or other.instance == life.instance or not life.healthy:
        return False
    return (
        life.healthy[0][0].order < at.order < now.order
        and other.after is not None
        and other.after.version == life.version
    )


def _limit(replay: Replay, name: str, now: Moment) -> int:
    percent = max(replay.percents(name, "maxBatchInstancePercent"))
    return max(1, replay.replicas(name, now.order) * percent // 100)


def timeouts(replay: Replay, name: str) -> tuple[float, float]:
    """The shortest and the longest health timeout that the set's policies ever had, in seconds."""
    found = [parse_duration(spec.get("healthTimeout", "PT5M")) for spec in replay.policy_specs(name)] or [300.0]
    return min(found), max(found)
