"""The flags that all verbs share, with kubectl's names, and how a function becomes a verb."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from kubectl_scaleset.completing import contexts, definitions, namespaces, scale_sets
from kubectl_scaleset.failures import CliError, explain
from kubectl_scaleset.session import Session
from scaleset.kube.errors import ApiError

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; default: the context's.", autocompletion=namespaces),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Context = Annotated[
    str | None,
    typer.Option("--context", help="Context of the kubeconfig; default: its current one.", autocompletion=contexts),
]
Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", help="Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config.")
]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR in the environment says the same.")]

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the ScaleSet.", autocompletion=scale_sets)]
OptionalName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Name of a ScaleSet.", autocompletion=scale_sets)
]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Instance ids and ranges of them: 0 3 5-7, or 0,3,5-7.")
]
OptionalIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Instance ids and ranges of them: 0 3 5-7, or 0,3,5-7.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Go on showing what changes.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the effect, and exit by it.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", help="How long to wait, such as 90s, 10m or 1h; default: for ever.")
]
DryRun = Annotated[
    str,
    typer.Option("--dry-run", metavar="none|server", help="server: have the API server check it, and change nothing."),
]
Definition = Annotated[
    str,
    typer.Option("--definition", metavar="PUBLISHER/OFFER/SKU", help="Image definition.", autocompletion=definitions),
]


@dataclass(frozen=True, slots=True)
class Acting:
    """How a verb changes something: what --yes, --dry-run, --wait and --timeout say."""

    yes: bool = False
    dry_run: str = "none"
    wait: bool = False
    timeout: str | None = None

    @property
    def tries(self) -> bool:
        """Whether the API server only checks, and nothing is changed."""
        return self.dry_run != "none"

    @property
    def unasked(self) -> bool:
        return self.yes or self.tries

    @property
    def waits(self) -> bool:
        return self.wait and not self.tries


Verb = Callable[..., int | None]

COMMON: dict[str, tuple[object, object]] = {
    "namespace": (Namespace, None),
    "all_namespaces": (AllNamespaces, False),
    "context": (Context, None),
    "kubeconfig": (Kubeconfig, None),
    "no_color": (NoColor, False),
}
ACTING: dict[str, tuple[object, object]] = {
    "yes": (Yes, False),
    "dry_run": (DryRun, "none"),
    "wait": (Wait, False),
    "timeout": (Timeout, None),
}
"""The flags of a verb that takes an `Acting`."""


def output(*formats: str) -> Any:
    """The option -o of one verb, for its annotation."""
    return typer.Option(
        "--output", "-o", metavar="|".join(formats), help="Output format.", autocompletion=lambda: list(formats)
    )


def verb(app: typer.Typer, name: str, *, everywhere: bool = False) -> Callable[[Verb], Verb]:
    """Make a function `(session, ...) -> exit code` a verb that has the common flags, -A only if `everywhere`. One that
    takes `how`, an Acting, has its flags too.
    """

    def register(function: Verb) -> Verb:
        own = inspect.signature(function, eval_str=True)
        acts = "how" in own.parameters
        common = {key: value for key, value in COMMON.items() if everywhere or key != "all_namespaces"}
        parameters = [parameter for key, parameter in own.parameters.items() if key not in ("session", "how")]
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in ((ACTING if acts else {}) | common).items()
        ]

        placed = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        shown = [*placed, *added]

        @functools.wraps(function)
        def run(**given: Any) -> int:
            session = Session(
                kubeconfig=given.pop("kubeconfig"),
                context=given.pop("context"),
                given_namespace=given.pop("namespace"),
                all_namespaces=given.pop("all_namespaces", False),
                no_color=given.pop("no_color"),
                output=_checked({parameter.name: parameter.annotation for parameter in shown}, given),
            )
            if acts:
                given["how"] = Acting(**{key: given.pop(key) for key in ACTING})
            with answering(session):
                return function(session, **given) or 0

        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        app.command(name, short_help=_first_sentence(function))(run)
        return function

    return register


def _first_sentence(function: Verb) -> str:
    text = " ".join((function.__doc__ or "").split())
    return text.partition(". ")[0].partition(": ")[0].rstrip(".")


def _checked(options: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The value of -o; CliError if a flag makes no sense, before anything is done."""
    seconds(given.get("timeout"))
    for key, flag in (("output", "-o"), ("dry_run", "--dry-run")):
        if key in options:
            allowed = str(options[key].__metadata__[0].metavar).split("|")
            if given[key] not in allowed:
                raise CliError(f"{flag} {given[key]} is not known here: use {' or '.join(allowed)}.")
    return str(given.get("output", ""))


@contextmanager
def answering(session: Session) -> Iterator[None]:
    """Whatever the API server refuses becomes a sentence."""
    try:
        yield
    except ApiError as error:
        raise CliError(explain(error, server=session.server)) from error
    finally:
        session.close()


def seconds(text: str | None) -> float | None:
    """Seconds of a duration as kubectl's: 90s, 1h30m, or a bare number of seconds."""
    if text is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise CliError(f"--timeout {text} is no duration: write it like 90s, 10m or 1h30m.")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in parts)
