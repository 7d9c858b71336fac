"""The custom resources of a stand-in over HTTP, for kopf, which has a client of its own."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from yarl import URL

from scaleset.kube.credentials import Credentials
from scaleset.runtime.kopf_thread import NAME
from tests.scale.stand_in import StandIn
from tests.unit.fake_api_server import DISCOVERY


@contextmanager
def served(api: StandIn) -> Iterator[Credentials]:
    """Serve in a thread, and give what a client needs to connect."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="front", daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_start(api), loop).result()
    host, port = runner.addresses[0][:2]
    try:
        yield Credentials(
            host=f"http://{host}:{port}",
            authorization=None,
            tls=ssl.create_default_context(),
            server_name=None,
            proxy=None,
        )
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(api: StandIn) -> web.AppRunner:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.Event().wait()  # what changes is delivered as kopf's handlers deliver it
            return response
        return web.Response(body=api.page(URL(str(request.rel_url))), content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def processor_seconds() -> float:
    """What kopf's thread has taken so far; 0 before it runs."""
    found = [thread.ident for thread in threading.enumerate() if thread.name == NAME]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in found if ident is not None)
