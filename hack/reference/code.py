"""Tables from the code: metrics, events, log lines; and in what pods differ from those of a StatefulSet."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

from hack.reference.markdown import ROOT, rows
from hack.reference.source import modules
from scaleset.observability.catalogue import CATALOGUE, Definition
from scaleset.observability.events import REASONS
from scaleset.observability.metrics import Metrics

DIFFERENCES = ROOT / "tests" / "cluster" / "statefulsets" / "differences.yaml"
LEVELS = ("debug", "info", "warning", "error", "exception")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the operator can log."""

    event: str
    level: str
    keys: tuple[str, ...]


def tables() -> dict[str, dict[str, str]]:
    """Every table by its page and the name of its marks."""
    return {
        "reference/metrics.md": {
            "sets": _table(each for each in CATALOGUE if each.leader),
            "operator": _table(each for each in CATALOGUE if not each.leader),
            "process": rows(("Name", "Type", "Meaning"), _of_process()),
            "values": rows(("Label", "Of", "Values"), _values()),
            "buckets": rows(("Histogram", "Upper bounds in seconds"), _buckets()),
        },
        "reference/events.md": {"reasons": rows(("Reason", "Type", "Meaning"), _reasons())},
        "reference/logs.md": {"lines": rows(("Event", "Level", "Keys"), _lines())},
        "statefulset.md": {"pod": rows(("Field", "StatefulSet", "ScaleSet", "Why, and what to do"), _differences())},
    }


def _table(definitions: Iterable[Definition]) -> str:
    body = (
        (f"`{each.name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels) or "none", each.help)
        for each in definitions
    )
    return rows(("Name", "Type", "Labels", "Meaning"), body)


def _of_process() -> Iterator[tuple[str, str, str]]:
    known = {each.base for each in CATALOGUE}
    for family in Metrics().registry.collect():
        if family.name not in known:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield f"`{name}`", "gauge" if family.type == "info" else family.type, family.documentation


def _values() -> Iterator[tuple[str, str, str]]:
    for each in CATALOGUE:
        for label, values in each.values:
            yield f"`{label}`", f"`{each.name}`", ", ".join(f"`{value}`" for value in values)


def _buckets() -> Iterator[tuple[str, str]]:
    for each in CATALOGUE:
        if each.buckets:
            yield f"`{each.name}`", ", ".join(f"{bound:g}" for bound in each.buckets)


def _reasons() -> Iterator[tuple[str, str, str]]:
    for reason, (types, text) in REASONS.items():
        yield f"`{reason}`", ", ".join(types), text


def _lines() -> Iterator[tuple[str, str, str]]:
    for line in lines():
        yield f"`{line.event}`", line.level, ", ".join(f"`{key}`" for key in line.keys)


def _differences() -> Iterator[tuple[str, str, str, str]]:
    for row in yaml.safe_load(DIFFERENCES.read_text(encoding="utf-8")):
        yield f"`{row['field']}`", _value(row["statefulset"]), _value(row["scaleset"]), row["why"]


def _value(text: str) -> str:
    """Values are code, words are not."""
    return text if text == "none" or "`" in text or " " in text or text == "without" else f"`{text}`"


def lines() -> list[Line]:
    """Every line that the source can log, found where it is logged."""
    found: dict[str, Line] = {}
    for tree, constants in modules():
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "log" and call.func.attr in LEVELS):
                continue
            template = _text(call.args[0], constants)
            level = "error" if call.func.attr == "exception" else call.func.attr
            keys = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)", template)))
            line = Line(template.partition(" ")[0], level, keys)
            known = found.get(line.event)
            found[line.event] = line if known is None else Line(line.event, known.level, _united(known.keys, keys))
    return [found[event] for event in sorted(found)]


def _text(node: ast.expr, constants: Mapping[str, object]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name) and node.id in constants:
        return str(constants[node.id])
    raise ValueError(f"line {node.lineno}: a log line is a literal, so that its keys can be documented")


def _united(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
