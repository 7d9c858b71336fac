"""One request to the API server and its answer: timeouts, credentials, and every failure as an error named by the
reaction to it.

Only this module applies the total timeout of every call, and checks the gate right before a request is sent. It tries
again with new credentials after a 401, and feeds the clock with the API server's Date headers.

Bodies are encoded as Go encodes them, so that the API server stores exactly what it would write itself. A
ControllerRevision's data is stored byte for byte as it was sent, and is immutable. Every later patch of the object,
such as the garbage collector's patch of owners, makes the server encode it anew: without spaces, with sorted keys, as
UTF-8 with escapes for <, >, & and two line separators. Data in any other encoding would then be refused as changed.
"""

# ruff: noqa: ASYNC109 - a timeout in seconds is part of what a call means to its caller, not how it is carried out

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from scaleset.kube import errors
from scaleset.kube.credentials import Connection, Credentials
from scaleset.kube.resources import JSON

OnDate = Callable[[str, float, float], None]
OnRequest = Callable[[str, str, float], None]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

CONNECT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 70.0
"""Longest silence of a watch: bookmarks come once a minute, so a longer silence means a dead watch."""

_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
_TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


def always() -> bool:
    """A gate that is always open."""
    return True


def ignore(*_: object) -> None:
    """A callback that does nothing."""


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON of an object in Go's encoding."""
    text = json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.translate(_ESCAPES).encode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: URL
    limits: aiohttp.ClientTimeout
    body: bytes | None = None
    content_type: str = "application/json"
    gate: Callable[[], bool] = always

    def __str__(self) -> str:
        return f"{self.method} {self.url.path}"


@dataclass(eq=False)
class Transport:
    """One connection pool to one API server.

    `on_date(header, sent, received)` gets every response's Date header with the monotonic seconds around it;
    `on_request(method, code, seconds)` counts every request, `<error>` being the code of one without a response.
    """

    connection: Connection
    _: KW_ONLY
    on_date: OnDate = ignore
    on_request: OnRequest = ignore

    async def aclose(self) -> None:
        """Close all connections, streams included."""
        await self.connection.aclose()

    def credentials(self) -> Credentials:
        """The credentials in force, for another client."""
        return self.connection.credentials()

    async def lines(self, path: str, query: Mapping[str, str], *, what: str) -> AsyncGenerator[bytes, None]:
        """The lines of a stream until the server ends it; `what` names the stream in errors.

        Unavailable when the connection is cut or silent for 70 s. Use it within `aclosing`.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        response = await self._send(_Request("GET", self._url(path, query), limits))
        try:
            async for line in _lines(response):
                yield line
        except _TRANSPORT_ERRORS as error:
            raise errors.from_transport(error, what) from error
        finally:
            # Not release(), which would wait for the rest of an endless body.
            response.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        patch: str = MERGE_PATCH,
        gate: Callable[[], bool] = always,
        timeout: float,
    ) -> JSON:
        """Send one request and return its answer; Unavailable if there is none within `timeout` seconds.

        `patch` is the media type of a patch. `gate` is checked before the first byte of each attempt; NotLeader if it
        is closed.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        data = encode(body) if body is not None else None
        kind = patch if method == "PATCH" else "application/json"
        try:
            # One timeout for the wait for a connection, for new credentials after a 401, and for the body.
            async with asyncio.timeout(timeout):
                response = await self._send(_Request(method, self._url(path, query), limits, data, kind, gate))
                try:
                    answer: JSON = json.loads(await response.read())
                finally:
                    response.release()
                return answer
        except (*_TRANSPORT_ERRORS, ValueError) as error:
            raise errors.from_transport(error, f"{method} {path}") from error

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        """Send one request, a second time with new credentials after a 401, and return a successful response."""
        sent = monotonic()
        response = await self._attempt(request)
        if response.status == 401 and await self.connection.renew(sent):
            response.release()
            response = await self._attempt(request)
        if response.status < 400:
            return response
        try:
            content = await response.read()
        except _TRANSPORT_ERRORS as error:
            raise errors.from_transport(error, str(request)) from error
        finally:
            response.release()
        raise errors.from_response(response.status, content, response.headers.get("Retry-After"))

    async def _attempt(self, request: _Request) -> aiohttp.ClientResponse:
        sent = monotonic()
        try:
            response = await self._exchange(request)
        except (*_TRANSPORT_ERRORS, asyncio.CancelledError) as error:
            self.on_request(request.method, "<error>", monotonic() - sent)
            if isinstance(error, asyncio.CancelledError):  # the call's own timeout
                raise
            raise errors.from_transport(error, str(request)) from error
        received = monotonic()
        self.on_request(request.method, str(response.status), received - sent)
        if date := response.headers.get("Date"):
            self.on_date(date, sent, received)
        return response

    async def _exchange(self, request: _Request) -> aiohttp.ClientResponse:
        """Send a request with the library's client, and its bytes as they are.

        The gate is checked right before the first byte is sent, since waiting for a connection, or for the event loop,
        takes time. NotLeader if it is closed.
        """
        api, headers = self.connection.api, {**self.connection.headers(), "Accept": "application/json"}
        response: aiohttp.ClientResponse
        if request.body is None:
            answer = await api.call_api(request.method, request.url, headers, _request_timeout=request.limits)
            response = answer.response
            return response
        rest = api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the library creates it with its first request
        given = (("server_hostname", rest.configuration.tls_server_name), ("proxy", rest.proxy))
        options = {name: value for name, value in (*given, ("proxy_headers", rest.proxy_headers)) if value}
        try:
            response = await rest.pool_manager.request(
                request.method,
                request.url,
                data=_Gated(request.body, gate=request.gate, what=str(request)),
                headers={**headers, "Content-Type": request.content_type},
                timeout=request.limits,
                **options,
            )
        except aiohttp.ClientConnectionError as error:
            if isinstance(error.__cause__, errors.NotLeader):
                raise error.__cause__ from None
            raise
        return response

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        text = self.connection.host + path + (f"?{urlencode(query)}" if query else "")
        # Encoded already: yarl must not normalise it.
        return URL(text, encoded=True)


class _Gated(aiohttp.BytesPayload):
    """The body of a request. Aiohttp holds the headers back until the body is written, in a later turn of the loop."""

    def __init__(self, value: bytes, *, gate: Callable[[], bool], what: str) -> None:
        super().__init__(value)
        self._gate = gate
        self._what = what

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._gate():
            raise errors.NotLeader(f"{self._what} not sent: we do not hold the lease")
        await super().write_with_length(writer, content_length)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The lines of a stream. A last line without a newline is cut off and is dropped."""
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
