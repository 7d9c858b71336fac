"""An API server for unit tests: lists in pages, watches with history, preconditions, and every way to misbehave that
the faults need.

It keeps objects as raw JSON and counts one resourceVersion for all of them, as etcd does. What it does wrong, a test
asks for: `refuse` answers the next requests of a method with an error, `before` runs a function of the test at the
beginning of a request.
"""

import asyncio
import copy
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from scaleset.api import names
from tests.cluster.harness.cluster import ROOT

JSON = dict[str, Any]

_SERVED = {"singularName": "", "namespaced": True, "verbs": ["list", "watch", "patch"]}
DISCOVERY: dict[str, JSON] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [{**_SERVED, "name": "namespaces", "kind": "Namespace", "namespaced": False}]},
    "/apis": {
        "groups": [
            {
                "name": names.GROUP,
                "versions": [{"version": names.VERSION}],
                "preferredVersion": {"version": names.VERSION},
            }
        ]
    },
    f"/apis/{names.GROUP}/{names.VERSION}": {
        "resources": [
            {**_SERVED, "name": plural, "kind": plural}
            for plural in (names.SCALE_SET_PLURAL, names.UPGRADE_POLICY_PLURAL, names.GALLERY_IMAGE_VERSION_PLURAL)
        ]
    },
}
"""What it says that it serves, as far as kopf asks."""


class FakeApi:
    """One server for one kind of object at a time; URLs are the real ones."""

    def __init__(self) -> None:
        self.version = 100
        self.compacted = 0
        self.objects: dict[str, JSON] = {}
        self.history: list[JSON] = []
        self.requests: list[str] = []
        self.refusals: list[tuple[str, web.Response]] = []
        self.before: Callable[[web.Request], Awaitable[None]] | None = None
        self.tokens: set[str] | None = None
        self.expire_continue = 0
        self.frozen = False
        self.openapi = openapi()
        self.url = ""
        self._streams: set[web.StreamResponse] = set()
        self._news = asyncio.Event()
        self._emitted = 0

    # What a test does to the world

    def put(self, namespace: str, name: str, **fields: Any) -> JSON:
        """Create or change an object, as another client would."""
        path, group = f"{namespace}/{name}", name.rpartition("-")[0]
        known = self.objects.get(path)
        obj: JSON = copy.deepcopy(known) if known else {"metadata": {"uid": str(uuid.uuid4())}}
        obj["metadata"] |= {"name": name, "namespace": namespace, "labels": {"set": group, names.LABEL_NAME: group}}
        obj |= fields
        return self.commit("MODIFIED" if known else "ADDED", obj)

    def drop(self, namespace: str, name: str) -> JSON:
        return self.commit("DELETED", self.objects.pop(f"{namespace}/{name}"))

    def emit(self, kind: str, obj: JSON) -> None:
        """Have the watches send an event that nothing caused."""
        self._emitted += 1
        version = self.version + self._emitted / 1000
        self.history.append({"type": kind, "object": copy.deepcopy(obj), "version": version})
        self._tell()

    def bookmark(self) -> None:
        self.version += 1
        self.emit("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(self.version)}})

    def refuse(self, method: str, code: int, *, reason: str = "", times: int = 1, headers: Any = None) -> None:
        """Answer the next requests of that method with an error Status, without doing anything."""
        body = {"kind": "Status", "code": code, "reason": reason, "message": f"refused with {code}"}
        for _ in range(times):
            self.refusals.append((method, web.json_response(body, status=code, headers=headers)))

    def cut(self) -> None:
        """Cut all watches in the middle of a line."""
        for stream in self._streams:
            transport = stream._req.transport if stream._req is not None else None
            if transport is not None:
                transport.abort()

    def compact(self) -> None:
        """Forget all history: watches from an older version are 410."""
        self.compacted = self.version
        self.history.clear()

    @property
    def watching(self) -> int:
        return len(self._streams)

    # Serving

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeApi"]:
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.cut()
            await runner.cleanup()

    def kubeconfig(self, folder: Path, user: JSON | None = None) -> str:
        """Path of a kubeconfig for this server."""
        config = {
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": user or {"token": "secret"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return str(path)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.before is not None:
            await self.before(request)
        token = request.headers.get("Authorization", "").partition(" ")[2]
        if self.tokens is not None and token not in self.tokens:
            return _status(401, "Unauthorized")
        for refusal in self.refusals:
            if refusal[0] == request.method:
                self.refusals.remove(refusal)
                return refusal[1]
        if "watch" in request.query:
            return await self._watch(request)
        body = json.loads(await request.read() or b"{}")
        _, _, rest = request.path.partition("/namespaces/")
        namespace, _, tail = rest.partition("/")
        name = tail.partition("/")[2].partition("/")[0]
        if request.path.startswith("/openapi/"):
            return web.json_response(self.openapi)
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if request.method == "GET" and not name:
            return self._list(request, namespace)
        return self._object(request, body, namespace=namespace, name=name)

    def _list(self, request: web.Request, namespace: str) -> web.Response:
        wanted = [o for _, o in sorted(self.objects.items()) if namespace in {"", o["metadata"]["namespace"]}]
        if selector := request.query.get("labelSelector"):
            key, _, value = selector.partition("=")
            wanted = [o for o in wanted if o["metadata"].get("labels", {}).get(key) == value]
        version, _, start = request.query.get("continue", f"{self.version}/0").partition("/")
        if "continue" in request.query and self.expire_continue:
            self.expire_continue -= 1
            return _status(410, "Expired")
        end = int(start) + int(request.query["limit"])
        metadata = {"resourceVersion": version} | ({"continue": f"{version}/{end}"} if end < len(wanted) else {})
        return web.json_response({"kind": "List", "metadata": metadata, "items": wanted[int(start) : end]})

    def _object(self, request: web.Request, body: JSON, *, namespace: str, name: str) -> web.Response:
        name = name or body.get("metadata", {}).get("name", "")
        known = self.objects.get(f"{namespace}/{name}")
        if request.method == "POST":
            return self._create(request, body, namespace=namespace, name=name, known=known)
        if known is None:
            return _status(404, "NotFound")
        if request.method == "GET":
            return web.json_response(known)
        wanted = body.get("preconditions") or body.get("metadata") or {}
        actual = known["metadata"]
        if request.method == "PATCH" and wanted.get("uid", actual["uid"]) != actual["uid"]:
            return _status(422, "Invalid")
        if any(wanted.get(key, actual[key]) != actual[key] for key in ("uid", "resourceVersion")):
            return _status(409, "Conflict")
        if request.method == "DELETE":
            return web.json_response(self.drop(namespace, name))
        if request.method == "PUT":
            body["metadata"] = actual | body["metadata"]
            return web.json_response(self.commit("MODIFIED", body))
        found = merged(known, {key: value for key, value in body.items() if key != "metadata"})
        return web.json_response(self.commit("MODIFIED", found))

    def _create(
        self, request: web.Request, body: JSON, *, namespace: str, name: str, known: JSON | None
    ) -> web.Response:
        if known is not None:
            return _status(409, "AlreadyExists")
        body["metadata"] = {"namespace": namespace, "name": name} | body["metadata"] | {"uid": str(uuid.uuid4())}
        if "dryRun" in request.query:
            return web.json_response(body, status=201)
        return web.json_response(self.commit("ADDED", body), status=201)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = float(request.query["resourceVersion"])
        if since < self.compacted:
            return _status(410, "Expired")
        response = web.StreamResponse()
        await response.prepare(request)
        self._streams.add(response)
        try:
            while True:
                for event in self._after(since):
                    since = event["version"]
                    line = json.dumps({"type": event["type"], "object": event["object"]}).encode() + b"\n"
                    # In two pieces: a chunk is not a line.
                    await response.write(line[:7])
                    await response.write(line[7:])
                self._news.clear()
                await self._news.wait()
        finally:
            self._streams.discard(response)

    def _after(self, version: float) -> list[JSON]:
        return [] if self.frozen else [event for event in self.history if event["version"] > version]

    def commit(self, kind: str, obj: JSON) -> JSON:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        metadata = obj["metadata"]
        if kind != "DELETED":
            self.objects[f"{metadata['namespace']}/{metadata['name']}"] = obj
        self.history.append({"type": kind, "object": copy.deepcopy(obj), "version": self.version})
        self._tell()
        return copy.deepcopy(obj)

    def thaw(self) -> None:
        """The watches speak again."""
        self.frozen = False
        self._tell()

    def _tell(self) -> None:
        self._news.set()


@cache
def openapi() -> JSON:
    """What an API server publishes of crds/, as far as anybody looks at it."""
    schemas: JSON = {}
    for path in (ROOT / "crds").glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        [version] = spec["versions"]
        kind = {"group": spec["group"], "version": version["name"], "kind": spec["names"]["kind"]}
        schema = {**version["schema"]["openAPIV3Schema"], "x-kubernetes-group-version-kind": [kind]}
        schemas[f"dev.scaleset.{kind['version']}.{kind['kind']}"] = schema
    return {"openapi": "3.0.0", "components": {"schemas": schemas}}


def merged(known: Any, patch: Any) -> Any:
    """A JSON merge patch, applied to a copy."""
    if not isinstance(patch, dict):
        return patch
    base = copy.deepcopy(known) if isinstance(known, dict) else {}
    for key, value in patch.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


def _status(code: int, reason: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": f"{reason} by the fake"}
    return web.json_response(body, status=code)
