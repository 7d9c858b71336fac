"""Leader election: one writer at a time, the process that renews a Lease.

The rules are client-go's, so that the lease can be shared with any client that obeys them:

- A lease of another process has expired if its record did not change for its duration, measured by the own monotonic
  clock since the record was first observed. Times written in it are for people; clocks of different machines are never
  compared. A deleted lease counts as unchanged.
- The own lease is held for `renew_deadline` seconds after the last successful renewal was *sent*. `held()` computes
  this at every call, so it turns false on time even if nothing else in this process runs. As renew_deadline < duration,
  it does so before another process may take over.
- A process has one term only. It stops writing and ends when it loses the lease.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from scaleset.kube.client import Client
from scaleset.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from scaleset.kube.resources import JSON, LEASES

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """A lease record of another process."""

    spec: JSON
    since: float
    """Monotonic time since which it has not changed."""

    @property
    def expires(self) -> float:
        """Monotonic time from which the lease may be taken if it does not change."""
        return self.since + float(self.spec.get("leaseDurationSeconds") or 0)


@dataclass(eq=False)
class Lease:
    """The right to write. `identity` must be unique to this process; durations are seconds.

    `annotations` describe the holder on the Lease. `on_started` is called when this process gets the lease, `on_lost`
    when it does not have it any more, also after a release. `now` gives the times written for people.
    """

    client: Client
    namespace: str
    name: str
    identity: str
    _: KW_ONLY
    duration: float = 15
    renew_deadline: float = 10
    retry_period: float = 2
    annotations: Mapping[str, str] = field(default_factory=dict)
    on_started: Callable[[], None] = lambda: None
    on_lost: Callable[[], None] = lambda: None
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not self.retry_period < self.renew_deadline < self.duration:
            raise ValueError("expected retry_period < renew_deadline < duration")
        self._held_until = -inf
        self._object: JSON | None = None
        self._other: Seen | None = None
        self._complaint = ""

    def held(self) -> bool:
        """Whether this process may write now."""
        return self.monotonic() < self._held_until

    @property
    def holder(self) -> str:
        """The last observed holder; empty if there was none."""
        if self.held():
            return self.identity
        return str(self._other.spec.get("holderIdentity") or "") if self._other else ""

    async def run(self) -> None:
        """Wait for the lease, hold it, and return when it is lost. Cancelling releases it first: stop all writes
        before.
        """
        while True:
            if await self._try():
                break
            await asyncio.sleep(self.retry_period * (1 + 0.2 * self.jitter()))
        log.info(
            "lease_acquired lease=%(namespace)s/%(lease)s identity=%(identity)s", self._about(identity=self.identity)
        )
        self.on_started()
        try:
            while (left := self._held_until - self.monotonic()) > 0:
                await asyncio.sleep(min(left, self.retry_period))
                # An expired lease is not renewed: after a pause of this process there may be another holder.
                if self.held():
                    await self._try()
            log.error("lease_lost lease=%(namespace)s/%(lease)s holder=%(holder)s", self._about(holder=self.holder))
            self.on_lost()
        except asyncio.CancelledError:
            await self._release()
            raise

    async def _release(self) -> None:
        """Release the lease, so that the next holder need not wait until it expires. `held()` is false from now on.

        Not while a renewal is under way: its answer would make `held()` true again.
        """
        if not self.held() or self._object is None:
            self._held_until = -inf
            return
        self._held_until = -inf
        self.on_lost()
        released = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._time()}
        try:
            try:
                await self._put({**self._object["spec"], **released})
            except Conflict:
                # A renewal that was cancelled before its reply came.
                self._object = await self.client.get(LEASES, self.namespace, self.name, timeout=self._request_timeout)
                if self._object["spec"].get("holderIdentity") == self.identity:
                    await self._put({**self._object["spec"], **released})
            log.info("lease_released lease=%(namespace)s/%(lease)s", self._about())
        except ApiError as error:
            log.warning(
                'lease_release_failed lease=%(namespace)s/%(lease)s error="%(error)s"', self._about(error=error)
            )

    async def _try(self) -> bool:
        """One attempt to get or to renew the lease; True if it succeeded. A missing answer changes nothing: `held()`
        expires by itself.
        """
        sent = self.monotonic()
        try:
            succeeded = await self._renew_or_acquire(renewing=self.held())
        except ApiError as error:
            self._complain(error)
            return False
        if succeeded:
            self._complaint = ""
            self._other = None
            self._held_until = sent + self.renew_deadline
        else:
            self._held_until = -inf
        return succeeded

    async def _renew_or_acquire(self, *, renewing: bool) -> bool:
        if renewing and self._object is not None:
            try:
                await self._put({**self._object["spec"], "renewTime": self._time()})
            except (Conflict, NotFound):
                # Changed, deleted, or the own reply got lost: read again.
                pass
            else:
                return True
        try:
            found = await self.client.get(LEASES, self.namespace, self.name, timeout=self._request_timeout)
        except NotFound:
            return await self._create()
        return await self._take(found)

    async def _create(self) -> bool:
        # The holder may not have noticed the deletion yet.
        if self._other is not None and self.monotonic() < self._other.expires:
            return False
        metadata = {"namespace": self.namespace, "name": self.name, "annotations": self.annotations}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self._term(0)}
        try:
            self._object = await self.client.create(LEASES, self.namespace, body, timeout=self._request_timeout)
        except AlreadyExists:
            return False
        return True

    async def _take(self, found: JSON) -> bool:
        spec: JSON = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in {"", self.identity}:
            if self._other is None or self._other.spec != spec:
                self._other = Seen(spec, self.monotonic())
            if self.monotonic() < self._other.expires:
                return False
        self._object = found
        if holder == self.identity:
            # A conflict here is a foreign annotation, or a deletion: no reason to give up, the next try shows it.
            await self._put({**spec, "leaseDurationSeconds": round(self.duration), "renewTime": self._time()})
            return True
        try:
            await self._put(self._term(int(spec.get("leaseTransitions") or 0) + 1))
        except (Conflict, NotFound):
            return False
        return True

    def _term(self, transitions: int) -> JSON:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": round(self.duration),
            "acquireTime": self._time(),
            "renewTime": self._time(),
            "leaseTransitions": transitions,
        }

    async def _put(self, spec: JSON) -> None:
        # With its uid and resourceVersion, or a PUT would create it again after a deletion.
        found = self._object or {}
        metadata = found.get("metadata") or {}
        about = {**(metadata.get("annotations") or {}), **self.annotations}
        body = {**found, "metadata": {**metadata, "annotations": about}, "spec": spec}
        timeout = self._request_timeout
        self._object = await self.client.replace(LEASES, self.namespace, self.name, body, timeout=timeout)

    @property
    def _request_timeout(self) -> float:
        """Timeout of a request: short enough for a second try before the deadline, and never past it."""
        third = self.renew_deadline / 3
        return min(third, max(0.1, self._held_until - self.monotonic())) if self.held() else third

    def _time(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _about(self, **more: object) -> dict[str, object]:
        """Log values: the lease and further details."""
        return {"namespace": self.namespace, "lease": self.name, **more}

    def _complain(self, error: ApiError) -> None:
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning('lease_unavailable lease=%(namespace)s/%(lease)s error="%(error)s"', self._about(error=error))
