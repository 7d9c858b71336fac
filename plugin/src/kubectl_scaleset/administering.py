"""Verbs about the installation: check, report, completion, version."""

from time import monotonic, sleep
from typing import Annotated

from kubectl_scaleset import completing, options
from kubectl_scaleset.failures import FAILED, TIMED_OUT, CliError
from kubectl_scaleset.options import Flag, Name, Timeout, Word
from kubectl_scaleset.session import Session
from scaleset import __version__

WaitForAll = Annotated[bool, Flag(("--wait",), help="Wait until every check passes.")]
File = Annotated[
    str | None,
    Flag(
        ("--file", "-f"), metavar="FILE", help="File to write; default: a name with the time, in the current directory."
    ),
]
Shell = Annotated[
    str,
    Word(
        metavar="SHELL",
        help="bash, zsh, fish, or kubectl for `kubectl scaleset` itself.",
        complete=lambda _context, _unfinished: list(completing.SHELLS),
    ),
]
ClientOnly = Annotated[bool, Flag(("--client",), help="Print only the plugin's version, without a cluster.")]

_VersionOutput = options.output("text", "json", "yaml")
_CheckOutput = options.output("text", "json", "yaml")
INTERVAL_SECONDS = 1.0


def check(
    session: Session, wait: WaitForAll = False, timeout: Timeout = None, output: Annotated[str, _CheckOutput] = "text"
) -> int:
    """Check the installation: CRDs, operator, your rights, versions, clock.

    Exit code 1: a check failed. 2: a check still failed at the end of --timeout.
    """
    from dataclasses import asdict

    from kubectl_scaleset import checks

    limit = options.seconds(timeout)
    deadline = None if limit is None else monotonic() + limit
    while True:
        found = list(checks.findings(session))
        failed = any(each.state == "failed" for each in found)
        late = deadline is not None and monotonic() >= deadline
        if not (wait and failed) or late:
            break
        sleep(INTERVAL_SECONDS)
    if not session.dump([asdict(each) for each in found]):
        marks = {"ok": session.glyphs.sign("done"), "note": "!", "failed": session.glyphs.sign("failed")}
        for each in found:
            session.say(f"{marks[each.state]} {each.what}: {each.text}")
    return 0 if not failed else TIMED_OUT if wait else FAILED


def report(session: Session, name: Name, file: File = None) -> int:
    """Write a zip for a bug report: the set and its objects, without secrets."""
    from pathlib import Path

    from kubectl_scaleset import bundles

    found = session.scale_set(name)
    path = Path(file or bundles.file_name(found, now=session.client.now()))
    contents = bundles.write(session, found, path)
    session.say(f"Wrote {path}: {', '.join(contents)}.")
    session.note("Recognised secrets were removed. Check the file before you pass it on.")
    return 0


def version(session: Session, client: ClientOnly = False, output: Annotated[str, _VersionOutput] = "text") -> int:
    """Print the versions of the plugin and of the active operator, with a warning if they do not match."""
    from kubectl_scaleset import checks, leases

    holder = None if client else leases.lease(session.client, session.namespace)[0]
    operator = holder.version if holder is not None and holder.alive else None
    document = {"clientVersion": __version__} | ({} if client else {"operatorVersion": operator})
    if not session.dump(document):
        session.say(f"Client: {__version__}")
        if not client:
            session.say(f"Operator: {operator or 'unknown: none holds a lease that you may read'}")
    if operator is not None and (skew := checks.version_skew(operator)):
        session.note(f"Warning: {skew}")
    return 0


def completion(shell: Shell) -> int:
    """Print the completion script of a shell.

    bash: source <(kubectl-scaleset completion bash). For `kubectl scaleset <TAB>` kubectl (1.26 and newer) looks for
    kubectl_complete-scaleset on the PATH: the package installs it; `completion kubectl` prints one as a shell script.
    """
    import sys

    if shell not in completing.SHELLS:
        raise CliError(f"There is no completion for {shell}: use {', '.join(completing.SHELLS)}.")
    sys.stdout.write(completing.script(shell))
    return 0
