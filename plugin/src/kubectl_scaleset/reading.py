"""Read-only verbs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from kubectl_scaleset import options
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Everywhere, Flag, Name, OptionalName, Timeout, Watch
from kubectl_scaleset.session import Session

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView

SET = "scaleset.scaleset.dev"

_ListOutput = options.output("table", "json", "yaml", "name")
_Output = options.output("table", "json", "yaml")
_StatusOutput = options.output("text", "json", "yaml")
_AzureOutput = options.output("table", "json", "yaml", "az-json")
NeedsAttention = Annotated[bool, Flag(("--needs-attention",), help="Only sets that need a person.")]
Models = Annotated[bool, Flag(("--models",), help="The stored models (ControllerRevisions), for undo.")]
Everything = Annotated[bool, Flag(("--full",), help="Show every instance, even if many are alike.")]
Follow = Annotated[bool, Flag(("--follow",), help="With -w: continue after the end of the rollout.")]


@dataclass(frozen=True, slots=True)
class Shown:
    """How `list` and `get` print, once or as things change. A verb that takes one has its flags."""

    output: Annotated[str, _ListOutput] = "table"
    timeout: Timeout = None

    @property
    def seconds(self) -> float | None:
        """How long to watch; CliError for a format that does not go together with watching."""
        if self.output != "table":
            raise CliError(
                f"-w and -o {self.output} do not go together: use kubectl get -w for objects as they change."
            )
        return options.seconds(self.timeout)


def list_(
    session: Session,
    how: Shown,
    everywhere: Everywhere = False,
    watch: Watch = False,
    needs_attention: NeedsAttention = False,
) -> int:
    """List sets: progress, version, and the reason to wait.

    A set needs attention if the operator cannot continue alone: its spec cannot be carried out, a version failed, an
    instance is blocked, too many instances are unhealthy, or no operator serves it.
    """
    from kubectl_scaleset import views
    from kubectl_scaleset.pictures import SetView
    from scaleset.records.kinds import SCALE_SETS

    if watch:
        return views.watch_sets(session, needs_attention=needs_attention, timeout=how.seconds)
    raw = session.client.list(SCALE_SETS, session.where)[0]
    if needs_attention:
        raw = [each for each in raw if SetView(each).needs_attention]
    if session.names_of(raw, SET) or session.dump(_as_list(raw)):
        return 0
    views.show_sets(session, [SetView(each) for each in raw], needs_attention=needs_attention)
    return 0


def get(
    session: Session, name: Name, how: Shown, watch: Watch = False, follow: Follow = False, full: Everything = False
) -> int:
    """Show a set as a tree: batch, instance, pod, with health, version, restarts and the last error.

    -w follows the rollout until its end.
    """
    from kubectl_scaleset import views

    found = session.scale_set(name)
    if watch:
        return views.watch_set(session, found, follow=follow, everything=full, timeout=how.seconds)
    if session.names_of([found.raw], SET) or session.dump(found.raw):
        return 0
    views.show_set(session, found, everything=full)
    return 0


def status(
    session: Session,
    name: Name,
    watch: Watch = False,
    output: Annotated[str, _StatusOutput] = "text",
    timeout: Timeout = None,
) -> int:
    """Print the state of the rollout in one line, with a matching exit code.

    Exit code 0: completed. 1: faulted or cancelled. 2: not ended yet, or not within --timeout.
    """
    from kubectl_scaleset import documents
    from kubectl_scaleset.follow import until
    from kubectl_scaleset.outcomes import outcome

    limit = options.seconds(timeout)
    found = session.scale_set(name)
    if watch:
        _only_text(output)
        return until(session, found, outcome, timeout=limit)
    now = outcome(found)
    if not session.dump(documents.status(found, now)):
        session.say(now.text)
    return now.exit_code


def history(
    session: Session, name: Name, models: Models = False, output: Annotated[str, _AzureOutput] = "table"
) -> int:
    """List the rollouts of the last two months, newest first, at most ten; with --models the stored models.

    -o az-json prints image upgrades in the format of `az vmss get-os-upgrade-history`.
    """
    from kubectl_scaleset import azure, documents, histories, tables

    found = session.scale_set(name)
    if models:
        from kubectl_scaleset.catalogue import newest_model

        _not_az(output)
        stored = histories.models(session, found, newest_model(found))
        if not session.dump([documents.of(each) for each in stored]):
            session.show(tables.models(stored, now=session.client.now(), glyphs=session.glyphs))
        return 0
    entries = histories.rollouts(found)
    if output == "az-json":
        _write(azure.dump(azure.history(found.status, location=_location(found))))
    elif session.dump([documents.of(each) for each in entries]):
        pass
    elif entries:
        session.show(tables.history(entries, now=session.client.now(), glyphs=session.glyphs))
    else:
        session.note(f"{name} had no rollout in the last two months.")
    return 0


def latest(session: Session, name: Name, output: Annotated[str, _AzureOutput] = "table") -> int:
    """Print the running rolling upgrade, or the last one.

    -o az-json prints the format of `az vmss rolling-upgrade get-latest`.
    """
    from kubectl_scaleset import azure, trees

    found = session.scale_set(name)
    if not found.rollout:
        raise CliError(f"{name} had no rolling upgrade yet: start one with kubectl scaleset start {name}.")
    if output == "az-json":
        _write(azure.dump(azure.latest(found.status, location=_location(found))))
    elif not session.dump(found.rollout):
        session.show(trees.header(found, now=session.client.now(), glyphs=session.glyphs))
    return 0


def instances(session: Session, name: Name, output: Annotated[str, _Output] = "table") -> int:
    """List the instances of a set: version, health, model, place, protection."""
    from kubectl_scaleset import documents, pictures, tables
    from kubectl_scaleset.catalogue import newest_model

    found = session.scale_set(name)
    now = session.client.now()
    rows = pictures.instances(found, session.pods(found), now=now)
    newest = newest_model(found)
    if session.dump([{**documents.of(row), "latestModelApplied": row.model in newest} for row in rows]):
        return 0
    if rows:
        session.show(tables.instances(rows, now=now, newest=newest, glyphs=session.glyphs))
    else:
        session.note(f"{name} has no instances.")
    return 0


def versions(session: Session, name: OptionalName = None, output: Annotated[str, _Output] = "table") -> int:
    """List published versions. For a set: the version that `latest` means, and why the others are not chosen."""
    from kubectl_scaleset import catalogue, documents, tables

    found = session.scale_set(name) if name is not None else None
    choices = catalogue.choices(session, found)
    if session.dump([documents.of(each) for each in choices]):
        return 0
    if choices:
        now = session.client.now()
        session.show(tables.versions(choices, now=now, glyphs=session.glyphs, of_set=found is not None))
    else:
        what = f"for {name}" if name else f"in namespace {session.namespace}"
        session.note(f"No version is published {what}: publish one with kubectl scaleset publish.")
    return 0


def plan(session: Session, name: Name, output: Annotated[str, _Output] = "table") -> int:
    """Print the batches of the next rollout, and the reason that holds it back, without changing anything.

    The forecast uses the operator's planner and the present state of the cluster. It assumes that every replaced
    instance becomes healthy.
    """
    from kubectl_scaleset import catalogue, plans, snapshots

    found = session.scale_set(name)
    forecast = snapshots.forecast(session, found)
    if not session.dump(plans.document(forecast)):
        for line in plans.lines(found, forecast):
            session.say(line)
        for sentence in catalogue.failures(session, found):
            session.say(sentence)
    return 0


def _location(found: "SetView") -> str:
    return str(found.spec.get("location") or "default")


def _as_list(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {}}


def _only_text(output: str) -> None:
    if output != "text":
        raise CliError(f"-w and -o {output} do not go together: ask again for each document.")


def _not_az(output: str) -> None:
    if output == "az-json":
        raise CliError("--models and -o az-json do not go together: az has no models of a scale set.")


def _write(text: str) -> None:
    import sys

    sys.stdout.write(text)
