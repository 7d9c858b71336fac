"""How a rollout ends: Completed, Cancelled or Faulted, with Azure's codes and sentences."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from scaleset.api.moments import format_duration
from scaleset.planner import outdated, status_codec
from scaleset.planner.facts import Facts
from scaleset.planner.gates import Gate, share
from scaleset.planner.health import UNREACHABLE
from scaleset.planner.state import Code, Ending, Kind, Rollout, State, UpgradeError
from scaleset.planner.step import Step

BEFORE = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
DURING = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
TIMEOUT = "RollingUpgradeTimeoutError"
REFUSED = "ModelRefused"
INSTANCE = "RollingUpgradeInstanceUnhealthyError"
_MOST_DETAILS = 5


def complete(facts: Facts, rollout: Rollout) -> Step:
    """End as Completed: every instance that could be upgraded was. Failed instances within the limit stay on their
    previous build and are tried again later.
    """
    state = facts.state
    if rollout.judges:
        retry = outdated.try_later(facts, rollout).retry if rollout.failed else None
        state = replace(_proven(outdated.forget(facts, rollout), rollout), retry=retry)
    text = f"{rollout.noun}{rollout.to} completed: {len(rollout.successful)} instances {rollout.done_to}"
    text += f", {len(rollout.failed)} failed." if rollout.failed else "."
    return _end(facts, state, rollout, Code.COMPLETED, None).with_event("RolloutCompleted", text)


def _proven(state: State, rollout: Rollout) -> State:
    target = rollout.target
    if target.version is None or target.image is None:
        return state
    return replace(state, current_version=target.version, current_image=target.image)


def cancel(facts: Facts, rollout: Rollout, ending: Ending) -> Step:
    """End as Cancelled: superseded, withdrawn, or cancelled by the user. Only a target that the user cancelled is
    remembered; otherwise it would start again at once.
    """
    by_user = ending.reason == outdated.CANCELLED
    state = outdated.remember(facts, rollout, ending.reason) if by_user else facts.state
    error = UpgradeError(ending.reason, ending.message, facts.snapshot.owner.name)
    return _end(facts, state, rollout, Code.CANCELLED, error).with_event("RolloutCancelled", ending.message)


def upgraded_unhealthy(facts: Facts, rollout: Rollout, bad: frozenset[int], *, counted: frozenset[int]) -> UpgradeError:
    """The error of a run that breached the gate after a batch: `bad` of `counted` instances."""
    messages = {n: rollout.messages.get(n) or _message(facts, n) for n in bad}
    percent = share(len(bad), len(counted))
    limit = rollout.policy.rolling.max_unhealthy_upgraded_instance_percent
    text = (
        "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the "
        "RollingUpgradePolicy. "
        f"{percent}% of instances are in an unhealthy state after being upgraded - more than the threshold of "
        f"{limit}%. "
        f"{_worst(messages.values())} First failed instance ID is: {min(bad)}."
    )
    return _error(facts, UPGRADED, text, messages)


def gate_closed(facts: Facts, rollout: Rollout, gate: Gate) -> Step:
    """End because of the gate before a batch: too much of the set is unhealthy, for whatever reason. The target is
    tried again once the gate has been open for a while.
    """
    messages = {n: _message(facts, n) for n in gate.unhealthy}
    percent = share(len(gate.unhealthy), gate.replicas)
    first = not rollout.batches_done
    if first:
        text = (
            "Rolling Upgrade failed due to exceeding the MaxUnhealthyInstancePercent value (defined in the "
            "RollingUpgradePolicy) before any "
            f"batch was attempted. {percent}% of instances are in an unhealthy state, more than the threshold of "
            f"{gate.percent}% configured in "
            f"the RollingUpgradePolicy. {_worst(messages.values())}"
        )
    else:
        text = (
            "Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the "
            "RollingUpgradePolicy. "
            f"{percent}% of instances are in an unhealthy state - more than the threshold of {gate.percent}%. "
            "To apply upgrades, consider increasing the MaxUnhealthyInstancePercent value."
        )
    error = _error(facts, BEFORE if first else DURING, text, messages)
    return fault(facts, outdated.try_later(facts, rollout), rollout, error)


def refused(facts: Facts, rollout: Rollout, message: str) -> Step:
    """End because the API server refuses a pod of the target; no pod was deleted for it."""
    text = f"Rolling Upgrade failed: the API server refuses the new pod. {message}"
    return fault(facts, outdated.try_later(facts, rollout), rollout, _error(facts, REFUSED, text, {}))


def timed_out(facts: Facts, state: State, rollout: Rollout) -> Step:
    """End because of `upgradeTimeout`. `state` already remembers the target."""
    messages = {number: rollout.messages.get(number) or _message(facts, number) for number in rollout.failed}
    every = len(rollout.upgraded | rollout.pending)
    length = format_duration(timedelta(seconds=rollout.policy.upgrade_timeout or 0.0))
    text = (
        f"Rolling Upgrade failed: it was not complete after the upgradeTimeout of {length} of its policy. "
        f"{len(rollout.successful)} of {every} instances are {rollout.done_to}, {len(rollout.failed)} failed, "
        f"{len(rollout.pending)} were not begun."
    )
    return fault(facts, state, rollout, _error(facts, TIMEOUT, text, messages))


def extended(error: UpgradeError, text: str) -> UpgradeError:
    """The error with one more sentence."""
    return replace(error, message=f"{error.message} {text}")


def fault(facts: Facts, state: State, rollout: Rollout, error: UpgradeError) -> Step:
    """End as Faulted. `state` already records what is remembered of the run."""
    return _end(facts, state, rollout, Code.FAULTED, error).with_event("RolloutFaulted", error.message, warning=True)


def _error(facts: Facts, code: str, text: str, messages: dict[int, str]) -> UpgradeError:
    name = facts.snapshot.owner.name
    details = tuple(
        UpgradeError(INSTANCE, messages[number], f"{name}/instances/{number}")
        for number in sorted(messages)[:_MOST_DETAILS]
    )
    return UpgradeError(code, text, name, details)


def _end(facts: Facts, state: State, rollout: Rollout, code: Code, error: UpgradeError | None) -> Step:
    ended = replace(rollout, code=code, completed=facts.now, error=error, waiting=None, ending=None, next_batch=None)
    kept = state.history
    if ended.kind is Kind.IMAGE:
        attempt = status_codec.attempt(ended, location=facts.asker.region)
        kept = status_codec.prune((attempt, *kept), now=facts.now)
    rollouts = status_codec.prune_rollouts((status_codec.past(ended), *state.rollouts), now=facts.now)
    return facts.step(replace(state, rollout=ended, history=kept, rollouts=rollouts))


def _message(facts: Facts, number: int) -> str:
    instance = facts.instances.get(number)
    return instance.message if instance is not None and instance.message else UNREACHABLE


def _worst(messages: Iterable[str]) -> str:
    """The error that most instances share."""
    ranked = Counter(messages).most_common(1)
    worst = ranked[0][0].rstrip(". ") if ranked else UNREACHABLE.rstrip(".")
    return f"The most impactful error is: {worst}."
