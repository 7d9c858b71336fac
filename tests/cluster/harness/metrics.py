"""A metrics API, as metrics-server provides it: what an autoscaler reads, with figures that a test decides."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from .api import PODS, SERVICES, Api, Json, Kind, condition
from .cluster import Cluster
from .webhook import keys_of

API_SERVICES = Kind("apiservices", "apiregistration.k8s.io", namespaced=False)
GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_ROOT = f"/apis/{GROUP}/{VERSION}"


@dataclass
class Metrics:
    """The figures: each pod of the namespace uses that much."""

    api: Api = field(repr=False)
    cpu: str = "0"

    def of(self, namespace: str, selector: str) -> Json:
        """The metrics of the pods that a selector of equalities finds."""
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        pods = [
            pod
            for pod in self.api.list(PODS, namespace)
            if (pod["metadata"].get("labels") or {}).items() >= wanted.items()
        ]
        return {
            "kind": "PodMetricsList",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": self._items(pods),
        }

    def _items(self, pods: list[Json]) -> list[Json]:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        usage = {"cpu": self.cpu, "memory": "64Mi"}
        return [
            {
                "metadata": {key: pod["metadata"][key] for key in ("name", "namespace", "labels")},
                "timestamp": now,
                "window": "1s",
                "containers": [{"name": each["name"], "usage": usage} for each in pod["spec"]["containers"]],
            }
            for pod in pods
        ]


@contextmanager
def served(cluster: Cluster, namespace: str) -> Iterator[Metrics]:
    """Inside, the API server passes requests for metrics on to this process. The service that it names is a name of
    this machine, since nothing routes to a cluster's addresses here.
    """
    api, metrics = cluster.api, Metrics(cluster.api)
    keys = keys_of(cluster)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(metrics))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, name="metrics API", daemon=True).start()
    name = f"{VERSION}.{GROUP}"
    service = {"metadata": {"name": "metrics"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    api.create(SERVICES, namespace, service)
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": namespace, "name": "metrics", "port": server.server_port},
    }
    try:
        api.create(API_SERVICES, None, {"metadata": {"name": name}, "spec": spec})
        api.wait(API_SERVICES, None, name, _available, timeout=60, message="the metrics API is available")
        yield metrics
    finally:
        api.delete(API_SERVICES, None, name)
        server.shutdown()
        server.server_close()


def _available(seen: Json | None) -> bool:
    return seen is not None and condition(seen, "Available") == "True"


def _handler(metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = _answer(metrics, self.path)
            body = json.dumps(
                found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
            ).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A callback that does nothing."""

    return Handler


def _answer(metrics: Metrics, path: str) -> Json | None:
    url = urlsplit(path)
    if url.path == _ROOT:
        verbs = ["get", "list"]
        resource = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": verbs}
        group = f"{GROUP}/{VERSION}"
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": [resource]}
    before, _, namespace = url.path.removesuffix("/pods").partition(f"{_ROOT}/namespaces/")
    if before or not namespace or not url.path.endswith("/pods"):
        return None
    return metrics.of(namespace, parse_qs(url.query).get("labelSelector", [""])[0])
