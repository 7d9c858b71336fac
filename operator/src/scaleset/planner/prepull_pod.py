"""The pod that pulls an image onto one node.

Its only purpose is the pull: the command need not exist in the image, and a container that starts, or fails to start,
after the pull shows that the image is there. The scheduler places it like a DaemonSet's pod, so limits of the node
apply. The pod passes Pod Security `restricted`, has no token and requests almost no resources. Pull secrets are those
of its service account: the operator itself reads no secrets.
"""

import hashlib
import re
from typing import Any

from scaleset.api import names
from scaleset.planner.replication import Node

CONTAINER = "image"
DEADLINE_SECONDS = 1800
"""Longest time of one try. A longer pull is tried again; the node mostly keeps the layers fetched so far."""

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
"""Tolerations that the DaemonSet controller adds to its pods."""
_LINUX: dict[str, Any] = {"runAsUser": 65534, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_LINUX_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# The API server refuses the other fields for Windows pods.
_WINDOWS: dict[str, Any] = {"runAsNonRoot": True, "windowsOptions": {"runAsUserName": "ContainerUser"}}
_RESOURCES = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}


def pod_name(version_name: str, version_uid: str, node: Node) -> str:
    """Name of the pod. It is the same for the same version and node, so that a create can be repeated."""
    readable = re.sub(r"[^a-z0-9]+", "-", version_name.lower())[:36].strip("-")
    digest = hashlib.sha256(f"{version_uid}/{node.uid}".encode()).hexdigest()[:12]
    return f"prepull-{readable}-{digest}"


def pod(
    namespace: str, *, version: tuple[str, str, str], image: str, node: Node, service_account: str
) -> dict[str, Any]:
    """The pod that pulls a version, in the operator's namespace. The version is given by namespace, name and uid."""
    version_namespace, version_name, version_uid = version
    windows = node.os == "windows"
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/scaleset.dev/nothing-but-the-pull"],
        "resources": _RESOURCES,
    }
    if not windows:
        container["securityContext"] = _LINUX_CONTAINER
    this_node = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name]}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(version_name, version_uid, node),
            "namespace": namespace,
            "labels": {names.LABEL_PREPULL: version_uid, names.LABEL_MANAGED_BY: names.MANAGED_BY},
            "annotations": {
                names.ANNOTATION_PREPULL_OF: f"{version_namespace}/{version_name}",
                names.ANNOTATION_PREPULL_NODE: node.uid,
            },
        },
        "spec": {
            "os": {"name": node.os},
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "serviceAccountName": service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _WINDOWS if windows else _LINUX,
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [this_node]}}
            },
            "tolerations": [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED],
        },
    }
