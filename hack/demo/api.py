"""The API server as the demo needs it: list, watch, server-side apply. Raw JSON; the `kubernetes` package connects."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import urllib3
from kubernetes import config

Json = dict[str, Any]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICE_ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
SCALE_SETS = "/apis/scaleset.dev/v1beta1/namespaces/default/scalesets"
POLICIES = "/apis/scaleset.dev/v1beta1/namespaces/default/upgradepolicies"
IMAGES = "/apis/scaleset.dev/v1beta1/namespaces/default/galleryimageversions"

BUSY = {404, 429}
"""What the API server answers for a moment after a CRD was installed."""


class ApiError(Exception):
    """The API server said no."""


class Api:
    """A client of one cluster; safe to use from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        client = config.new_client_from_config(config_file=str(kubeconfig))
        self._pool: urllib3.PoolManager = client.rest_client.pool_manager
        self._pool.connection_pool_kw["maxsize"] = 16  # watches stay open
        self._host: str = client.configuration.host

    def list(self, collection: str) -> tuple[list[Json], str]:
        """The objects, and the resourceVersion from which a watch goes on."""
        answer = self._call("GET", collection)
        return answer["items"], answer["metadata"]["resourceVersion"]

    def apply(self, collection: str, body: Json) -> None:
        """As `kubectl apply --server-side` does it."""
        path = f"{collection}/{body['metadata']['name']}?fieldManager=demo"
        deadline = monotonic() + 15
        while True:
            try:
                self._call("PATCH", path, json.dumps(body).encode())
                return
            except ApiError as error:
                if error.args[0] not in BUSY or monotonic() > deadline:
                    raise
            sleep(0.1)

    def watch(self, collection: str, resource_version: str) -> Iterator[Json]:
        """Added, modified and deleted objects until the API server ends the watch."""
        path = f"{collection}?watch=true&resourceVersion={resource_version}"
        response = self._request("GET", path, stream=True)
        rest = b""
        for chunk in response.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for event in map(json.loads, lines):
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code"), f"the watch of {collection} ended: {event['object']}")
                yield event

    def _call(self, method: str, path: str, body: bytes | None = None) -> Json:
        answer: Json = json.loads(self._request(method, path, body=body).data)
        return answer

    def _request(
        self, method: str, path: str, *, body: bytes | None = None, stream: bool = False
    ) -> urllib3.BaseHTTPResponse:
        response = self._pool.request(
            method,
            self._host + path,
            body=body,
            headers={"Content-Type": "application/apply-patch+yaml"} if body else {},
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=10, read=None if stream else 30),
            retries=False,
        )
        if response.status >= 300:
            raise ApiError(response.status, f"{method} {path}: {response.data.decode(errors='replace')[:500]}")
        return response
