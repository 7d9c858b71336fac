"""The pod that pulls an image onto a node (semantics 5, replicationMode Full)."""

from typing import Any

from scaleset.planning import prepull
from tests.simulation.replication import IMAGE, node

VERSION = ("shop", "Web.With.A.Very.Long.Name-" + "x" * 30, "version-uid")


def pod(name: str = "a", **fields: Any) -> dict[str, Any]:
    return prepull.pod("ops", version=VERSION, image=IMAGE, node=node(name, **fields), service_account="puller")


def test_the_pod_has_one_name_for_one_node_and_fits_everywhere():
    body = pod()
    assert body == pod()
    name = body["metadata"]["name"]
    assert len(name) <= 63
    assert "." not in name
    assert name != pod(uid="b")["metadata"]["name"]
    assert body["metadata"]["labels"]["scaleset.dev/prepull"] == "version-uid"
    assert "scaleset.dev/name" not in body["metadata"]["labels"]
    assert body["spec"]["serviceAccountName"] == "puller"
    assert body["spec"]["automountServiceAccountToken"] is False


def test_a_windows_pod_has_no_field_that_windows_pods_may_not_have():
    spec = pod(os="windows")["spec"]
    assert spec["os"] == {"name": "windows"}
    assert spec["securityContext"] == {"runAsNonRoot": True, "windowsOptions": {"runAsUserName": "ContainerUser"}}
    assert "securityContext" not in spec["containers"][0]
