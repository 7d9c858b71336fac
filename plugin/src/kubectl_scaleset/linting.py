"""Checks files with our kinds of objects by the operator's own models, without a cluster."""

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kubectl_scaleset.failures import FAILED, CliError
from kubectl_scaleset.options import Flag

JSON = Mapping[str, Any]

Files = Annotated[
    list[str], Flag(("--file", "-f"), "File or folder with YAML or JSON; - is the standard input.", metavar="FILE")
]
_SUFFIXES = (".yaml", ".yml", ".json")
_GO = re.compile(r"'((?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?)'")


@dataclass(frozen=True, slots=True)
class Finding:
    """One object of a file and what is wrong with it."""

    place: str
    what: str
    problems: tuple[str, ...]


def lint(files: Files) -> int:
    """Check files of ScaleSets, UpgradePolicies and GalleryImageVersions, without a cluster. Other kinds are skipped.

    Unknown fields, wrong values and fields that contradict each other are found as the API server and the operator find
    them. What depends on the cluster is not: whether a policy or a version exists. Exit code 1: something is wrong.
    """
    number = wrong = 0
    for path in _paths(files):
        for found in findings(path):
            number += 1
            wrong += bool(found.problems)
            for problem in found.problems:
                sys.stdout.write(f"{found.place}: {found.what}: {problem}\n")
    if not number:
        raise CliError(f"No object of ours is in {', '.join(files)}.")
    objects = f"{number} object{'' if number == 1 else 's'}"
    sys.stdout.write(f"{objects} checked, {wrong or 'nothing'} wrong.\n")
    return FAILED if wrong else 0


def _paths(files: list[str]) -> Iterator[Path]:
    for name in files:
        path = Path(name)
        if name == "-" or not path.is_dir():
            yield path
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES)
        if not inside:
            raise CliError(f"{path} has no file that ends in {', '.join(_SUFFIXES)}.")
        yield from inside


def findings(path: Path) -> Iterator[Finding]:
    """The objects of ours in a file, Lists opened."""
    import yaml

    place = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        documents = list(yaml.safe_load_all(text))
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        yield Finding(f"{place}{where}", "no YAML", (f"{getattr(error, 'problem', None) or error}.",))
        return
    for raw in documents:
        yield from _objects(place, raw)


def _objects(place: str, raw: object) -> Iterator[Finding]:
    from scaleset.api import names

    if not isinstance(raw, Mapping):
        return
    if raw.get("kind") == "List":
        for item in raw.get("items") or ():
            yield from _objects(place, item)
        return
    group = str(raw.get("apiVersion") or "").partition("/")[0]
    if group != names.GROUP:
        return
    metadata = raw.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else None
    yield Finding(place, f"{raw.get('kind')} {name or 'without a name'}", tuple(_problems(raw, name)))


def _problems(raw: JSON, name: object) -> Iterator[str]:
    from scaleset.api import crd, names

    if raw["apiVersion"] != names.API_VERSION:
        yield f"apiVersion: found {raw['apiVersion']}; write {names.API_VERSION}."
    definitions = {str(each["spec"]["names"]["kind"]): each for each in crd.generate()}
    kind = str(raw.get("kind"))
    if kind not in definitions:
        close = difflib.get_close_matches(kind, definitions, n=1)
        yield f"kind: {kind} is no kind of {names.GROUP}" + (f"; did you mean {close[0]}?" if close else ".")
        return
    if not name:
        yield "metadata.name: found nothing; this field is required."
    schema = definitions[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield from _unknown({key: raw[key] for key in raw if key not in ("metadata", "status")}, schema, "")
    yield from _invalid(kind, raw)


def _unknown(value: object, schema: JSON, place: str) -> Iterator[str]:
    """Fields that the schema does not have: the API server drops them, or refuses them by strict validation."""
    if isinstance(value, Mapping) and (known := schema.get("properties")):
        for key, item in value.items():
            where = f"{place}.{key}" if place else str(key)
            if key in known:
                yield from _unknown(item, known[key], where)
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                close = difflib.get_close_matches(str(key), known, n=1)
                yield f"{where}: unknown field" + (f"; did you mean {close[0]}?" if close else ".")
    elif isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        for number, item in enumerate(value):
            yield from _unknown(item, items, f"{place}[{number}]")


def _invalid(kind: str, raw: JSON) -> Iterator[str]:
    from scaleset.api import names
    from scaleset.api.base import InvalidSpec, Spec
    from scaleset.api.gallery_image_version import GalleryImageVersionSpec
    from scaleset.api.scale_set import ScaleSetSpec
    from scaleset.api.upgrade_policy import UpgradePolicySpec

    models: dict[str, type[Spec]] = {
        names.SCALE_SET_KIND: ScaleSetSpec,
        names.UPGRADE_POLICY_KIND: UpgradePolicySpec,
        names.GALLERY_IMAGE_VERSION_KIND: GalleryImageVersionSpec,
    }
    try:
        models[kind].parse(raw)
    except InvalidSpec as error:
        text = str(error).rstrip(".")
        yield f"{text}.{_as_iso(text)}"


def _as_iso(text: str) -> str:
    """How a duration that Go would write is written here."""
    if "ISO 8601" not in text:
        return ""
    given = next((each for each in _GO.findall(text) if each), None)
    return f" {given} is PT{given.upper()} there." if given else ""
