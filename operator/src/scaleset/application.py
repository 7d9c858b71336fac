"""The operator as a process: what runs, in which order it starts, how it ends, and its HTTP endpoints.

Every replica keeps its caches warm; only the holder of the lease reconciles. Losing the lease ends the process:
nothing of it may write any more, and whoever starts it again starts from the status. On SIGTERM the workers finish
what they are at, then the lease is given back.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from scaleset import __version__, handlers
from scaleset.api import names
from scaleset.controllers.caches import Caches
from scaleset.controllers.gallery_image_version import SWEEP, GalleryImageVersionController
from scaleset.controllers.prepulls import Prepulls
from scaleset.controllers.replication_views import ReplicationViews
from scaleset.controllers.scale_set import ScaleSetController
from scaleset.controllers.status_writer import StatusWriter
from scaleset.controllers.upgrade_policy import UpgradePolicyController
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube.client import Client
from scaleset.kube.lease import Lease
from scaleset.kube.rate_limit import Limits
from scaleset.kube.resources import Key
from scaleset.observability.events import EventRecorder
from scaleset.observability.metrics import Metrics
from scaleset.runtime.clock import ServerClock
from scaleset.runtime.process import stop_signal, unless_stopped, watch_lag
from scaleset.runtime.queue import WorkQueue
from scaleset.runtime.workers import Workers

log = logging.getLogger(__name__)

STALE_SECONDS = 180.0
"""Each view is confirmed once a minute, by a bookmark or a list; three missed ones are too many."""
GRACE_SECONDS = 10.0
"""What reconciles that run get to finish when we are told to end; with events and lease below Kubernetes' 30 s."""
FLUSH_SECONDS = 2.0
WORKERS = {"scaleset": 8, "galleryimageversion": 2, "upgradepolicy": 2}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    kubeconfig: str | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    leader_elect: bool = True
    lease_namespace: str | None = None
    prepull_service_account: str = "default"
    limits: Limits = field(default_factory=Limits)
    metrics_bind_address: str = ":8080"
    health_bind_address: str = ":8081"


class CannotStartError(Exception):
    """What we were given makes no sense; waiting would not help."""


class LeaseLostError(Exception):
    """Somebody else may write now, so this process has to end."""


class Application:
    """One operator process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = ServerClock()
        self._metrics = Metrics()
        self._metrics.leading(names.LEASE_NAME, leader=False)
        self._identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:8]}"
        self._queues: dict[str, WorkQueue[Key]] = {name: self._queue(name) for name in WORKERS}
        self._lease: Lease | None = None
        self._caches: Caches | None = None
        self._wakes = Wakes(
            scale_sets=self._queues["scaleset"].add,
            instances=self._queues["scaleset"].add_within,
            versions=self._queues["galleryimageversion"].add,
            replications=self._queues["galleryimageversion"].add_within,
            policies=self._queues["upgradepolicy"].add,
        )
        self._leading = asyncio.Event()
        self._knows_kinds = False
        self._workers: tuple[Workers[Key], ...] = ()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. LeaseLostError when another process took over; CannotStartError and OSError
        from the start.
        """
        stopped = stop_signal()
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            client = await stack.enter_async_context(await self._open())
            self._metrics.host = urlsplit(client.credentials().host).netloc
            try:
                if await unless_stopped(stopped, self._wait_for_kinds(client)):
                    caches = self._caches = watch(client, self._wakes, namespaces=self._options.namespaces or (None,))
                    recorder = EventRecorder(
                        client, instance=self._identity, now=self._clock.now, on_event=self._metrics.event_recorded
                    )
                    await self._run(client, caches, recorder, stopped)
            finally:
                stopped.cancel()

    # What is there

    async def _open(self) -> Client:
        given = self._options.kubeconfig
        try:
            return await Client.open(
                given,
                self._options.context,
                limits=self._options.limits,
                on_date=self._clock.observe,
                on_request=self._metrics.requested,
                on_wait=self._metrics.held_back,
            )
        except Exception as error:
            # Whatever somebody's file makes a parser raise: it is the file that has to be changed.
            what = f"kubeconfig {given}" if given else "the pod's own account, or a kubeconfig"
            raise CannotStartError(f"cannot use {what}: {type(error).__name__}: {one_line(str(error))}") from error

    def _queue(self, name: str) -> WorkQueue[Key]:
        queue: WorkQueue[Key] = WorkQueue(
            on_queue_duration=partial(self._metrics.waited, name), on_work_duration=partial(self._metrics.worked, name)
        )
        self._metrics.watch_queue(name, queue)
        return queue

    # How it runs

    async def _run(self, client: Client, caches: Caches, recorder: EventRecorder, stopped: "asyncio.Task[str]") -> None:
        lease = self._lease = self._new_lease(client)
        client.writes_allowed = lease.held if lease is not None else lambda: True
        kopf = handlers.run(
            client,
            {
                names.SCALE_SET_PLURAL: caches.scale_sets.seen,
                names.UPGRADE_POLICY_PLURAL: caches.policies.seen,
                names.GALLERY_IMAGE_VERSION_PLURAL: caches.versions.seen,
            },
            namespaces=self._options.namespaces,
        )
        parts = [
            asyncio.create_task(kopf, name="kopf"),
            asyncio.create_task(caches.run(), name="informers"),
            asyncio.create_task(recorder.run(), name="events"),
            asyncio.create_task(self._work(client, caches, recorder), name="work"),
            asyncio.create_task(watch_lag(self._metrics.lagged), name="lag"),
        ]
        if lease is not None:
            parts.append(asyncio.create_task(self._hold(lease), name="lease"))
        # None of the parts ever ends by itself: one that does brings its error, and the process must not go on
        # without it.
        done, _ = await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping reason=%(reason)s", {"reason": ",".join(sorted(task.get_name() for task in done))})
        await self._end(recorder, parts)
        for task in done:
            task.result()

    async def _end(self, recorder: EventRecorder, parts: "list[asyncio.Task[None]]") -> None:
        """Workers first, then the events that they left, then the lease (its task gives it back when cancelled)."""
        writing = self._lease is None or self._lease.held()
        await asyncio.gather(*(workers.stop(GRACE_SECONDS if writing else 0.0) for workers in self._workers))
        if writing:
            await recorder.flush(FLUSH_SECONDS)
        for task in parts:
            task.cancel()
        await asyncio.gather(*parts, return_exceptions=True)

    def _new_lease(self, client: Client) -> Lease | None:
        if not self._options.leader_elect:
            self._metrics.leading(names.LEASE_NAME, leader=True)
            return None
        return Lease(
            client,
            self._own_namespace(),
            names.LEASE_NAME,
            self._identity,
            annotations={names.ANNOTATION_OPERATOR_VERSION: __version__},
            on_started=self._started_leading,
            now=self._clock.now,
        )

    def _own_namespace(self) -> str:
        """The namespace of the lease: the given one, else the pod's, else the first that is served, else default."""
        mounted = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        if self._options.lease_namespace is None and mounted.exists():
            return mounted.read_text(encoding="utf-8").strip()
        return self._options.lease_namespace or next(iter(self._options.namespaces), "default")

    def _started_leading(self) -> None:
        self._metrics.leading(names.LEASE_NAME, leader=True)
        self._leading.set()

    async def _hold(self, lease: Lease) -> None:
        await lease.run()
        self._metrics.leading(names.LEASE_NAME, leader=False)
        raise LeaseLostError(
            f"the lease {names.LEASE_NAME} was lost to {lease.holder or 'nobody'}; writing has stopped"
        )

    async def _wait_for_kinds(self, client: Client) -> None:
        self._knows_kinds = False
        await handlers.wait_for_kinds(client, self._options.namespaces)
        self._knows_kinds = True

    async def _work(self, client: Client, caches: Caches, recorder: EventRecorder) -> None:
        """Reconcile as soon as everything was listed once and the lease is held."""
        if self._lease is not None:
            await self._leading.wait()
            await self._wait_for_kinds(client)  # The CRDs may be others than when this replica began to wait.
        while not caches.synced:  # noqa: ASYNC110 - six views, and only until their first lists are through
            await asyncio.sleep(0.02)
        self._metrics.lead(caches.scale_sets.all, leads=client.writes_allowed)
        log.info(
            "leading identity=%(identity)s scalesets=%(scalesets)d",
            {"identity": self._identity, "scalesets": len(caches.scale_sets.all())},
        )
        writer = StatusWriter(client)
        wakes, served = self._wakes, self._options.namespaces
        views = ReplicationViews(client, self._own_namespace(), on_nodes=wakes.nodes, on_pod=wakes.prepull)
        prepulls = Prepulls(
            client,
            views,
            service_account=self._options.prepull_service_account,
            serves=lambda name: not served or name in served,
            now=self._clock.now,
        )
        versions = GalleryImageVersionController(
            caches, writer, prepulls, images=self._metrics.images, on_replicated=wakes.replicated, now=self._clock.now
        )
        self._queues["galleryimageversion"].add(SWEEP)
        reconciles: dict[str, Callable[[Key], Awaitable[float | None]]] = {
            "scaleset": ScaleSetController(
                client,
                caches,
                recorder=recorder,
                fleet=self._metrics.fleet,
                now=self._clock.now,
                wake=self._queues["scaleset"].add,
            ).reconcile,
            "galleryimageversion": versions.reconcile,
            "upgradepolicy": UpgradePolicyController(caches, writer, now=self._clock.now).reconcile,
        }
        self._workers = tuple(
            Workers(
                self._queues[name],
                reconcile,
                concurrency=WORKERS[name],
                on_result=partial(self._metrics.reconciled, name),
            )
            for name, reconcile in reconciles.items()
        )
        await asyncio.gather(views.run(), *(workers.run() for workers in self._workers))

    # What others ask

    async def _serve(self, stack: AsyncExitStack) -> None:
        probes = [probe("/healthz", self._unhealthy), probe("/readyz", self._unready)]
        for bind_address, routes in (
            (self._options.health_bind_address, probes),
            (self._options.metrics_bind_address, [metrics(self._metrics.registry)]),
        ):
            runner = await serve(bind_address, routes)
            stack.push_async_callback(runner.cleanup)

    def _unhealthy(self) -> str | None:
        """That this is answered shows that the event loop runs; views that nobody confirms any more are what is left
        to check.
        """
        caches = self._caches
        if caches is None or not caches.synced or caches.age() < STALE_SECONDS:
            return None
        return f"nothing was heard from the API server for {caches.age():.0f} s"

    def _unready(self) -> str | None:
        if self._caches is None or not self._knows_kinds:
            return "waiting for the API server and the CustomResourceDefinitions"
        return None if self._caches.synced else "waiting for the first lists"


def one_line(text: str) -> str:
    """A sentence for a log that may have come with line breaks."""
    return " ".join(text.split())[:400]


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


def probe(path: str, problem: Callable[[], str | None]) -> web.RouteDef:
    """200 ok, or 503 and the sentence of a problem."""

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
