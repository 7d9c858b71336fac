"""Connection and output of one command: the effect of the common flags."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from kubectl_scaleset.failures import CliError, did_you_mean, not_served
from scaleset.api import names
from scaleset.kube.errors import Forbidden, NotFound
from scaleset.kube.resources import JSON, PODS, Resource
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS, UPGRADE_POLICIES

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from kubectl_scaleset.client import Client
    from kubectl_scaleset.leases import Attendance
    from kubectl_scaleset.pictures import SetView
    from kubectl_scaleset.words import Glyphs

UNLIMITED = 10_000
"""Columns of an output that is no terminal; no line is cut there."""


@dataclass
class Session:
    """`namespace` None is the context's own; `output` is the value of -o."""

    kubeconfig: str | None = None
    context: str | None = None
    given_namespace: str | None = None
    all_namespaces: bool = False
    no_color: bool = False
    output: str = ""
    attended: bool = True
    """Whether the verb says since when no operator has been at work."""
    opened: list["Client"] = field(default_factory=list)
    _attendance: "Attendance | None" = None

    @cached_property
    def client(self) -> "Client":
        from kubectl_scaleset.client import Client

        client = Client(self.kubeconfig, self.context)
        self.opened.append(client)
        self.__dict__["client"] = client  # for the thread that asks beside this one
        if self.attended:
            from kubectl_scaleset.leases import Attendance

            self._attendance = Attendance(client, self.namespace)
        return client

    def mind_the_operator(self) -> None:
        """Say, once, since when no operator has been at work: at the end of a verb, or before a view that stays."""
        attendance, self._attendance = self._attendance, None
        if attendance is not None and (absence := attendance.absence()) is not None:
            self.note(absence)

    @property
    def server(self) -> str:
        return self.opened[0].server if self.opened else "the API server"

    @property
    def namespace(self) -> str:
        return self.given_namespace or self.client.namespace

    @property
    def where(self) -> str | None:
        """The namespace to list; None means all."""
        return None if self.all_namespaces else self.namespace

    # Reading

    def scale_set(self, name: str) -> "SetView":
        """The set of that name; without one, a CliError that names a similar one."""
        from kubectl_scaleset.pictures import SetView

        return SetView(self.find(SCALE_SETS, name, kind=names.SCALE_SET_KIND))

    def find(self, resource: Resource, name: str, *, kind: str) -> JSON:
        try:
            return self.client.get(resource, self.namespace, name)
        except NotFound as error:
            if not_served(error):
                raise
            self._missing(resource, name, kind=kind)

    def _missing(self, resource: Resource, name: str, *, kind: str) -> NoReturn:
        known = [str(each["metadata"]["name"]) for each in self.client.list(resource, self.namespace)[0]]
        hint = did_you_mean(name, known)
        if "Did you mean" not in hint:
            hint = self._elsewhere(resource, name) or hint
        raise CliError(f'{kind} "{name}" does not exist in namespace {self.namespace}.{hint}')

    def _elsewhere(self, resource: Resource, name: str) -> str:
        """Other namespaces with a set of that name, if you may list them."""
        try:
            found = self.client.list(resource, None)[0]
        except Forbidden:
            return ""
        spaces = [str(each["metadata"]["namespace"]) for each in found if each["metadata"]["name"] == name]
        return f" There is one in namespace {spaces[0]}: add -n {spaces[0]}." if spaces else ""

    def pods(self, found: "SetView") -> list[JSON]:
        return self.client.list(PODS, found.namespace, selector=f"{names.LABEL_NAME}={found.name}")[0]

    def policies(self, namespace: str) -> list[JSON]:
        return self.client.list(UPGRADE_POLICIES, namespace)[0]

    def versions(self, namespace: str | None) -> list[JSON]:
        return self.client.list(GALLERY_IMAGE_VERSIONS, namespace)[0]

    # Writing to the terminal

    @cached_property
    def console(self) -> "Console":
        from rich.console import Console

        console = Console(
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
            color_system=None if self._plain else "auto",
            force_terminal=None,
        )
        if not console.is_terminal:
            console = Console(
                highlight=False, markup=False, emoji=False, color_system=None, force_terminal=False, width=UNLIMITED
            )
        return console

    @property
    def _plain(self) -> bool:
        return self.no_color or bool(os.environ.get("NO_COLOR"))

    @property
    def live(self) -> bool:
        """Whether a view may be redrawn: the output is a terminal that supports it."""
        return bool(self.console.is_terminal) and os.environ.get("TERM", "dumb") != "dumb"

    @cached_property
    def glyphs(self) -> "Glyphs":
        """The signs that the output can encode; determined before a live view replaces the output."""
        from kubectl_scaleset.words import ASCII, UNICODE

        return UNICODE if (sys.stdout.encoding or "").lower().startswith("utf") else ASCII

    def say(self, text: str) -> None:
        """A line of the answer."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line on standard error, apart from the answer."""
        sys.stdout.flush()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def show(self, what: "RenderableType") -> None:
        """A table or a tree. Only the last column is cut to fit; the terminal wraps wider lines."""
        from kubectl_scaleset.words import printed

        sys.stdout.write(printed(self.console, what))
        sys.stdout.flush()

    def fitted(self, what: "RenderableType") -> "RenderableType":
        """The same for a live view, which another console than the live one lays out."""
        from rich.console import Console
        from rich.text import Text

        from kubectl_scaleset.words import printed

        live = self.console
        beside = Console(
            width=live.width,
            color_system=live.color_system,  # type: ignore[arg-type] # what rich says, rich takes
            force_terminal=True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        return Text.from_ansi(printed(beside, what), no_wrap=True, overflow="crop")

    def dump(self, document: object) -> bool:
        """Print a document for -o json or yaml, without managedFields; False for any other format."""
        document = _unmanaged(document)
        if self.output == "json":
            sys.stdout.write(json.dumps(document, indent=4, ensure_ascii=False) + "\n")
        elif self.output == "yaml":
            import yaml

            sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        else:
            return False
        return True

    def names_of(self, found: Sequence[Mapping[str, Any]], kind: str) -> bool:
        """Print `kind/name` lines for -o name; False for any other format."""
        if self.output != "name":
            return False
        for each in found:
            self.say(f"{kind}/{each['metadata']['name']}")
        return True

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before acting. CliError if the answer is no, or if there is no terminal to ask."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise CliError(f"{question} Nobody can be asked here: add --yes to do it.")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CliError("Nothing was done.")

    def close(self) -> None:
        for client in self.opened:
            client.close()


def _unmanaged(document: object) -> object:
    """Objects without `metadata.managedFields`, as kubectl shows them."""
    if isinstance(document, list):
        return [_unmanaged(each) for each in document]
    if not isinstance(document, Mapping):
        return document
    shown = dict(document)
    if isinstance(items := shown.get("items"), list):
        shown["items"] = _unmanaged(items)
    if isinstance(metadata := shown.get("metadata"), Mapping):
        shown["metadata"] = {key: value for key, value in metadata.items() if key != "managedFields"}
    return shown
