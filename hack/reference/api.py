"""A page for each kind of the API, from crds/*.yaml: what the API server enforces, in the spelling of manifests.

An object is a section with a table of its fields. A field has an anchor, `#spec.replicas`. A rule about two fields
stands below the table of their object. What the columns say already is left out of the meaning.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from hack.reference.markdown import ROOT, prose, rows

CRDS = ROOT / "crds"
SAMPLES = ROOT / "deploy" / "samples"
EXAMPLES = {
    "ScaleSet": "quickstart/03-scale-set.yaml",
    "UpgradePolicy": "quickstart/01-upgrade-policy.yaml",
    "GalleryImageVersion": "quickstart/02-image-1.0.0.yaml",
}
HEAD = ("Field", "Type", "Default", "Limits", "Meaning")

Schema = Mapping[str, Any]


class Object(NamedTuple):
    """An object of the API with fields: a table of the page."""

    path: str
    schema: Schema
    items: bool


def pages() -> dict[str, str]:
    """Each page by its name below docs/."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        names, version = _read(path.read_text(encoding="utf-8"))
        found[f"reference/api/{names['kind'].lower()}.md"] = page(names, version)
    return found


def _read(text: str) -> tuple[Schema, Schema]:
    spec = yaml.safe_load(text)["spec"]
    return {**spec["names"], "group": spec["group"]}, spec["versions"][0]


def page(names: Schema, version: Schema) -> str:
    """The page of one kind."""
    kind, schema = names["kind"], version["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{name}`" for name in names["shortNames"])
    parts = [
        f"# {kind}\n",
        f"{prose(schema['description'])}\n",
        f"`{names['group']}/{version['name']}`, namespaced. kubectl knows it as `{names['plural']}` and {short}.\n",
        f"`kubectl explain {names['singular']}.spec --recursive` prints the fields in a terminal.\n",
        "Written by `make reference` from `crds/`; change `operator/src/scaleset/api` instead.\n",
        f"## Example\n\n```yaml\n{example(kind)}```\n",
        "## Fields\n\nA field is optional unless its limits say *required*.\n",
    ]
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    if rules:
        parts.append(_bullets("Rules for the name:", rules))
    for name in ("spec", "status"):
        parts += [_section(each) for each in objects(name, schema["properties"][name])]
    parts.append(f"## Columns of kubectl get\n\n{rows(('Column', 'Value', 'Meaning'), _columns(version))}")
    return "\n".join(parts)


def example(kind: str) -> str:
    """The manifest of that kind in the samples."""
    documents = (SAMPLES / EXAMPLES[kind]).read_text(encoding="utf-8").split("---\n")
    return next(text for text in documents if re.search(rf"^kind: {kind}$", text, re.MULTILINE))


def objects(path: str, schema: Schema, *, items: bool = False) -> Iterator[Object]:
    """The object and all objects in it, an object before what it holds."""
    yield Object(path, schema, items)
    for name, field in schema.get("properties", {}).items():
        inner = field.get("items", field)
        if "properties" in inner:
            yield from objects(f"{path}.{name}", inner, items=inner is not field)


def _section(each: Object) -> str:
    level = "##" if "." not in each.path else "###"
    about = [prose(each.schema.get("description", ""))]
    if each.path == "status":
        about.append("Written by the operator.")
    if each.items:
        about.append("A list; these are the fields of an item.")
    if each.schema.get("x-kubernetes-preserve-unknown-fields"):
        about.append("Other fields are passed on as they are.")
    required = each.schema.get("required", ())
    at_field, elsewhere = _rules(each.schema)
    fields = [
        _row(f"{each.path}.{name}", name, field, required=name in required, rules=at_field.get(name, []))
        for name, field in each.schema["properties"].items()
    ]
    text = f"{level} {each.path}\n\n{' '.join(filter(None, about))}\n\n{rows(HEAD, fields)}"
    return f"{text}\n{_bullets('Rules:', elsewhere)}" if elsewhere else text


def _rules(schema: Schema) -> tuple[dict[str, list[str]], list[str]]:
    """Messages of the rules of an object: those about one of its fields, and the others."""
    at_field: dict[str, list[str]] = {}
    elsewhere = []
    for rule in schema.get("x-kubernetes-validations", ()):
        name = rule.get("fieldPath", "").removeprefix(".")
        if name in schema["properties"]:
            at_field.setdefault(name, []).append(rule["message"])
        else:
            elsewhere.append(rule["message"])
    return at_field, elsewhere


def _row(path: str, name: str, field: Schema, *, required: bool, rules: list[str]) -> tuple[str, ...]:
    inner = field.get("items", field)
    shown = f"[`{name}`](#{_heading(path)})" if "properties" in inner else f"`{name}`"
    meaning, default = _meaning(field)
    own = [] if "properties" in field else [rule["message"] for rule in field.get("x-kubernetes-validations", ())]
    limits = (["*required*"] if required else []) + list(_limits(field)) + [prose(rule) for rule in [*own, *rules]]
    return f'<a id="{path}"></a>{shown}', _type(field), default, "; ".join(limits), meaning


def _heading(path: str) -> str:
    """The anchor that Markdown makes of a heading."""
    return path.replace(".", "").lower()


def _type(field: Schema) -> str:
    if "items" in field:
        return f"list of {_type(field['items'])}s"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    values = field.get("additionalProperties")
    if isinstance(values, Mapping):
        return f"map of {_type(values)}s"
    if field.get("format") == "date-time":
        return "time"
    return str(field.get("type", "any value"))


def _limits(field: Schema) -> Iterator[str]:
    if "enum" in field:
        yield " or ".join(f"`{value}`" for value in field["enum"])
    if "minimum" in field or "maximum" in field:
        yield _between(field.get("minimum"), field.get("maximum"), "")
    for below, above, unit in (
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ):
        if field.get(below) or above in field:
            yield _between(field.get(below) or None, field.get(above), unit)
    if "pattern" in field:
        yield f"pattern `{field['pattern']}`"


def _between(low: int | None, high: int | None, unit: str) -> str:
    if low is None:
        return f"at most {high}{unit}"
    if high is None:
        return f"at least {low}{unit}"
    return f"{low}–{high}{unit}"


def _meaning(field: Schema) -> tuple[str, str]:
    """The description without what the other columns say, and the default: of the schema, or in words."""
    text = " ".join(field.get("description", "").split())
    default = ""
    if "default" in field:
        value = field["default"]
        written = str(value).lower() if isinstance(value, bool) else str(value)
        text = re.sub(rf" ?Default: {re.escape(written)}\.(?= |$)", "", text)
        default = f"`{json.dumps(value)}`"
    elif words := re.search(r"^(.*?) ?Default: ([^.]+)\.$", text):
        text, default = words[1], prose(words[2])
    if "minimum" in field and "maximum" in field:
        text = text.replace(f", {field['minimum']} to {field['maximum']}", "", 1)
    return prose(text), default


def _bullets(head: str, texts: list[str]) -> str:
    return f"{head}\n\n" + "".join(f"- {prose(text)}\n" for text in texts)


def _columns(version: Schema) -> Iterator[tuple[str, str, str]]:
    for column in version.get("additionalPrinterColumns", ()):
        wide = " With `-o wide`." if column.get("priority") else ""
        yield f"`{column['name']}`", f"`{column['jsonPath'].removeprefix('.')}`", prose(column["description"]) + wide
