"""The pod that pulls an image onto one node.

Pulling is all that it is for: its command need not exist in the image, and whatever the container does after the pull,
also to fail at once, tells that the image is there. The scheduler places it as it places a DaemonSet's pods, so limits
of the node count, and a policy that checks pods sees nothing unusual: it passes Pod Security `restricted`, has no token
and asks for next to nothing. Images that need a pull secret are pulled with those of its service account: the operator
itself has no business with secrets.
"""

import hashlib
import re
from typing import Any

from scaleset.api import names
from scaleset.planner.replication import Node

CONTAINER = "image"
DEADLINE_SECONDS = 1800
"""A pull that takes longer is tried again; what was fetched until then is mostly kept by the node."""

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
"""What the DaemonSet controller lets its pods tolerate."""
_LINUX: dict[str, Any] = {"runAsUser": 65534, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_LINUX_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# The other fields are refused for pods of Windows.
_WINDOWS: dict[str, Any] = {"runAsNonRoot": True, "windowsOptions": {"runAsUserName": "ContainerUser"}}
_RESOURCES = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}


def pod_name(version_name: str, version_uid: str, node: Node) -> str:
    """The same for the same version and node, so that a create can be repeated."""
    readable = re.sub(r"[^a-z0-9]+", "-", version_name.lower())[:36].strip("-")
    digest = hashlib.sha256(f"{version_uid}/{node.uid}".encode()).hexdigest()[:12]
    return f"prepull-{readable}-{digest}"


def pod(
    namespace: str, *, version: tuple[str, str, str], image: str, node: Node, service_account: str
) -> dict[str, Any]:
    """The pod in the operator's namespace for a version, given by namespace, name and uid."""
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
