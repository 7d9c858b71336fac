"""Verbs that ask the operator for something by an annotation: retry, restart."""

from kubectl_scaleset import changes
from kubectl_scaleset.options import Acting, Name
from kubectl_scaleset.session import Session
from scaleset.api import names


def restart(session: Session, name: Name, how: Acting) -> int:
    """Make all instances again, with what they run, batch by batch and through the health gates.

    With --wait it prints and exits as `status --watch` does. A restart that fails says nothing about the version.
    """
    found = session.scale_set(name)
    changes.require(session, found, names.ANNOTATION_RESTART)
    question = f"Restart {found.desired} instances of {name} in batches?"
    body, done = changes.request(session, names.ANNOTATION_RESTART), f"restart of {found.desired} instances requested"
    return changes.carry_out(session, found, body, how, question=question, done=done)


def retry(session: Session, name: Name, how: Acting) -> int:
    """Forget which versions failed here, so that the platform may try them again by its own rules.

    With --wait it prints and exits as `status --watch` does.
    """
    found = session.scale_set(name)
    failed = sorted({str(row.get("version") or row.get("model")) for row in found.status.get("failedTargets") or ()})
    if not failed and not found.status.get("retry"):
        session.say(f"{name}: nothing failed here, nothing to retry.")
        return changes.wait(session, found, how)
    what = f"the failure of {', '.join(failed)}" if failed else "the failure"
    question = f"Forget {what} in {name}? The platform may try again."
    body, done = changes.request(session, names.ANNOTATION_RETRY), f"retry requested: {what} is forgotten"
    return changes.carry_out(session, found, body, how, question=question, done=done)
