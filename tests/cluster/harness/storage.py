"""The etcd behind the API server, to put objects there as an earlier version left them.

What goes through the API server gets a new uid, a new creation time and no status; a pod that is being deleted cannot
be made at all. What lies in etcd is what an API server of the next version finds at its start. JSON is read there as
well as protobuf.
"""

import base64
import json
import os
import re
from pathlib import Path

import urllib3

from .api import Json

ROOT = Path(__file__).parents[3]
GROUPS = {"scaleset.dev"}
"""Groups that are part of the key: those of CustomResourceDefinitions."""
PLURALS = {
    "ControllerRevision": "controllerrevisions",
    "GalleryImageVersion": "galleryimageversions",
    "PersistentVolume": "persistentvolumes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "ScaleSet": "scalesets",
    "UpgradePolicy": "upgradepolicies",
}


class Storage:
    """Of the cluster of that name on this machine, by etcd's gateway for JSON."""

    def __init__(self, cluster: str) -> None:
        clusters = Path(os.environ.get("SCALESET_CLUSTERS") or ROOT / ".work" / "clusters")
        text = (clusters / "clusters" / cluster / "kwok.yaml").read_text()
        found = re.search(r"^ *etcdPort: (\d+)$", text, re.MULTILINE)
        assert found, f"cluster {cluster} does not say where its etcd listens"
        self._url = f"http://127.0.0.1:{found[1]}/v3/kv/put"

    def put(self, *objects: Json) -> None:
        """Stores objects as they are, status included. The API server tells whoever watches."""
        with urllib3.PoolManager() as pool:
            for body in objects:
                text = json.dumps({"key": _encoded(_key(body)), "value": _encoded(json.dumps(body))})
                answer = pool.request("POST", self._url, body=text, timeout=10)
                assert answer.status == 200, f"etcd does not take {_key(body)}: {answer.data[:500]!r}"


def _key(body: Json) -> str:
    group, _, version = body["apiVersion"].rpartition("/")
    metadata = body["metadata"]
    parts = (group if group in GROUPS else "", PLURALS[body["kind"]], metadata.get("namespace", ""), metadata["name"])
    assert version, body["apiVersion"]
    return "/registry/" + "/".join(filter(None, parts))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
