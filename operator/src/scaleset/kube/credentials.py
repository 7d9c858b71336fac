"""Who we are for the API server, and that it stays so: tokens and certificates are read again before they expire.

The library loads them (kubeconfig, exec plugins, OIDC, in-cluster tokens). Its own refreshing is not enough: the
in-cluster hook goes by the machine's wall clock, which may be set back by an hour, and a kubeconfig gets no hook at
all. So the same loaders run again here, once a minute by the monotonic clock and whenever the server answers 401. What
they load then is used from the next request on. New client certificates and a new CA need new connections; only then
are the old ones closed.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

log = logging.getLogger(__name__)

RELOAD_SECONDS = 60.0
"""Bound tokens are rotated 12 minutes before they expire, and the exec plugins' credentials count as expired 5 minutes
before.
"""
RETRY_SECONDS = 5.0
"""How soon after a reload another 401 may cause the next one."""
LOAD_TIMEOUT_SECONDS = 30.0
"""An exec plugin may ask a server of its own."""

Load = Callable[[Configuration, bool], Awaitable[None]]
"""Puts credentials into a configuration. True: even if those that it has say of themselves that they are still good."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach and convince the API server; files hold certificates and keys."""

    host: str
    token: str | None = field(repr=False)
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    insecure: bool


class Connection:
    """The library's client, with credentials that are kept fresh. Made by `connect`."""

    def __init__(self, load: Load, configuration: Configuration, *, user_agent: str) -> None:
        self._load = load
        self._configuration = configuration
        self._user_agent = user_agent
        self._api = self._new_api()
        self._identity = _identity(configuration)
        self._loaded_at = monotonic()
        self._tried_at = -inf
        self._reloading: asyncio.Task[bool] | None = None

    @property
    def api(self) -> Any:
        """The library's ApiClient for the next request; do not keep it."""
        return self._api

    @property
    def host(self) -> str:
        """Base URL of the API server."""
        return str(self._configuration.host)

    def headers(self) -> dict[str, str]:
        """The headers that identify us. Starts a reload in the background when the credentials were loaded a minute
        ago: nobody waits for it.
        """
        now = monotonic()
        if now - self._loaded_at > RELOAD_SECONDS and now - self._tried_at > RETRY_SECONDS:
            self._start_reload(anew=False)
        found = {"User-Agent": self._user_agent}
        if token := self._configuration.api_key.get("BearerToken"):
            found["Authorization"] = token.strip()
        return found

    def credentials(self) -> Credentials:
        """What is loaded now."""
        loaded = self._configuration
        # The library writes the scheme in lower case for a pod's own token, and the same field holds "Basic ...".
        scheme, _, token = str(loaded.api_key.get("BearerToken") or "").strip().partition(" ")
        return Credentials(
            host=str(loaded.host),
            token=token.strip() if scheme.lower() == "bearer" else None,
            ca_file=loaded.ssl_ca_cert,
            certificate_file=loaded.cert_file,
            key_file=loaded.key_file,
            insecure=not loaded.verify_ssl,
        )

    async def renew(self, sent: float) -> bool:
        """After a 401 to a request sent at that monotonic time: load the credentials again. True if it is worth another
        try.
        """
        if self._reloading is None:
            if self._loaded_at > sent:
                return True
            if monotonic() - self._tried_at < RETRY_SECONDS:
                return False
        # Shielded: others may be waiting for the same, and a call that times out must not end it for them.
        return await asyncio.shield(self._reloading or self._start_reload(anew=True))

    async def aclose(self) -> None:
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        await self._api.close()

    def _start_reload(self, *, anew: bool) -> asyncio.Task[bool]:
        if self._reloading is None:
            self._tried_at = monotonic()
            self._reloading = asyncio.create_task(self._reload(anew=anew), name="credentials")
        return self._reloading

    async def _reload(self, *, anew: bool) -> bool:
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
                await self._load(self._configuration, anew)
            identity = _identity(self._configuration)
            if identity != self._identity:
                log.info("credentials_changed")
                old, self._api, self._identity = self._api, self._new_api(), identity
                await old.close()
        except Exception as error:  # noqa: BLE001 - a plugin or a file may fail in any way; the credentials that we have may still do
            log.warning('credentials_reload_failed error="%(error)s"', {"error": f"{type(error).__name__}: {error}"})
            return False
        else:
            self._loaded_at = monotonic()
            return True
        finally:
            self._reloading = None

    def _new_api(self) -> Any:
        return ApiClient(configuration=self._configuration)


async def connect(kubeconfig: str | None, context: str | None, *, user_agent: str, pool_size: int) -> Connection:
    """Load the credentials: the pod's own if neither a file nor a context is given and we are in a pod, else a
    kubeconfig's.

    The library's ConfigException, or OSError, if there are none that can be used.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = pool_size
    # kubectl and client-go accept certificates that RFC 5280 is stricter about, so clusters have them.
    configuration.disable_strict_ssl_verification = True
    in_pod = kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ
    load: Load = (
        _load_in_cluster if in_pod else _Kubeconfig(kubeconfig or os.environ.get("KUBECONFIG") or None, context)
    )
    await load(configuration, True)  # noqa: FBT003 - see Load
    if not _behind_proxy(str(configuration.host)):
        configuration.client_session_kwargs = {"trust_env": False}
    return Connection(load, configuration, user_agent=user_agent)


def _behind_proxy(host: str) -> bool:
    """Whether the environment names a proxy for that URL. Where it does not, aiohttp need not look for one in a thread
    at every request, nor in another one for a password in ~/.netrc, which no other client of Kubernetes sends.
    """
    url = urlsplit(host)
    return url.scheme in getproxies() and not proxy_bypass(url.hostname or "")


async def _load_in_cluster(configuration: Configuration, _anew: bool) -> None:  # noqa: FBT001 - see Load
    config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)


class _Kubeconfig:
    """A kubeconfig, whose loader remembers when the credentials of a plugin expire."""

    def __init__(self, path: str | None, context: str | None) -> None:
        self._path = path
        self._context = context
        self._loader: Any = None

    async def __call__(self, configuration: Configuration, anew: bool) -> None:  # noqa: FBT001 - see Load
        if anew:
            self._loader = await config.load_kube_config(
                config_file=self._path, context=self._context, client_configuration=configuration
            )
        else:
            await self._loader.load_and_set(configuration)


def _identity(configuration: Configuration) -> tuple[object, ...]:
    """What a TLS connection was made with; the token is not part of it."""
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    return (configuration.host, *(Path(file).read_bytes() if file else None for file in files))
