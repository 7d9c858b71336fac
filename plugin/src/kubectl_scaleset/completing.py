"""Completion of names, and the scripts that hook it into shells.

Completion has to be fast, so names come from `kubectl` where it exists: it starts in a tenth of the time that importing
the plugin's client takes. Without an answer there is no completion, never an error.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Final

import click

PROGRAM: Final = "kubectl-scaleset"
COMPLETER: Final = "kubectl_complete-scaleset"
WITH_VALUE: Final = frozenset({"-n", "--namespace", "--context", "--kubeconfig"})
"""Common flags with a value: they may stand before the verb."""
PATIENCE_SECONDS = 2.0
Completer = Callable[[click.Context, str], list[str]]
"""Completions of a word by what stands on the command line."""

SHELLS: Final = ("bash", "zsh", "fish", "kubectl")

KUBECTL_SCRIPT: Final = f"""#!/bin/sh
# Completion of `kubectl scaleset`: put it on the PATH as {COMPLETER}. kubectl 1.26 and newer runs it.
exec {PROGRAM} __complete "$@"
"""


def scale_sets(ctx: click.Context, incomplete: str) -> list[str]:
    """Names of ScaleSets in the namespace on the command line."""
    return _names(ctx, incomplete, "scalesets.scaleset.dev")


def definitions(ctx: click.Context, incomplete: str) -> list[str]:
    """Image definitions with published versions."""
    parts = "{.spec.publisher}/{.spec.offer}/{.spec.sku}"
    return _names(ctx, incomplete, "galleryimageversions.scaleset.dev", template=parts)


def namespaces(ctx: click.Context, incomplete: str) -> list[str]:
    """Namespaces of the cluster."""
    return _names(ctx, incomplete, "namespaces")


def contexts(ctx: click.Context, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""
    found = _kubectl(ctx, "config", "get-contexts", "-o", "name", flags=("kubeconfig",))
    return [name for name in found if name.startswith(incomplete)]


def _names(ctx: click.Context, incomplete: str, resource: str, *, template: str = "{.metadata.name}") -> list[str]:
    output = "jsonpath={range .items[*]}" + template + '{"\\n"}{end}'
    found = _kubectl(ctx, "get", resource, "-o", output, f"--request-timeout={PATIENCE_SECONDS:g}")
    return sorted({name for name in found if name.startswith(incomplete)})


def _kubectl(
    ctx: click.Context, *arguments: str, flags: tuple[str, ...] = ("namespace", "context", "kubeconfig")
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


def complete(app: click.Group, words: list[str]) -> str:
    """Completions of the last, unfinished word: one line each with a tab before its explanation, and the directive to
    complete no files. This is the protocol of kubectl for its plugins.
    """
    *before, unfinished = words or [""]
    context = click.Context(app)
    commands: dict[str, Any] = {name: app.get_command(context, name) for name in app.list_commands(context)}
    place = next((n for n, word in enumerate(before) if word in commands and not _is_value(before, n)), None)
    if place is None:
        found = [(name, command.short_help or "") for name, command in commands.items()]
    else:
        rest = before[:place] + before[place + 1 :]
        found = _within(commands[before[place]], rest, unfinished)
    lines = [f"{value}\t{help_}" if help_ else value for value, help_ in found if value.startswith(unfinished)]
    return "\n".join([*lines, ":4"]) + "\n"


def _is_value(words: list[str], place: int) -> bool:
    """Whether the word there belongs to the flag before it: `-n get` is a namespace called get."""
    return place > 0 and words[place - 1] in WITH_VALUE


def _within(command: Any, before: list[str], unfinished: str) -> list[tuple[str, str]]:
    """Completions within a verb: a flag, the value of a flag, or an argument."""
    flags = {flag: option for option in command.params for flag in option.opts if flag.startswith("-")}
    context = click.Context(command, info_name=command.name)
    pending, arguments = None, 0
    for word in before:
        name, sign, value = word.partition("=")
        option = flags.get(name)
        if pending is not None:
            context.params[pending.name] = word
            pending = None
        elif option is not None and sign:
            context.params[option.name] = value
        elif option is not None and not option.is_flag:
            pending = option
        elif option is None and not word.startswith("-"):
            arguments += 1
    name, sign, value = unfinished.partition("=")
    if pending is None and sign and name in flags:
        return [(f"{name}={each}", "") for each, _ in _values(flags[name], context, value)]
    if pending is not None:
        return _values(pending, context, unfinished)
    if unfinished.startswith("-"):
        return [(max(option.opts, key=len), option.help or "") for option in command.params if option.opts[0][0] == "-"]
    wanted = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if arguments < len(wanted):
        return _values(wanted[arguments], context, unfinished)
    return []


def _values(parameter: Any, context: click.Context, unfinished: str) -> list[tuple[str, str]]:
    marker = getattr(parameter, "marker", None)
    if values := getattr(marker, "only", ()):
        return [(value, "") for value in values]
    complete: Completer | None = getattr(marker, "complete", None)
    return [(value, "") for value in complete(context, unfinished)] if complete is not None else []
