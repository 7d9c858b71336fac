"""The generated pages: each field of the definitions is in them, with what the API server enforces."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from hack.reference import api, operation
from hack.reference.markdown import PAGES

KINDS = {
    path.stem.partition("_")[2]: yaml.safe_load(path.read_text("utf-8")) for path in sorted(api.CRDS.glob("*.yaml"))
}
FIELDS = [(crd["spec"]["names"]["kind"], path) for crd in KINDS.values() for path in ("spec", "status")]


def page(kind: str) -> str:
    return (PAGES / "reference" / "api" / f"{kind.lower()}.md").read_text("utf-8")


def row(kind: str, path: str) -> list[str]:
    """The cells of a field."""
    line = re.search(rf'^\| <a id="{re.escape(path)}"></a>(.*) \|$', page(kind), re.MULTILINE)
    assert line is not None, f"{kind} {path}"
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.group(1))]


def fields(path: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from fields(f"{path}.{name}", field.get("items", field))


@pytest.mark.parametrize("crd", KINDS.values(), ids=list(KINDS))
def test_every_field_has_an_anchor_and_every_anchor_a_field(crd: dict[str, Any]) -> None:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    there = [path for part in ("spec", "status") for path in fields(part, schema[part])]
    shown = re.findall(r'<a id="([^"]+)">', page(crd["spec"]["names"]["kind"]))
    assert sorted(shown) == sorted(there)
    assert len(shown) > 20


@pytest.mark.parametrize(
    ("kind", "path", "cells"),
    [
        ("UpgradePolicy", "spec.rollingUpgradePolicy.maxBatchInstancePercent", {1: "integer", 2: "`20`", 3: "5–100"}),
        ("UpgradePolicy", "spec.mode", {2: '`"Manual"`', 3: "`Automatic` or `Manual` or `Rolling`"}),
        ("ScaleSet", "spec.protectedInstances", {1: "list of objects", 2: "none", 3: "at most 1000 items"}),
        ("ScaleSet", "spec.template.metadata.labels", {1: "map of strings"}),
    ],
)
def test_a_row_says_what_the_api_server_enforces(kind: str, path: str, cells: dict[int, str]) -> None:
    found = row(kind, path)
    assert {number: found[number] for number in cells} == cells


def test_what_a_column_says_is_not_said_again() -> None:
    limits, meaning = row("UpgradePolicy", "spec.rollingUpgradePolicy.maxUnhealthyInstancePercent")[3:]
    assert limits == "5–100"
    assert "Default" not in meaning
    assert "5 to 100" not in meaning


def test_required_and_unchangeable_fields_say_so() -> None:
    limits = row("ScaleSet", "spec.imageReference.publisher")[3]
    assert limits.startswith("*required*; 1–63 characters")
    assert "publisher cannot be changed" in limits
    assert "cannot be changed" in row("GalleryImageVersion", "spec.image")[3]


@pytest.mark.parametrize("kind", list(api.EXAMPLES))
def test_a_page_has_an_example_and_says_who_writes_the_status(kind: str) -> None:
    example = re.search(r"```yaml\n(.*?)```", page(kind), re.DOTALL)
    assert example is not None
    assert yaml.safe_load(example.group(1))["kind"] == kind
    assert re.search(r"^## status\n\n.* Written by the operator\.$", page(kind), re.MULTILINE)


def test_reasons_are_read_from_the_code() -> None:
    found = operation.reasons(["Ready"])
    assert {"InvalidSpec", "ConcurrencyLimit", "PodsTerminating", "Faulted", "Duplicate", "GateOpen"} <= found
    assert "Ready" not in found


def test_a_reason_without_a_meaning_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "reasons", lambda _: {"Surprise"})
    with pytest.raises(ValueError, match="says nothing of the reason Surprise"):
        operation.tables()
