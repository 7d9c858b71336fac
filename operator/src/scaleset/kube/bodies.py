"""How objects are written for the API server: as Go writes them, so that what it keeps is what it writes itself.

A ControllerRevision's data is kept byte for byte as it was sent and is immutable. Every patch of the object, whoever
makes it (the garbage collector takes owners away with one), has the server write it anew: without spaces, keys sorted,
as UTF-8 with escapes for <, >, & and two line separators. Anything else is then refused as a change of the data.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from scaleset.kube.errors import NotLeader

_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON of an object, as Go writes it."""
    text = json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.translate(_ESCAPES).encode(errors="replace")


async def send(
    rest: Any, method: str, url: Any, *, headers: dict[str, str], data: bytes, limits: Any, gate: Callable[[], bool]
) -> Any:
    """Send bytes as they are, as the library's REST client sends what it writes itself. Returns aiohttp's response.

    `gate` is asked right before the first byte leaves: waiting for a connection, or for a turn of the loop, takes time.
    NotLeader if it says no.
    """
    if rest.pool_manager is None:
        rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the library makes it with its first request
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
    """The body of a request. Aiohttp keeps the headers back until it is written, in a later turn of the loop."""

    def __init__(self, value: bytes, *, gate: Callable[[], bool], what: str) -> None:
        super().__init__(value)
        self._gate = gate
        self._what = what

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._gate():
            raise NotLeader(f"{self._what} not sent: we do not hold the lease")
        await super().write_with_length(writer, content_length)
