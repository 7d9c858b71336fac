"""How a rollout ends: Completed, Cancelled or Faulted, with Azure's codes and sentences (semantics 4.7 and 6.1)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from scaleset.planning import history, outdated
from scaleset.planning.draft import Draft
from scaleset.planning.gates import Gate, share
from scaleset.planning.state import Code, Detail, Ending, Kind, Rollout, State, UpgradeError

BEFORE = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
DURING = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
REFUSED = "ModelRefused"
INSTANCE = "RollingUpgradeInstanceUnhealthyError"
_MOST_DETAILS = 5
_UNREACHABLE = "Instance found to be unhealthy or unreachable."


def complete(draft: Draft, rollout: Rollout) -> None:
    """Everything that could be upgraded was. Failed instances within the limit stay on their previous build and are
    tried again later.
    """
    draft.state = _proven(draft, rollout)
    outdated.forget(draft, rollout)
    if rollout.failed:
        outdated.try_later(draft, rollout)
    else:
        draft.state = replace(draft.state, retry=None)
    _end(draft, rollout, Code.COMPLETED, None)
    what = f"to version {rollout.target.version}" if rollout.target.version else f"to model {rollout.target.model}"
    text = f"Rolling upgrade {what} completed: {len(rollout.successful)} instances upgraded"
    draft.tell("RolloutCompleted", text + (f", {len(rollout.failed)} failed." if rollout.failed else "."))


def _proven(draft: Draft, rollout: Rollout) -> State:
    target = rollout.target
    if target.version is None or target.image is None:
        return draft.state
    return replace(draft.state, current_version=target.version, current_image=target.image)


def cancel(draft: Draft, rollout: Rollout, ending: Ending) -> None:
    """Superseded, withdrawn, or as the user asked; only the last is remembered, or it would start again at once."""
    if ending.reason == outdated.CANCELLED:
        outdated.remember(draft, rollout, ending.reason)
    _end(draft, rollout, Code.CANCELLED, UpgradeError(ending.reason, ending.message, draft.snapshot.owner.name))
    draft.tell("RolloutCancelled", ending.message)


def upgraded_unhealthy(draft: Draft, rollout: Rollout, bad: frozenset[int], *, counted: frozenset[int]) -> UpgradeError:
    """The gate after a batch, which `bad` of `counted` breach: what the run ends with."""
    messages = {n: rollout.messages.get(n) or _message(draft, n) for n in bad}
    percent = share(len(bad), len(counted))
    limit = rollout.policy.rolling.max_unhealthy_upgraded_instance_percent
    text = (
        "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the "
        "RollingUpgradePolicy. "
        f"{percent}% of instances are in an unhealthy state after being upgraded - more than the threshold of "
        f"{limit}%. "
        f"{_worst(messages.values())} First failed instance ID is: {min(bad)}."
    )
    return _error(draft, UPGRADED, text, messages)


def gate_closed(draft: Draft, rollout: Rollout, gate: Gate) -> None:
    """The gate before a batch: too much of the set is unhealthy, for whatever reason. Tried again once it has been
    open for a while.
    """
    messages = {n: _message(draft, n) for n in gate.unhealthy}
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
    outdated.try_later(draft, rollout)
    fault(draft, rollout, _error(draft, BEFORE if first else DURING, text, messages))


def refused(draft: Draft, rollout: Rollout, message: str) -> None:
    """The API server would not take a pod of the target: nothing was deleted for it."""
    outdated.try_later(draft, rollout)
    text = f"Rolling Upgrade failed: the API server refuses the new pod. {message}"
    fault(draft, rollout, _error(draft, REFUSED, text, {}))


def extended(error: UpgradeError, text: str) -> UpgradeError:
    """The error with another sentence."""
    return replace(error, message=f"{error.message} {text}")


def fault(draft: Draft, rollout: Rollout, error: UpgradeError) -> None:
    """End as Faulted."""
    _end(draft, rollout, Code.FAULTED, error)
    draft.tell("RolloutFaulted", error.message, warning=True)


def _error(draft: Draft, code: str, text: str, messages: dict[int, str]) -> UpgradeError:
    name = draft.snapshot.owner.name
    details = tuple(
        Detail(INSTANCE, f"{name}/instances/{number}", messages[number]) for number in sorted(messages)[:_MOST_DETAILS]
    )
    return UpgradeError(code, text, name, details)


def _end(draft: Draft, rollout: Rollout, code: Code, error: UpgradeError | None) -> None:
    ended = replace(
        rollout,
        code=code,
        completed=draft.now,
        error=error,
        waiting=None,
        ending=None,
        next_batch=None,
    )
    draft.update(ended)
    if ended.kind is Kind.IMAGE:
        attempt = history.attempt(ended, location=draft.asker.region)
        draft.state = replace(draft.state, history=history.prune((attempt, *draft.state.history), now=draft.now))


def _message(draft: Draft, number: int) -> str:
    instance = draft.instances.get(number)
    return instance.message if instance is not None and instance.message else _UNREACHABLE


def _worst(messages: Iterable[str]) -> str:
    """The error that most instances share."""
    ranked = Counter(messages).most_common(1)
    worst = ranked[0][0].rstrip(". ") if ranked else _UNREACHABLE.rstrip(".")
    return f"The most impactful error is: {worst}."
