"""Verbs that ask the operator for something by an annotation: retry, restart."""

from kubectl_scaleset import changes
from kubectl_scaleset.options import Acting, Name
from kubectl_scaleset.session import Session
from scaleset.api import names


def restart(session: Session, name: Name, how: Acting) -> int:
    """Make all instances again, with what they run, batch by batch and through the health gates.

    With --wait it prints and exits as `status --watch` does. A restart that fails says nothing about the version.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    changes.require(session, found, names.ANNOTATION_RESTART)
    return changes.carry_out(
        session,
        found,
        changes.request(session, names.ANNOTATION_RESTART),
        how,
        question=f"Restart {found.desired} instances of {name} in batches?",
        done=f"restart of {found.desired} instances requested",
        until=outcome,
    )


def retry(session: Session, name: Name, how: Acting) -> int:
    """Forget which versions failed here, so that the platform may try them again by its own rules.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    failed = sorted({str(row.get("version") or row.get("model")) for row in found.status.get("failedTargets") or ()})
    if not failed and not found.status.get("retry"):
        session.say(f"{name}: nothing failed here, nothing to retry.")
        return changes.wait(session, found, outcome, how)
    what = f"the failure of {', '.join(failed)}" if failed else "the failure"
    return changes.carry_out(
        session,
        found,
        changes.request(session, names.ANNOTATION_RETRY),
        how,
        question=f"Forget {what} in {name}? The platform may try again.",
        done=f"retry requested: {what} is forgotten",
        until=outcome,
    )
