"""The state of a rollout in one line, with its exit code. Pure.

`status` prints the line once, `status --watch` at every change, and so does every verb that waits.
"""

from dataclasses import dataclass

from kubectl_scaleset.failures import FAILED, TIMED_OUT
from kubectl_scaleset.pictures import SetView
from kubectl_scaleset.verdicts import next_step, verdict
from scaleset.api import names

_PENDING = frozenset({"ApplyingModel", "ConcurrencyLimit", "HealthGateWaiting", "InstancesInitializing", "Suspended"})
"""Reasons of Progressing with which a due rollout begins by itself."""

_FAILED = ("Faulted", "Cancelled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` is None while there is no end yet."""

    text: str
    code: int | None

    @property
    def exit_code(self) -> int:
        """Exit code without waiting: a rollout that has not ended counts as timed out."""
        return TIMED_OUT if self.code is None else self.code


def outcome(found: SetView) -> Outcome:
    """Outcome of the running rollout, of the due one, else of the last."""
    name = found.name
    if not found.observed:
        return Outcome(f"{name}: the operator has not seen generation {found.generation} yet.", None)
    if found.rolling:
        return Outcome(f"{name}: {_rolling(found)}", None)
    if asked(found):
        return Outcome(f"{name}: the operator has not seen the request yet.", None)
    progressing = found.condition("Progressing")
    accepted = found.condition("Accepted")
    if accepted.status == "False":
        return Outcome(f"{name}: {accepted.reason}: {accepted.message}", FAILED)
    if progressing.reason in _PENDING:
        return Outcome(f"{name}: waiting to begin: {progressing.reason}: {progressing.message}", None)
    if progressing.reason == "StartRefused" or (progressing.reason == "TargetFailed" and found.code not in _FAILED):
        return Outcome(f"{name}: {progressing.reason}: {progressing.message}", FAILED)
    if not found.code:
        return Outcome(f"{name}: {_ended(found)}", 0 if found.condition("Ready").status == "True" else None)
    return Outcome(f"{name}: {_ended(found)}", FAILED if found.code in _FAILED else 0)


_REQUESTS = (
    (names.ANNOTATION_START, "lastHandledStart"),
    (names.ANNOTATION_RETRY, "lastHandledRetry"),
    (names.ANNOTATION_RESTART, "lastHandledRestart"),
    (names.ANNOTATION_MODEL_ROLLOUT, "lastHandledModelRollout"),
    (names.ANNOTATION_ROLLBACK, "lastHandledRollback"),
)
"""Requests that may start a rollout, and the field that has the value which was handled last."""


def asked(found: SetView) -> bool:
    """Whether a request that may start a rollout is still to be handled."""
    return any(_unhandled(found, *each) for each in _REQUESTS)


def cancelling(found: SetView) -> bool:
    """Whether a request to cancel is still to be handled."""
    return _unhandled(found, names.ANNOTATION_CANCEL, "lastHandledCancel")


def applying(found: SetView) -> bool:
    """Whether apply-model is still to be handled, or its instances are being replaced."""
    return _unhandled(found, names.ANNOTATION_APPLY, "lastHandledApply") or bool(found.status.get("applying"))


def _unhandled(found: SetView, annotation: str, field: str) -> bool:
    from scaleset.api.scale_set_status import handled

    value = found.annotations.get(annotation)
    return value is not None and handled(value) != found.status.get(field)


def goal(found: SetView) -> str:
    """Where the rollout leads, after its state: `RollingForward to version 1.1.0`."""
    if found.rollout.get("kind") == "Restart":
        return "restarting"
    if found.target:
        return f"to version {found.target}"
    return f"to model {found.rollout.get('targetModel') or 'unknown'}"


def _rolling(found: SetView) -> str:
    batch = found.rollout.get("batch")
    where = f"batch {batch.get('number')} of {batch.get('of')}, " if batch else ""
    words = found.waiting[1]
    return f"RollingForward {goal(found)}: {where}{_counts(found)}{f'. {words}' if words else '.'}"


def _ended(found: SetView) -> str:
    if not found.code:
        healthy = f"{found.healthy} of {found.desired} instances are healthy on {found.versions or 'no version'}"
        return f"no rolling upgrade yet; {healthy}."
    text = f"{found.code} {goal(found)}: {_counts(found)}."
    why, step = verdict(found), next_step(found)
    return " ".join(part for part in (text, why, f"Next: {step}" if step else "") if part)


def _counts(found: SetView) -> str:
    parts = [f"{found.count('successful')} upgraded"]
    for kind, word in (("inProgress", "in progress"), ("failed", "failed"), ("pending", "to go")):
        if count := found.count(kind):
            parts.append(f"{count} {word if found.rolling or kind != 'pending' else 'not touched'}")
    return ", ".join(parts)
