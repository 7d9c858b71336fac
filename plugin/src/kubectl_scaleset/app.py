"""The app: all verbs in the order in which help lists them. A verb's module is imported when the verb is used."""

from importlib import import_module
from typing import Any, Final

import click

from kubectl_scaleset.commands import command

PROGRAM: Final = "kubectl scaleset"

VERBS: Final = {
    "list": "reading:list_",
    "get": "reading:get",
    "status": "reading:status",
    "history": "reading:history",
    "latest": "reading:latest",
    "instances": "reading:instances",
    "logs": "logs:logs",
    "versions": "reading:versions",
    "plan": "reading:plan",
    "start": "writing:start",
    "cancel": "writing:cancel",
    "suspend": "suspending:suspend",
    "resume": "suspending:resume",
    "rollback": "pinning:rollback",
    "pin": "pinning:pin",
    "unpin": "pinning:unpin",
    "undo": "undoing:undo",
    "restart": "requests:restart",
    "retry": "requests:retry",
    "apply-model": "writing:apply_model",
    "protect": "writing:protect",
    "unprotect": "writing:unprotect",
    "delete-instances": "deleting:delete_instances",
    "publish": "galleries:publish",
    "exclude": "galleries:exclude",
    "include": "galleries:include",
    "lint": "linting:lint",
    "check": "administering:check",
    "report": "administering:report",
    "version": "administering:version",
    "completion": "administering:completion",
}
"""Module and function of each verb."""
ALIASES: Final = {"abort": "cancel", "pause": "suspend"}
"""Words of kubectl and Argo Rollouts for verbs that have another name here."""


class Verbs(click.Group):
    """The verbs. An unknown one ends with the verb that was probably meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        verb = ALIASES.get(cmd_name, cmd_name)
        if verb not in VERBS:
            return None
        module, _, function = VERBS[verb].partition(":")
        return command(verb, getattr(import_module(f"kubectl_scaleset.{module}"), function))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in VERBS and name not in ALIASES and not name.startswith("-"):
            from kubectl_scaleset.neighbours import unknown

            raise unknown(args, [*VERBS, *ALIASES])
        return super().resolve_command(ctx, args)


app = Verbs(
    name=PROGRAM,
    help="Watch and control ScaleSets: health-gated image upgrades, batch by batch.",
    epilog="`pause` is suspend and `abort` is cancel, as in kubectl and Argo Rollouts.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
