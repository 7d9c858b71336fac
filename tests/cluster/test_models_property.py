"""Is a model the same as another? A real API server says so, of templates written in one way and in another."""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.controllers.observation import check_model
from scaleset.kube.client import Client
from scaleset.planner import revisions
from scaleset.planner.instances import Build
from scaleset.planner.plan import ModelCheck
from scaleset.planner.pod_builder import Identity
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.manifests import REGISTRY

Json = dict[str, Any]
EXAMPLES = 60

BASE: Json = {
    "replicas": 3,
    "imageReference": {"publisher": "example", "offer": "os", "sku": "server", "version": "latest"},
    "template": {
        "metadata": {"labels": {"app": "web"}, "annotations": {"example.com/a": "b"}},
        "spec": {
            "initContainers": [{"name": "first", "image": "first:1", "command": ["/bin/true"]}],
            "containers": [
                {
                    "name": "os",
                    "image": "placeholder",
                    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 80}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                },
                {"name": "side", "image": "side:1"},
            ],
            "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "other", "emptyDir": {}}],
        },
    },
    "volumeClaimTemplates": [
        {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        }
    ],
    "health": {"source": "InstanceState"},
    "serviceName": "web",
    "customData": "echo hello\n",
}

Edit = tuple[tuple[str | int, ...], Any]
"""A place in the spec, and what is written there."""
_OS: tuple[str | int, ...] = ("template", "spec", "containers", 0)
_SIDE: tuple[str | int, ...] = ("template", "spec", "containers", 1)
_POD: tuple[str | int, ...] = ("template", "spec")
_CLAIM: tuple[str | int, ...] = ("volumeClaimTemplates", 0, "spec")

RESPELLINGS: list[Edit] = [
    ((*_OS, "image"), "something-else:2"),
    ((*_OS, "image"), None),
    ((*_OS, "resources", "requests", "cpu"), "0.5"),
    ((*_OS, "resources", "requests", "memory"), "1024Mi"),
    ((*_OS, "resources", "limits", "memory"), str(2 * 2**30)),
    ((*_OS, "imagePullPolicy"), "IfNotPresent"),
    ((*_OS, "terminationMessagePath"), "/dev/termination-log"),
    ((*_OS, "terminationMessagePolicy"), "File"),
    ((*_OS, "ports", 0, "protocol"), "TCP"),
    ((*_OS, "command"), []),
    ((*_OS, "securityContext"), None),
    ((*_SIDE, "resources"), {}),
    ((*_SIDE, "env"), []),
    ((*_SIDE, "imagePullPolicy"), "IfNotPresent"),
    ((*_POD, "securityContext"), {}),
    ((*_POD, "restartPolicy"), "Always"),
    ((*_POD, "dnsPolicy"), "ClusterFirst"),
    ((*_POD, "schedulerName"), "default-scheduler"),
    ((*_POD, "terminationGracePeriodSeconds"), 30),
    ((*_POD, "serviceAccountName"), "default"),
    ((*_POD, "nodeSelector"), {}),
    ((*_POD, "affinity"), None),
    ((*_POD, "volumes", 0, "emptyDir", "sizeLimit"), "1024Mi"),
    (("template", "metadata", "creationTimestamp"), None),
    ((*_CLAIM, "volumeMode"), "Filesystem"),
    ((*_CLAIM, "resources", "requests", "storage"), "10240Mi"),
    (("volumeClaimTemplates", 0, "metadata", "labels"), {"backup": "daily"}),
    (("volumeClaimTemplates", 0, "metadata", "annotations"), {"example.com/backup": "daily"}),
    (("imageReference", "galleryNamespace"), "NAMESPACE"),
    (("instanceContainer",), "os"),
    (("customData",), "ZWNobyBoZWxsbwo="),
    (("updateDomains",), 1),
    (("extensions",), []),
    (("location",), "default"),
]
CHANGES: list[Edit] = [
    ((*_OS, "resources", "requests", "cpu"), "501m"),
    ((*_OS, "imagePullPolicy"), "Always"),
    ((*_OS, "env", 0, "value"), "3"),
    ((*_OS, "env"), [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
    ((*_OS, "env"), None),
    ((*_OS, "volumeMounts", 0, "mountPath"), "/cache2"),
    ((*_SIDE, "image"), "side:2"),
    ((*_SIDE, "args"), ["-v"]),
    ((*_POD, "initContainers", 0, "command"), ["/bin/false"]),
    ((*_POD, "terminationGracePeriodSeconds"), 31),
    ((*_POD, "automountServiceAccountToken"), False),
    ((*_POD, "volumes"), None),
    (("template", "metadata", "annotations", "example.com/a"), "c"),
    (("template", "metadata", "labels", "app"), "web2"),
    ((*_CLAIM, "resources", "requests", "storage"), "11Gi"),
    ((*_CLAIM, "accessModes"), ["ReadWriteMany"]),
    (("imageReference", "sku"), "core"),
    (("imageReference", "version"), "1.0.0"),
    (("imageReference", "galleryNamespace"), "elsewhere"),
    (("instanceContainer",), "side"),
    (("customData",), "echo bye\n"),
    (("runCustomData",), True),
    (("updateDomains",), 4),
    (("zones",), ["a", "b"]),
    (("location",), "west"),
    (("serviceName",), "web2"),
    (("health",), {"source": "ReadinessProbe"}),
    (("health",), {"probe": {"protocol": "tcp", "port": 80}}),
    (("extensions",), [{"name": "agent", "image": "agent:1"}]),
]
GOES_WITH: dict[tuple[str | int, ...], list[Edit]] = {
    (*_POD, "volumes"): [((*_OS, "volumeMounts"), None)],
}
"""What else has to change, or the pod would be none."""


class Judge:
    """Asks a real API server, as the operator does."""

    def __init__(self, client: Client, namespace: str, runner: asyncio.Runner) -> None:
        self.owner = Identity(namespace, "web", "0b8d5d0c-0000-4000-8000-000000000000")
        self._client, self._runner = client, runner

    def model(self, edits: list[Edit], *, number: int = 0) -> Revision:
        spec = copy.deepcopy(BASE)
        for path, value in edits:
            write(spec, path, self.owner.namespace if value == "NAMESPACE" else value)
        found = revisions.describe("web", ScaleSetSpec.model_validate(spec))
        return Revision(found.name, number, found.data)

    def verdict(self, asked: Revision, *stored: Revision) -> Verdict:
        build = Build(asked.name, "1.0.0", f"{REGISTRY}:1.0.0")
        check = ModelCheck(asked, build, instance=0, beside=3, stored=stored)
        return self._runner.run(check_model(self._client, self.owner, check, now=1.8e9))


@pytest.fixture(scope="module")
def judge(cluster: Cluster) -> Iterator[Judge]:
    namespace = cluster.make_namespace("models-property")
    with asyncio.Runner() as runner:
        client = runner.run(Client.open(str(cluster.kubeconfig)))
        yield Judge(client, namespace, runner)
        runner.run(client.aclose())


def write(spec: Json, path: tuple[str | int, ...], value: Any) -> None:
    inner: Any = spec
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value


def respelled(draw: st.DrawFn, *, apart_from: tuple[str | int, ...] = ()) -> list[Edit]:
    """Some of the respellings, none of them in the place of another edit."""
    chosen = draw(st.lists(st.sampled_from(RESPELLINGS), max_size=8, unique_by=lambda edit: edit[0]))
    return [edit for edit in chosen if not apart_from or edit[0][: len(apart_from)] != apart_from]


@st.composite
def respellings(draw: st.DrawFn) -> list[Edit]:
    return respelled(draw)


@st.composite
def changes(draw: st.DrawFn) -> list[Edit]:
    path, value = draw(st.sampled_from(CHANGES))
    others = GOES_WITH.get(path, [])
    around = [
        edit for edit in respelled(draw) if not any(_overlap(edit[0], place) for place, _ in [(path, 0), *others])
    ]
    return [*around, (path, value), *others]


def _overlap(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


REAL = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("edit", RESPELLINGS, ids=lambda edit: f"{'.'.join(map(str, edit[0]))}={edit[1]}")
def test_each_respelling_is_the_stored_model(judge: Judge, edit: Edit) -> None:
    stored, asked = judge.model([], number=1), judge.model([edit])
    assert asked.name == stored.name or judge.verdict(asked, stored).same_as == stored.name


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: f"{'.'.join(map(str, edit[0]))}={edit[1]}")
def test_each_change_is_another_model(judge: Judge, edit: Edit) -> None:
    stored, asked = judge.model([], number=1), judge.model([edit, *GOES_WITH.get(edit[0], [])])
    verdict = judge.verdict(asked, stored)
    assert (verdict.accepted, verdict.same_as) == (True, ""), verdict.message


@REAL
@given(one=respellings(), other=respellings())
def test_two_spellings_of_one_model_are_the_same(judge: Judge, one: list[Edit], other: list[Edit]) -> None:
    stored, asked = judge.model(one, number=1), judge.model(other)
    assert asked.name == stored.name or judge.verdict(asked, stored).same_as == stored.name


@REAL
@given(one=respellings(), other=changes())
def test_a_change_among_respellings_is_noticed(judge: Judge, one: list[Edit], other: list[Edit]) -> None:
    stored, asked = judge.model(one, number=1), judge.model(other)
    verdict = judge.verdict(asked, stored)
    assert (verdict.accepted, verdict.same_as) == (True, ""), verdict.message


def test_it_may_be_an_older_one_that_instances_still_run(judge: Judge) -> None:
    old, newest = judge.model([], number=1), judge.model([CHANGES[0]], number=2)
    asked = judge.model([RESPELLINGS[0], RESPELLINGS[2]])
    assert judge.verdict(asked, newest, old).same_as == old.name
