"""What a verdict depends on, and whom a version has left behind."""

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner.instances import Build
from scaleset.planner.state import NOBODY, Rollout, State


def parts(version: str) -> tuple[int, ...]:
    """A version as it compares."""
    return tuple(map(int, version.split(".")))


def figures(policy: UpgradePolicySpec | None, source: str) -> tuple[float, ...]:
    """What of a policy a verdict depends on."""
    policy = policy or UpgradePolicySpec()
    rolling = policy.rolling_upgrade_policy
    limits: tuple[float, ...] = (
        rolling.max_unhealthy_instance_percent,
        rolling.max_unhealthy_upgraded_instance_percent,
    )
    if policy.upgrade_timeout is not None:
        limits = (*limits, policy.upgrade_timeout.total_seconds())
    return (policy.health_timeout.total_seconds(), policy.ready_for(source).total_seconds(), *limits)


def left_behind(state: State, build: Build) -> bool:
    """Whether that version failed here, or is higher than any that completed: who fixes it passes a closed gate."""
    if any(failed.version == build.version and failed.image in (None, build.image) for failed in state.failed_targets):
        return True
    return state.current_version is not None and parts(build.version) > parts(state.current_version)


def running(state: State) -> Rollout | None:
    """The running rollout."""
    return state.rollout if state.rollout is not None and state.rollout.running else None


def in_progress(state: State) -> frozenset[int]:
    rollout = running(state)
    return rollout.in_progress if rollout is not None else NOBODY
