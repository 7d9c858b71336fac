"""Waits for the effect of a verb. Pure: from a set to a line and, at the end, an exit code."""

from kubectl_scaleset.failures import FAILED
from kubectl_scaleset.outcomes import Outcome, applying, cancelling, outcome
from kubectl_scaleset.pictures import SetView, instance_ids


def cancelled(now: SetView) -> Outcome:
    """Cancelling is done when no rollout runs any more. Any other end than Cancelled is a failure."""
    text = outcome(now).text
    if cancelling(now) or now.rolling:
        return Outcome(text, None)
    return Outcome(text, 0 if now.code == "Cancelled" else FAILED)


def quiet(now: SetView) -> Outcome:
    """No batch is under way."""
    busy = not now.observed or (now.rolling and bool(now.rollout.get("batch")))
    return Outcome(outcome(now).text, None if busy else 0)


def applied(now: SetView, chosen: frozenset[int]) -> Outcome:
    """Whether the replaced instances run and are healthy; empty means all instances."""
    bad = {
        row["id"]: f"{row.get('state')}: {row.get('message') or 'no reason given'}"
        for row in now.status.get("instances") or ()
        if row.get("state") != "Healthy" and (not chosen or row["id"] in chosen)
    }
    if applying(now):
        return Outcome(f"{now.name}: instances are being replaced.", None)
    if any(text.startswith("Initializing") for text in bad.values()):
        return Outcome(f"{now.name}: {len(bad)} instances are starting.", None)
    if bad:
        first = min(bad)
        return Outcome(f"{now.name}: {len(bad)} instances are not healthy; {first} is {bad[first]}", FAILED)
    return Outcome(f"{now.name}: the instances run the newest model and are healthy.", 0)


def gone(now: SetView, chosen: frozenset[int]) -> Outcome:
    """Whether these instances are no part of the set any more and their pods have ended."""
    left = chosen & instance_ids(now)
    if not now.observed or left or "scaleIn" in now.status:
        message = now.condition("Reconciling").message if now.observed and left else ""
        return Outcome(f"{now.name}: instances are being removed. {message}".rstrip(), None)
    return Outcome(f"{now.name}: the instances are gone.", 0)


def observed(now: SetView) -> Outcome:
    text = "the operator has taken note." if now.observed else "waiting for the operator to take note."
    return Outcome(f"{now.name}: {text}", 0 if now.observed else None)
