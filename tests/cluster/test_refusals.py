"""`kubectl apply` refuses bad input with a sentence that says what to change; within the bounds it accepts.

Each row is a valid object with one thing changed, sent to a real API server as a dry run.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness.api import IMAGES, POLICIES, SCALE_SETS, ApiError, Json, Kind, _path

NAMESPACE = "refusals"
ABSENT: Any = object()
DIGEST = "sha256:" + "0123456789abcdef" * 4

SCALE_SET: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "ScaleSet",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 5,
        "imageReference": {"publisher": "example", "offer": "web", "sku": "stable", "version": "latest"},
        "template": {"spec": {"containers": [{"name": "web", "image": "example.com/web:1.0.0"}]}},
    },
}
POLICY: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "UpgradePolicy",
    "metadata": {"name": "careful"},
    "spec": {"mode": "Rolling"},
}
IMAGE: Json = {
    "apiVersion": "scaleset.dev/v1beta1",
    "kind": "GalleryImageVersion",
    "metadata": {"name": "web-1.0.0"},
    "spec": {
        "publisher": "example",
        "offer": "web",
        "sku": "stable",
        "version": "1.0.0",
        "image": "example.com/web:1.0.0",
    },
}
BASES = {
    "ScaleSet": (SCALE_SETS, SCALE_SET),
    "UpgradePolicy": (POLICIES, POLICY),
    "GalleryImageVersion": (IMAGES, IMAGE),
}
PROBE = {"tcpSocket": {"port": 80}}


def changed(base: Json, changes: dict[str, Any]) -> Json:
    """The object with other values at these paths ("spec.replicas"); ABSENT removes."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is ABSENT:
            del at[last]
        else:
            at[last] = value
    return result


def containers(*items: Json) -> list[Json]:
    return [{"image": "example.com/web:1.0.0", **item} for item in items]


def claim(name: str, **metadata: Any) -> Json:
    requests = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    return {"metadata": {"name": name, **metadata}, "spec": requests}


def image_version(version: Any) -> dict[str, Any]:
    return {"spec.version": version}


WRITE_EXACT = "write the version as MAJOR.MINOR.PATCH"
WRITE_LATEST = "write the version as latest, or as MAJOR.MINOR.PATCH"
WRITE_DURATION = "write the duration as in ISO 8601"
BARE_POLICY = "give the bare name of an UpgradePolicy in this namespace"
TEMPLATE = "spec.template"
CONTAINERS = "spec.template.spec.containers"
BATCH = "spec.rollingUpgradePolicy.maxBatchInstancePercent"
UNHEALTHY = "spec.rollingUpgradePolicy.maxUnhealthyInstancePercent"
UPGRADED = "spec.rollingUpgradePolicy.maxUnhealthyUpgradedInstancePercent"

SET_REFUSED: list[tuple[dict[str, Any], str]] = [
    # replicas (faults 77)
    ({"spec.replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
    ({"spec.replicas": 1001, "spec.singlePlacementGroup": False}, "should be less than or equal to 1000"),
    ({"spec.replicas": 10**9}, "should be less than or equal to 1000"),
    ({"spec.replicas": 2**31}, "should be less than or equal to 1000"),
    ({"spec.replicas": 2**63}, "spec.replicas"),
    ({"spec.replicas": "5"}, "spec.replicas in body must be of type integer"),
    ({"spec.replicas": 101}, 'spec.singlePlacementGroup: Invalid value: "object": set singlePlacementGroup to false'),
    ({"spec.replicas": 101, "spec.singlePlacementGroup": None}, "set singlePlacementGroup to false for more than 100"),
    # names (faults 78)
    ({"metadata.name": "a" * 60}, "choose a name of at most 59 characters for a ScaleSet"),
    ({"metadata.name": "a" * 63}, "choose a name of at most 59 characters for a ScaleSet"),
    ({"metadata.name": "a" * 64}, "choose a name of at most 59 characters for a ScaleSet"),
    ({"metadata.name": "a" * 253}, "choose a name of at most 59 characters for a ScaleSet"),
    ({"metadata.name": "a" * 254}, "must be no more than 253 characters"),
    ({"metadata.name": "web.blue"}, "use lower-case letters, digits and '-' only in the name of a ScaleSet"),
    ({"metadata.name": "Web"}, "metadata.name"),
    ({"metadata.name": "web-"}, "metadata.name"),
    ({"metadata.name": "wеb"}, "metadata.name"),  # a Cyrillic е
    # image reference (faults 41, 80, 84)
    ({"spec.imageReference": ABSENT}, "spec.imageReference: Required value"),
    ({"spec.imageReference.publisher": ABSENT}, "spec.imageReference.publisher: Required value"),
    ({"spec.imageReference.offer": ""}, "spec.imageReference.offer"),
    ({"spec.imageReference.sku": "a" * 64}, "spec.imageReference.sku: Too long: may not be more than 63"),
    ({"spec.imageReference.sku": "sta ble"}, "use letters, digits, '.', '_' and '-' only"),
    ({"spec.imageReference.sku": "../secret"}, "use letters, digits, '.', '_' and '-' only"),
    ({"spec.imageReference.offer": "w\u200beb"}, "use letters, digits, '.', '_' and '-' only"),
    ({"spec.imageReference.version": "Latest"}, WRITE_LATEST),
    ({"spec.imageReference.version": "latest\n"}, WRITE_LATEST),
    ({"spec.imageReference.version": "1.0"}, WRITE_LATEST),
    ({"spec.imageReference.version": "01.0.0"}, WRITE_LATEST),
    ({"spec.imageReference.version": "1.0.0-rc1"}, WRITE_LATEST),
    (
        {"spec.imageReference.version": "4294967296.0.0"},
        "make each of the three parts of the version less than 2147483648",
    ),
    ({"spec.imageReference.galleryNamespace": "../kube-system"}, "give the name of a namespace"),
    ({"spec.imageReference.galleryNamespace": "images/web"}, "give the name of a namespace"),
    # references (faults 84)
    ({"spec.upgradePolicyRef": {"name": "other/careful"}}, BARE_POLICY),
    ({"spec.upgradePolicyRef": {"name": "../careful"}}, BARE_POLICY),
    ({"spec.upgradePolicyRef": {"name": ""}}, "spec.upgradePolicyRef.name"),
    (
        {"spec.upgradePolicyRef": {"name": "careful", "namespace": "other"}},
        'unknown field "spec.upgradePolicyRef.namespace"',
    ),
    ({"spec.serviceName": "other/web"}, "give the bare name of a Service in this namespace"),
    ({"spec.serviceName": "web.other"}, "give the bare name of a Service in this namespace"),
    ({"spec.serviceName": "1web"}, "give the bare name of a Service in this namespace"),
    ({"spec.location": "west europe"}, "use the value of the nodes' topology.kubernetes.io/region label"),
    # template (faults 79, 81)
    ({"spec.template": ABSENT}, "spec.template: Required value"),
    ({"spec.template.spec": {}}, "spec.template.spec.containers: Required value"),
    ({CONTAINERS: []}, "spec.template.spec.containers in body should have at least 1 items"),
    ({CONTAINERS: [{"image": "example.com/web:1.0.0"}]}, "containers[0].name: Required value"),
    ({CONTAINERS: containers({"name": "web"}, {"name": "web"})}, "Duplicate value"),
    ({CONTAINERS: containers(*({"name": f"c{i}"} for i in range(33)))}, "must have at most 32 items"),
    (
        {"spec.template.spec.initContainers": containers({"name": "web"})},
        "give every container and init container a name of its own",
    ),
    ({"spec.template.spec.restartPolicy": "OnFailure"}, "set restartPolicy to Always or remove it"),
    ({"spec.template.spec.hostname": "web"}, "remove hostname"),
    ({"spec.template.spec.subdomain": "web"}, "remove subdomain and set spec.serviceName instead"),
    ({"spec.template.metadata": {"name": "web"}}, "remove name: each instance is named <scale set>-<instance id>"),
    ({"spec.template.metadata": {"namespace": "other"}}, 'unknown field "spec.template.metadata.namespace"'),
    ({"spec.template.metadata": {"ownerReferences": []}}, 'unknown field "spec.template.metadata.ownerReferences"'),
    (
        {"spec.template.metadata": {"labels": {"scaleset.dev/name": "other"}}},
        "remove the labels that begin with scaleset.dev/",
    ),
    (
        {"spec.template.metadata": {"annotations": {"scaleset.dev/previous": "{}"}}},
        "remove the annotations that begin with scaleset.dev/",
    ),
    ({"spec.template.metadata": {"labels": {"app": "a" * 64}}}, "may not be more than 63"),
    ({"spec.template.metadata": {"labels": {"app": "a b"}}}, "in the values of labels"),
    ({"spec.template.metadata": {"labels": {f"l{i}": "" for i in range(129)}}}, "must have at most 128 items"),
    ({"spec.template.metadata": {"annotations": {"note": "a" * 300 * 1024}}}, "may not be more than 262144"),
    (
        {"spec.instanceContainer": "sidecar"},
        "set instanceContainer to the name of a container in template.spec.containers",
    ),
    # claims
    (
        {"spec.volumeClaimTemplates": [claim("data"), claim("data")]},
        "give each of the volumeClaimTemplates a name of its own",
    ),
    ({"spec.volumeClaimTemplates": [claim("Data")]}, "use lower-case letters, digits and '-' only"),
    ({"spec.volumeClaimTemplates": [{"spec": {}}]}, "spec.volumeClaimTemplates[0].metadata: Required value"),
    (
        {"spec.volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        "spec.volumeClaimTemplates[0].spec: Required value",
    ),
    ({"spec.volumeClaimTemplates": [claim(f"c{i}") for i in range(33)]}, "must have at most 32 items"),
    (
        {"spec.volumeClaimTemplates": [claim("data", labels={"scaleset.dev/name": "other"})]},
        "remove the labels that begin with scaleset.dev/",
    ),
    (
        {
            "spec.volumeClaimTemplates": [claim("data")],
            "spec.template.spec.volumes": [{"name": "data", "emptyDir": {}}],
        },
        "template.spec.volumes and volumeClaimTemplates must not share a name",
    ),
    # health
    ({"spec.health": {"source": "Magic"}}, 'supported values: "ReadinessProbe", "InstanceState"'),
    ({"spec.health": {"probe": {"port": 80}}}, "spec.health.probe.protocol: Required value"),
    ({"spec.health": {"probe": {"protocol": "udp", "port": 80}}}, 'supported values: "http", "https", "tcp"'),
    ({"spec.health": {"probe": {"protocol": "http"}}}, "set requestPath, such as /healthz"),
    ({"spec.health": {"probe": {"protocol": "https", "requestPath": "healthz"}}}, "begin requestPath with /"),
    ({"spec.health": {"probe": {"protocol": "http", "requestPath": "/a b"}}}, "printable ASCII without spaces"),
    ({"spec.health": {"probe": {"protocol": "tcp"}}}, "set port: a tcp probe needs it"),
    (
        {"spec.health": {"probe": {"protocol": "tcp", "port": 80, "requestPath": "/"}}},
        "remove requestPath: a tcp probe has none",
    ),
    ({"spec.health": {"probe": {"protocol": "tcp", "port": 65536}}}, "should be less than or equal to 65535"),
    ({"spec.health": {"probe": {"protocol": "tcp", "port": 80, "intervalInSeconds": 4}}}, "greater than or equal to 5"),
    ({"spec.health": {"probe": {"protocol": "tcp", "port": 80, "intervalInSeconds": 61}}}, "less than or equal to 60"),
    ({"spec.health": {"probe": {"protocol": "tcp", "port": 80, "numberOfProbes": 25}}}, "less than or equal to 24"),
    (
        {"spec.health": {"source": "InstanceState", "probe": {"protocol": "tcp", "port": 80}}},
        "remove probe, or set source to ReadinessProbe",
    ),
    (
        {
            "spec.health": {"probe": {"protocol": "tcp", "port": 80}},
            CONTAINERS: containers({"name": "web", "readinessProbe": PROBE}),
        },
        "remove health.probe or the readinessProbe of the instance container",
    ),
    (
        {
            "spec.health": {"probe": {"protocol": "tcp", "port": 80}},
            "spec.instanceContainer": "second",
            CONTAINERS: containers({"name": "web"}, {"name": "second", "readinessProbe": PROBE}),
        },
        "remove health.probe or the readinessProbe of the instance container",
    ),
    (
        {
            "spec.health": {"probe": {"protocol": "tcp", "port": 80, "gracePeriodInSeconds": 60}},
            CONTAINERS: containers({"name": "web", "startupProbe": PROBE}),
        },
        "remove health.probe.gracePeriodInSeconds or the startupProbe",
    ),
    # protection
    ({"spec.protectedInstances": [{"id": 0}, {"id": 0}]}, "Duplicate value"),
    ({"spec.protectedInstances": [{"id": -1}]}, "should be greater than or equal to 0"),
    ({"spec.protectedInstances": [{"protectFromScaleIn": True}]}, "id: Required value"),
    (
        {"spec.protectedInstances": [{"id": 0, "protectFromScaleIn": False, "protectFromScaleSetActions": True}]},
        "set protectFromScaleIn to true or remove it",
    ),
    # the rest
    ({"spec": ABSENT}, "spec: Required value"),
    ({"spec.suspend": "yes"}, "spec.suspend in body must be of type boolean"),
    ({"spec.suspned": True}, 'unknown field "spec.suspned"'),
    ({"spec.extension": []}, 'unknown field "spec.extension"'),
]

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
            "01.0.0",
            "1.0.00",
            "1.0.0-rc1",
            "1.0.0+build",
            "v1.0.0",
            "1.0.0.0",
            "1.0.0\n",
            "1.0.٠",
            "latest",
            "-1.0.0",
        )
    ),
    (image_version("1.0"), WRITE_EXACT),
    (image_version(1.0), "must be of type string"),
    (image_version("2147483648.0.0"), "less than 2147483648"),
    (image_version("0.4294967296.0"), "less than 2147483648"),
    (image_version("0.0.9223372036854775808"), WRITE_EXACT),
    (image_version("1." * 20), "may not be more than 32"),
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

SET_ACCEPTED: list[dict[str, Any]] = [
    {},
    {"spec.replicas": 0},
    {"spec.replicas": 100},
    {"spec.replicas": 1000, "spec.singlePlacementGroup": False},
    {"spec.replicas": ABSENT},
    {"spec.replicas": None},
    {"metadata.name": "a"},
    {"metadata.name": "0"},
    {"metadata.name": "a" * 52},
    {"metadata.name": "a" * 53},
    {"metadata.name": "a" * 59},
    {"spec.imageReference.version": "0.0.0"},
    {"spec.imageReference.version": "2147483647.2147483647.2147483647"},
    {"spec.imageReference.publisher": "a" * 63},
    {"spec.imageReference.sku": "2022-datacenter_Azure.Edition"},
    {"spec.imageReference.galleryNamespace": "images"},
    {"spec.upgradePolicyRef": {"name": "a" * 63}},
    {"spec.serviceName": "a" * 63},
    {"spec.template.spec.restartPolicy": "Always"},
    {"spec.template.metadata": {"creationTimestamp": None, "labels": {"app.kubernetes.io/name": "web", "empty": ""}}},
    {"spec.template.metadata": {"labels": {f"l{i}": "a" * 63 for i in range(128)}}},
    {"spec.template.metadata": {"annotations": {"note": "🚢 \u202e \u0000"}}},
    {"spec.template.spec.somethingNew": {"of": ["a", "later", "Kubernetes"]}},
    {CONTAINERS: containers(*({"name": f"c{i}"} for i in range(32)))},
    {CONTAINERS: containers({"name": "web", "env": [{"name": f"E{i}", "value": "x"} for i in range(10_000)]})},
    {CONTAINERS: containers({"name": "web"}, {"name": "second"}), "spec.instanceContainer": "second"},
    {CONTAINERS: containers({"name": "web", "readinessProbe": PROBE}), "spec.health": {"source": "ReadinessProbe"}},
    {
        CONTAINERS: containers({"name": "web"}, {"name": "second", "readinessProbe": PROBE, "startupProbe": PROBE}),
        "spec.health": {"probe": {"protocol": "tcp", "port": 80, "gracePeriodInSeconds": 14400}},
    },
    {"spec.health": {"source": "InstanceState"}},
    {"spec.health": {"source": "ReadinessProbe", "probe": {"protocol": "http", "requestPath": "/"}}},
    {
        "spec.health": {
            "probe": {
                "protocol": "https",
                "requestPath": "/a?b=c",
                "port": 65535,
                "intervalInSeconds": 60,
                "numberOfProbes": 24,
            }
        }
    },
    {"spec.volumeClaimTemplates": [claim("data", labels={"tier": "gold"}), claim("log")]},
    {"spec.volumeClaimTemplates": [claim(f"c{i}") for i in range(32)]},
    {"spec.protectedInstances": [{"id": i, "protectFromScaleIn": True} for i in range(1000)]},
    {"spec.protectedInstances": [{"id": 0, "protectFromScaleSetActions": True}]},
    {"spec.protectedInstances": [{"id": 0, "protectFromScaleIn": True, "protectFromScaleSetActions": True}]},
    {"spec.protectedInstances": [{"id": 0, "protectFromScaleIn": False}]},
    {"spec.location": "West_Europe.1"},
    {"spec.suspend": True},
]

POLICY_ACCEPTED: list[dict[str, Any]] = [
    {"spec": {}},
    *({path: value} for path in (BATCH, UNHEALTHY, UPGRADED) for value in (5, 20.0, 100)),
    {BATCH: None},
    {UPGRADED: 0},
    *({"spec.healthTimeout": text} for text in ("PT1S", "PT5M", "P1D", "PT24H", "PT86400S", "PT23H59M60S", "P0DT0H5M")),
    *({"spec.rollingUpgradePolicy.pauseTimeBetweenBatches": text} for text in ("PT0S", "P1W", "P7D", "P6DT24H", "P0W")),
    {"spec.minReadyTime": "P1D"},
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

REFUSED = [
    *(("ScaleSet", changes, fragment) for changes, fragment in SET_REFUSED),
    *(("UpgradePolicy", changes, fragment) for changes, fragment in POLICY_REFUSED),
    *(("GalleryImageVersion", changes, fragment) for changes, fragment in IMAGE_REFUSED),
]
ACCEPTED = [
    *(("ScaleSet", changes) for changes in SET_ACCEPTED),
    *(("UpgradePolicy", changes) for changes in POLICY_ACCEPTED),
    *(("GalleryImageVersion", changes) for changes in IMAGE_ACCEPTED),
]


def shown(value: Any) -> str | None:
    """Short ASCII names of the rows."""
    if isinstance(value, dict):
        return ascii({path: "absent" if to is ABSENT else to for path, to in value.items()})[1:-1][:70]
    return None


def dry_run(cluster: Any, kind: Kind, body: Json) -> Json:
    """Creates it for nothing, strictly, as kubectl does."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    answer: Json = cluster.api._call("POST", _path(kind, "default"), body=body, query=query)
    return answer


@pytest.mark.parametrize(("name", "changes", "fragment"), REFUSED, ids=shown)
def test_bad_input_is_refused_with_a_sentence(cluster, name, changes, fragment):
    kind, base = BASES[name]
    with pytest.raises(ApiError) as refusal:
        dry_run(cluster, kind, changed(base, changes))
    assert refusal.value.status in {400, 422}
    assert fragment in refusal.value.message


@pytest.mark.parametrize(("name", "changes"), ACCEPTED, ids=shown)
def test_no_bound_is_too_strict(cluster, name, changes):
    kind, base = BASES[name]
    dry_run(cluster, kind, changed(base, changes))


@pytest.mark.parametrize("text", ["NaN", "1e309", "Infinity"])
def test_what_is_no_number_is_refused(cluster, text):
    head = b'{"apiVersion":"scaleset.dev/v1beta1","kind":"UpgradePolicy","metadata":{"name":"x"},"spec":'
    body = head + b'{"rollingUpgradePolicy":{"maxBatchInstancePercent":' + text.encode() + b"}}}"
    url = f"{cluster.api._host}{_path(POLICIES, 'default')}?dryRun=All"
    answer = cluster.api._pool.request(
        "POST", url, body=body, headers={"Content-Type": "application/json"}, retries=False
    )
    assert answer.status in {400, 422}


def test_null_means_the_default(cluster):
    policy = dry_run(cluster, POLICIES, changed(POLICY, {BATCH: None, "spec.healthTimeout": None}))
    assert policy["spec"]["rollingUpgradePolicy"]["maxBatchInstancePercent"] == 20
    assert policy["spec"]["healthTimeout"] == "PT5M"


def test_an_object_that_does_not_fit_into_etcd_is_refused(cluster, existing):
    body = changed(
        SCALE_SET, {"metadata.name": "huge", CONTAINERS: containers({"name": "web", "args": ["a" * 1_600_000]})}
    )
    with pytest.raises(ApiError):
        cluster.api.create(SCALE_SETS, NAMESPACE, body)


@pytest.fixture(scope="module")
def existing(cluster: Any) -> Iterator[Any]:
    """One object of each kind that can be updated."""
    cluster.make_namespace(NAMESPACE)
    for kind, base in BASES.values():
        cluster.api.create(kind, NAMESPACE, base)
    yield cluster.api
    for kind, base in BASES.values():
        cluster.api.delete(kind, NAMESPACE, base["metadata"]["name"])


@pytest.mark.parametrize(
    ("kind", "name", "spec", "fragment"),
    [
        *(
            (IMAGES, "web-1.0.0", {field: value}, f"{field} cannot be changed: publish another GalleryImageVersion")
            for field, value in (
                ("publisher", "other"),
                ("offer", "other"),
                ("sku", "other"),
                ("version", "1.0.1"),
                ("image", "example.com/web:1.0.1"),
            )
        ),
        (
            SCALE_SETS,
            "web",
            {"imageReference": {"publisher": "other"}},
            "publisher cannot be changed: create another ScaleSet",
        ),
        (SCALE_SETS, "web", {"imageReference": {"offer": "other"}}, "offer cannot be changed: create another ScaleSet"),
    ],
)
def test_what_cannot_be_changed(existing, kind, name, spec, fragment):
    with pytest.raises(ApiError) as refusal:
        existing.patch(kind, NAMESPACE, name, {"spec": spec})
    assert fragment in refusal.value.message


def test_what_can_be_changed(existing):
    spec = {
        "imageReference": {"sku": "edge", "version": "1.2.3", "galleryNamespace": "images"},
        "volumeClaimTemplates": [claim("data")],
        "serviceName": "web",
        "location": "west",
        "upgradePolicyRef": {"name": "careful"},
    }
    existing.patch(SCALE_SETS, NAMESPACE, "web", {"spec": spec})
    existing.patch(IMAGES, NAMESPACE, "web-1.0.0", {"spec": {"publishingProfile": {"excludeFromLatest": True}}})


@pytest.mark.parametrize("back", [True, None])
def test_a_single_placement_group_is_left_for_ever(existing, back):
    existing.patch(SCALE_SETS, NAMESPACE, "web", {"spec": {"singlePlacementGroup": False}})
    with pytest.raises(ApiError) as refusal:
        existing.patch(SCALE_SETS, NAMESPACE, "web", {"spec": {"singlePlacementGroup": back}})
    assert "leave singlePlacementGroup at false: it cannot be set back to true" in refusal.value.message


def test_the_scale_subresource_keeps_to_the_bounds(existing):
    existing.create(SCALE_SETS, NAMESPACE, changed(SCALE_SET, {"metadata.name": "scaled"}))
    existing.patch(SCALE_SETS, NAMESPACE, "scaled", {"spec": {"replicas": 100}}, subresource="scale")
    for replicas in (-1, 101, 1001):
        with pytest.raises(ApiError):
            existing.patch(SCALE_SETS, NAMESPACE, "scaled", {"spec": {"replicas": replicas}}, subresource="scale")
    assert existing.get(SCALE_SETS, NAMESPACE, "scaled")["spec"]["replicas"] == 100
    existing.delete(SCALE_SETS, NAMESPACE, "scaled")
