"""`kubectl apply` refuses a bad ScaleSet with a sentence that says what to change; within the bounds it accepts.

Each row is a valid object with one thing changed, sent to a real API server as a dry run.
"""

from typing import Any

import pytest

from tests.cluster.harness.api import SCALE_SETS, ApiError
from tests.cluster.harness.refusals import (
    ABSENT,
    CONTAINERS,
    PROBE,
    SCALE_SET,
    accepted,
    assert_accepted,
    assert_refused,
    changed,
    claim,
    containers,
    refused,
    shown,
)

BARE_POLICY = "give the bare name of an UpgradePolicy in this namespace"

SET_REFUSED: list[tuple[dict[str, Any], str]] = [
    # replicas (faults 77)
    ({"spec.replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
    ({"spec.replicas": 1001, "spec.singlePlacementGroup": False}, "should be less than or equal to 1000"),
    ({"spec.replicas": 10**9}, "should be less than or equal to 1000"),
    ({"spec.replicas": 2**31}, "should be less than or equal to 1000"),
    ({"spec.replicas": 2**63}, "spec.replicas"),
    ({"spec.replicas": "5"}, "spec.replicas in body must be of type integer"),
    (
        {"spec.replicas": 101, "spec.singlePlacementGroup": True},
        'spec.singlePlacementGroup: Invalid value: "object": set singlePlacementGroup to false, once',
    ),
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
    *(
        ({"spec.imageReference.version": version}, "write the version as latest, or as one to four integers")
        for version in ("Latest", "latest\n", "1.", "1.0.0.0.0", "1.0.0-rc1")
    ),
    (
        {"spec.imageReference.version": "4294967296.0.0"},
        "make each part of the version less than 2147483648",
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
    ({"spec.template.metadata": {"label": {"app": "web"}}}, 'unknown field "spec.template.metadata.label"'),
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
    {"spec.template.metadata": {"name": "web", "namespace": "other", "uid": "1", "generation": 3}},
    {"spec.template.metadata": {"ownerReferences": [{"kind": "ReplicaSet"}], "managedFields": [{"manager": "me"}]}},
    {"spec.template.metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/drain"]}},
    {"spec.template.spec.hostname": "web", "spec.template.spec.subdomain": "web"},
    {CONTAINERS: [{"name": "web"}], "spec.template.spec.initContainers": [{"name": "migrate"}]},
    {"spec.serviceName": ""},
    {"spec.volumeClaimTemplates": [{**claim("data"), "apiVersion": "v1", "kind": "PersistentVolumeClaim"}]},
    {"spec.volumeClaimTemplates": [{**claim("data", creationTimestamp=None), "status": {"phase": "Pending"}}]},
    {"spec.volumeClaimTemplates": [claim("data", namespace="other", ownerReferences=[], finalizers=["a/b"])]},
    {"spec.volumeClaimTemplates": [claim("data")], "spec.template.spec.volumes": [{"name": "data", "emptyDir": {}}]},
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


@pytest.mark.parametrize(("kind", "changes", "fragment"), refused(ScaleSet=SET_REFUSED), ids=shown)
def test_bad_input_is_refused_with_a_sentence(api, kind, changes, fragment):
    assert_refused(api, kind, changes, saying=fragment)


@pytest.mark.parametrize(("kind", "changes"), accepted(ScaleSet=SET_ACCEPTED), ids=shown)
def test_no_bound_is_too_strict(api, kind, changes):
    assert_accepted(api, kind, changes)


def test_an_object_that_does_not_fit_into_etcd_is_refused(api):
    body = changed(
        SCALE_SET, {"metadata.name": "huge", CONTAINERS: containers({"name": "web", "args": ["a" * 1_600_000]})}
    )
    with pytest.raises(ApiError):
        api.create(SCALE_SETS, "default", body)
