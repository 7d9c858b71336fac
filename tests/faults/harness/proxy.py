"""A proxy between one operator and the API server, which a test scripts to misbehave.

Towards the operator it speaks plain HTTP at the address of a kubeconfig that it writes; towards the API server it is
whoever the operator says it is by a token, else whoever the cluster's own kubeconfig says. All proxies of a process
share one thread with an event loop; tests call from theirs.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from .calls import Call, On, everything
from .faults import CutError, Exchange, Fault

T = TypeVar("T")
F = TypeVar("F", bound=Fault)
KEPT = ("Content-Type", "Date", "Retry-After", "Warning")
SENT = ("Content-Type", "Accept", "User-Agent", "Authorization")
LONGEST_BODY = 64 << 20


class Loop:
    """A thread with an event loop that runs what it is given."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def call(self, function: Any, *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)


_shared: list[Loop] = []


def shared_loop() -> Loop:
    """The one of this process."""
    if not _shared:
        _shared.append(Loop())
    return _shared[0]


class Proxy:
    """`with Proxy(cluster.kubeconfig, directory) as proxy:` its `kubeconfig` leads through it.

    `inject` makes it misbehave for as long as a block lasts. Of several faults that fit a call the one injected last
    gets it. `seen` is every call until now, in order of arrival.
    """

    def __init__(self, kubeconfig: Path, directory: Path, *, token: str = "") -> None:
        self._upstream = kubeconfig
        self._token = token
        self.kubeconfig = directory / "proxied.kubeconfig"
        self.seen: list[Call] = []
        self._faults: list[tuple[On, Fault]] = []
        self._detours: list[tuple[On, str]] = []
        self._streams: dict[Call, web.Request] = {}
        self._sessions: list[aiohttp.ClientSession] = []
        self._runner: web.AppRunner | None = None
        self._host = ""
        self._port = 0

    def __enter__(self) -> Self:
        shared_loop().run(self._start())
        user = {"token": self._token} if self._token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxied",
            "clusters": [{"name": "proxied", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
            "users": [{"name": "proxied", "user": user}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        shared_loop().run(self._stop())

    @contextmanager
    def inject(self, fault: F, on: On = everything) -> Iterator[F]:
        """Inside, calls that fit are treated by the fault."""
        entry = (on, fault)
        self._faults.insert(0, entry)
        try:
            yield fault
        finally:
            if entry in self._faults:
                self._faults.remove(entry)
            shared_loop().call(fault.end)

    @contextmanager
    def lead(self, server: str, on: On = everything) -> Iterator[None]:
        """Inside, calls that fit go to another API server of the same cluster. Watches that are open stay where they
        are until they are cut.
        """
        entry = (on, server)
        self._detours.insert(0, entry)
        try:
            yield
        finally:
            self._detours.remove(entry)

    def heal(self) -> None:
        """Ends all faults."""
        while self._faults:
            shared_loop().call(self._faults.pop()[1].end)

    def cut(self, on: On = everything) -> int:
        """Cuts the connections of watches that are open now; how many."""

        async def cut() -> int:
            found = [request for call, request in list(self._streams.items()) if on(call)]
            for request in found:
                _abort(request)
            return len(found)

        return shared_loop().run(cut())

    def opened_by_now(self) -> On:
        """Fits the watches that are open at this moment, and no later one."""
        found = set(self._streams)
        return lambda call: call in found

    def count(self, on: On) -> int:
        return sum(on(call) for call in list(self.seen))

    # In the loop

    async def _start(self) -> None:
        config = yaml.safe_load(self._upstream.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host = cluster["server"]
        if "certificate-authority" in cluster:
            trusted = ssl.create_default_context(cafile=cluster["certificate-authority"])
        else:
            trusted = ssl.create_default_context()
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        if "client-certificate" in user:
            trusted.load_cert_chain(user["client-certificate"], user["client-key"])
        bare = ssl.create_default_context()
        bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
        limits = aiohttp.ClientTimeout(total=None, sock_connect=5)
        for context in (trusted, bare):
            connector = aiohttp.TCPConnector(ssl=context, limit=0)
            self._sessions.append(
                aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False, read_bufsize=1 << 20)
            )
        app = web.Application(client_max_size=LONGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        for request in list(self._streams.values()):
            _abort(request)
        if self._runner is not None:
            await self._runner.cleanup()
        for session in self._sessions:
            await session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = request.raw_path.partition("?")
        headers = {name: request.headers[name] for name in SENT if name in request.headers}
        call = Call.of(request.method, raw[0], query=raw[2], headers=headers, body=await request.read())
        self.seen.append(call)
        exchange = _Exchange(self, request, call)
        try:
            for on, fault in list(self._faults):
                if on(call) and fault.takes(call):
                    return await fault.treat(exchange)
            return await exchange.relay()
        except (CutError, aiohttp.ClientError, OSError):
            # Cut by the test; or the API server is not there, then neither are we.
            _abort(request)
            return web.Response()

    def _session(self, call: Call) -> aiohttp.ClientSession:
        return self._sessions[1 if "Authorization" in call.headers else 0]

    def _send(self, call: Call) -> Any:
        host = next((server for on, server in self._detours if on(call)), self._host)
        url = f"{host}{call.path}" + (f"?{call.query}" if call.query else "")
        return self._session(call).request(
            call.method,
            URL(url, encoded=True),
            data=call.body or None,
            headers={**call.headers, "Accept-Encoding": "identity"},
        )


class _Exchange(Exchange):
    """One call on its way."""

    def __init__(self, proxy: Proxy, request: web.Request, call: Call) -> None:
        self.call = call
        self._proxy = proxy
        self._request = request

    async def forward(self) -> tuple[int, dict[str, str], bytes]:
        async def forward() -> tuple[int, dict[str, str], bytes]:
            async with self._proxy._send(self.call) as answer:
                body = await answer.read()
                return answer.status, _kept(answer), body

        # What was sent to the API server happens, even if the operator is killed meanwhile.
        return await asyncio.shield(asyncio.ensure_future(forward()))

    async def reply(self, code: int, headers: dict[str, str], body: bytes) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, body=body)

    async def relay(self) -> web.StreamResponse:
        if self.call.verb == "watch":
            return await self._relay_watch()
        return await self.reply(*await self.forward())

    async def _relay_watch(self) -> web.StreamResponse:
        proxy = self._proxy
        async with proxy._send(self.call) as answer:
            if answer.status != 200:
                return await self.reply(answer.status, _kept(answer), await answer.read())
            response = web.StreamResponse(status=answer.status, headers=_kept(answer))
            await response.prepare(self._request)
            proxy._streams[self.call] = self._request
            try:
                async for line in answer.content:
                    lines = [line]
                    for on, fault in list(proxy._faults):
                        if on(self.call):
                            lines = [new for old in lines for new in await fault.event(self.call, old)]
                    for each in lines:
                        await response.write(each)
                        if not each.endswith(b"\n"):
                            raise CutError  # a truncated event is the end
            except ConnectionResetError:
                pass  # the operator is gone, or the test cut it
            finally:
                proxy._streams.pop(self.call, None)
            with contextlib.suppress(ConnectionResetError):
                await response.write_eof()
            return response


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in KEPT if name in answer.headers}


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
