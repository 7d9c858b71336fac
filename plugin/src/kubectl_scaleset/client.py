"""A small synchronous client: raw JSON in, raw JSON out, errors named by the reaction of the caller.

Connections, TLS and proxies are urllib3's; one call is one request, and nothing is cached.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from kubectl_scaleset import kubeconfig
from kubectl_scaleset.credentials import Credentials, credentials, tls
from kubectl_scaleset.failures import CliError
from scaleset import __version__
from scaleset.kube import errors
from scaleset.kube.resources import JSON, PODS, Resource

CALL_TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 70.0
"""Longest silence of a watch: bookmarks come once a minute, so a longer silence means a dead watch."""


class Watch:
    """One WATCH request: an iterator of events that another thread may end with `close`."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = False

    def __iter__(self) -> Iterator[JSON]:
        try:
            for line in _lines(self._response, "watch"):
                event: JSON = json.loads(line)
                if event["type"] == "ERROR":
                    raise errors.from_status(event["object"], code=500)
                yield event
        except errors.Unavailable:
            if not self._closed:
                raise
        except ValueError as error:  # the last line was cut off
            if not self._closed:
                raise errors.from_transport(error, "watch") from error
        finally:
            self._response.close()

    def close(self) -> None:
        self._closed = True
        self._response.shutdown()


class Log:
    """A container's log: an iterator of lines, to be used with `with`."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def __iter__(self) -> Iterator[str]:
        for line in _lines(self._response, "log"):
            yield line.decode(errors="replace")


def _lines(response: urllib3.BaseHTTPResponse, what: str) -> Iterator[bytes]:
    """Lines of a streamed answer as they arrive, the last one with or without its end."""
    rest = b""
    try:
        for chunk in response.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    except (HTTPError, OSError, AttributeError) as error:
        raise errors.from_transport(error, what) from error
    if rest:
        yield rest


@dataclass(frozen=True, slots=True)
class _Request:
    """One HTTP request; `stream` leaves the answer to be read as it arrives."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None = None
    stream: bool = False


class Client:
    """One cluster as one user. Safe to use from several threads; credentials are loaded again once after a 401."""

    def __init__(self, kubeconfig_path: str | None, context: str | None) -> None:
        self._given = (kubeconfig_path, context)
        self._connect()
        self._offset: float | None = None

    def _connect(self) -> None:
        target = kubeconfig.load(*self._given)
        self.context, self.namespace, self.server = target.context, target.namespace, target.server
        mine = credentials(target)
        self._headers = (
            *([("Authorization", mine.authorization)] if mine.authorization else []),
            *target.impersonation,
        )
        self._pool = _pool(target, mine)

    @property
    def skew(self) -> float | None:
        """Seconds that this machine's clock is ahead of the API server's; None before the first answer."""
        return None if self._offset is None else time() - (monotonic() + self._offset)

    def now(self) -> float:
        """Seconds since the epoch by the API server's clock; before its first answer, by this machine's."""
        return time() if self._offset is None else monotonic() + self._offset

    def get(self, resource: Resource, namespace: str | None, name: str) -> JSON:
        return self._call("GET", resource.item(namespace, _name(name)))

    def read(self, path: str) -> JSON:
        """Any document of the API server, such as /version."""
        return self._call("GET", path)

    def list(
        self, resource: Resource, namespace: str | None, *, selector: str = "", name: str = ""
    ) -> tuple[list[JSON], str]:
        """All objects, or the one of that name, and the resourceVersion from which a watch continues."""
        query = {"limit": "500", **_selected(selector, name)}
        items: list[JSON] = []
        while True:
            body = self._call("GET", resource.collection(namespace), query=query)
            items += body.get("items") or []
            token = body["metadata"].get("continue")
            if not token:
                return items, str(body["metadata"]["resourceVersion"])
            query["continue"] = token

    def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, *, selector: str = "", name: str = ""
    ) -> Watch:
        """The events after that version; the server ends the watch after some minutes."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        query |= _selected(selector, name)
        return Watch(self._stream(resource.collection(namespace), query))

    def log(self, namespace: str, pod: str, query: Mapping[str, str]) -> Log:
        """A container's log; `query` is that of the pod's log endpoint."""
        return Log(self._stream(f"{PODS.item(namespace, _name(pod))}/log", query))

    def create(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        strict: bool = False,
    ) -> JSON:
        query = {"dryRun": "All"} if dry_run else {}
        query |= {"fieldValidation": "Strict"} if strict else {}
        return self._call("POST", resource.collection(namespace), query=query, body=body)

    def review(self, body: Mapping[str, Any], plural: str) -> JSON:
        """Whether the user may do that."""
        return self._call("POST", f"/apis/authorization.k8s.io/v1/{plural}", body=body)

    def patch(
        self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> JSON:
        """JSON merge patch; `metadata.uid` and `metadata.resourceVersion` in the body are preconditions (Conflict)."""
        query = {"fieldManager": "kubectl-scaleset", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        return self._call("PATCH", resource.item(namespace, _name(name)), query=query, body=body)

    def close(self) -> None:
        self._pool.clear()

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> JSON:
        response = self._send(_Request(method, path, query or {}, body))
        try:
            answer = json.loads(response.data)
        except ValueError as error:
            raise errors.from_transport(error, f"{method} {path} was not answered in JSON") from error
        if not isinstance(answer, dict):
            raise errors.Unavailable(0, "NotKubernetes", f"{method} {path} was not answered with an object")
        return answer

    def _stream(self, path: str, query: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self._send(_Request("GET", path, query, stream=True))

    def _send(self, request: "_Request") -> urllib3.BaseHTTPResponse:
        response = self._attempt(request)
        if response.status == 401:
            self._connect()
            response = self._attempt(request)
        if response.status >= 300:
            raise errors.from_response(response.status, response.data, response.headers.get("Retry-After"))
        return response

    def _attempt(self, request: "_Request") -> urllib3.BaseHTTPResponse:
        content = "application/merge-patch+json" if request.method == "PATCH" else "application/json"
        headers = urllib3.HTTPHeaderDict({"Accept": "application/json, */*", "Content-Type": content})
        headers["User-Agent"] = f"kubectl-scaleset/{__version__}"
        for name, value in self._headers:
            headers.add(name, value)
        before = monotonic()
        try:
            response = self._pool.request(
                request.method,
                f"{self.server}{request.path}" + (f"?{urlencode(request.query)}" if request.query else ""),
                body=None if request.body is None else json.dumps(request.body).encode(),
                headers=headers,
                preload_content=not request.stream,
                timeout=urllib3.Timeout(
                    connect=CONNECT_TIMEOUT_SECONDS, read=SILENCE_SECONDS if request.stream else CALL_TIMEOUT_SECONDS
                ),
                retries=False,
            )
        except (HTTPError, OSError) as error:
            raise errors.from_transport(error, f"{request.method} {request.path}") from error
        self._learn_time(response.headers.get("Date"), (before + monotonic()) / 2)
        return response

    def _learn_time(self, date: str | None, at: float) -> None:
        """The header has whole seconds, so its average error is half a second."""
        if date is None:
            return
        try:
            moment = parsedate_to_datetime(date)
        except ValueError:
            return
        self._offset = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() + 0.5 - at


def _pool(target: kubeconfig.Target, mine: Credentials) -> urllib3.PoolManager:
    """Connections to the cluster; watches keep theirs."""
    settings: dict[str, Any] = {"maxsize": 8}
    if target.server.startswith("https"):
        settings["ssl_context"] = tls(target, mine)
        if name := target.cluster.get("tls-server-name"):
            settings |= {"server_hostname": str(name), "assert_hostname": str(name)}
    if target.cluster.get("insecure-skip-tls-verify"):
        # kubectl gives no further warning either.
        urllib3.disable_warnings(InsecureRequestWarning)
        settings |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if proxy := _proxy(target):
        try:
            return urllib3.ProxyManager(proxy, **settings)
        except (HTTPError, ValueError) as error:
            raise CliError(
                f"The proxy {proxy.rpartition('@')[2]} cannot be used: write it as http://HOST:PORT."
            ) from error
    return urllib3.PoolManager(**settings)


def _proxy(target: kubeconfig.Target) -> str:
    """The proxy of the cluster's entry, else that of the environment."""
    if own := target.cluster.get("proxy-url"):
        return str(own)
    if not any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        return ""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(target.server)
    return "" if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme, "")


def _selected(selector: str, name: str) -> dict[str, str]:
    labels = {"labelSelector": selector} if selector else {}
    return labels | ({"fieldSelector": f"metadata.name={_name(name)}"} if name else {})


def _name(name: str) -> str:
    """CliError for an invalid name: it must not change the meaning of the URL."""
    allowed = name.replace("-", "").replace(".", "")
    if not (allowed.isascii() and allowed.isalnum() and allowed == allowed.lower()) or len(name) > 253:
        raise CliError(f"{name[:60]!r} cannot be a name: use lower-case letters, digits, '-' and '.' only.")
    return name
