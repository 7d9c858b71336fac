"""How a function becomes a verb: its parameters become flags and arguments, its docstring the help."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

import click

from kubectl_scaleset.failures import CliError, explain
from kubectl_scaleset.options import COMMON, Flag, Verb, Word, seconds
from kubectl_scaleset.session import Session
from scaleset.kube.errors import ApiError

_LOOK_THEMSELVES = ("check", "version")
"""Verbs that report the operator's Lease in their answer."""
_KINDS = ("sset", "ssets", "scaleset", "scalesets", "scaleset.scaleset.dev", "scalesets.scaleset.dev")


def command(name: str, function: Verb) -> click.Command:
    """The verb of a function `(session, ...) -> exit code`, with the common flags; one without a session has none of
    them. A parameter that is a frozen dataclass, such as `how: Acting`, stands for its fields.
    """
    own = inspect.signature(function, eval_str=True).parameters
    groups: dict[str, Any] = {
        key: each.annotation for key, each in own.items() if key != "session" and is_dataclass(each.annotation)
    }
    shown = {
        key: (each.annotation, each.default) for key, each in own.items() if key != "session" and key not in groups
    }
    for group in groups.values():
        shown |= _fields(group)
    shown |= COMMON if "session" in own else {}
    markers = {key: annotation.__metadata__[0] for key, (annotation, _) in shown.items()}

    def run(**given: Any) -> int:
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        _check(markers, given)
        if given.get("name"):
            given["name"] = _bare(given["name"])
        everywhere, output = bool(given.get("everywhere")), str(given.get("output", ""))
        for key, group in groups.items():
            given[key] = group(**{name: given.pop(name) for name in _fields(group)})
        if "session" not in own:
            return function(**given) or 0
        session = Session(
            kubeconfig=given.pop("kubeconfig"),
            context=given.pop("context"),
            given_namespace=given.pop("namespace"),
            all_namespaces=everywhere,
            no_color=given.pop("no_color"),
            output=output,
            attended=name not in _LOOK_THEMSELVES,
        )
        with answering(session):
            return function(session, **given) or 0

    return click.Command(
        name,
        callback=run,
        params=[_parameter(key, *each) for key, each in shown.items()],
        help=inspect.getdoc(function),
        short_help=_first_sentence(function),
    )


def _fields(group: type[Any]) -> dict[str, tuple[Any, object]]:
    """Annotation and default of each field of a group of flags."""
    kinds = get_type_hints(group, include_extras=True)
    return {each.name: (kinds[each.name], each.default) for each in fields(group)}


def _parameter(name: str, annotation: Any, default: object) -> click.Parameter:
    marker, kind = annotation.__metadata__[0], _kind(annotation.__origin__)
    several = kind is list
    settings: dict[str, Any] = {"required": True} if default is inspect.Parameter.empty else {"required": False}
    if default is not inspect.Parameter.empty and not several:
        settings["default"] = default
    if kind is bool:
        settings["is_flag"] = True
    else:
        settings["type"] = str if several else kind
        settings["metavar"] = "|".join(getattr(marker, "only", ())) or marker.metavar
    parameter: click.Parameter = (
        click.Argument([name], nargs=-1 if several else 1, help=marker.help, **settings)
        if isinstance(marker, Word)
        else click.Option([*marker.names, name], multiple=several, help=marker.help, **settings)
    )
    parameter.marker = marker  # type: ignore[attr-defined] # for completion
    return parameter


def _kind(annotation: Any) -> type:
    """The type of `list[str] | None` is list."""
    kinds = [each for each in get_args(annotation) if each is not NoneType]
    if annotation in (str, int, bool):
        return annotation  # type: ignore[no-any-return]
    if getattr(annotation, "__origin__", None) is list:
        return list
    return _kind(kinds[0])


def _first_sentence(function: Verb) -> str:
    text = " ".join((function.__doc__ or "").split())
    return text.partition(". ")[0].partition(": ")[0].rstrip(".")


def _check(markers: Mapping[str, Flag | Word], given: Mapping[str, Any]) -> None:
    """CliError if the value of a flag makes no sense, before anything is done."""
    seconds(given.get("timeout"))
    for key, marker in markers.items():
        if isinstance(marker, Flag) and marker.only and given[key] not in marker.only:
            flag = min(marker.names, key=len)
            raise CliError(f"{flag} {given[key]} is not known here: use {' or '.join(marker.only)}.")


def _bare(name: str) -> str:
    """The name in `sset/web`, as kubectl takes it; CliError for another kind."""
    kind, slash, rest = name.rpartition("/")
    if slash and kind.lower() not in _KINDS:
        raise CliError(f"{name[:80]} is no ScaleSet: name one as {rest or 'NAME'} or sset/{rest or 'NAME'}.")
    return rest


@contextmanager
def answering(session: Session) -> Iterator[None]:
    """Whatever the API server refuses becomes a sentence."""
    try:
        yield
    except ApiError as error:
        raise CliError(explain(error, server=session.server)) from error
    finally:
        session.mind_the_operator()
        session.close()
