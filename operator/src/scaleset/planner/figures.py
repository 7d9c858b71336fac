"""A set in numbers after a decision; metrics export them (docs/reference/metrics.md)."""

from collections import Counter

from scaleset.planner import batches, gallery
from scaleset.planner.facts import Facts
from scaleset.planner.gallery import is_number, number
from scaleset.planner.gates import exceeds
from scaleset.planner.instances import HealthState, Instance
from scaleset.planner.plan import Figures
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
    for (version, health), count in found.items():
        one[spelled[version], health] += count
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
