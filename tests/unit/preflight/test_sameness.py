"""Two answers of the API server are compared without what it makes up for each."""

import copy
from typing import Any

import pytest

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.planner import revisions
from scaleset.preflight import sameness
from tests.simulation.world import OWNER, spec

POD: dict[str, Any] = {
    "metadata": {
        "name": "web-3",
        "uid": "1",
        "creationTimestamp": "2027-01-01T00:00:00Z",
        "managedFields": [{"time": "2027-01-01T00:00:00Z"}],
        "annotations": {"a": "b"},
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "resources": {"requests": {"memory": "2Gi"}},
                "env": [{"name": "SIZE", "value": "2Gi"}],
                "volumeMounts": [{"name": "kube-api-access-x2z9q", "mountPath": "/var/run"}],
            }
        ],
        "volumes": [{"name": "kube-api-access-x2z9q"}, {"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
    },
    "status": {"phase": "Pending"},
}


def changed(*path: Any, value: Any) -> Any:
    pod = copy.deepcopy(POD)
    inner: Any = pod
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return pod


APP: tuple[Any, ...] = ("spec", "containers", 0)


def test_what_is_made_up_for_each_pod_does_not_count():
    other = changed("metadata", "uid", value="2")
    other["metadata"] |= {"creationTimestamp": "2027-01-01T00:00:01Z", "managedFields": [], "generation": 7}
    other["spec"]["volumes"][0]["name"] = "kube-api-access-aaaaa"
    other["spec"]["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-aaaaa"
    other["status"] = {"phase": "Running"}
    assert sameness.same(other, POD)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "annotations", "a"), "c"),
        (("metadata", "labels"), {"x": "y"}),
        ((*APP, "resources", "requests", "memory"), "3Gi"),
        ((*APP, "resources", "requests", "memory"), "lots"),
        ((*APP, "env", 0, "value"), "2147483648"),
        ((*APP, "volumeMounts", 0, "mountPath"), "/elsewhere"),
        ((*APP, "volumeMounts"), []),
        (("spec", "volumes", 1, "emptyDir", "sizeLimit"), "2Gi"),
        (("spec", "volumes"), POD["spec"]["volumes"][::-1]),
        (("spec", "volumes", 0), {"name": "kube-api-access-x2z9q", "emptyDir": {}}),
    ],
)
def test_everything_else_does(path, value):
    assert not sameness.same(changed(*path, value=value), POD)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*APP, "resources", "requests", "memory"), "2147483648"),
        ((*APP, "resources", "requests", "memory"), "2048Mi"),
        (("spec", "volumes", 1, "emptyDir", "sizeLimit"), str(2**30)),
    ],
)
def test_one_quantity_may_be_written_in_several_ways(path, value):
    assert sameness.same(changed(*path, value=value), POD)


def test_what_two_answers_to_one_question_differ_in_does_not_count():
    """A webhook adds a random word, or is switched on between two answers."""
    again = changed("metadata", "annotations", value={"a": "b", "nonce": "2"})
    asked = changed("metadata", "annotations", value={"a": "b", "nonce": "3"})
    assert not sameness.same(asked, POD)
    assert sameness.same(asked, POD, again=again)
    asked["metadata"]["annotations"]["a"] = "c"
    assert not sameness.same(asked, POD, again=again)


def test_a_list_that_is_made_up_counts_no_more_whatever_is_in_it():
    again = changed("spec", "volumes", value=[])
    asked = changed("spec", "volumes", 0, "name", value="other")
    assert sameness.same(asked, POD, again=again)


# --- what is in no pod


def outside(**changes: Any) -> tuple[Any, ...]:
    return sameness.outside(OWNER, revisions.describe(OWNER.name, ScaleSetSpec.model_validate(raw(**changes))))


def raw(**changes: Any) -> dict[str, Any]:
    found = {**spec().model_dump(by_alias=True, exclude_unset=True, mode="json"), **changes}
    return {key: value for key, value in found.items() if value is not None}


def reference(**changes: Any) -> dict[str, Any]:
    return {"imageReference": {"publisher": "contoso", "offer": "web", "sku": "stable", "version": "latest", **changes}}


def by_image(*, side: str | None = None, init: str | None = None) -> dict[str, Any]:
    """Beside and before the instance container runs the image of the version, or one of their own that may be equal."""
    containers = [{"name": "app", "readinessProbe": {}}, {"name": "side", "image": side}]
    return {"template": {"spec": {"containers": containers, "initContainers": [{"name": "first", "image": init}]}}}


TWO = {"template": {"spec": {"containers": [{"name": "app", "readinessProbe": {}}, {"name": "side"}]}}}
AGENT = {"name": "agent", "image": "example.com/agent:1"}
CLAIM = {"metadata": {"name": "data"}, "spec": {}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, reference(galleryNamespace="shop")),
        ({}, {"instanceContainer": "app"}),
        ({}, {"health": {"source": "ReadinessProbe"}}),
        ({"extensions": [AGENT]}, {"extensions": [{**AGENT, "suppressFailures": False}]}),
        ({"updateDomains": 1}, {"updateDomains": None}),
    ],
)
def test_the_same_outside_of_pods(one, other):
    assert outside(**one) == outside(**other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, reference(sku="core")),
        ({}, reference(version="1.0.0")),
        ({}, reference(galleryNamespace="elsewhere")),
        (TWO, {**TWO, "instanceContainer": "side"}),
        (TWO, by_image(side="example.com/web:1.0.0")),
        (by_image(), by_image(init="example.com/web:1.0.0")),
        ({}, {"health": {"source": "InstanceState"}}),
        ({}, {"updateDomains": 4}),
        ({}, {"zones": ["a"]}),
        ({"extensions": [AGENT]}, {"extensions": [{**AGENT, "forceUpdateTag": "2"}]}),
        ({"volumeClaimTemplates": [CLAIM]}, {}),
        (
            {"volumeClaimTemplates": [CLAIM]},
            {"volumeClaimTemplates": [{"metadata": {"name": "other"}, "spec": {}}]},
        ),
    ],
)
def test_different_outside_of_pods(one, other):
    assert outside(**one) != outside(**other)
