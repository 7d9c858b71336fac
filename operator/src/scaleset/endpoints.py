"""The HTTP endpoints: /healthz and /readyz for the kubelet, /metrics for Prometheus, each on an address of its own."""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Problem = Callable[[], str | None]
"""A sentence about a problem; None without one."""


def address(text: str) -> tuple[str | None, int]:
    """Host and port of `host:port` or `:port`; raises ValueError with a sentence."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address; write :8080 or 127.0.0.1:8080")
    return host.strip("[]") or None, int(port)


async def serve(text: str, routes: list[web.RouteDef]) -> web.AppRunner:
    """Serve those routes until the runner's `cleanup`. OSError when the address is taken."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    host, port = address(text)
    await web.TCPSite(runner, host, port).start()
    return runner


def probe(path: str, problem: Problem) -> web.RouteDef:
    """200 ok, or 503 and the sentence."""

    async def answer(_: web.Request) -> web.Response:
        wrong = problem()
        return web.Response(text="ok\n") if wrong is None else web.Response(status=503, text=f"{wrong}\n")

    return web.get(path, answer)


def metrics(registry: CollectorRegistry) -> web.RouteDef:
    """The registry in Prometheus' text format. Written in a thread: a scrape of a large fleet delays nothing."""

    async def answer(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return web.get("/metrics", answer)
