"""Completion of names, and the scripts that hook it into shells.

It has to answer while a key is still warm, so names are asked of `kubectl` where there is one: it starts in a tenth of
the time that our own client takes to import. Nothing found, or nobody there, is no completion, never an error.
"""

import os
import shutil
import subprocess
from typing import Any, Final

import typer

PROGRAM: Final = "kubectl-scaleset"
COMPLETER: Final = "kubectl_complete-scaleset"
PATIENCE_SECONDS = 2.0

SHELLS: Final = ("bash", "zsh", "fish", "kubectl")

KUBECTL_SCRIPT: Final = f"""#!/bin/sh
# Completion of `kubectl scaleset`: put it on the PATH as {COMPLETER}. kubectl 1.26 and newer runs it.
exec {PROGRAM} __complete "$@"
"""


def scale_sets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of ScaleSets in the namespace that was given so far."""
    return _names(ctx, incomplete, "scalesets.scaleset.dev")


def definitions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Image definitions of which there are versions."""
    parts = "{.spec.publisher}/{.spec.offer}/{.spec.sku}"
    return _names(ctx, incomplete, "galleryimageversions.scaleset.dev", template=parts)


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Namespaces of the cluster."""
    return _names(ctx, incomplete, "namespaces")


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""
    found = _kubectl(ctx, "config", "get-contexts", "-o", "name", flags=("kubeconfig",))
    return [name for name in found if name.startswith(incomplete)]


def _names(ctx: typer.Context, incomplete: str, resource: str, *, template: str = "{.metadata.name}") -> list[str]:
    output = "jsonpath={range .items[*]}" + template + '{"\\n"}{end}'
    found = _kubectl(ctx, "get", resource, "-o", output, f"--request-timeout={PATIENCE_SECONDS:g}")
    return sorted({name for name in found if name.startswith(incomplete)})


def _kubectl(
    ctx: typer.Context, *arguments: str, flags: tuple[str, ...] = ("namespace", "context", "kubeconfig")
) -> list[str]:
    program = os.environ.get("KUBECTL_PATH") or shutil.which("kubectl")
    if program is None:
        return []
    given = [f"--{flag}={ctx.params[flag]}" for flag in flags if ctx.params.get(flag)]
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own kubectl, asked for names only
            [program, *given, *arguments],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_SECONDS + 1,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split()


_BASH = """# bash completion of kubectl-scaleset
_kubectl_scaleset() {
  local line
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    if [[ -n $line && $line != :* ]]; then COMPREPLY+=("$line"); fi
  done < <(kubectl-scaleset __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _kubectl_scaleset kubectl-scaleset
"""
_ZSH = """#compdef kubectl-scaleset
# zsh completion of kubectl-scaleset
_kubectl_scaleset() {
  local -a found
  local line
  while IFS= read -r line; do
    if [[ -n $line && $line != :* ]]; then found+=("${line/$'\\t'/:}"); fi
  done < <(kubectl-scaleset __complete "${(@)words[2,$CURRENT]}" 2>/dev/null)
  _describe kubectl-scaleset found
}
compdef _kubectl_scaleset kubectl-scaleset
"""
_FISH = """# fish completion of kubectl-scaleset
function __kubectl_scaleset
  set -l words (commandline -opc) (commandline -ct)
  kubectl-scaleset __complete $words[2..-1] 2>/dev/null | string match -v ':*'
end
complete -c kubectl-scaleset -f -a '(__kubectl_scaleset)'
"""


def script(shell: str) -> str:
    """What `completion SHELL` prints."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "kubectl": KUBECTL_SCRIPT}[shell]


def complete(words: list[str]) -> str:
    """What can follow the words, of which the last is not finished: a line each with a tab before its explanation, and
    the directive that no files are meant. That is what kubectl asks its plugins for.
    """
    from typer._click.shell_completion import CompletionItem, ShellComplete
    from typer.main import get_command

    from scaleset.cli.app import app

    class Completion(ShellComplete):
        """As kubectl asks: words as arguments, lines as the answer."""

        name = "kubectl"
        source_template = ""

        def source_vars(self) -> dict[str, Any]:
            return {}

        def get_completion_args(self) -> tuple[list[str], str]:
            return (words[:-1], words[-1]) if words else ([], "")

        def format_completion(self, item: CompletionItem) -> str:
            return f"{item.value}\t{_first_line(item.help)}" if item.help else str(item.value)

    found = Completion(get_command(app), {}, PROGRAM, "").complete()
    return f"{found}\n:4\n" if found else ":4\n"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]


def main() -> None:
    """`kubectl_complete-scaleset`, which kubectl runs."""
    import sys

    sys.stdout.write(complete(sys.argv[1:]))
