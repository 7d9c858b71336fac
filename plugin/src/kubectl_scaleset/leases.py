"""The operator's Lease: whether one is at work, and since when none has been."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_scaleset.failures import CliError, explain
from scaleset.api import names
from scaleset.api.moments import timestamp
from scaleset.kube.errors import ApiError, Forbidden
from scaleset.kube.resources import LEASES
from scaleset.records.projections import seconds

if TYPE_CHECKING:
    from kubectl_scaleset.client import Client

JSON = Mapping[str, Any]

GRACE_SECONDS = 5.0
"""Tolerance of a late lease before its holder counts as gone: renewals have jitter, clocks whole seconds."""
PATIENCE_SECONDS = 2.0
"""How long the end of a verb waits for the Lease that was asked for at its beginning."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of the operator's lease. `version` is empty if the lease does not have it."""

    namespace: str
    identity: str
    version: str
    alive: bool
    renewed: float | None
    """Seconds since it was renewed."""


def lease(client: "Client", namespace: str) -> tuple[Holder | None, str]:
    """The holder of the operator's lease in any namespace that you may list, or why none is known."""
    try:
        found = client.list(LEASES, None, name=names.LEASE_NAME)[0]
    except Forbidden as error:
        try:
            found = client.list(LEASES, namespace, name=names.LEASE_NAME)[0]
        except Forbidden:
            return None, explain(error, server=client.server)
    holders = [_holder(client, raw) for raw in found]
    holders.sort(key=lambda holder: (holder.alive, -(holder.renewed or 1e9)), reverse=True)
    return (holders[0], "") if holders else (None, "")


def _holder(client: "Client", raw: JSON) -> Holder:
    spec, metadata = raw.get("spec") or {}, raw["metadata"]
    renewed = seconds(spec.get("renewTime"))
    since = None if renewed is None else max(0.0, client.now() - renewed)
    limit = float(spec.get("leaseDurationSeconds") or 0) + GRACE_SECONDS
    identity = str(spec.get("holderIdentity") or "")
    return Holder(
        namespace=str(metadata["namespace"]),
        identity=identity,
        version=str((metadata.get("annotations") or {}).get(names.ANNOTATION_OPERATOR_VERSION) or ""),
        alive=bool(identity) and since is not None and since <= limit,
        renewed=since,
    )


class Attendance:
    """Asks for the Lease while a verb does its own work. A user who may not read it is told nothing."""

    def __init__(self, client: "Client", namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._holder: Holder | None = None
        self._asked = threading.Thread(target=self._ask, daemon=True)
        self._asked.start()

    def _ask(self) -> None:
        try:
            self._holder = lease(self._client, self._namespace)[0]
        except (ApiError, CliError, KeyError, TypeError, ValueError):
            return

    def absence(self) -> str | None:
        """Since when no operator has been at work; None if one is, or if that is not known."""
        self._asked.join(PATIENCE_SECONDS)
        holder = self._holder
        if holder is None or holder.alive or holder.renewed is None:
            return None
        moment = timestamp(self._client.now() - holder.renewed)
        return (
            f"Warning: no operator has been at work since {moment}, the last renewal of Lease "
            f"{holder.namespace}/{names.LEASE_NAME}. What is shown may be older than that, and nothing is carried out. "
            "Look with kubectl scaleset check."
        )
