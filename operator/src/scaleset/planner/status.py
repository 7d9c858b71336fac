"""The whole status after a decision: the durable state, counts, versions, rows and conditions; and the set in numbers,
which metrics export (docs/reference/metrics.md).
"""

from collections import Counter
from typing import Any

from scaleset.api import names
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.planner import batches, gallery, status_codec
from scaleset.planner.conditions import conditions
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import is_number, number, spellings
from scaleset.planner.gates import exceeds
from scaleset.planner.instances import HealthState, Instance
from scaleset.planner.plan import Figures
from scaleset.planner.pod_diff import Diff
from scaleset.planner.rows import count, rows
from scaleset.planner.state import Code, Rollout, State

NO_VERSION = "none"
"""Version label of an instance that never had a version."""

BLOCKED = {
    "Pause": "pause",
    "Suspended": "suspended",
    "ConcurrencyLimit": "concurrency_limit",
    "BackOff": "back_off",
    "TargetFailed": "target_failed",
    "ApplyingModel": "applying_model",
    "NotInPlace": "not_in_place",
    "ScalingIn": "scaling_in",
    "InstancesInitializing": "health_gate",
    "HealthGateWaiting": "health_gate",
    "ImageNotFound": "image_missing",
    "PolicyNotFound": "not_accepted",
    "InvalidSpec": "not_accepted",
    "ModelRefused": "not_accepted",
    "ModelNotStored": "not_accepted",
}
"""Why a rollout does not start or go on, by the reason of `waitingFor` or of the condition."""
MAX_UNHEALTHY = "max_unhealthy"
REASONS = (*dict.fromkeys(BLOCKED.values()), MAX_UNHEALTHY)
MAX_VERSIONS = 4
_ABSENT = dict.fromkeys(ScaleSetStatus().model_dump(by_alias=True))


def status(facts: Facts, diff: Diff) -> dict[str, Any]:
    """The whole status after this decision; `diff` holds the changes of pods in this decision. It has every field:
    absent ones are None, so that a merge patch removes them.
    """
    snapshot = facts.snapshot
    counts = count(facts)
    wanted = {
        "observedGeneration": snapshot.generation,
        "replicas": counts.existing,
        "healthyReplicas": counts.healthy,
        "updatedReplicas": counts.updated,
        "selector": f"{names.LABEL_NAME}={snapshot.owner.name}",
        "latestVersion": facts.latest,
        "targetVersion": facts.wanted.version if facts.wanted is not None else None,
        "versions": _versions(facts) or None,
        **status_codec.write(facts.state, location=facts.asker.region),
        "instances": rows(facts),
        "conditions": conditions(facts, counts, diff),
    }
    present = {name: value for name, value in wanted.items() if value is not None}
    # Cut to the limits of the CRD: a refused status would stop everything, since it is written first.
    return {**_ABSENT, **ScaleSetStatus.model_validate(present).to_raw()}


def _versions(facts: Facts) -> str:
    """The versions that the instances run: a single one, or all, the most frequent first."""
    texts = Counter(version for i in facts.instances.values() if (version := _runs(i)) and is_number(version))
    shown_as = spellings(version for version, _ in texts.most_common())
    ran: Counter[str] = Counter()
    for version, instances in texts.items():
        ran[shown_as[version]] += instances
    ranked = sorted(ran.items(), key=lambda item: (item[1], number(item[0])), reverse=True)
    if len(ranked) == 1:
        return ranked[0][0]
    shown = [f"{version} ({count})" for version, count in ranked[:MAX_VERSIONS]]
    return ", ".join(shown) + (f", {len(ranked) - MAX_VERSIONS} more" if len(ranked) > MAX_VERSIONS else "")


def _runs(instance: Instance) -> str:
    ran = instance.pod or instance.build
    return ran.version if ran is not None else ""


# --- figures


def figures(facts: Facts) -> Figures:
    """The figures of a decision."""
    found = _by_version_and_health(facts)
    rollout = facts.state.rollout
    batch, of = _batch(facts, rollout) if rollout is not None else (0, 0)
    return Figures(
        instances=found,
        behind=_behind(facts, {version for version, _ in found}),
        blocked=_blocked(facts),
        batch=batch,
        batches=of,
        from_version=_from(facts.state, rollout) if rollout is not None else "",
    )


def _by_version_and_health(facts: Facts) -> Counter[tuple[str, str]]:
    """Two spellings of one version count as the first of them."""
    found = Counter(map(_version_and_health, facts.instances.values()))
    spelled = gallery.spellings(version for version, _ in found)
    if len(spelled) == len(set(spelled.values())):
        return found
    one: Counter[tuple[str, str]] = Counter()
    for (version, health), number_of in found.items():
        one[spelled[version], health] += number_of
    return one


def _version_and_health(instance: Instance) -> tuple[str, str]:
    ran = instance.pod or instance.build
    # Fast path: nearly all instances are healthy, and reading an enum's value is slow.
    health = "Healthy" if instance.health is HealthState.HEALTHY else instance.health.value
    return (ran.version if ran is not None else "") or NO_VERSION, health


def _behind(facts: Facts, versions: set[str]) -> int:
    numbers = [number(version) for version in versions if is_number(version)]
    oldest = min(numbers, default=None)
    return sum(oldest is not None and number(version) > oldest for version in facts.eligible)


def _blocked(facts: Facts) -> str:
    waiting = facts.obstacle
    if waiting is None:
        return BLOCKED.get(facts.acceptance.reason, "")
    if waiting.reason == "HealthGateWaiting":
        percent = facts.policy.rolling_upgrade_policy.max_unhealthy_instance_percent
        if exceeds(sum(instance.bad for instance in facts.instances.values()), facts.replicas, percent):
            return MAX_UNHEALTHY
    return BLOCKED.get(waiting.reason, "")


def _batch(facts: Facts, rollout: Rollout) -> tuple[int, int]:
    if rollout.batch is not None:
        return rollout.batch.number, rollout.batch.of
    left = [facts.instances[n] for n in rollout.pending if n in facts.instances]
    done = rollout.batches_done
    return done, done + (batches.batches_left(left, rules=facts.batch_rules(rollout)) if left else 0)


def _from(state: State, rollout: Rollout) -> str:
    """`currentVersion` moves when a rollout completes: then the history knows the one before."""
    if rollout.code is not Code.COMPLETED or rollout.target.version is None:
        return state.current_version or ""
    completed = (
        entry["properties"]["targetImageReference"].get("version") or ""
        for entry in state.history
        if entry["properties"]["runningStatus"].get("code") == Code.COMPLETED
    )
    return next((version for version in completed if not gallery.same(version, rollout.target.version)), "")
