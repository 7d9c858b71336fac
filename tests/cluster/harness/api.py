"""A small synchronous Kubernetes client: raw JSON in, raw JSON out, nothing cached.

The `kubernetes` package reads the kubeconfig and sets up TLS; paths and bodies are ours.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes import config as kubernetes_config

Json = dict[str, Any]
Items = list[Json]  # inside Api `list` is the method
USER_AGENT = "scaleset-tests"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the API server keeps objects of one kind."""

    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True


PODS = Kind("pods")
CLAIMS = Kind("persistentvolumeclaims")
VOLUMES = Kind("persistentvolumes", namespaced=False)
NODES = Kind("nodes", namespaced=False)
NAMESPACES = Kind("namespaces", namespaced=False)
SERVICE_ACCOUNTS = Kind("serviceaccounts")
SECRETS = Kind("secrets")
QUOTAS = Kind("resourcequotas")
REVISIONS = Kind("controllerrevisions", "apps")
LEASES = Kind("leases", "coordination.k8s.io")
SERVICES = Kind("services")
ENDPOINT_SLICES = Kind("endpointslices", "discovery.k8s.io")
BUDGETS = Kind("poddisruptionbudgets", "policy")
DEPLOYMENTS = Kind("deployments", "apps")
STATEFUL_SETS = Kind("statefulsets", "apps")
EVENTS = Kind("events", "events.k8s.io")
CRDS = Kind("customresourcedefinitions", "apiextensions.k8s.io", namespaced=False)
SCALE_SETS = Kind("scalesets", "scaleset.dev", "v1beta1")
POLICIES = Kind("upgradepolicies", "scaleset.dev", "v1beta1")
IMAGES = Kind("galleryimageversions", "scaleset.dev", "v1beta1")


class ApiError(Exception):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class Watch:
    """One WATCH request: an iterator of its events that another thread may end with `close`."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = False

    def __iter__(self) -> Iterator[Json]:
        try:
            rest = b""
            for chunk in self._response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
            if not self._closed:
                raise
        finally:
            self._response.close()  # with its connection: of a stream that was cut there is nothing to be used again
            self._response.release_conn()

    def close(self) -> None:
        """Ends the iteration, also one that is waiting in another thread."""
        self._closed = True
        with contextlib.suppress(OSError, ValueError):  # it ended by itself, at this moment or before
            self._response.shutdown()


class Api:
    """A client of one cluster; safe to use from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        client = kubernetes_config.new_client_from_config(config_file=str(kubeconfig))
        self._pool: urllib3.PoolManager = client.rest_client.pool_manager
        self._pool.connection_pool_kw["maxsize"] = 128  # watches stay open
        self._host: str = client.configuration.host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.clear()

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        return self._call("GET", _path(kind, namespace, name))

    def find(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        """The object, or None if there is none of that name."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def raw(self, path: str) -> Json:
        """What a path answers that is no object's, such as the kubelet's statistics behind a node's proxy."""
        return self._call("GET", path)

    def list(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> Items:
        return self.list_at(kind, namespace, selector=selector)[0]

    def list_at(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> tuple[Items, str]:
        """The objects, and the resourceVersion from which a watch goes on."""
        query = {"labelSelector": selector} if selector else {}
        answer = self._call("GET", _path(kind, namespace), query=query)
        return answer["items"], answer["metadata"]["resourceVersion"]

    def columns(self, kind: Kind, namespace: str, name: str) -> dict[str, str]:
        """What `kubectl get -o wide` shows of one object, by column."""
        path = _path(kind, namespace, name)
        answer = self._request("GET", path, query={}, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        if answer.status >= 300:
            raise _error(answer)
        table = json.loads(answer.data)
        names = [column["name"] for column in table["columnDefinitions"]]
        return dict(zip(names, map(str, table["rows"][0]["cells"]), strict=True))

    def create(self, kind: Kind, namespace: str | None, body: Json, **query: str) -> Json:
        """`fieldValidation="Strict"` refuses unknown fields, as kubectl does."""
        return self._call("POST", _path(kind, namespace), body=body, query=query)

    def try_create(self, kind: Kind, namespace: str | None, body: Json) -> Json:
        """What would be created: everything is checked, nothing is kept."""
        return self._call("POST", _path(kind, namespace), body=body, query={"dryRun": "All"})

    def apply(self, kind: Kind, namespace: str | None, body: Json) -> Json:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts` does it."""
        path = _path(kind, namespace, body["metadata"]["name"])
        query = {"fieldManager": USER_AGENT, "force": "true"}
        return self._call("PATCH", path, body=body, query=query, content="application/apply-patch+yaml")

    def replace(self, kind: Kind, namespace: str | None, body: Json, **query: str) -> Json:
        """A plain update, of the version that the body names; `dryRun="All"` keeps nothing."""
        return self._call("PUT", _path(kind, namespace, body["metadata"]["name"]), body=body, query=query)

    def patch(
        self, kind: Kind, namespace: str | None, name: str, body: Json, *, subresource: str = "", **query: str
    ) -> Json:
        """A JSON merge patch; `dryRun="All"` keeps nothing."""
        path = _path(kind, namespace, name, subresource)
        return self._call("PATCH", path, query=query, body=body, content="application/merge-patch+json")

    def set_condition(self, namespace: str, name: str, condition: Json) -> Json:
        """Writes one condition of a pod, beside the others, as an agent in the cluster does."""
        patch = {"status": {"conditions": [condition]}}
        content = "application/strategic-merge-patch+json"
        return self._call("PATCH", _path(PODS, namespace, name, "status"), body=patch, content=content)

    def delete(self, kind: Kind, namespace: str | None, name: str, **options: Any) -> Json:
        """Options are those of DeleteOptions, e.g. propagationPolicy="Orphan"."""
        return self._call("DELETE", _path(kind, namespace, name), body=options or None)

    def evict(self, namespace: str, name: str) -> bool:
        """As `kubectl drain` does it. False when a disruption budget does not allow it now."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
        response = self._request("POST", _path(PODS, namespace, name, "eviction"), query={}, body=body)
        if response.status == 429:
            return False
        if response.status >= 300:
            raise _error(response)
        return True

    def create_token(self, namespace: str, account: str) -> str:
        """A token of a service account, good for an hour."""
        path = _path(SERVICE_ACCOUNTS, namespace, account, "token")
        token: str = self._call("POST", path, body={"spec": {"expirationSeconds": 3600}})["status"]["token"]
        return token

    def label(self, kind: Kind, namespace: str | None, name: str, **labels: str | None) -> Json:
        """Sets labels of the simulation: label(..., ready="false", hold_delete=None); None removes one."""
        values = {f"sim.scaleset.dev/{key.replace('_', '-')}": value for key, value in labels.items()}
        return self.patch(kind, namespace, name, {"metadata": {"labels": values}})

    def set_image(self, namespace: str, name: str, image: str) -> Json:
        """Changes the image of a pod's first container in place, as `kubectl set image` does."""
        patch: Items = [{"op": "replace", "path": "/spec/containers/0/image", "value": image}]
        return self._call("PATCH", _path(PODS, namespace, name), body=patch, content="application/json-patch+json")

    def watch(
        self, kind: Kind, namespace: str | None, resource_version: str, *, seconds: int = 600, name: str = ""
    ) -> Watch:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        response = self._request("GET", _path(kind, namespace), query=query, stream=True, timeout=seconds + 10)
        if response.status >= 300:
            raise _error(response)
        return Watch(response)

    def wait(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        until: Callable[[Json | None], object],
        *,
        timeout: float,
        message: str,
    ) -> Json | None:
        """Follows one object until `until(object, or None when it is gone)` is true; returns what it was true for."""
        deadline = monotonic() + timeout
        last: Json | None = None
        while (left := deadline - monotonic()) > 0:
            items, version = self.list_at(kind, namespace)
            last = next((item for item in items if item["metadata"]["name"] == name), None)
            if until(last):
                return last
            for event in self.watch(kind, namespace, version, seconds=max(1, int(left) + 1), name=name):
                if event["type"] == "ERROR":
                    break
                if event["type"] != "BOOKMARK":
                    last = None if event["type"] == "DELETED" else event["object"]
                    if until(last):
                        return last
        shown = json.dumps((last or {}).get("status"))
        raise AssertionError(
            f"{message}: not within {timeout:g} s; {kind.plural} {namespace}/{name} has status {shown}"
        )

    def apply_file(self, path: Path) -> None:
        """Applies CRDs from a file and waits until they are served."""
        for body in yaml.safe_load_all(path.read_text()):
            if body:
                self.apply(CRDS, None, body)
        for body in yaml.safe_load_all(path.read_text()):
            if body:
                self.wait(
                    CRDS,
                    None,
                    body["metadata"]["name"],
                    _established,
                    timeout=30,
                    message=f"the CRD of {path.name} is served",
                )

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | Items | None = None,
        query: Json | None = None,
        content: str = "application/json",
    ) -> Json:
        response = self._request(method, path, query=query or {}, body=body, content=content)
        for _ in range(20):
            if response.status != 429:  # right after a CRD was installed: "storage is (re)initializing"
                break
            sleep(float(response.headers.get("Retry-After", 1)))
            response = self._request(method, path, query=query or {}, body=body, content=content)
        if response.status >= 300:
            raise _error(response)
        answer: Json = json.loads(response.data)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Json,
        body: Json | Items | None = None,
        content: str = "application/json",
        accept: str = "application/json",
        stream: bool = False,
        timeout: float = 30,
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            f"{self._host}{path}?{urlencode(query)}",
            body=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content, "Accept": accept, "User-Agent": USER_AGENT},
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=10, read=timeout),
            retries=False,
        )


def _path(kind: Kind, namespace: str | None, name: str = "", subresource: str = "") -> str:
    parts = ["/api" if not kind.group else f"/apis/{kind.group}", kind.version]
    if kind.namespaced and namespace is not None:
        parts += ["namespaces", namespace]
    return "/".join([*parts, kind.plural, *filter(None, (name, subresource))])


def _error(response: urllib3.BaseHTTPResponse) -> ApiError:
    text = response.data.decode(errors="replace")
    try:
        status = json.loads(text)
    except ValueError:
        return ApiError(response.status, "", text[:500])
    return ApiError(response.status, status.get("reason", ""), status.get("message", ""))


def _established(crd: Json | None) -> bool:
    return crd is not None and condition(crd, "Established") == "True"


def with_each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with every text that is a value changed, however deep it stands."""
    if isinstance(value, dict):
        return {key: with_each_text(child, change) for key, child in value.items()}
    if isinstance(value, list):
        return [with_each_text(child, change) for child in value]
    return change(value) if isinstance(value, str) else value


def condition(obj: Json, kind: str) -> str:
    """The status of a condition: True, False, Unknown, or an empty string if there is none."""
    conditions = obj.get("status", {}).get("conditions") or []
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")
