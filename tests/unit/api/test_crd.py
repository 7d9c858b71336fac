"""The CRDs: what is committed is what the models say, and what the models say is what Kubernetes takes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from scaleset.api import crd, names
from scaleset.api.base import cel, rules
from scaleset.api.crd_schema import UnsupportedSchema, structural

ROOT = Path(__file__).parents[3]
DEFINITIONS = crd.generate()
by_kind = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition["spec"]["names"]["kind"])


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], path + mark)


def test_committed_is_generated():
    assert crd.stale(ROOT / "crds") == []


def test_check_tells_what_differs(tmp_path, capsys):
    assert crd.main(["--output", str(tmp_path)]) == 0
    assert crd.main(["--output", str(tmp_path), "--check"]) == 0
    (tmp_path / "scaleset.dev_scalesets.yaml").write_text("other")
    (tmp_path / "scaleset.dev_upgradepolicies.yaml").unlink()
    capsys.readouterr()
    assert crd.main(["--output", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err
    assert "scaleset.dev_scalesets.yaml, scaleset.dev_upgradepolicies.yaml" in said
    assert "run `python -m scaleset.api.crd`" in said


@by_kind
def test_what_is_written_reads_back(definition):
    assert yaml.safe_load(crd.render(definition)) == definition


@by_kind
def test_client_side_apply_can_annotate_it(definition):
    assert len(json.dumps(definition)) < 128 * 1024


@by_kind
def test_every_field_is_described(definition):
    described = [
        *walk(schema_of(definition)["properties"]["spec"], "spec"),
        *walk(schema_of(definition)["properties"]["status"], "status"),
    ]
    bare = [path for path, schema in described if not path.endswith(("[]", ".*")) and not schema.get("description")]
    assert bare == []


@by_kind
def test_every_description_is_a_sentence(definition):
    for path, schema in walk(schema_of(definition), ""):
        text = schema.get("description")
        assert text is None or re.fullmatch(r"(?s)\S.*[.]", text), path


@by_kind
def test_every_optional_field_of_the_spec_tells_its_default(definition):
    untold = []
    for path, schema in walk(schema_of(definition)["properties"]["spec"], "spec"):
        if path.startswith("spec.template.") or path.endswith(("metadata.labels", "metadata.annotations")):
            continue
        for name, child in schema.get("properties", {}).items():
            optional = name not in schema.get("required", ()) and child.get("type") != "object"
            told = "Default: " in child["description"] or child["description"].startswith("Ignored")
            if optional and not told:
                untold.append(f"{path}.{name}")
    assert untold == []


@by_kind
def test_what_is_a_default_is_the_default_told(definition):
    for path, schema in walk(schema_of(definition)["properties"]["spec"], "spec"):
        default = schema.get("default")
        if default is not None and default != {}:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert f"Default: {shown}" in schema["description"], path


@by_kind
def test_every_list_and_string_of_the_spec_is_bounded(definition):
    """The API server estimates the cost of a CEL rule from these bounds."""
    for path, schema in walk(schema_of(definition)["properties"]["spec"], "spec"):
        if path.startswith("spec.template.metadata.creationTimestamp"):
            continue
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
            assert "x-kubernetes-list-type" in schema, path
        if schema.get("type") == "string" and "enum" not in schema and "format" not in schema:
            assert "maxLength" in schema, path


@by_kind
def test_every_rule_says_what_to_change(definition):
    for path, schema in walk(schema_of(definition), ""):
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule["message"], path
            assert len(rule["message"]) < 2048
            assert "\n" not in rule["message"]


@by_kind
def test_nothing_of_json_schema_that_a_crd_has_not(definition):
    for path, schema in walk(schema_of(definition), ""):
        assert not {"$ref", "$defs", "anyOf", "oneOf", "title", "const", "prefixItems"} & schema.keys(), path
        assert schema.get("type") != "null", path


def test_names_and_subresources():
    found = {
        definition["spec"]["names"]["plural"]: (
            definition["spec"]["names"]["shortNames"],
            definition["spec"]["names"]["categories"],
            sorted(definition["spec"]["versions"][0]["subresources"]),
        )
        for definition in DEFINITIONS
    }
    assert found == {
        names.SCALE_SET_PLURAL: (["sset"], [names.CATEGORY], ["scale", "status"]),
        names.UPGRADE_POLICY_PLURAL: (["upol"], [names.CATEGORY], ["status"]),
        names.GALLERY_IMAGE_VERSION_PLURAL: (["giv"], [names.CATEGORY], ["status"]),
    }


def test_columns():
    """The wide columns come last."""
    columns = [definition["spec"]["versions"][0]["additionalPrinterColumns"] for definition in DEFINITIONS]
    found = [[column["name"] for column in those if "priority" not in column] for those in columns]
    assert found == [
        ["DESIRED", "HEALTHY", "UPDATED", "VERSION", "TARGET", "STATUS", "AGE"],
        ["MODE", "BATCH", "AUTO", "SETS", "AGE"],
        ["PUBLISHER", "OFFER", "SKU", "VERSION", "IMAGE", "READY", "EXCLUDED", "AGE"],
    ]


class Inner(BaseModel):
    """An inner object."""

    number: int = 3


class Sample(BaseModel):
    """Everything that the generator knows."""

    inner: Inner = Field(default=Inner(), description="Described beside the reference.")
    perhaps: Inner | None = None
    nothing: str | None = None
    port: int | str = 80
    above: int = Field(default=1, gt=0)
    names: Annotated[tuple[str, ...], Field(json_schema_extra=rules(cel("true", "fine")))] = ()
    labels: dict[str, str] = {}


def test_the_generator():
    schema = structural(Sample)
    inner = {
        "type": "object",
        "description": "An inner object.",
        "properties": {"number": {"type": "integer", "default": 3}},
    }
    assert schema["properties"] == {
        "inner": {**inner, "description": "Described beside the reference.", "default": {}},
        "perhaps": inner,
        "nothing": {"type": "string"},
        "port": {"default": 80, "x-kubernetes-int-or-string": True},
        "above": {"type": "integer", "default": 1, "minimum": 0, "exclusiveMinimum": True},
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "x-kubernetes-list-type": "atomic",
            "x-kubernetes-validations": [{"rule": "true", "message": "fine"}],
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }


class Union(BaseModel):
    value: int | list[int] = 0


class Closed(BaseModel):
    value: Annotated[str, Field(json_schema_extra={"not": {"enum": ["a"]}})] = ""


@pytest.mark.parametrize(
    ("model", "sentence"), [(Union, "Union.value: a CRD has no union"), (Closed, "Closed.value: a CRD has no not")]
)
def test_what_a_crd_cannot_express_is_refused(model, sentence):
    with pytest.raises(UnsupportedSchema, match=sentence):
        structural(model)


def test_a_policy_in_the_set_is_written_without_defaults():
    """An absent field stays absent, so a later default is no change of stored objects. All else is as in the kind."""
    sets, policies = (schema_of(each)["properties"]["spec"] for each in DEFINITIONS[:2])
    own = sets["properties"]["upgradePolicy"]
    assert [path for path, schema in walk(own, "") if "default" in schema] == []
    assert own["properties"].keys() == policies["properties"].keys()
    assert own["x-kubernetes-validations"] == policies["x-kubernetes-validations"]
    names_of = {path for path, _ in walk(own, "")}
    assert names_of == {path for path, _ in walk(policies, "")}
