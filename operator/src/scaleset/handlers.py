"""kopf delivers the events of our three kinds. Handlers only pass events on; nothing is decided here.

kopf's other services stay off, and each for a reason: its high-level handlers write annotations and finalizers into
users' objects, its posting turns log lines into events, its peering is no lease, its scanning asks for cluster-wide
rights.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any

import aiohttp
import kopf

from scaleset.api import names
from scaleset.controllers.served_schemas import ServedSchemas
from scaleset.kube.client import Client
from scaleset.kube.credentials import Credentials, session
from scaleset.kube.errors import ApiError, NotFound
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS, UPGRADE_POLICIES
from scaleset.runtime.kopf_thread import run_in_kopf_thread

log = logging.getLogger(__name__)

Seen = Callable[[str | None, dict[str, Any]], None]
"""Gets each event: its type and the object."""

LOGIN_SECONDS = 60.0
"""How long kopf keeps credentials before it asks for them again: bound tokens are rotated long before they expire."""
SETTLED_SECONDS = 60.0
"""kopf that ran for so long is started again at once, however often it ended before."""
LOGIN_PAUSE_SECONDS = 1.0
"""Between two logins. Where credentials are refused kopf asks for others and tries at once, thirty times a second."""


async def wait_for_kinds(client: Client, namespaces: Sequence[str]) -> None:
    """Return once the API server knows our three kinds: kopf serves only those that exist when it starts. And with all
    that decisions go on from: an operator that is newer than the CRDs does nothing until they are replaced.
    """
    namespace = namespaces[0] if namespaces else None
    schemas = ServedSchemas(client)
    said = ""
    while True:
        try:
            for resource in (SCALE_SETS, UPGRADE_POLICIES, GALLERY_IMAGE_VERSIONS):
                await client.peek(resource, namespace)
            problem = await schemas.problem()
        except NotFound:
            problem = "the CustomResourceDefinitions are not installed: kubectl apply -f crds/"
        except ApiError as error:
            problem = str(error)
        if not problem:
            return
        if problem != said:
            log.warning('waiting for="API server" error="%(error)s"', {"error": problem})
            said = problem
        await asyncio.sleep(1.0)


async def run(client: Client, seen: dict[str, Seen], *, namespaces: Sequence[str]) -> None:
    """Deliver events, by plural name, until cancelled. No namespaces means all of them.

    A watch that fails (a CRD was deleted, an answer makes no sense) ends kopf, and kopf is started again. Until then
    the lists that are taken every minute go on.
    """
    ours = asyncio.get_running_loop()
    login = _Login(client, ours)
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login.__call__)
    for plural, deliver in seen.items():
        kopf.on.event(names.GROUP, names.VERSION, plural, registry=registry)(_handler(deliver, ours))
    waits = iter(Backoffs())
    while True:
        began = monotonic()
        problem = "it returned"
        try:
            await run_in_kopf_thread(lambda: _serve(registry, namespaces=namespaces), last=login.aclose)
        except Exception as error:  # noqa: BLE001 - kopf ends with whatever its watches end with
            problem = f"{type(error).__name__}: {_sentence(error)}"
        if monotonic() - began > SETTLED_SECONDS:
            waits = iter(Backoffs())
        wait = next(waits)
        log.error('kopf_ended error="%(error)s" retry_in=%(retry_in).1fs', {"error": problem, "retry_in": wait})
        await asyncio.sleep(wait)


async def _serve(registry: kopf.OperatorRegistry, *, namespaces: Sequence[str]) -> None:
    """What kopf.operator does, without its end: after a failed watch it may never return."""
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=settings(),
        standalone=True,
        # By default kopf asks for the user's name, and a container's user often has none.
        identity="scaleset-operator",  # type: ignore[arg-type] # a NewType of str that kopf does not export
        clusterwide=not namespaces,
        namespaces=tuple(namespaces),
    )
    # They run for ever: one that ends brings the error.
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


def _sentence(error: Exception) -> str:
    """What went wrong without the whole response."""
    return str(error.args[0] if error.args else error)[:300]


def settings() -> kopf.OperatorSettings:
    """How kopf behaves."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    chosen.persistence.finalizer = f"{names.GROUP}/unused"
    chosen.watching.chunk_size = 250
    chosen.watching.server_timeout = random.randint(270, 330)
    chosen.watching.inactivity_timeout = 70
    chosen.watching.connect_timeout = 5
    chosen.networking.request_timeout = 30
    chosen.networking.error_backoffs = Backoffs()
    # By default it kills the process ten minutes after it ended, whether or not it was started again.
    chosen.process.ultimate_exiting_timeout = None
    return chosen


class Backoffs:
    """Waits between attempts of kopf's requests, without an end: by default it gives up, and with it the process,
    after 54 s.
    """

    def __iter__(self) -> Iterator[float]:
        return (min(30.0, 0.5 * 2.0 ** min(n, 6)) * (0.5 + random.random()) for n in itertools.count())


def _handler(deliver: Seen, ours: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    async def on_event(event: Any, **_: Any) -> None:
        ours.call_soon_threadsafe(deliver, event["type"], event["object"])

    return on_event


class _Login:
    """Gives kopf what it sends with. It closes what it used; the rest is closed here."""

    def __init__(self, client: Client, ours: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._ours = ours
        self._last = -inf
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, **_: Any) -> kopf.AiohttpSession:
        await asyncio.sleep(max(0.0, self._last + LOGIN_PAUSE_SECONDS - monotonic()))
        self._last = monotonic()
        await self.aclose()
        found = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._credentials(), self._ours))
        self._session = session(found)
        return kopf.AiohttpSession(
            server=found.host,
            aiohttp_session=self._session,
            expiration=datetime.now(UTC) + timedelta(seconds=LOGIN_SECONDS),
        )

    async def aclose(self) -> None:
        """Nobody may use the last session any more: a watch whose session is closed calls it an error."""
        if self._session is not None:
            await self._session.close()

    async def _credentials(self) -> Credentials:
        return self._client.credentials()
