"""A mutating webhook that takes every image of a namespace's pods from a mirror, as registry mirrors do."""

import base64
import json
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from .api import PODS, Api, Json, Kind
from .cluster import ROOT, Cluster
from .fleet import until
from .manifests import pod

WEBHOOKS = Kind("mutatingwebhookconfigurations", "admissionregistration.k8s.io", namespaced=False)
MIRROR = "mirror.example/"


@contextmanager
def registered(
    api: Api, namespace: str, name: str, *, port: int, keys: Path, operations: Sequence[str] = ("CREATE",)
) -> Iterator[None]:
    """Inside, the API server has the pods of the namespace changed by what listens at that port of this machine with a
    certificate of the authority in `keys`.
    """
    authority = base64.b64encode((keys / "ca.crt").read_bytes()).decode()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": list(operations), "resources": ["pods"]}
    hook = {
        "name": f"{name}.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": authority},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    api.create(WEBHOOKS, None, {"metadata": {"name": f"{name}-{namespace}"}, "webhooks": [hook]})
    try:
        yield
    finally:
        api.delete(WEBHOOKS, None, f"{name}-{namespace}")


def keys_of(cluster: Cluster) -> Path:
    """The folder with the certificates of a cluster."""
    state = Path(os.environ.get("SCALESET_CLUSTERS", ROOT / ".work" / "clusters"))
    return state / "clusters" / cluster.name / "pki"


@contextmanager
def mirroring(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Inside, the images of new and of changed pods are rewritten; before and after, they are not.

    The API server's own certificate serves for it, too.
    """
    keys = keys_of(cluster)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, name="mirroring webhook", daemon=True).start()
    api = cluster.api
    try:
        with registered(api, namespace, "mirror", port=server.server_port, keys=keys, operations=("CREATE", "UPDATE")):
            until(lambda: _mirrored(api, namespace), timeout=30, message="images are rewritten")
            yield
    finally:
        until(lambda: not _mirrored(api, namespace), timeout=30, message="images are left alone")
        server.shutdown()
        server.server_close()


def _mirrored(api: Api, namespace: str) -> bool:
    made = api.try_create(PODS, namespace, pod("probe", "1"))
    return str(made["spec"]["containers"][0]["image"]).startswith(MIRROR)


class _Mirror(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": review["request"]["uid"], "allowed": True}
        if patch := _rewritten(review["request"]["object"]):
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A callback that does nothing: the audit log has every request."""


def _rewritten(obj: Json) -> list[Json]:
    """The JSON patch."""
    images = [str(container["image"]) for container in obj["spec"]["containers"]]
    return [
        {"op": "replace", "path": f"/spec/containers/{index}/image", "value": MIRROR + image}
        for index, image in enumerate(images)
        if not image.startswith(MIRROR)
    ]
