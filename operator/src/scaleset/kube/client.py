"""Calls to the API server: raw JSON in, raw JSON out. Every failure is mapped to an error named by the reaction to it.

Only this module decides which writes need the lease and which requests take turns (`rate_limit`), and puts the uid into
every delete. A fresh LIST leaves resourceVersion unset: the server answers it from etcd's quorum or from a cache that
proved to be as new.
"""

# ruff: noqa: ASYNC109 - a timeout in seconds is part of what a call means to its caller, not how it is carried out

import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Self

from scaleset import __version__
from scaleset.kube import errors
from scaleset.kube.credentials import Credentials, connect
from scaleset.kube.rate_limit import FlowControl, Limits
from scaleset.kube.resources import JSON, LEASES, Resource
from scaleset.kube.transport import MERGE_PATCH, STRATEGIC_MERGE_PATCH, OnDate, OnRequest, Transport, always, ignore

Page = tuple[list[JSON], str]
"""Objects, and the resourceVersion of their list."""

OnWait = Callable[[str, float], None]

CALL_TIMEOUT_SECONDS = 15.0
"""Timeout of a request, counted from its turn: the wait before it says nothing about the API server."""
POOL_SIZE = 64
"""Most connections: the requests admitted at a time, lists, watches, and the lease, which must never queue behind the
others.
"""


class _Uncollected:
    """No garbage collection while at least one list is read. A page of 250 pods is 75,000 containers without a cycle,
    and a collection in the middle of it took longer than the page.

    What many new objects leave is set aside before the next collection, which would walk all of them. That is so for
    the first lists, and after a long outage; a list that shows what is known leaves nothing.
    """

    def __init__(self) -> None:
        self._lists = 0
        self._collecting = False

    def __enter__(self) -> None:
        if not self._lists:
            self._collecting = gc.isenabled()
            gc.disable()
        self._lists += 1

    def __exit__(self, *_: object) -> None:
        self._lists -= 1
        if self._lists:
            return
        if gc.get_count()[0] > MANY_CONTAINERS:
            gc.freeze()
        if self._collecting:
            gc.enable()


UNCOLLECTED = _Uncollected()
MANY_CONTAINERS = 100_000


class Client:
    """The verbs of one API server. Made by `Client.open`.

    `writes_allowed` is checked before every write except the lease's. `on_wait(method, seconds)` gets the time that
    each request waited for its turn.
    """

    def __init__(self, transport: Transport, *, limits: Limits | None = None, on_wait: OnWait = ignore) -> None:
        self.transport = transport
        self.writes_allowed: Callable[[], bool] = always
        self._flow = FlowControl(limits)
        self._on_wait = on_wait

    @classmethod
    async def open(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        limits: Limits | None = None,
        on_date: OnDate = ignore,
        on_request: OnRequest = ignore,
        on_wait: OnWait = ignore,
    ) -> Self:
        """Load credentials: in-cluster if neither a kubeconfig nor a context is given and the process runs in a pod. No
        request is sent yet. `on_date` and `on_request`: see `Transport`.
        """
        agent = f"scaleset-operator/{__version__}"
        connection = await connect(kubeconfig, context, user_agent=agent, pool_size=POOL_SIZE)
        return cls(Transport(connection, on_date=on_date, on_request=on_request), limits=limits, on_wait=on_wait)

    async def aclose(self) -> None:
        """Close all connections, watches included."""
        await self.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def credentials(self) -> Credentials:
        """The credentials in force, for another client."""
        return self.transport.credentials()

    # Reading

    async def list(
        self, resource: Resource, namespace: str | None, *, label_selector: str | None = None, limit: int = 500
    ) -> Page:
        """All objects and the resourceVersion of their list.

        All pages show one state. If the continue token expires on the way, the list starts again once; then it is Gone.
        """
        try:
            return await self._list(resource, namespace, label_selector=label_selector, limit=limit)
        except errors.Gone:
            return await self._list(resource, namespace, label_selector=label_selector, limit=limit)

    async def _list(self, resource: Resource, namespace: str | None, *, label_selector: str | None, limit: int) -> Page:
        items, version = [], ""
        async with aclosing(self.pages(resource, namespace, label_selector=label_selector, limit=limit)) as pages:
            async for page, version in pages:  # noqa: B007 - all pages have the same version
                items += page
        return items, version

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
        """A list page by page, for callers that keep less than the whole objects; `timeout` is the seconds for each
        page.

        Gone when the continue token expires.
        """
        query = {"limit": str(limit)}
        if label_selector:
            query["labelSelector"] = label_selector
        if resource_version is not None:
            query["resourceVersion"] = resource_version
        with UNCOLLECTED:
            while True:
                await self._flow.after_pause()
                with self._pausing():
                    path = resource.collection(namespace)
                    body = await self.transport.call("GET", path, query=query, timeout=timeout)
                metadata = body["metadata"]
                yield body.get("items") or [], str(metadata["resourceVersion"])
                token = metadata.get("continue")
                if not token:
                    return
                query.pop("resourceVersion", None)
                query["continue"] = token

    async def peek(self, resource: Resource, namespace: str | None, *, label_selector: str | None = None) -> Page:
        """A list of one object: whether such objects can be listed, and the present resourceVersion."""
        async with aclosing(self.pages(resource, namespace, label_selector=label_selector, limit=1)) as pages:
            return await anext(pages)

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, timeout: float = CALL_TIMEOUT_SECONDS
    ) -> JSON:
        """The object as it is now: a quorum read."""
        async with self._turn("GET", resource):
            return await self.transport.call("GET", resource.item(namespace, name), timeout=timeout)

    async def openapi(self, resource: Resource, *, timeout: float = CALL_TIMEOUT_SECONDS) -> JSON:
        """The OpenAPI document of that group and version: which fields the API server knows."""
        path = f"/openapi/v3/apis/{resource.group}/{resource.version}"
        async with self._turn("GET", resource):
            return await self.transport.call("GET", path, timeout=timeout)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        timeout: float = 300.0,
    ) -> AsyncGenerator[JSON, None]:
        """The events after `resource_version`, as `{type, object}` including BOOKMARK, until the server ends the watch
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
        lines = self.transport.lines(resource.collection(namespace), query, what=f"watch of {resource}")
        try:
            async with aclosing(lines):
                async for line in lines:
                    event: JSON = json.loads(line)
                    if event["type"] == "ERROR":
                        raise errors.from_status(event["object"], code=500)
                    yield event
        except (ValueError, LookupError) as error:
            raise errors.from_transport(error, f"watch of {resource}") from error

    # Writing

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        strict: bool = False,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """Create an object. AlreadyExists if its name is taken. A dry run passes admission and quota checks and stores
        nothing. The server drops fields that it does not know; with `strict` it answers Invalid.
        """
        if resource.namespaced and namespace is None:
            raise ValueError(f"creating {resource} needs a namespace")
        query = {"dryRun": "All"} if dry_run else {}
        if strict:
            query["fieldValidation"] = "Strict"
        return await self._write("POST", resource, resource.collection(namespace), body, query=query, timeout=timeout)

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str, resource_version: str | None = None
    ) -> JSON:
        """Delete exactly this object: Conflict if the uid, or the given resourceVersion, does not match.

        Returns the terminating object, or a Status if it is gone already. The grace period is always the object's own.
        """
        if not uid:
            raise ValueError(f"deleting {resource} {namespace}/{name} needs its uid")
        preconditions = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        return await self._write("DELETE", resource, resource.item(namespace, name), body)

    async def patch(self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any]) -> JSON:
        """JSON merge patch. Conflict if the body has an outdated `metadata.resourceVersion`."""
        return await self._write("PATCH", resource, resource.item(namespace, name), body)

    async def patch_merging(
        self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any]
    ) -> JSON:
        """Strategic merge patch: entries of lists such as containers are merged by name. Preconditions: see `patch`."""
        return await self._write("PATCH", resource, resource.item(namespace, name), body, patch=STRATEGIC_MERGE_PATCH)

    async def patch_status(self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any]) -> JSON:
        """JSON merge patch of the status subresource; preconditions as in `patch`."""
        return await self._write("PATCH", resource, f"{resource.item(namespace, name)}/status", body)

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        """Replace an object that was read by a whole new one. Conflict if its uid or resourceVersion is outdated."""
        return await self._write("PUT", resource, resource.item(namespace, name), body, timeout=timeout)

    async def _write(
        self,
        method: str,
        resource: Resource,
        path: str,
        body: Mapping[str, Any],
        *,
        query: Mapping[str, str] | None = None,
        patch: str = MERGE_PATCH,
        timeout: float = CALL_TIMEOUT_SECONDS,
    ) -> JSON:
        # The lease's own writes open the gate.
        gate = always if resource == LEASES else self.writes_allowed
        async with self._turn(method, resource):
            return await self.transport.call(
                method, path, query=query, body=body, patch=patch, gate=gate, timeout=timeout
            )

    # Flow control

    @asynccontextmanager
    async def _turn(self, method: str, resource: Resource) -> AsyncIterator[None]:
        """Wait for a turn, and pause all requests if the server asks for it. The lease never waits, so that a process
        that keeps to the limits never loses it.
        """
        if resource == LEASES:
            yield
            return
        on_wait = partial(self._on_wait, method)
        async with self._flow.turn(write=method != "GET", on_wait=on_wait):
            with self._pausing():
                yield

    @contextmanager
    def _pausing(self) -> Iterator[None]:
        try:
            yield
        except errors.Overloaded as error:
            self._flow.pause(error.retry_after or 0.0)
            raise
