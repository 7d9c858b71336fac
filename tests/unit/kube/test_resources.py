"""Names as parts of a URL."""

import pytest

from scaleset.kube.resources import PODS, Resource
from scaleset.records.kinds import SCALE_SETS


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "path"),
    [
        (PODS, "a", "web-0", "/api/v1/namespaces/a/pods/web-0"),
        (SCALE_SETS, "a", "web", "/apis/scaleset.dev/v1beta1/namespaces/a/scalesets/web"),
        (Resource("x.io", "v1", "things", namespaced=False), None, "t", "/apis/x.io/v1/things/t"),
        (Resource("x.io", "v1", "things", namespaced=False), "a", "t", "/apis/x.io/v1/things/t"),
    ],
)
def test_paths(resource, namespace, name, path):
    assert resource.item(namespace, name) == path


@pytest.mark.parametrize("name", ["", ".", "..", "../secrets", "a/b", "a?b", "a%2fb", "a b", "-a", "a" * 254, "a\n"])
def test_what_cannot_be_a_name_never_becomes_part_of_a_url(name):
    with pytest.raises(ValueError, match="expected the name of an object"):
        PODS.item("a", name)
    with pytest.raises(ValueError, match="expected the name of an object"):
        PODS.collection(name)


def test_a_namespaced_object_needs_a_namespace():
    with pytest.raises(ValueError, match="needs a namespace"):
        PODS.item(None, "web-0")
