"""Specs are read strictly: what is valid round-trips, what is not raises InvalidSpec with a sentence, nothing else."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scaleset.api.base import InvalidSpec, Spec
from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.moments import format_duration, parse_duration
from scaleset.api.scale_set import ProtectedInstance, ScaleSetSpec
from scaleset.api.upgrade_policy import RollingUpgradePolicy, UpgradePolicySpec

SPECS: list[type[Spec]] = [ScaleSetSpec, UpgradePolicySpec, GalleryImageVersionSpec]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    scalars, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4), max_leaves=12
)
words = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
dns_labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
parts = st.integers(0, 2**31 - 1)
versions = st.lists(parts, min_size=1, max_size=4).map(lambda found: ".".join(map(str, found)))
percents = st.integers(5, 100)
durations = st.integers(1, 86400).map(lambda seconds: format_duration(timedelta(seconds=seconds)))


def optional(required: dict[str, Any], rest: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=rest)


policies = optional(
    {},
    {
        "mode": st.sampled_from(["Automatic", "Manual", "Rolling"]),
        "rollingUpgradePolicy": optional(
            {},
            {
                "maxBatchInstancePercent": percents,
                "maxUnhealthyInstancePercent": percents,
                "maxUnhealthyUpgradedInstancePercent": st.integers(0, 100),
                "pauseTimeBetweenBatches": durations,
                "prioritizeUnhealthyInstances": st.booleans(),
            },
        ),
        "automaticOSUpgradePolicy": optional(
            {},
            {
                "enableAutomaticOSUpgrade": st.booleans(),
                "disableAutomaticRollback": st.booleans(),
                "useRollingUpgradePolicy": st.booleans(),
            },
        ),
        "healthTimeout": durations,
        "minReadyTime": durations,
    },
)
images = optional(
    {
        "publisher": words,
        "offer": words,
        "sku": words,
        "version": versions,
        "image": st.sampled_from(["web", "example.com/web:1.0.0", "example.com:5000/a/b@sha256:" + "0" * 64]),
    },
    {
        "osType": st.sampled_from(["Linux", "Windows"]),
        "publishingProfile": optional(
            {},
            {
                "targetRegions": st.lists(optional({"name": words}, {"excludeFromLatest": st.booleans()}), max_size=3),
                "excludeFromLatest": st.booleans(),
                "endOfLifeDate": st.just("2027-01-31T00:00:00Z"),
            },
        ),
        "sharing": st.sampled_from([{"scope": "Community"}, {"scope": "Namespaces", "namespaces": ["shop"]}]),
    },
)
templates = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {"containers": st.just([{"name": "web", "env": [{"name": "A"}]}]), "more": json_values}
        )
    }
)
probes = st.sampled_from([{"protocol": "tcp", "port": 80}, {"protocol": "http", "requestPath": "/"}])
scale_sets = optional(
    {
        "imageReference": optional(
            {"publisher": words, "offer": words, "sku": words, "version": versions | st.just("latest")},
            {"galleryNamespace": dns_labels},
        ),
        "template": templates,
    },
    {
        "replicas": st.integers(0, 100),
        "upgradePolicyRef": st.fixed_dictionaries({"name": dns_labels}),
        "instanceContainer": st.just("web"),
        "serviceName": dns_labels,
        "volumeClaimTemplates": st.lists(
            st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"name": dns_labels}), "spec": st.just({})}),
            max_size=3,
            unique_by=lambda claim: str(claim["metadata"]["name"]),
        ),
        "health": optional({}, {"source": st.just("ReadinessProbe"), "probe": probes}),
        "location": words,
        "protectedInstances": st.lists(
            optional({"id": st.integers(0, 999)}, {"protectFromScaleIn": st.just(True)}),
            max_size=3,
            unique_by=lambda instance: int(instance["id"]),
        ),
        "singlePlacementGroup": st.booleans(),
        "suspend": st.booleans(),
    },
)


def contains(whole: Any, part: Any) -> bool:
    """Whether everything that is said in `part` is said in `whole` too."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return len(whole) == len(part) and all(contains(*pair) for pair in zip(whole, part, strict=True))
    return bool(whole == part)


@given(policies)
def test_policies_round_trip(raw):
    spec = UpgradePolicySpec.parse({"spec": raw})
    assert UpgradePolicySpec.parse({"spec": spec.to_raw()}) == spec


@given(images)
def test_images_round_trip(raw):
    spec = GalleryImageVersionSpec.parse({"spec": raw})
    assert contains(spec.to_raw(), raw)
    assert GalleryImageVersionSpec.parse({"spec": spec.to_raw()}) == spec


@given(scale_sets)
def test_scale_sets_round_trip(raw):
    spec = ScaleSetSpec.parse({"spec": raw})
    assert contains(spec.to_raw(), raw)
    again = ScaleSetSpec.parse({"spec": spec.to_raw()})
    assert contains(again.to_raw(), spec.to_raw())


def problem_of(model: type[Spec], body: Any) -> str:
    """What InvalidSpec says, or "spec is fine"."""
    try:
        model.parse(body)
    except InvalidSpec as problem:
        return str(problem)
    return "spec is fine"


@pytest.mark.parametrize("model", SPECS)
@given(raw=json_values)
def test_nothing_but_invalid_spec_is_raised(model, raw):
    for body in (raw, {"spec": raw}):
        assert problem_of(model, body).startswith("spec")


@pytest.mark.parametrize(("model", "valid"), [(ScaleSetSpec, scale_sets), (GalleryImageVersionSpec, images)])
@given(data=st.data())
def test_nothing_but_invalid_spec_is_raised_with_one_field_forged(model, valid, data):
    raw = data.draw(valid)
    raw[data.draw(st.sampled_from(sorted(raw)))] = data.draw(json_values)
    assert problem_of(model, {"spec": raw}).startswith("spec")


def scale_set(**changes: Any) -> dict[str, Any]:
    reference = {"publisher": "example", "offer": "web", "sku": "stable", "version": "latest"}
    template = {"spec": {"containers": [{"name": "web"}, {"name": "second"}]}}
    return {"spec": {"imageReference": reference, "template": template, **changes}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"replicas": True}, "spec.replicas: found true; it should be a valid integer"),
        ({"replicas": "5"}, "spec.replicas: found '5'; it should be a valid integer"),
        ({"replicas": 1001}, "spec.replicas: found 1001; it should be less than or equal to 1000"),
        (
            {"replicas": 10**30},
            "spec.replicas: found a number that is far too large; it should be less than or equal to 1000",
        ),
        (
            {"replicas": 101, "singlePlacementGroup": True},
            "set singlePlacementGroup to false, once, for more than 100 instances",
        ),
        (
            {"imageReference": {"publisher": "a", "offer": "b", "sku": "c"}},
            "spec.imageReference.version: found nothing;",
        ),
        ({"serviceName": "other/web"}, "spec.serviceName: found 'other/web'; give the bare name of a Service"),
        ({"serviceName": "web\u202e"}, r"spec.serviceName: found 'web\u202e'; give the bare name of a Service"),
        ({"serviceName": "x" * 5000}, "xxx\\u2026'; give the bare name of a Service"),
        ({"instanceContainer": "third"}, "set instanceContainer to the name of a container"),
        ({"template": {"spec": {"containers": []}}}, "spec.template: found an object; give template.spec.containers"),
        ({"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}, "a name of its own"),
        ({"health": {"probe": {"protocol": "tcp"}}}, "spec.health.probe: found an object; a tcp probe needs port"),
        ({"protectedInstances": [{"id": 0}, {"id": "1"}]}, "spec.protectedInstances[1].id: found '1'"),
    ],
)
def test_the_sentence_names_place_finding_and_remedy(changes, sentence):
    with pytest.raises(InvalidSpec) as problem:
        ScaleSetSpec.parse(scale_set(**changes))
    assert sentence in str(problem.value)
    assert len(str(problem.value)) < 500


def test_many_problems_are_counted():
    with pytest.raises(InvalidSpec, match="And 1 more"):
        ScaleSetSpec.parse({"spec": {"replicas": "x", "suspend": "x", "imageReference": 3, "template": 3}})


def test_no_value_of_an_object_is_shown():
    with pytest.raises(InvalidSpec) as problem:
        ScaleSetSpec.parse(scale_set(template={"spec": {"containers": [], "env": "canary"}}))
    assert "canary" not in str(problem.value)


@pytest.mark.parametrize("deep", ["template", "claim"])
@pytest.mark.parametrize("levels", [70, 50_000])
def test_bottomless_objects_are_refused(deep, levels):
    nested: Any = {}
    for _ in range(levels):
        nested = {"a": [nested]}
    template = {"spec": {"containers": [{"name": "web"}], "more": nested if deep == "template" else {}}}
    claim = {"metadata": {"name": "data"}, "spec": nested if deep == "claim" else {}}
    with pytest.raises(InvalidSpec, match="found an object; nest it less than 64 levels deep"):
        ScaleSetSpec.parse(scale_set(template=template, volumeClaimTemplates=[claim]))


def test_the_instance_container_is_the_first_one_unless_named():
    assert ScaleSetSpec.parse(scale_set()).instance_container_name == "web"
    assert ScaleSetSpec.parse(scale_set(instanceContainer="second")).instance_container_name == "second"


@pytest.mark.parametrize(
    ("protected", "spared"),
    [({}, False), ({"protectFromScaleIn": True}, True), ({"protectFromScaleSetActions": True}, True)],
)
def test_protection_from_all_actions_includes_scale_in(protected, spared):
    assert ProtectedInstance.model_validate({"id": 1, **protected}).keeps_from_scale_in is spared


def test_models_are_frozen_and_made_by_field_names():
    policy = RollingUpgradePolicy(max_batch_instance_percent=50)
    assert policy.to_raw()["maxBatchInstancePercent"] == 50
    with pytest.raises(ValidationError):
        policy.max_batch_instance_percent = 20  # type: ignore[misc]


def test_an_empty_policy_is_azures_default():
    assert UpgradePolicySpec.parse({"spec": {}}) == UpgradePolicySpec()
    assert json.loads(json.dumps(UpgradePolicySpec().to_raw())) == {
        "mode": "Manual",
        "rollingUpgradePolicy": {
            "maxBatchInstancePercent": 20,
            "maxUnhealthyInstancePercent": 20,
            "maxUnhealthyUpgradedInstancePercent": 20,
            "pauseTimeBetweenBatches": "PT0S",
            "prioritizeUnhealthyInstances": False,
            "enableCrossZoneUpgrade": False,
            "rollbackFailedInstancesOnPolicyBreach": False,
            "maxSurge": False,
        },
        "automaticOSUpgradePolicy": {
            "enableAutomaticOSUpgrade": False,
            "disableAutomaticRollback": False,
            "useRollingUpgradePolicy": True,
        },
        "replacementMethod": "Recreate",
        "healthTimeout": "PT5M",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0S", 0),
        ("PT5M", 300),
        ("PT1H30M", 5400),
        ("P1D", 86400),
        ("P1DT1S", 86401),
        ("P1W", 604800),
        ("PT90M", 5400),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "P1Y", "P1M", "PT1.5S", "5m", "-PT5M", "PT5m", "PT5M\n", "PT٥M", "P1W1D"]
)
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="write the duration as in ISO 8601"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_durations_round_trip(seconds):
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("date", ["2027-01-31", "tomorrow", 1800000000, "1800000000", True, "2027-02-30T00:00:00Z"])
def test_what_is_no_end_of_life_date(date):
    body = {"publisher": "a", "offer": "b", "sku": "c", "version": "1.0.0", "image": "web"}
    with pytest.raises(InvalidSpec, match=r"spec\.publishingProfile\.endOfLifeDate"):
        GalleryImageVersionSpec.parse({"spec": {**body, "publishingProfile": {"endOfLifeDate": date}}})
