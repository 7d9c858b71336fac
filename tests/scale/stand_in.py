"""An API server in the operator's own process: what a `Transport` gets over the network, from a fleet.

It takes the place of the connection alone. Requests are encoded, and answers and watch lines are bytes that the real
`Transport` and `Client` parse. Answers are made in another thread, so that the processor time of the event loop's
thread is the operator's.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from yarl import URL

from scaleset.api import names
from scaleset.kube import transport
from scaleset.kube.credentials import Connection, Credentials
from tests.scale.copies import Json, uid
from tests.scale.fleet import Fleet
from tests.unit.fake_api_server import merged

OnWrite = Callable[[str, Json], None]
_KINDS_OF_SETS = ("pods", "controllerrevisions", "persistentvolumeclaims")


@dataclass(frozen=True)
class Answer:
    """As much of aiohttp's response as a `Transport` reads."""

    body: bytes = b""
    content: "Stream | None" = None

    async def read(self) -> bytes:
        return self.body

    def release(self) -> None:
        """Nothing was taken."""

    close = release


@dataclass
class Stream:
    """The lines of one watch."""

    lines: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)

    async def iter_any(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.lines.get() + b"\n"


@dataclass
class NoConnection:
    """Where a `Transport` looks for the address, and for what another client needs."""

    host: str = "http://fleet.example"
    of_front: Credentials | None = None

    def credentials(self) -> Credentials:
        assert self.of_front is not None, "nobody serves this stand-in to others"
        return self.of_front

    async def aclose(self) -> None:
        """Nothing is open."""


class StandIn(transport.Transport):
    """Serves the fleet. `on_write(plural, object)` gets every custom resource as a write left it, as a watch would."""

    def __init__(self, fleet: Fleet, *, on_write: OnWrite = transport.ignore) -> None:
        self.nowhere = NoConnection()
        super().__init__(cast("Connection", self.nowhere))
        self.fleet = fleet
        self.on_write = on_write
        self.version = fleet.listed
        self.writes: Counter[str] = Counter()
        """Writes by method and kind."""
        self._changed: dict[tuple[str, int], str] = {}
        self._published: dict[str, Json] = {}
        self._streams: dict[str, Stream] = {}
        self._loop = asyncio.get_running_loop()

    def newer(self) -> int:
        self.version += 1
        return self.version

    def tell(self, index: int, pod: str) -> None:
        """That pod is changed: the watch of pods shows it."""
        self._changed["pods", index] = pod
        self._streams["pods"].lines.put_nowait(f'{{"type":"MODIFIED","object":{pod}}}'.encode())

    def scale_set(self, number: int) -> Json:
        """That set as of now, with a new resourceVersion and nothing else changed."""
        body: Json = json.loads(self._text("scalesets", number))
        body["metadata"]["resourceVersion"] = str(self.newer())
        self._changed["scalesets", number] = json.dumps(body)
        return body

    def publish(self, definition: int, number: str, *, excluded: bool) -> Json:
        """One more version of that definition."""
        fleet = self.fleet
        body: Json = json.loads(fleet.copy("galleryimageversions", (definition + 1) * fleet.versions - 1))
        old, version = body["spec"]["version"], str(self.newer())
        body["metadata"] |= {
            "name": body["metadata"]["name"].replace(old, number),
            "uid": uid("published", version),
            "resourceVersion": version,
        }
        body["spec"] = json.loads(json.dumps(body["spec"]).replace(old, number))
        body["spec"]["publishingProfile"]["excludeFromLatest"] = excluded
        body.pop("status")
        self._published[body["metadata"]["name"]] = body
        return body

    # What the Transport asks for

    async def _send(self, request: Any) -> Any:
        url: URL = request.url
        if "watch" in url.query:
            stream = Stream()
            if url.query.get("labelSelector", names.LABEL_NAME) == names.LABEL_NAME:
                self._streams[url.path.rpartition("/")[2]] = stream
            return Answer(content=stream)
        if request.method == "GET":
            return Answer(await asyncio.to_thread(self.page, url))
        self.writes[f"{request.method} {_parts(url)[0]}"] += 1
        return Answer(await asyncio.to_thread(self._write, url, request.method, request.body))

    def page(self, url: URL) -> bytes:
        """The answer to a GET: a page of a list, or one object."""
        plural, *name = _parts(url)
        return json.dumps(self._object(plural, *name)).encode() if name else self._page(plural, url)

    def _page(self, plural: str, url: URL) -> bytes:
        wanted = self._listed(plural, url)
        begin = int(url.query.get("continue", "0"))
        end = min(len(wanted), begin + int(url.query["limit"]))
        metadata: Json = {"resourceVersion": str(self.version)}
        texts = [self._text(plural, index) for index in wanted[begin:end]]
        if end < len(wanted):
            metadata |= {"continue": str(end), "remainingItemCount": len(wanted) - end}
        elif plural == "galleryimageversions":
            texts += map(json.dumps, self._published.values())
        return f'{{"kind":"List","metadata":{json.dumps(metadata)},"items":[{",".join(texts)}]}}'.encode()

    def _listed(self, plural: str, url: URL) -> range:
        """All of a kind, or those of one set by its label. A list of one namespace shows all of them, too."""
        label, _, value = url.query.get("labelSelector", "").partition("=")
        if value and plural in _KINDS_OF_SETS:
            return self.fleet.of_set(plural, _number(value))
        return range(self.fleet.count(plural) if label in ("", names.LABEL_NAME) else 0)

    def _text(self, plural: str, index: int) -> str:
        return self._changed.get((plural, index)) or self.fleet.copy(plural, index)

    def _object(self, plural: str, name: str) -> Json:
        found: Json | None = self._published.get(name)
        if found is None:
            assert plural in ("scalesets", "upgradepolicies"), f"nobody should ask for {plural} {name}"
            found = json.loads(self._text(plural, _number(name)))
        return found

    def _write(self, url: URL, method: str, sent: bytes) -> bytes:
        plural, *name = _parts(url)
        body: Json = json.loads(sent)
        if method == "POST":
            body["metadata"] |= {"uid": uid("made", self.version), "resourceVersion": str(self.newer())}
        if method != "PATCH" or plural == "events":
            return json.dumps(body).encode()
        found = self._object(plural, *name)
        found["status"] = merged(found.get("status"), body["status"])
        found["metadata"]["resourceVersion"] = str(self.newer())
        if found["metadata"]["name"] not in self._published:
            self._changed[plural, _number(*name)] = json.dumps(found)
        self._loop.call_soon_threadsafe(self.on_write, plural, found)
        return json.dumps(found).encode()


def _parts(url: URL) -> list[str]:
    """The kind, then the name, of a path below /api/v1, /apis/group/version or a namespace of these."""
    _, _, rest = url.path.partition("/namespaces/")
    parts = rest.split("/")[1:] if rest else url.path.split("/")[-1:]
    return parts[:2]


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
