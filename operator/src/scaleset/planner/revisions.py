"""The model of a ScaleSet: the part of its spec that instances are made from.

A model is kept as an apps/v1 ControllerRevision. Its name carries a hash of its content, so that going back to an
earlier model finds the earlier revision. Absent and null fields do not count, so neither a restart of the operator nor
a newer operator with more fields makes a new revision. A pinned version is kept in its usual spelling, since `1.2` and
`1.2.0` are one version.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from scaleset.api.base import JSON, Model
from scaleset.api.pod_template import what_counts
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.planner.gallery import LATEST, usual

KEPT = 10
UPDATE_DOMAINS = 5
"""Update domains of a model without that field."""
_NAME_PART = 52
_HASH_LENGTH = 10


class Reference(NamedTuple):
    """Image reference of a model: `version` is `latest` or the version that the user pinned."""

    publisher: str
    offer: str
    sku: str
    version: str
    gallery: str | None = None
    """Namespace of the gallery; None is the set's own."""

    @property
    def moving(self) -> bool:
        return self.version == LATEST

    @property
    def definition(self) -> tuple[str | None, str, str, str]:
        """The image definition. Versions of different definitions cannot be compared."""
        return self.gallery, self.publisher, self.offer, self.sku


@dataclass(frozen=True)
class Revision:
    """One revision of the model. `number` is the ControllerRevision's `revision`, 0 when it is not stored yet."""

    name: str
    number: int
    data: Mapping[str, Any]
    uid: str = ""

    @cached_property
    def reference(self) -> Reference:
        image = self.data.get("imageReference") or {}
        return Reference(
            publisher=str(image.get("publisher", "")),
            offer=str(image.get("offer", "")),
            sku=str(image.get("sku", "")),
            version=str(image.get("version", LATEST)),
            gallery=image.get("galleryNamespace"),
        )

    @cached_property
    def rest(self) -> str:
        """Hash of the model without its image reference."""
        rest = {key: value for key, value in self.content.items() if key != "imageReference"}
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:_HASH_LENGTH]

    @cached_property
    def template(self) -> Mapping[str, Any]:
        return self.data.get("template") or {}

    @cached_property
    def instance_container(self) -> str | None:
        """Name of the container that runs the OS image: the configured one, else the first."""
        chosen = self.data.get("instanceContainer")
        if chosen:
            return str(chosen)
        containers = (self.template.get("spec") or {}).get("containers") or []
        return str(containers[0].get("name")) if containers else None

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The content that instances are made from. Operators before 1.1 also stored unused fields of the template."""
        template = self.data.get("template")
        if not isinstance(template, Mapping):
            return self.data
        return {**self.data, "template": what_counts(template, self.data.get("instanceContainer"))}

    @cached_property
    def image_containers(self) -> tuple[str, ...]:
        """Names of the containers that run the image of the version: first the instance container, then all containers
        without an image of their own.
        """
        containers = (self.template.get("spec") or {}).get("containers") or ()
        others = (str(c.get("name")) for c in containers if not c.get("image"))
        first = self.instance_container
        return () if first is None else (first, *(name for name in others if name != first))

    @cached_property
    def image_init_containers(self) -> tuple[str, ...]:
        """Names of the init containers that run the image of the version."""
        containers = (self.template.get("spec") or {}).get("initContainers") or ()
        return tuple(str(c.get("name")) for c in containers if not c.get("image"))

    @cached_property
    def claim_names(self) -> tuple[str, ...]:
        return tuple(str(claim["metadata"]["name"]) for claim in self.data.get("volumeClaimTemplates") or ())


def describe(set_name: str, spec: ScaleSetSpec) -> Revision:
    """The model of the spec."""
    return _described(set_name, spec, what_counts(spec.template, spec.instance_container))


def former_name(set_name: str, spec: ScaleSetSpec) -> str:
    """The model's name in operators before 1.1, which hashed the whole template, including the unused image."""
    return _described(set_name, spec, spec.template).name


def _described(set_name: str, spec: ScaleSetSpec, template: Mapping[str, Any]) -> Revision:
    image = spec.image_reference
    reference = {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": usual(image.version)}
    if image.gallery_namespace:
        reference["galleryNamespace"] = image.gallery_namespace
    data = {
        "template": template,
        "instanceContainer": spec.instance_container,
        "imageReference": reference,
        "volumeClaimTemplates": [_set_fields(claim) for claim in spec.volume_claim_templates] or None,
        "health": _set_fields(spec.health) or None,
        "customData": spec.custom_data,
        "runCustomData": spec.run_custom_data or None,
        "extensions": [_set_fields(extension) for extension in spec.extensions] or None,
        "zones": list(spec.zones) or None,
        "updateDomains": spec.domains if spec.domains != UPDATE_DOMAINS else None,
        "serviceName": spec.service_name or None,
        "location": spec.location,
    }
    content = without_nulls(data)
    canonical = json.dumps([set_name, content], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_LENGTH]
    return Revision(name=f"{set_name[:_NAME_PART]}-{digest}", number=0, data=content)


def _set_fields(part: Model) -> JSON:
    return part.model_dump(by_alias=True, exclude_defaults=True, mode="json")


def stored(models: Mapping[str, Revision], asked: Revision) -> Revision | None:
    """The newest stored model with the wanted content; an older operator gave it another name."""
    same = (model for model in models.values() if model.number and model.content == asked.content)
    return max(same, key=lambda model: model.number, default=None)


def without_nulls(value: Any) -> Any:
    """The same JSON without null members: clients write an insignificant `creationTimestamp: null` into templates."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def expendable(models: tuple[Revision, ...], used: frozenset[str]) -> tuple[Revision, ...]:
    """Stored revisions that may be deleted: beyond the newest ten, and needed by no instance."""
    oldest_first = sorted((model for model in models if model.number), key=lambda model: model.number)
    return tuple(model for model in oldest_first[: max(0, len(oldest_first) - KEPT)] if model.name not in used)
