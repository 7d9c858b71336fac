"""The flags and arguments of the verbs, with kubectl's names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from kubectl_scaleset.completing import Completer, contexts, definitions, namespaces, scale_sets
from kubectl_scaleset.failures import CliError
from scaleset.api.moments import parse_duration


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, for the annotation of a verb's parameter."""

    names: tuple[str, ...]
    help: str
    metavar: str | None = None
    complete: Completer | None = None
    only: tuple[str, ...] = ()
    """The values that it takes; empty means any."""


@dataclass(frozen=True, slots=True)
class Word:
    """An argument, for the annotation of a verb's parameter."""

    metavar: str
    help: str
    complete: Completer | None = None


Namespace = Annotated[
    str | None, Flag(("--namespace", "-n"), "Namespace; default: the context's.", complete=namespaces)
]
Context = Annotated[
    str | None, Flag(("--context",), "Context of the kubeconfig; default: its current one.", complete=contexts)
]
Kubeconfig = Annotated[
    str | None, Flag(("--kubeconfig",), "Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config.")
]
NoColor = Annotated[bool, Flag(("--no-color",), "No colours; NO_COLOR in the environment says the same.")]
Everywhere = Annotated[bool, Flag(("--all-namespaces", "-A"), "All namespaces.")]

Name = Annotated[str, Word("NAME", "Name of the ScaleSet; sset/NAME means the same.", scale_sets)]
OptionalName = Annotated[str | None, Word("[NAME]", "Name of a ScaleSet.", scale_sets)]
Ids = Annotated[list[str], Word("ID...", "Instance ids and ranges of them: 0 3 5-7, or 0,3,5-7.")]
OptionalIds = Annotated[list[str] | None, Word("[ID...]", "Instance ids and ranges of them: 0 3 5-7, or 0,3,5-7.")]
Watch = Annotated[bool, Flag(("--watch", "-w"), "Go on showing what changes.")]
Yes = Annotated[bool, Flag(("--yes", "-y"), "Do not ask before acting.")]
Wait = Annotated[bool, Flag(("--wait",), "Wait for the effect, and exit by it.")]
Timeout = Annotated[
    str | None, Flag(("--timeout",), "How long to wait, such as 90s, 10m or 1h; default: for ever.", metavar="DURATION")
]
DryRun = Annotated[
    str, Flag(("--dry-run",), "server: have the API server check it, and change nothing.", only=("none", "server"))
]
Definition = Annotated[
    str, Flag(("--definition",), "Image definition.", metavar="PUBLISHER/OFFER/SKU", complete=definitions)
]
DefinitionWord = Annotated[str, Word("PUBLISHER/OFFER/SKU", "Image definition.", definitions)]


@dataclass(frozen=True, slots=True)
class Acting:
    """How a verb changes something. A verb that takes one has its flags."""

    yes: Yes = False
    dry_run: DryRun = "none"
    wait: Wait = False
    timeout: Timeout = None

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

COMMON: dict[str, tuple[Any, object]] = {
    "namespace": (Namespace, None),
    "context": (Context, None),
    "kubeconfig": (Kubeconfig, None),
    "no_color": (NoColor, False),
}
"""The flags of every verb that takes a `Session`."""


def output(*formats: str) -> Flag:
    """The option -o of one verb, for its annotation."""
    return Flag(("--output", "-o"), "Output format.", only=formats)


def seconds(text: str | None) -> float | None:
    """Seconds of a duration as kubectl's: 90s, 1h30m, or a bare number of seconds; or as our objects have it: PT5M."""
    if text is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text.startswith("P"):
        try:
            return parse_duration(text).total_seconds()
        except ValueError as error:
            raise CliError(f"--timeout {text} is no duration: {error}.") from error
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise CliError(f"--timeout {text} is no duration: write it like 90s, 10m or 1h30m.")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in parts)
