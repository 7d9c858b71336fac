"""What `kubectl apply` refuses to change in an object that exists, and what it lets be changed."""

from collections.abc import Iterator

import pytest

from tests.cluster.harness.api import IMAGES, SCALE_SETS, Api, ApiError
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.refusals import BASES, SCALE_SET, changed, claim

NAMESPACE = "refusals"


@pytest.fixture(scope="module")
def existing(cluster: Cluster) -> Iterator[Api]:
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


def test_a_single_placement_group_is_left_for_ever(existing):
    existing.patch(SCALE_SETS, NAMESPACE, "web", {"spec": {"singlePlacementGroup": False}})
    with pytest.raises(ApiError) as refusal:
        existing.patch(SCALE_SETS, NAMESPACE, "web", {"spec": {"singlePlacementGroup": True}})
    assert "leave singlePlacementGroup at false: it cannot be set back to true" in refusal.value.message


def test_the_scale_subresource_keeps_to_the_bounds(existing):
    existing.create(SCALE_SETS, NAMESPACE, changed(SCALE_SET, {"metadata.name": "scaled"}))
    existing.patch(SCALE_SETS, NAMESPACE, "scaled", {"spec": {"replicas": 100}}, subresource="scale")
    for replicas in (-1, 1001):
        with pytest.raises(ApiError):
            existing.patch(SCALE_SETS, NAMESPACE, "scaled", {"spec": {"replicas": replicas}}, subresource="scale")
    assert existing.get(SCALE_SETS, NAMESPACE, "scaled")["spec"]["replicas"] == 100
    existing.patch(SCALE_SETS, NAMESPACE, "scaled", {"spec": {"replicas": 1000}}, subresource="scale")
    existing.delete(SCALE_SETS, NAMESPACE, "scaled")
