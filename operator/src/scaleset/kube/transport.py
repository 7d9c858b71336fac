"""One request to the API server and its answer: timeouts, credentials, and every failure as an error named by the
reaction to it.

Only this module applies the total timeout of every call, and checks the gate right before a request is sent. It tries
again with new credentials after a 401, and feeds the clock with the API server's Date headers.
"""

# ruff: noqa: ASYNC109 - a timeout in seconds is part of what a call means to its caller, not how it is carried out

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from scaleset.kube import errors
from scaleset.kube.bodies import encode, send
from scaleset.kube.credentials import Connection, Credentials

JSON = dict[str, Any]
OnDate = Callable[[str, float, float], None]
OnRequest = Callable[[str, str, float], None]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

CONNECT_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 70.0
"""Longest silence of a watch: bookmarks come once a minute, so a longer silence means a dead watch."""

_TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


def always() -> bool:
    """A gate that is always open."""
    return True


def ignore(*_: object) -> None:
    """A callback that does nothing."""


class Transport:
    """One connection pool to one API server.

    `on_date(header, sent, received)` gets every response's Date header with the monotonic seconds around it;
    `on_request(method, code, seconds)` counts every request, `<error>` being the code of one without a response.
    """

    def __init__(self, connection: Connection, *, on_date: OnDate = ignore, on_request: OnRequest = ignore) -> None:
        self.on_date = on_date
        self.on_request = on_request
        self._connection = connection

    async def aclose(self) -> None:
        """Close all connections, streams included."""
        await self._connection.aclose()

    def credentials(self) -> Credentials:
        """The credentials in force, for another client."""
        return self._connection.credentials()

    async def lines(self, path: str, query: Mapping[str, str], *, what: str) -> AsyncGenerator[bytes, None]:
        """The lines of a stream until the server ends it; `what` names the stream in errors.

        Unavailable when the connection is cut or silent for 70 s. Use it within `aclosing`.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        response = await self._send("GET", self._url(path, query), limits=limits)
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
        patch: str | None = None,
        gate: Callable[[], bool] = always,
        timeout: float,
    ) -> JSON:
        """Send one request and return its answer; Unavailable if there is none within `timeout` seconds.

        `patch` is the media type of a patch, by default a JSON merge patch. `gate` is checked before the first byte of
        each attempt; NotLeader if it is closed.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        try:
            # One timeout for the wait for a connection, for new credentials after a 401, and for the body.
            async with asyncio.timeout(timeout):
                url = self._url(path, query)
                response = await self._send(method, url, body=body, patch=patch, gate=gate, limits=limits)
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
        patch: str | None = None,
        gate: Callable[[], bool] = always,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send one request, a second time with new credentials after a 401, and return a successful response."""
        sent = monotonic()
        response = await self._attempt(method, url, body=body, patch=patch, gate=gate, limits=limits)
        if response.status == 401 and await self._connection.renew(sent):
            response.release()
            response = await self._attempt(method, url, body=body, patch=patch, gate=gate, limits=limits)
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
        patch: str | None,
        gate: Callable[[], bool],
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = self._connection.headers()
        headers["Accept"] = "application/json"
        if method == "PATCH":
            headers["Content-Type"] = patch or MERGE_PATCH
        sent = monotonic()
        try:
            response: aiohttp.ClientResponse = await self._exchange(
                method, url, headers, body, gate=gate, limits=limits
            )
        except _TRANSPORT_ERRORS as error:
            self.on_request(method, "<error>", monotonic() - sent)
            raise errors.from_transport(error, f"{method} {url.path}") from error
        except asyncio.CancelledError:
            # This is the call's own timeout.
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
        *,
        gate: Callable[[], bool],
        limits: aiohttp.ClientTimeout,
    ) -> Any:
        api = self._connection.api
        if body is None:
            return (await api.call_api(method, url, headers, _request_timeout=limits)).response
        return await send(api.rest_client, method, url, headers=headers, data=encode(body), limits=limits, gate=gate)

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        text = self._connection.host + path + (f"?{urlencode(query)}" if query else "")
        # Encoded already: yarl must not normalise it.
        return URL(text, encoded=True)


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
