"""Whether the API server keeps all status fields that this operator writes.

A CustomResourceDefinition older than the operator silently drops unknown fields, and the dropped values are lost with
the process. So this is checked before any other work, in the API server's OpenAPI document, which every account may
read. Fields that the operator does not know are no problem: then the definitions are newer. `status_writer.check_kept`
notices definitions that are replaced later.
"""

import logging
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final, get_args

from pydantic import BaseModel

from scaleset.api import names
from scaleset.api.base import wire_name
from scaleset.api.gallery_image_version import GalleryImageVersionStatus
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicyStatus
from scaleset.kube.client import Client
from scaleset.kube.errors import ApiError, Forbidden
from scaleset.planner.status_codec import ONLY_SHOWN
from scaleset.records.kinds import SCALE_SETS
from scaleset.records.projections import listed

log = logging.getLogger(__name__)

STATUSES: Final[Mapping[str, type[BaseModel]]] = {
    names.SCALE_SET_KIND: ScaleSetStatus,
    names.UPGRADE_POLICY_KIND: UpgradePolicyStatus,
    names.GALLERY_IMAGE_VERSION_KIND: GalleryImageVersionStatus,
}
UNREAD_SECONDS: Final = 10.0
"""Longest wait for a document, which is published some moments after its definitions. An API server may not publish
any.
"""


class ServedSchemas:
    """The schemas of the three kinds on one API server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._unread_since: float | None = None

    async def problem(self) -> str:
        """A sentence that says why the operator must not start; empty if no problem is known. Missing fields that are
        only shown to people are logged, and so is a document that cannot be read.
        """
        try:
            lost = missing(await self._client.openapi(SCALE_SETS))
        except (ApiError, LookupError, TypeError, AttributeError) as error:
            return self._unread(error)
        needed = [path for path in lost if not _only_shown(path)]
        if needed:
            return (
                f"the CustomResourceDefinitions are older than this operator, and do not know {listed(needed)}: "
                "kubectl apply --server-side -f crds/"
            )
        if lost:
            log.warning('crds_older not_shown="%(not_shown)s"', {"not_shown": listed(lost)})
        return ""

    def _unread(self, error: Exception) -> str:
        problem = f"cannot read the schemas of the CustomResourceDefinitions: {type(error).__name__}: {error}"
        since = self._unread_since = monotonic() if self._unread_since is None else self._unread_since
        if not isinstance(error, Forbidden) and monotonic() - since < UNREAD_SECONDS:
            return problem
        log.warning('crds_unchecked error="%(error)s"', {"error": problem})
        return ""


def missing(document: Mapping[str, Any]) -> list[str]:
    """Status fields missing in the document, such as "ScaleSet status.builds"; of a missing object only the object
    itself. LookupError, TypeError or AttributeError if the document is not about the three kinds.
    """
    schemas = {kind: schema for schema in document["components"]["schemas"].values() for kind in _kinds(schema)}
    return [
        f"{kind} {path}"
        for kind, status in STATUSES.items()
        for path in _missing(status, schemas[kind]["properties"].get("status") or {}, "status")
    ]


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    for each in schema.get("x-kubernetes-group-version-kind") or ():
        if (each["group"], each["version"]) == (names.GROUP, names.VERSION):
            yield each["kind"]


def _missing(model: type[BaseModel], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = schema.get("properties") or {}
    for name, field in model.model_fields.items():
        wire = field.alias or wire_name(name)
        if wire not in known:
            yield f"{path}.{wire}"
            continue
        for part in _models(field.annotation):
            yield from _missing(part, known[wire].get("items") or known[wire], f"{path}.{wire}")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's type: alone, optional, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models(part)


def _only_shown(path: str) -> bool:
    """Whether a field is only shown to people. No batch depends on the status of policies and versions: at worst an
    image is pulled again.
    """
    kind, _, field = path.partition(" status.")
    return kind != names.SCALE_SET_KIND or field in ONLY_SHOWN or field.partition(".")[0] in ONLY_SHOWN
