"""The pod that pulls an image onto a node."""

from typing import Any

from scaleset.planner import prepull_pod
from tests.simulation.replication import IMAGE, node

VERSION = ("shop", "Web.With.A.Very.Long.Name-" + "x" * 30, "version-uid")


def pod(name: str = "a", **fields: Any) -> dict[str, Any]:
    return prepull_pod.pod("ops", version=VERSION, image=IMAGE, node=node(name, **fields), service_account="puller")


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


def test_the_whole_pod():
    """Every word is for somebody: the scheduler, the kubelet, Pod Security, or the operator that finds it again."""
    body = pod("a", uid="node-uid")
    name = body["metadata"].pop("name")
    assert name.startswith("prepull-web-with-a-very-long-name-")
    assert body == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "ops",
            "labels": {"scaleset.dev/prepull": "version-uid", "app.kubernetes.io/managed-by": "scaleset-operator"},
            "annotations": {
                "scaleset.dev/prepull-of": f"shop/{VERSION[1]}",
                "scaleset.dev/prepull-node": "node-uid",
            },
        },
        "spec": {
            "os": {"name": "linux"},
            "containers": [
                {
                    "name": "image",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/scaleset.dev/nothing-but-the-pull"],
                    "resources": {
                        "requests": {"cpu": "1m", "memory": "8Mi"},
                        "limits": {"cpu": "100m", "memory": "64Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": 1800,
            "serviceAccountName": "puller",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsUser": 65534,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
                        ]
                    }
                }
            },
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
                for key, effect in (
                    ("not-ready", "NoExecute"),
                    ("unreachable", "NoExecute"),
                    ("disk-pressure", "NoSchedule"),
                    ("memory-pressure", "NoSchedule"),
                    ("pid-pressure", "NoSchedule"),
                    ("unschedulable", "NoSchedule"),
                )
            ],
        },
    }
