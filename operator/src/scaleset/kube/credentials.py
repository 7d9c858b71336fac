"""Credentials for the API server. Tokens and certificates are read again before they expire.

The library loads them (kubeconfig, exec plugins, OIDC, in-cluster tokens). Its own refreshing is not enough: the
in-cluster hook goes by the machine's wall clock, which may be set back by an hour, and a kubeconfig gets no hook at
all. So this module runs the same loaders again, once a minute by the monotonic clock and after every 401. The next
request uses the new credentials. New client certificates and a new CA need new connections; only then are the old ones
closed.

kopf's requests use the same credentials: `Credentials` holds every setting of a kubeconfig and the environment, and
`session` builds kopf's connection pool from it. A setting that neither supports is refused at the start.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

log = logging.getLogger(__name__)

RELOAD_SECONDS = 60.0
"""Bound tokens are rotated 12 minutes before they expire, and the exec plugins' credentials count as expired 5 minutes
before.
"""
RETRY_SECONDS = 5.0
"""Least seconds between two reloads caused by a 401."""
LOAD_TIMEOUT_SECONDS = 30.0
"""Timeout of a reload; an exec plugin may call a server of its own."""

Load = Callable[[Configuration, bool], Awaitable[None]]
"""Puts credentials into a configuration. True: even if the present ones claim to be valid."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Address and credentials of the API server. They are complete, so that another client connects in the same way."""

    host: str
    authorization: str | None = field(repr=False)
    """The header: a token or a password."""
    tls: ssl.SSLContext
    """The trusted CAs and the client certificate."""
    server_name: str | None
    """The name in the server's certificate, if it is not the host."""
    proxy: str | None = field(repr=False)
    """May contain a password."""


def session(found: Credentials) -> aiohttp.ClientSession:
    """A connection pool with those credentials, for the running event loop."""

    async def identify(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # Not a header of the session: aiohttp sends those to the proxy as well.
        if found.authorization:
            request.headers["Authorization"] = found.authorization
        request.server_hostname = found.server_name
        return await send(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.tls),
        proxy=found.proxy,
        middlewares=(identify,),
        trust_env=False,
    )


class Connection:
    """The library's client with fresh credentials. Created by `connect`."""

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
        """The headers with the credentials. Starts a reload in the background if the credentials are a minute old; no
        request waits for it.
        """
        now = monotonic()
        if now - self._loaded_at > RELOAD_SECONDS and now - self._tried_at > RETRY_SECONDS:
            self._start_reload(anew=False)
        found = {"User-Agent": self._user_agent}
        if authorization := _authorization(self._configuration):
            found["Authorization"] = authorization
        return found

    def credentials(self) -> Credentials:
        """The credentials loaded now."""
        loaded = self._configuration
        return Credentials(
            host=self.host,
            authorization=_authorization(loaded),
            # A second configuration, loaded in the same way: no other thread changes the one that a thread uses.
            tls=RESTClientObject(loaded).ssl_context,
            server_name=loaded.tls_server_name,
            proxy=loaded.proxy,
        )

    async def renew(self, sent: float) -> bool:
        """Load the credentials again after a 401 to a request sent at that monotonic time. True if another try is
        worthwhile.
        """
        if self._reloading is None:
            if self._loaded_at > sent:
                return True
            if monotonic() - self._tried_at < RETRY_SECONDS:
                return False
        # Shielded: other calls may wait for the same reload, and a call that times out must not cancel it.
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
        except Exception as error:  # noqa: BLE001 - a plugin or a file may fail in any way; the present credentials may still be valid
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
    """Load the credentials: the pod's own if neither a file nor a context is given and the process runs in a pod, else
    a kubeconfig's.

    Raises the library's ConfigException, or OSError, if there are no usable or fully supported credentials.
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
    configuration.proxy = _proxy(configuration.proxy or _environments_proxy(str(configuration.host)))
    # Otherwise each request would read the environment in a thread, and ~/.netrc for a password, which no other
    # client of Kubernetes sends.
    configuration.client_session_kwargs = {"trust_env": False}
    return Connection(load, configuration, user_agent=user_agent)


def _environments_proxy(host: str) -> str | None:
    """The proxy that the environment names for that URL."""
    url = urlsplit(host)
    return None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)


def _proxy(url: str | None) -> str | None:
    """A proxy's URL. ConfigException if its kind is not supported; the error does not show the URL, which may contain a
    password.
    """
    if not url:
        return None
    scheme, separator, _ = url.partition("://")
    if not separator:
        return f"http://{url}"
    if scheme.lower() not in ("http", "https"):
        raise ConfigException(
            f"the proxy (proxy-url of the kubeconfig's cluster, or HTTPS_PROXY) is of the kind {scheme}; "
            "only http and https proxies can be used: name one of these, or none"
        )
    return url


def _authorization(configuration: Configuration) -> str | None:
    return str(configuration.api_key.get("BearerToken") or "").strip() or None


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
            _refuse_impersonation(self._loader)
        else:
            await self._loader.load_and_set(configuration)


def _refuse_impersonation(loader: Any) -> None:
    """Refuse impersonation: the library ignores it, so requests would be sent with the user's own rights."""
    user = loader._user  # noqa: SLF001 - the library has no public access
    asked = [name for name in ("as", "as-uid", "as-groups", "as-user-extra") if user and user.safe_get(name)]
    if asked:
        raise ConfigException(
            f"the user of the context has {', '.join(asked)}, and the operator does not impersonate: "
            "use the credentials of an account that has these rights itself"
        )


def _identity(configuration: Configuration) -> tuple[object, ...]:
    """The credentials of a TLS connection; the token is not part of them."""
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    way = (configuration.host, configuration.proxy, configuration.tls_server_name, configuration.verify_ssl)
    return (*way, *(Path(file).read_bytes() if file else None for file in files))
