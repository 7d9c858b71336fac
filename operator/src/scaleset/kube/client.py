"""Calls to the API server: raw JSON in, raw JSON out, and every way to fail mapped to an error that says what to do.

Kept here and nowhere else: a total timeout for every call, the leader check right before a write leaves, the uid in
every delete, and the API server's Date headers that feed the clock. A fresh LIST leaves resourceVersion unset: the
server answers it from etcd's quorum or from a cache that proved to be as new.
"""

# ruff: noqa: ASYNC109 - a timeout in seconds is part of what a call means to its caller, not how it is carried out

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from scaleset import __version__
from scaleset.kube import errors
from scaleset.kube.bodies import encode, send
from scaleset.kube.credentials import Connection, Credentials, connect
from scaleset.kube.resources import LEASES, Resource

JSON = dict[str, Any]
Page = tuple[list[JSON], str]
"""Objects, and the resourceVersion of the state that they are."""

CALL_TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 70.0
"""Bookmarks come once a minute, so a watch that is silent for longer is dead."""
POOL_SIZE = 64
"""Connections at most: 32 calls at a time, the watches, and the lease, which must never queue behind them."""
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


def _always() -> bool:
    return True


def _ignore(*_: object) -> None:
    pass


class Client:
    """One connection pool to one API server. Made by `Client.open`.

    `writes_allowed` is asked before every write except the lease's; `on_date(header, sent, received)` gets every
    response's Date header with the monotonic seconds around it; `on_request(method, code, seconds)` counts every
    request, `<error>` being the code of one without a response.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        writes_allowed: Callable[[], bool] = _always,
        on_date: Callable[[str, float, float], None] = _ignore,
        on_request: Callable[[str, str, float], None] = _ignore,
    ) -> None:
        self.writes_allowed = writes_allowed
        self.on_date = on_date
        self.on_request = on_request
        self._connection = connection

    @classmethod
    async def open(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        writes_allowed: Callable[[], bool] = _always,
        on_date: Callable[[str, float, float], None] = _ignore,
        on_request: Callable[[str, str, float], None] = _ignore,
        user_agent: str = f"scaleset-operator/{__version__}",
    ) -> Self:
        """Load credentials: in-cluster if neither a kubeconfig nor a context is given and we run in a pod. No request
        is sent yet.
        """
        connection = await connect(kubeconfig, context, user_agent=user_agent, pool_size=POOL_SIZE)
        return cls(connection, writes_allowed=writes_allowed, on_date=on_date, on_request=on_request)

    async def aclose(self) -> None:
        """Close all connections, watches included."""
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def credentials(self) -> Credentials:
        """The credentials in force, for a client that is not ours."""
        return self._connection.credentials()

    # Reading

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str | None = None,
        limit: int = 500,
        resource_version: str | None = None,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> Page:
        """All objects and the resourceVersion of the state that they are; `timeout` seconds hold for each page.

        Pages are of one state. A continue token that expired on the way starts the list again, once; then it is Gone.
        """
        for attempt in (1, 2):
            items = []
            version = ""
            try:
                pages = self.pages(
                    resource,
                    namespace,
                    label_selector=label_selector,
                    limit=limit,
                    resource_version=resource_version,
                    timeout=timeout,
                )
                async with aclosing(pages):
                    async for page, version in pages:  # noqa: B007 - all pages bear the same one
                        items += page
            except errors.Gone:
                if attempt == 2:
                    raise
            else:
                return items, version
        raise AssertionError("unreachable")

    async def pages(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str | None = None,
        limit: int = 500,
        resource_version: str | None = None,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> AsyncGenerator[Page, None]:
        """A list page by page, for whoever keeps less than the whole objects. Gone when the continue token expires."""
        query = {"limit": str(limit)}
        if label_selector:
            query["labelSelector"] = label_selector
        if resource_version is not None:
            query["resourceVersion"] = resource_version
        while True:
            body = await self._call("GET", resource.collection(namespace), query=query, timeout=timeout)
            metadata = body["metadata"]
            yield body.get("items") or [], str(metadata["resourceVersion"])
            token = metadata.get("continue")
            if not token:
                return
            query.pop("resourceVersion", None)
            query["continue"] = token

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, timeout: float = CALL_TIMEOUT_SECONDS
    ) -> JSON:
        """The object as it is now: a quorum read."""
        return await self._call("GET", resource.item(namespace, name), timeout=timeout)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        timeout: float = 300.0,
    ) -> AsyncGenerator[JSON, None]:
        """What happened after `resource_version`, as `{type, object}`, BOOKMARK included, until the server ends it
        after `timeout` seconds.

        Gone when that version is too old; Unavailable when the connection is cut or silent for 70 s. Use it within
        `aclosing`.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(timeout))),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        response = await self._send("GET", self._url(resource.collection(namespace), query), limits=limits)
        try:
            async for line in _lines(response):
                event: JSON = json.loads(line)
                if event["type"] == "ERROR":
                    raise errors.from_status(event["object"], code=500)
                yield event
        except (*_TRANSPORT_ERRORS, ValueError, LookupError) as error:
            raise errors.from_transport(error, f"watch of {resource}") from error
        finally:
            # Not release(): the rest of an endless body must not be waited for.
            response.close()

    # Writing

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """Create an object. AlreadyExists if there is one of its name; a dry run passes admission and quota checks and
        keeps nothing.
        """
        if resource.namespaced and namespace is None:
            raise ValueError(f"creating {resource} needs a namespace")
        query = {"dryRun": "All"} if dry_run else None
        return await self._write("POST", resource, resource.collection(namespace), body, query=query, timeout=timeout)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """Delete this object and no other of its name: Conflict if the uid, or the resourceVersion where given, is
        another one.

        Returns the object as it is now, terminating, or a Status when it is gone already. The grace period is always
        the object's own.
        """
        if not uid:
            raise ValueError(f"deleting {resource} {namespace}/{name} needs its uid")
        preconditions = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        return await self._write("DELETE", resource, resource.item(namespace, name), body, timeout=timeout)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """JSON merge patch. With `metadata.resourceVersion` in the body it is a Conflict when that is outdated."""
        return await self._write("PATCH", resource, resource.item(namespace, name), body, timeout=timeout)

    async def patch_status(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """JSON merge patch of the status subresource; preconditions as in `patch`."""
        return await self._write("PATCH", resource, f"{resource.item(namespace, name)}/status", body, timeout=timeout)

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """Put a whole object in place of one that was read. Conflict if its uid or resourceVersion is outdated."""
        return await self._write("PUT", resource, resource.item(namespace, name), body, timeout=timeout)

    async def _write(
        self,
        method: str,
        resource: Resource,
        path: str,
        body: Mapping[str, Any],
        *,
        query: Mapping[str, str] | None = None,
        timeout: float,
    ) -> JSON:
        # The lease's own writes are what makes the gate open.
        gate = _always if resource == LEASES else self.writes_allowed
        return await self._call(method, path, query=query, body=body, gate=gate, timeout=timeout)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        gate: Callable[[], bool] = _always,
        timeout: float,
    ) -> JSON:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        try:
            # One bound for all of it: the wait for a connection, new credentials after a 401, the body.
            async with asyncio.timeout(timeout):
                response = await self._send(method, self._url(path, query), body=body, gate=gate, limits=limits)
                try:
                    answer: JSON = json.loads(await response.read())
                finally:
                    response.release()
                return answer
        except (*_TRANSPORT_ERRORS, ValueError) as error:
            raise errors.from_transport(error, f"{method} {path}") from error

    async def _send(
        self,
        method: str,
        url: URL,
        *,
        body: Mapping[str, Any] | None = None,
        gate: Callable[[], bool] = _always,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send one request, again with new credentials after a 401, and return its response if that is a success."""
        sent = monotonic()
        response = await self._attempt(method, url, body=body, gate=gate, limits=limits)
        if response.status == 401 and await self._connection.renew(sent):
            response.release()
            response = await self._attempt(method, url, body=body, gate=gate, limits=limits)
        if response.status < 400:
            return response
        try:
            content = await response.read()
        except _TRANSPORT_ERRORS as error:
            raise errors.from_transport(error, f"{method} {url.path}") from error
        finally:
            response.release()
        raise errors.from_response(response.status, content, response.headers.get("Retry-After"))

    async def _attempt(
        self,
        method: str,
        url: URL,
        *,
        body: Mapping[str, Any] | None,
        gate: Callable[[], bool],
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = self._connection.headers()
        headers["Accept"] = "application/json"
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        if not gate():
            raise errors.NotLeader(f"{method} {url.path} not sent: we do not hold the lease")
        sent = monotonic()
        try:
            response: aiohttp.ClientResponse = await self._exchange(method, url, headers, body, limits)
        except _TRANSPORT_ERRORS as error:
            self.on_request(method, "<error>", monotonic() - sent)
            raise errors.from_transport(error, f"{method} {url.path}") from error
        except asyncio.CancelledError:
            # The call's own timeout arrives like this.
            self.on_request(method, "<error>", monotonic() - sent)
            raise
        received = monotonic()
        self.on_request(method, str(response.status), received - sent)
        if date := response.headers.get("Date"):
            self.on_date(date, sent, received)
        return response

    async def _exchange(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        body: Mapping[str, Any] | None,
        limits: aiohttp.ClientTimeout,
    ) -> Any:
        api = self._connection.api
        if body is None:
            return (await api.call_api(method, url, headers, _request_timeout=limits)).response
        return await send(api.rest_client, method, url, headers=headers, data=encode(body), limits=limits)

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        text = self._connection.host + path + (f"?{urlencode(query)}" if query else "")
        # Encoded already: yarl must not normalise what we mean literally.
        return URL(text, encoded=True)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The lines of a stream. A last one without its newline was cut and is dropped."""
    rest: list[bytes] = []
    async for chunk in response.content.iter_any():
        head, newline, tail = chunk.partition(b"\n")
        rest.append(head)
        if not newline:
            continue
        yield b"".join(rest)
        *lines, last = tail.split(b"\n")
        for line in lines:
            yield line
        rest = [last]
