"""Verbs that ask the operator for something by an annotation: retry, restart."""

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting, Name
from kubectl_scaleset.session import Session
from scaleset.api import names


def restart(session: Session, name: Name, how: Acting) -> int:
    """Make all instances again, with what they run, batch by batch and through the health gates.

    With --wait it prints and exits as `status --watch` does. A restart that fails says nothing about the version.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    if (refused := changes.refusal(session, found, names.ANNOTATION_RESTART)) is not None:
        raise CliError(f"{name}: {refused}")
    session.confirm(f"Restart {found.desired} instances of {name} in batches?", yes=how.unasked)
    found = changes.annotate(session, found, names.ANNOTATION_RESTART, changes.stamp(session), how)
    changes.say(session, f"{name}: restart of {found.desired} instances requested", how)
    return changes.wait(session, found, outcome, how)


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
    session.confirm(f"Forget {what} in {name}? The platform may try again.", yes=how.unasked)
    found = changes.annotate(session, found, names.ANNOTATION_RETRY, changes.stamp(session), how)
    changes.say(session, f"{name}: retry requested: {what} is forgotten", how)
    return changes.wait(session, found, outcome, how)
