"""docs/reference/cli.md, from the plugin's own help."""

from collections.abc import Iterator
from typing import Any

import click

from hack.reference.markdown import PAGES
from kubectl_scaleset.app import PROGRAM, app
from kubectl_scaleset.options import COMMON

TARGET = PAGES / "reference" / "cli.md"
HEAD = f"""# {PROGRAM}

Written by `make reference` from the plugin's help; change `plugin/src/kubectl_scaleset` instead.

## Flags of every verb

They may stand before or after the verb. `completion` and `lint` have none of them.

"""
TAIL = """
## Exit codes

| code | meaning |
|---|---|
| 0 | done; of `status` and of what waits: completed |
| 1 | an error, in one sentence; of `status` and of what waits: faulted or cancelled |
| 2 | no end yet, or not before `--timeout` |
| 130 | interrupted by ctrl-C |
| 141 | the reader of the output has gone |

## Environment

| variable | meaning |
|---|---|
| `KUBECONFIG` | kubeconfig files, as kubectl reads them |
| `NO_COLOR` | set to anything: no colours |

Without a terminal there are no colours and nothing is drawn over: `-w` prints the picture, a line for each change, and
the picture at the end. Without UTF-8 all signs are ASCII.
"""


def reference() -> str:
    """The whole page."""
    context = click.Context(app)
    verbs: dict[str, Any] = {name: app.get_command(context, name) for name in app.list_commands(context)}
    common = {name: parameter for name, parameter in _parameters(verbs["list"]).items() if name in COMMON}
    parts = [HEAD, *_table(common.values())]
    for name, command in verbs.items():
        parts += ["\n", *_verb(name, command)]
    return "".join(parts) + TAIL


def _verb(name: str, command: Any) -> Iterator[str]:
    own = [parameter for key, parameter in _parameters(command).items() if key not in COMMON]
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    options = [parameter for parameter in own if parameter.param_type_name == "option"]
    shown = " ".join([PROGRAM, name, *(argument.metavar or argument.name.upper() for argument in arguments)])
    yield f"## {name}\n\n```text\n{shown}{' [flags]' if options else ''}\n```\n\n"
    yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").strip().split("\n\n"))
    yield "\n\n" if own else "\n"
    yield from _table(own)


def _parameters(command: Any) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in command.params if parameter.name != "help"}


def _table(parameters: Any) -> Iterator[str]:
    rows = [(_name(parameter), parameter.help) for parameter in parameters]
    if rows:
        yield "| flag | meaning |\n|---|---|\n"
    for name, meaning in rows:
        text = " ".join(meaning.replace("|", "\\|").split())
        yield f"| {name} | {text} |\n"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    flags = ", ".join(sorted(parameter.opts, key=len))
    return f"`{flags}{value}`".replace("|", "\\|")
