"""What `kubectl apply` refuses of custom data, extensions, placement, Service Fabric and the policy's later fields.

Rows as in test_refusals: a valid object with one thing changed, sent to a real API server as a dry run.
"""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import NAMESPACES, SCALE_SETS, Api, ApiError, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.refusals import (
    CONTAINERS,
    SCALE_SET,
    accepted,
    assert_accepted,
    assert_refused,
    changed,
    containers,
    refused,
    shown,
)

KIB_64 = 64 * 1024
NO_SUCH = "name only extensions of this list in provisionAfterExtensions"
SHELL = "set command: with suppressFailures the extension is started by a shell of its image"
BOTH = "set source to PodCondition and conditionType to the type of the condition, or neither of the two"
WITH_A_DOMAIN = "write the type of the condition with a domain name, such as example.com/Healthy"
PLAIN = {"name": "agent", "image": "example.com/agent:1"}
TOO_LONG = "the name, a dash and the highest id have at most 63 characters"
FABRIC = {"durabilityLevel": "Silver", "nodeTypeDurabilityLevel": "Silver", "typeHandlerVersion": "1.1"}


def extensions(*found: Json) -> dict[str, Any]:
    return {"spec.extensions": [{**PLAIN, **each} for each in found]}


def fabric(**fields: Any) -> dict[str, Any]:
    return {"spec.serviceFabric": {**FABRIC, **fields}}


def health(**fields: Any) -> dict[str, Any]:
    return {"spec.health": fields}


def encoded(size: int) -> str:
    return base64.b64encode(b"#" * size).decode()


SET_REFUSED: list[tuple[dict[str, Any], str]] = [
    # custom data
    ({"spec.customData": "#" * (KIB_64 - 3) + " ü\n!"}, "make customData at most 64 KiB"),
    ({"spec.customData": "# " * KIB_64}, "may not be more than"),
    ({"spec.customData": ""}, "spec.customData"),
    ({"spec.customData": 5}, "must be of type string"),
    ({"spec.runCustomData": True}, "set customData, or remove runCustomData"),
    ({"spec.runCustomData": "true", "spec.customData": "x"}, "must be of type boolean"),
    # extensions
    (extensions({"name": "Agent"}), "use lower-case letters, digits and '-' only, at most 50 of them"),
    (extensions({"name": "a" * 51}), "may not be more than 50"),
    (extensions({"image": "example.com/agent: 1"}), "write the image as"),
    ({"spec.extensions": [{"name": "agent"}]}, "spec.extensions[0].image: Required value"),
    (extensions({}, {}), "Duplicate value"),
    (extensions(*({"name": f"e{number}"} for number in range(17))), "must have at most 16 items"),
    (extensions({"provisionAfterExtensions": ["log"]}), NO_SUCH),
    (extensions({"provisionAfterExtensions": ["agent", "agent"]}), "Duplicate value"),
    (extensions({"suppressFailures": True}), SHELL),
    (extensions({"suppressFailures": True, "command": []}), SHELL),
    (extensions({"suppressFailures": True, "args": ["--now"]}), SHELL),
    (extensions({"settings": ["a"]}), "must be of type object"),
    (extensions({"settings": "a"}), "must be of type object"),
    (extensions({"protectedSettingsSecretRef": {"name": "other/agent"}}), "give the name of a Secret"),
    (extensions({"protectedSettingsSecretRef": {"name": "agent", "key": "a/b"}}), "give a key of the Secret"),
    (extensions({"protectedSettingsSecretRef": {}}), "protectedSettingsSecretRef.name: Required value"),
    (extensions({"protectedSettings": {"token": "x"}}), 'unknown field "spec.extensions[0].protectedSettings"'),
    (extensions({"command": ["x" * (32 * 1024 + 1)]}), "may not be more than 32768"),
    (extensions({"forceUpdateTag": "x" * 257}), "may not be more than 256"),
    # zones and update domains
    ({"spec.zones": ["a", "b", "a"]}, "name each zone once"),
    ({"spec.zones": ["zone one"]}, "use the value of the nodes' topology.kubernetes.io/zone label"),
    ({"spec.zones": [""]}, "spec.zones[0]"),
    ({"spec.zones": [f"z{number}" for number in range(17)]}, "must have at most 16 items"),
    ({"spec.updateDomains": 0}, "should be greater than or equal to 1"),
    ({"spec.updateDomains": 21}, "should be less than or equal to 20"),
    ({"spec.updateDomains": "5"}, "must be of type integer"),
    # scale-in
    ({"spec.scaleInPolicy": {"rules": ["Oldest"]}}, 'supported values: "Default", "OldestVM", "NewestVM"'),
    ({"spec.scaleInPolicy": {"rules": ["OldestVM", "NewestVM"]}}, "must have at most 1 item"),
    ({"spec.scaleInPolicy": {"forceDeletion": True}}, "unknown field"),
    ({"spec.scaleInPolicy": {"preferredInstances": [-1]}}, "should be greater than or equal to 0"),
    ({"spec.scaleInPolicy": {"preferredInstances": [10000]}}, "should be less than or equal to 9999"),
    ({"spec.scaleInPolicy": {"preferredInstances": ["3"]}}, "must be of type integer"),
    ({"spec.scaleInPolicy": {"preferredInstances": list(range(1001))}}, "must have at most 1000 items"),
    ({"spec.scaleInPolicy": {"prioritizeUnhealthyInstances": "true"}}, "must be of type boolean"),
    # ids, order, retention
    ({"spec.podManagementPolicy": "Ordered"}, 'supported values: "OrderedReady", "Parallel"'),
    ({"spec.ordinals": {"start": -1}}, "should be greater than or equal to 0"),
    ({"spec.ordinals": {"start": 8001}}, "should be less than or equal to 8000"),
    ({"spec.ordinals": {"start": "1"}}, "must be of type integer"),
    ({"metadata.name": "a" * 59, "spec.ordinals": {"start": 996}}, TOO_LONG),
    ({"metadata.name": "a" * 59, "spec.ordinals": {"start": 1000}, "spec.replicas": 0}, TOO_LONG),
    ({"spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Keep"}}, 'supported values: "Retain", "Delete"'),
    ({"spec.persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}, 'supported values: "Retain"'),
    # Windows and Service Fabric
    (
        {"spec.osProfile": {"windowsConfiguration": {"enableAutomaticUpdates": "false"}}},
        "must be of type boolean",
    ),
    ({"spec.serviceFabric": {}}, "spec.serviceFabric.durabilityLevel: Required value"),
    (fabric(durabilityLevel="Platinum"), 'supported values: "Bronze", "Silver", "Gold"'),
    (fabric(typeHandlerVersion="1"), "write the version as MAJOR.MINOR, such as 1.1"),
    (fabric(typeHandlerVersion="1.1.0"), "write the version as MAJOR.MINOR, such as 1.1"),
    (
        {**fabric(), "spec.health": {"probe": {"protocol": "tcp", "port": 80}}},
        "remove health.probe: a Service Fabric set reports its health by Service Fabric, unless",
    ),
    (fabric(isStateless="true"), "must be of type boolean"),
    # health by a condition
    (health(source="PodCondition"), BOTH),
    (health(conditionType="example.com/Healthy"), BOTH),
    (health(source="InstanceState", conditionType="example.com/Healthy"), BOTH),
    (health(source="PodCondition", conditionType="Ready"), WITH_A_DOMAIN),
    (health(source="PodCondition", conditionType="example.com/"), WITH_A_DOMAIN),
    (health(source="PodCondition", conditionType="Example.com/Healthy"), WITH_A_DOMAIN),
    (health(source="PodCondition", conditionType=f"{'a' * 310}/Healthy"), "may not be more than 316"),
    (
        health(source="PodCondition", conditionType="a/b", probe={"protocol": "tcp", "port": 80}),
        "remove probe, or set source to ReadinessProbe",
    ),
    ({"spec.rollingUpgradeOrder": {"direction": "Down"}}, 'supported values: "Ascending", "Descending"'),
    ({"spec.rollingUpgradeOrder": "Descending"}, "must be of type object"),
    (health(source="Condition"), 'supported values: "ReadinessProbe", "InstanceState", "PodCondition"'),
]

POLICY_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spec.maxConcurrentScaleSets": 0}, "should be greater than or equal to 1"),
    ({"spec.maxConcurrentScaleSets": -1}, "should be greater than or equal to 1"),
    ({"spec.maxConcurrentScaleSets": 10001}, "should be less than or equal to 10000"),
    ({"spec.maxConcurrentScaleSets": "1"}, "must be of type integer"),
    *(
        ({f"spec.rollingUpgradePolicy.{field}": "true"}, "must be of type boolean")
        for field in ("maxSurge", "enableCrossZoneUpgrade", "rollbackFailedInstancesOnPolicyBreach")
    ),
]

SET_ACCEPTED: list[dict[str, Any]] = [
    {**fabric(durabilityLevel="Bronze", isStateless=True), "spec.health": {"probe": {"protocol": "tcp", "port": 80}}},
    health(source="PodCondition", conditionType="example.com/Healthy"),
    health(source="PodCondition", conditionType="a/b"),
    {"spec.customData": "#!/bin/sh\n", "spec.runCustomData": True},
    {"spec.customData": "# " * (KIB_64 // 2)},
    {"spec.customData": encoded(KIB_64)},
    {"spec.customData": base64.encodebytes(b"# hello\n" * 100).decode()},
    {"spec.runCustomData": False},
    {"spec.extensions": []},
    extensions(*({"name": f"e{number}"} for number in range(16))),
    extensions({"name": "a" * 50, "settings": {"any": [{"thing": None}]}, "forceUpdateTag": ""}),
    extensions({"suppressFailures": True, "command": ["/install"]}),
    extensions({"suppressFailures": False}),
    extensions({"protectedSettingsSecretRef": {"name": "agent.v1", "key": "token_1"}}),
    extensions({"provisionAfterExtensions": ["log"]}, {"name": "log"}),
    {"spec.zones": ["westeurope-1", "2", "Z.3_x"], "spec.updateDomains": 20},
    {"spec.zones": [], "spec.updateDomains": 1},
    *({"spec.scaleInPolicy": {"rules": rules}} for rules in ([], ["Default"], ["OldestVM"], ["NewestVM"])),
    {"spec.scaleInPolicy": {"preferredInstances": [7, 3], "prioritizeUnhealthyInstances": True}},
    {"spec.scaleInPolicy": {"preferredInstances": []}},
    *({"spec.podManagementPolicy": each} for each in ("OrderedReady", "Parallel")),
    *({"spec.rollingUpgradeOrder": order} for order in ({}, {"direction": "Ascending"}, {"direction": "Descending"})),
    {"metadata.name": "a" * 59, "spec.ordinals": {"start": 995}},
    {"metadata.name": "a" * 58, "spec.ordinals": {"start": 8000}, "spec.replicas": 1000},
    {"metadata.name": "a" * 59, "spec.ordinals": {}, "spec.replicas": 1000},
    *({"spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": each}} for each in ("Retain", "Delete")),
    {"spec.persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"}},
    {"spec.osProfile": {"windowsConfiguration": {"enableAutomaticUpdates": True}}},
    fabric(),
    {**fabric(), CONTAINERS: containers({"name": "web", "readinessProbe": {"tcpSocket": {"port": 80}}})},
]

POLICY_ACCEPTED: list[dict[str, Any]] = [
    {"spec.maxConcurrentScaleSets": 1},
    {"spec.maxConcurrentScaleSets": 10000},
    {"spec.maxConcurrentScaleSets": None},
    {"spec.rollingUpgradePolicy": {"maxSurge": True, "enableCrossZoneUpgrade": True}},
]


@pytest.mark.parametrize(
    ("kind", "changes", "fragment"), refused(ScaleSet=SET_REFUSED, UpgradePolicy=POLICY_REFUSED), ids=shown
)
def test_bad_input_is_refused_with_a_sentence(api, kind, changes, fragment):
    assert_refused(api, kind, changes, saying=fragment)


@pytest.mark.parametrize(("kind", "changes"), accepted(ScaleSet=SET_ACCEPTED, UpgradePolicy=POLICY_ACCEPTED), ids=shown)
def test_no_bound_is_too_strict(api, kind, changes):
    assert_accepted(api, kind, changes)


# What cannot be changed


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[str]:
    yield cluster.make_namespace("feature-refusals")
    cluster.api.delete(NAMESPACES, None, "feature-refusals")


RETENTION = "persistentVolumeClaimRetentionPolicy"
TAKES_DISKS = {RETENTION: {"whenDeleted": "Delete"}}
FOR_EVER = "leave zones as they are: an instance stays in its zone for ever; create another ScaleSet"
SAME_IDS = "leave ordinals.start as it is: names of instances and claims follow from it; create another ScaleSet"
SAME_OWNER = "claims keep the owner that they were created with; create another ScaleSet"
NEVER_BRONZE = "leave durabilityLevel at Silver or Gold: it cannot become Bronze"


@pytest.mark.parametrize(
    ("before", "after", "fragment"),
    [
        ({"zones": ["a", "b"]}, {"zones": ["a"]}, FOR_EVER),
        ({"zones": ["a", "b"]}, {"zones": ["b", "a"]}, FOR_EVER),
        ({"zones": ["a", "b"]}, {"zones": None}, FOR_EVER),
        ({}, {"zones": ["a"]}, FOR_EVER),
        ({"ordinals": {"start": 3}}, {"ordinals": {"start": 2}}, SAME_IDS),
        ({"ordinals": {"start": 3}}, {"ordinals": None}, SAME_IDS),
        ({}, {"ordinals": {"start": 1}}, SAME_IDS),
        ({"ordinals": {"start": 999}}, {"replicas": 1000, "ordinals": {"start": 998}}, SAME_IDS),
        (TAKES_DISKS, {RETENTION: {"whenDeleted": "Retain"}}, SAME_OWNER),
        (TAKES_DISKS, {RETENTION: None}, SAME_OWNER),
        ({}, TAKES_DISKS, SAME_OWNER),
        ({"serviceFabric": FABRIC}, {"serviceFabric": {"durabilityLevel": "Bronze"}}, NEVER_BRONZE),
        (
            {"serviceFabric": {**FABRIC, "durabilityLevel": "Gold"}},
            {"serviceFabric": {"durabilityLevel": "Bronze"}},
            NEVER_BRONZE,
        ),
        (
            {"serviceFabric": FABRIC},
            {"serviceFabric": None},
            "leave serviceFabric in place: its durability of Silver or Gold cannot be taken back",
        ),
        ({"customData": "x", "runCustomData": True}, {"customData": None}, "set customData, or remove runCustomData"),
        (
            {"extensions": [PLAIN, {**PLAIN, "name": "log", "provisionAfterExtensions": ["agent"]}]},
            {"extensions": [{**PLAIN, "name": "log", "provisionAfterExtensions": ["agent"]}]},
            NO_SUCH,
        ),
    ],
)
def test_what_cannot_be_changed(api: Api, place, before, after, fragment):
    name = api.create(SCALE_SETS, place, fresh(before))["metadata"]["name"]
    with pytest.raises(ApiError) as refusal:
        api.patch(SCALE_SETS, place, name, {"spec": after})
    assert fragment in refusal.value.message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"zones": ["a", "b"]}, {"zones": ["a", "b"], "updateDomains": 2}),
        ({}, {"zones": []}),
        ({}, {"ordinals": {"start": 0}}),
        ({"ordinals": {"start": 3}}, {"replicas": 9}),
        ({}, {RETENTION: {"whenDeleted": "Retain", "whenScaled": "Retain"}}),
        (TAKES_DISKS, {RETENTION: {"whenScaled": "Retain"}}),
        ({}, {"podManagementPolicy": "OrderedReady"}),
        ({"podManagementPolicy": "OrderedReady"}, {"podManagementPolicy": None}),
        ({"serviceFabric": FABRIC}, {"serviceFabric": {"durabilityLevel": "Gold", "typeHandlerVersion": "1.2"}}),
        ({"serviceFabric": {**FABRIC, "durabilityLevel": "Bronze"}}, {"serviceFabric": {"durabilityLevel": "Silver"}}),
        ({"serviceFabric": {**FABRIC, "durabilityLevel": "Bronze"}}, {"serviceFabric": None}),
        ({"customData": "x"}, {"customData": None}),
    ],
)
def test_what_can_be_changed(api: Api, place, before, after):
    name = api.create(SCALE_SETS, place, fresh(before))["metadata"]["name"]
    api.patch(SCALE_SETS, place, name, {"spec": after})


def fresh(spec: Json) -> Json:
    """A set of its own with those fields."""
    body = changed(SCALE_SET, {f"spec.{field}": value for field, value in spec.items()})
    return {**body, "metadata": {"generateName": "web-"}}
