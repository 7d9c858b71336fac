"""`kubectl apply` refuses a bad UpgradePolicy or GalleryImageVersion with a sentence that says what to change.

Rows as in test_refusals: a valid object with one thing changed, sent to a real API server as a dry run.
"""

from typing import Any

import pytest

from tests.cluster.harness.api import POLICIES, _path
from tests.cluster.harness.refusals import (
    POLICY,
    accepted,
    assert_accepted,
    assert_refused,
    changed,
    dry_run,
    refused,
    shown,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
WRITE_EXACT = "write the version as one to four integers"
WRITE_DURATION = "write the duration as in ISO 8601"
BATCH = "spec.rollingUpgradePolicy.maxBatchInstancePercent"
UNHEALTHY = "spec.rollingUpgradePolicy.maxUnhealthyInstancePercent"
UPGRADED = "spec.rollingUpgradePolicy.maxUnhealthyUpgradedInstancePercent"


def image_version(version: Any) -> dict[str, Any]:
    return {"spec.version": version}


POLICY_REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        ({path: value}, fragment)
        for path in (BATCH, UNHEALTHY, UPGRADED)
        for value, fragment in (
            (-1, "should be greater than or equal to"),
            (101, "should be less than or equal to 100"),
            ("20%", "must be of type integer"),
            ("20", "must be of type integer"),
            (20.5, "must be of type integer"),
            (2**31, "should be less than or equal to 100"),
            (2**63, "should be less than or equal to 100"),
            (True, "must be of type integer"),
            ([20], "must be of type integer"),
        )
    ),
    ({BATCH: 0}, "should be greater than or equal to 5"),
    ({BATCH: 4}, "should be greater than or equal to 5"),
    ({UNHEALTHY: 4}, "should be greater than or equal to 5"),
    ({"spec.mode": "rolling"}, 'supported values: "Automatic", "Manual", "Rolling"'),
    ({"spec.replacementMethod": "InPlace"}, 'supported values: "Recreate", "InPlaceIfPossible", "InPlaceOnly"'),
    (
        {"spec.replacementMethod": "InPlaceOnly", "spec.rollingUpgradePolicy.maxSurge": True},
        "set maxSurge to false, or replacementMethod to InPlaceIfPossible",
    ),
    ({"spec.healthTimeout": "5m"}, WRITE_DURATION),
    ({"spec.healthTimeout": ""}, WRITE_DURATION),
    ({"spec.healthTimeout": "P"}, WRITE_DURATION),
    ({"spec.healthTimeout": "PT"}, WRITE_DURATION),
    ({"spec.healthTimeout": "P1DT"}, WRITE_DURATION),
    ({"spec.healthTimeout": "P1M"}, WRITE_DURATION),
    ({"spec.healthTimeout": "PT1.5S"}, WRITE_DURATION),
    ({"spec.healthTimeout": "-PT5M"}, WRITE_DURATION),
    ({"spec.healthTimeout": "PT٥M"}, WRITE_DURATION),  # an Arabic five
    ({"spec.healthTimeout": "PT0S"}, "choose a duration from PT1S to P1D"),
    ({"spec.healthTimeout": "P1DT1S"}, "choose a duration from PT1S to P1D"),
    ({"spec.healthTimeout": "P9999W"}, "choose a duration from PT1S to P1D"),
    ({"spec.upgradeTimeout": "PT0S"}, "choose a duration from PT1S to P30D"),
    ({"spec.upgradeTimeout": "P31D"}, "choose a duration from PT1S to P30D"),
    ({"spec.upgradeTimeout": 3600}, "must be of type string"),
    ({"spec.minReadyTime": "PT1441M"}, "choose a duration from PT0S to P1D"),
    ({"spec.rollingUpgradePolicy.pauseTimeBetweenBatches": "P8D"}, "choose a duration from PT0S to P7D"),
    ({"spec.rollingUpgradePolicy.pauseTimeBetweenBatches": 5}, "must be of type string"),
    ({"spec.healthTimeout": "P" + "1" * 40 + "D"}, "may not be more than 32"),
    ({"spec.automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": "true"}}, "must be of type boolean"),
    ({"spec.automaticOSUpgradePolicy": {"enableAutomaticOsUpgrade": True}}, "unknown field"),
    ({"spec.rollingUpgradePolicy.maxSurges": True}, 'unknown field "spec.rollingUpgradePolicy.maxSurges"'),
    ({"metadata.name": "a" * 64}, "choose a name of at most 63 characters for an UpgradePolicy"),
    ({"metadata.name": "very.careful"}, "only in the name of an UpgradePolicy"),
]

IMAGE_REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        (image_version(version), WRITE_EXACT)
        for version in (
            "1.0.0.0.0",
            "1..0",
            "00000000001",
            "1.0.0-rc1",
            "1.0.0+build",
            "v1.0.0",
            "1.0.",
            "1.0.0\n",
            "1.0.٠",
            "latest",
            "-1.0.0",
        )
    ),
    (image_version(1.0), "must be of type string"),
    (image_version("2147483648.0.0"), "less than 2147483648"),
    (image_version("0.4294967296.0"), "less than 2147483648"),
    (image_version("1.2.3.2147483648"), "less than 2147483648"),
    (image_version("0.0.9223372036854775808"), WRITE_EXACT),
    (image_version("1." * 30), "may not be more than 43"),
    *(
        ({"spec.image": image}, "write the image as")
        for image in (
            "example.com/web: 1.0.0",
            "example.com/Web:1.0.0",
            "https://example.com/web",
            "example.com/web@sha256:0123",
            "example.com//web",
            "../web:1.0.0",
            "example.com/web:1.0.0\n",
            "exаmple/web",  # a Cyrillic а
            "web:" + "1" * 129,
        )
    ),
    ({"spec.image": ""}, "spec.image"),
    ({"spec.image": "a" * 513}, "may not be more than 512"),
    ({"spec.publisher": "-example"}, "beginning and ending with a letter or digit"),
    ({"spec.offer": "web/blue"}, "use letters, digits, '.', '_' and '-' only"),
    ({"spec.osType": "linux"}, 'supported values: "Linux", "Windows"'),
    ({"spec.publishingProfile": {"targetRegions": [{"name": "west"}, {"name": "west"}]}}, "Duplicate value"),
    ({"spec.publishingProfile": {"targetRegions": [{"excludeFromLatest": True}]}}, "name: Required value"),
    (
        {"spec.publishingProfile": {"targetRegions": [{"name": f"r{i}"} for i in range(65)]}},
        "must have at most 64 items",
    ),
    ({"spec.publishingProfile": {"endOfLifeDate": "2027-01-31"}}, "must be of type date-time"),
    ({"spec.publishingProfile": {"endOfLifeDate": "tomorrow"}}, "must be of type date-time"),
    ({"spec.sharing": {"namespaces": ["shop"]}}, "set scope to Namespaces, or remove namespaces"),
    ({"spec.sharing": {"scope": "Community", "namespaces": ["shop"]}}, "set scope to Namespaces, or remove namespaces"),
    ({"spec.sharing": {"scope": "Namespaces"}}, "list at least one of the namespaces"),
    ({"spec.sharing": {"scope": "Namespaces", "namespaces": ["a", "a"]}}, "Duplicate value"),
    ({"spec.sharing": {"scope": "Namespaces", "namespaces": ["*"]}}, "give the name of a namespace"),
    ({"metadata.name": "a" * 64}, "choose a name of at most 63 characters for a GalleryImageVersion"),
]

POLICY_ACCEPTED: list[dict[str, Any]] = [
    {"spec": {}},
    *({path: value} for path in (BATCH, UNHEALTHY, UPGRADED) for value in (5, 20.0, 100)),
    {BATCH: None},
    {UPGRADED: 0},
    *({"spec.healthTimeout": text} for text in ("PT1S", "PT5M", "P1D", "PT24H", "PT86400S", "PT23H59M60S", "P0DT0H5M")),
    *({"spec.rollingUpgradePolicy.pauseTimeBetweenBatches": text} for text in ("PT0S", "P1W", "P7D", "P6DT24H", "P0W")),
    {"spec.minReadyTime": "P1D"},
    {"spec.replacementMethod": "InPlaceOnly", "spec.rollingUpgradePolicy.maxSurge": False},
    *({"spec.upgradeTimeout": text} for text in ("PT1S", "P30D", None)),
    {"metadata.name": "a" * 63},
]

IMAGE_ACCEPTED: list[dict[str, Any]] = [
    *(image_version(version) for version in ("0.0.0", "1.10.0", "2147483647.2147483647.2147483647")),
    *(
        {"spec.image": image}
        for image in (
            "web",
            "web:1.0.0",
            f"example.com/web@{DIGEST}",
            f"example.com:5000/team/sub-team/web__x.y:1.0.0@{DIGEST}",
            "[2001:db8::1]:5000/web",
            "localhost/web:" + "1" * 128,
        )
    ),
    {"spec.publishingProfile": {"targetRegions": [{"name": f"r{i}", "excludeFromLatest": True} for i in range(64)]}},
    {"spec.publishingProfile": {"targetRegions": []}},
    {"spec.publishingProfile": {"endOfLifeDate": "2027-01-31T00:00:00+01:00", "excludeFromLatest": True}},
    {"spec.sharing": {"scope": "Community"}},
    {"spec.sharing": {"scope": "Namespaces", "namespaces": [f"n{i}" for i in range(256)]}},
    {"spec.osType": "Windows"},
    {"metadata.name": "a" * 63},
]


@pytest.mark.parametrize(
    ("kind", "changes", "fragment"), refused(UpgradePolicy=POLICY_REFUSED, GalleryImageVersion=IMAGE_REFUSED), ids=shown
)
def test_bad_input_is_refused_with_a_sentence(api, kind, changes, fragment):
    assert_refused(api, kind, changes, saying=fragment)


@pytest.mark.parametrize(
    ("kind", "changes"), accepted(UpgradePolicy=POLICY_ACCEPTED, GalleryImageVersion=IMAGE_ACCEPTED), ids=shown
)
def test_no_bound_is_too_strict(api, kind, changes):
    assert_accepted(api, kind, changes)


@pytest.mark.parametrize("text", ["NaN", "1e309", "Infinity"])
def test_what_is_no_number_is_refused(api, text):
    head = b'{"apiVersion":"scaleset.dev/v1beta1","kind":"UpgradePolicy","metadata":{"name":"x"},"spec":'
    body = head + b'{"rollingUpgradePolicy":{"maxBatchInstancePercent":' + text.encode() + b"}}}"
    url = f"{api._host}{_path(POLICIES, 'default')}?dryRun=All"
    answer = api._pool.request("POST", url, body=body, headers={"Content-Type": "application/json"}, retries=False)
    assert answer.status in {400, 422}


def test_null_means_the_default(api):
    policy = dry_run(api, POLICIES, changed(POLICY, {BATCH: None, "spec.healthTimeout": None}))
    assert policy["spec"]["rollingUpgradePolicy"]["maxBatchInstancePercent"] == 20
    assert policy["spec"]["healthTimeout"] == "PT5M"
