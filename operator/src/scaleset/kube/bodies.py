"""The JSON of requests, encoded as Go encodes it, so that the API server stores exactly what it would write itself.

A ControllerRevision's data is stored byte for byte as it was sent, and is immutable. Every later patch of the object,
such as the garbage collector's patch of owners, makes the server encode it anew: without spaces, with sorted keys, as
UTF-8 with escapes for <, >, & and two line separators. Data in any other encoding would then be refused as changed.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from scaleset.kube.errors import NotLeader

_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON of an object in Go's encoding."""
    text = json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.translate(_ESCAPES).encode(errors="replace")


async def send(
    rest: Any, method: str, url: Any, *, headers: dict[str, str], data: bytes, limits: Any, gate: Callable[[], bool]
) -> Any:
    """Send encoded bytes with the library's REST client. Returns aiohttp's response.

    `gate` is checked right before the first byte is sent, since waiting for a connection, or for the event loop, takes
    time. NotLeader if the gate is closed.
    """
    if rest.pool_manager is None:
        rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the library creates it with its first request
    options: dict[str, Any] = {}
    if rest.configuration.tls_server_name:
        options["server_hostname"] = rest.configuration.tls_server_name
    if rest.proxy:
        options["proxy"] = rest.proxy
    if rest.proxy_headers:
        options["proxy_headers"] = rest.proxy_headers
    headers = {"Content-Type": "application/json", **headers}
    body = _Gated(data, gate=gate, what=f"{method} {url.path}")
    try:
        return await rest.pool_manager.request(method, url, data=body, headers=headers, timeout=limits, **options)
    except aiohttp.ClientConnectionError as error:
        if isinstance(error.__cause__, NotLeader):
            raise error.__cause__ from None
        raise


class _Gated(aiohttp.BytesPayload):
    """The body of a request. Aiohttp holds the headers back until the body is written, in a later turn of the loop."""

    def __init__(self, value: bytes, *, gate: Callable[[], bool], what: str) -> None:
        super().__init__(value)
        self._gate = gate
        self._what = what

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._gate():
            raise NotLeader(f"{self._what} not sent: we do not hold the lease")
        await super().write_with_length(writer, content_length)
