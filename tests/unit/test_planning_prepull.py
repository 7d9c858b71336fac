"""The pod that pulls an image onto a node (semantics 5, replicationMode Full)."""

from scaleset.planning import prepull
from tests.simulation.replication import IMAGE, node


def test_the_pod_has_one_name_for_one_node_and_fits_everywhere():
    version = ("shop", "Web.With.A.Very.Long.Name-" + "x" * 30, "version-uid")
    body = prepull.pod("ops", version=version, image=IMAGE, node=node("a"))
    assert body == prepull.pod("ops", version=version, image=IMAGE, node=node("a"))
    name = body["metadata"]["name"]
    assert len(name) <= 63
    assert "." not in name
    assert name != prepull.pod("ops", version=version, image=IMAGE, node=node("a", uid="b"))["metadata"]["name"]
    assert body["metadata"]["labels"]["scaleset.dev/prepull"] == "version-uid"
    assert "scaleset.dev/name" not in body["metadata"]["labels"]


def test_a_windows_pod_has_no_field_that_windows_pods_may_not_have():
    spec = prepull.pod("ops", version=("shop", "web", "u"), image=IMAGE, node=node("a", os="windows"))["spec"]
    assert spec["os"] == {"name": "windows"}
    assert spec["securityContext"] == {"runAsNonRoot": True, "windowsOptions": {"runAsUserName": "ContainerUser"}}
    assert "securityContext" not in spec["containers"][0]
