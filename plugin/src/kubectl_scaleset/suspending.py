"""Verbs that halt rollouts and let them go on: of one set, of many, or of all sets of a policy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from kubectl_scaleset import changes
from kubectl_scaleset.failures import FAILED, CliError, explain
from kubectl_scaleset.options import Acting, Everywhere, Flag, OptionalName
from kubectl_scaleset.session import Session
from scaleset.api import names
from scaleset.kube.errors import ApiError, NotFound
from scaleset.records.kinds import SCALE_SETS, UPGRADE_POLICIES

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView

SHOWN = 10
"""Most sets that a question names."""

All = Annotated[bool, Flag(("--all",), "All sets of the namespace; with -A of every namespace.")]
Policy = Annotated[
    str | None, Flag(("--policy",), "All sets of this UpgradePolicy, also those that come later.", metavar="POLICY")
]


@dataclass(frozen=True, slots=True)
class Which:
    """One set, all of a namespace or of every one, or all of a policy."""

    name: OptionalName = None
    all_: All = False
    policy: Policy = None
    everywhere: Everywhere = False

    @property
    def one(self) -> str | None:
        """The set that is named; CliError unless exactly one of NAME, --all and --policy is given."""
        if (self.name is not None) + self.all_ + (self.policy is not None) != 1:
            raise CliError("Name a ScaleSet, or give --all or --policy POLICY.")
        if self.everywhere and not self.all_:
            raise CliError("-A goes with --all only: a set and a policy are in one namespace.")
        return self.name


def suspend(session: Session, which: Which, how: Acting) -> int:
    """Pause rollouts: the running batch finishes, nothing else starts. Scaling and self-healing go on.

    --wait: until the running batches have ended.
    """
    from kubectl_scaleset import waits

    name = which.one
    if name is None:
        return _many(session, which, how, wanted=True)
    found = session.scale_set(name)
    if found.spec.get("suspend"):
        session.say(f"{name}: suspended already.")
        return changes.wait(session, found, how, until=waits.quiet)
    question, body = f"Suspend {name}? A running batch still ends.", {"spec": {"suspend": True}}
    return changes.carry_out(session, found, body, how, question=question, done="suspended", until=waits.quiet)


def resume(session: Session, which: Which, how: Acting) -> int:
    """Lift a suspension: a halted rollout goes on, one that is due starts.

    With --wait for one set it prints and exits as `status --watch` does.
    """
    name = which.one
    if name is None:
        return _many(session, which, how, wanted=False)
    found = session.scale_set(name)
    if not found.spec.get("suspend"):
        session.say(f"{name}: not suspended, nothing to resume.")
        return changes.wait(session, found, how)
    question, body = f"Resume {name}?", {"spec": {"suspend": False}}
    return changes.carry_out(session, found, body, how, question=question, done="resumed")


def _many(session: Session, which: Which, how: Acting, *, wanted: bool) -> int:
    if which.policy is not None:
        return _policy(session, which.policy, how, wanted=wanted)
    return _all(session, how, wanted=wanted)


def _policy(session: Session, name: str, how: Acting, *, wanted: bool) -> int:
    """One write to the policy, which holds for the sets that come later as well."""
    found = session.find(UPGRADE_POLICIES, name, kind=names.UPGRADE_POLICY_KIND)
    users = [each for each in _sets(session) if each.policy == name]
    done = "suspends" if wanted else "resumes"
    if bool((found.get("spec") or {}).get("suspend")) is wanted:
        session.say(f"{name}: the policy {'suspends its sets' if wanted else 'suspends no sets'} already.")
        return _wait_for_batches(session, users, how) if wanted else 0
    effect = "Running batches still end." if wanted else "Halted rollouts go on, those that are due start."
    session.confirm(f"{done.capitalize()[:-1]} {_count(users)} of UpgradePolicy {name}? {effect}", yes=how.unasked)
    body = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": {"suspend": True if wanted else None}}
    session.client.patch(UPGRADE_POLICIES, session.namespace, name, body, dry_run=how.tries)
    changes.say(session, f"{name}: the policy {done} {_count(users)}", how)
    return _wait_for_batches(session, users, how) if wanted else 0


def _all(session: Session, how: Acting, *, wanted: bool) -> int:
    """One write a set. Sets that cannot be written are named at the end, and the others are done."""
    due = [each for each in _sets(session) if bool(each.spec.get("suspend")) is not wanted]
    verb = "suspend" if wanted else "resume"
    where = "any namespace" if session.all_namespaces else f"namespace {session.namespace}"
    if not due:
        session.say(f"Nothing to {verb}: no set in {where} is {'without a suspension' if wanted else 'suspended'}.")
        return 0
    effect = "Running batches still end." if wanted else "Halted rollouts go on, those that are due start."
    session.confirm(f"{verb.capitalize()} {_count(due)}? {effect}", yes=how.unasked)
    refused = []
    for each in due:
        label = _label(session, each)
        try:
            changes.patch(session, each, {"spec": {"suspend": wanted}}, how)
        except NotFound:
            continue  # deleted meanwhile
        except ApiError as error:
            refused.append(f"{label}: {explain(error, server=session.server)}")
            continue
        changes.say(session, f"{label}: {verb}{'ed' if wanted else 'd'}", how)
    for line in refused:
        session.note(line)
    if refused:
        return FAILED
    return _wait_for_batches(session, due, how) if wanted else 0


def _sets(session: Session) -> "list[SetView]":
    from kubectl_scaleset.pictures import SetView

    return [SetView(raw) for raw in session.client.list(SCALE_SETS, session.where)[0]]


def _wait_for_batches(session: Session, sets: "Iterable[SetView]", how: Acting) -> int:
    """One after the other, until no batch is under way."""
    from kubectl_scaleset import waits

    return max((changes.wait(session, each, how, until=waits.quiet) for each in sets), default=0)


def _count(sets: "list[SetView]") -> str:
    listed = [each.name for each in sets[:SHOWN]]
    more = f" and {len(sets) - SHOWN} more" if len(sets) > SHOWN else ""
    number = f"{len(sets)} set{'' if len(sets) == 1 else 's'}"
    return f"{number} ({', '.join(listed)}{more})" if sets else number


def _label(session: Session, found: "SetView") -> str:
    return f"{found.namespace}/{found.name}" if session.all_namespaces else found.name
