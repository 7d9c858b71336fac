"""How objects are written for the API server: as Go writes them, so that what it keeps is what it writes itself.

A ControllerRevision's data is kept byte for byte as it was sent and is immutable. Every patch of the object, whoever
makes it (the garbage collector takes owners away with one), has the server write it anew: without spaces, keys sorted,
as UTF-8 with escapes for <, >, & and two line separators. Anything else is then refused as a change of the data.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

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

    `gate` is asked when the request has its connection, before its first byte: waiting for one takes time. NotLeader if
    it says no.
    """
    if rest.pool_manager is None:
        rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the library makes it with its first request
    if _GATED not in rest.pool_manager.trace_configs:
        rest.pool_manager.trace_configs.append(_GATED)
    options: dict[str, Any] = {}
    if rest.configuration.tls_server_name:
        options["server_hostname"] = rest.configuration.tls_server_name
    if rest.proxy:
        options["proxy"] = rest.proxy
    if rest.proxy_headers:
        options["proxy_headers"] = rest.proxy_headers
    headers = {"Content-Type": "application/json", **headers}
    return await rest.pool_manager.request(
        method,
        url,
        data=data,
        headers=headers,
        timeout=limits,
        trace_request_ctx=(gate, f"{method} {url.path}"),
        **options,
    )


def _gated() -> aiohttp.TraceConfig:
    async def ask(_: object, context: Any, __: object) -> None:
        """Aiohttp calls it when headers are about to be written; an error closes the connection."""
        if context.trace_request_ctx is None:
            return
        gate, what = context.trace_request_ctx
        if not gate():
            raise NotLeader(f"{what} not sent: we do not hold the lease")

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(ask)
    config.freeze()
    return config


_GATED = _gated()
