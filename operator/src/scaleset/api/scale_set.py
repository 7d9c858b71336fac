"""ScaleSet: instances of one image and their identity."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from scaleset.api.base import NO_DEFAULTS, OPEN, Bool, Int, Model, Spec, cel, immutable, list_map, optional, rules
from scaleset.api.claim_template import (
    CLAIM_SPEC_SCHEMA,
    CLAIMS_CANNOT_CHANGE,
    CLAIMS_KEEP_THEIR_SPEC,
    RETENTION_STAYS,
    ClaimRetention,
)
from scaleset.api.extensions import MAX_EXTENSIONS, CustomData, Extensions
from scaleset.api.health import Health
from scaleset.api.identifiers import (
    DefinitionPart,
    DnsLabel,
    NamespaceName,
    PolicyName,
    Region,
    ServiceName,
    VersionOrLatest,
)
from scaleset.api.names import MAX_HOST_NAME
from scaleset.api.placement import (
    MAX_REPLICAS,
    MAX_UPDATE_DOMAINS,
    InstanceId,
    Ordinals,
    OSProfile,
    PodManagementPolicy,
    RollingUpgradeOrder,
    ScaleInPolicy,
    ServiceFabric,
    Zones,
)
from scaleset.api.pod_template import (
    IGNORED_METADATA,
    POD_TEMPLATE_SCHEMA,
    annotation_schema,
    check_depth,
    check_template,
    container_names,
    finalizer_schema,
    label_schema,
)
from scaleset.api.upgrade_policy import UpgradePolicySpec

MAX_SINGLE_PLACEMENT_GROUP: Final = 100
MAX_CLAIMS: Final = 32
FABRIC_UPDATE_DOMAINS: Final = 5

_INSTEAD: Final = "create another ScaleSet"


class ImageReference(Model):
    """The image that the instances run."""

    model_config = ConfigDict(json_schema_extra=rules(immutable("publisher", _INSTEAD), immutable("offer", _INSTEAD)))

    publisher: DefinitionPart = Field(description="Publisher of the image definition. Cannot be changed.")
    offer: DefinitionPart = Field(description="Offer of the image definition. Cannot be changed.")
    sku: DefinitionPart = Field(
        description="SKU of the image definition. A change is a change of the model; an image upgrade never changes it."
    )
    version: VersionOrLatest = Field(
        description=(
            "latest: the numerically highest version that is ready in this region, not excluded and not past its end "
            "of life; or an exact version such as 1.2.3, which image upgrades leave alone. "
            "In YAML, quote a version of fewer than three parts. 1.2, 1.2.0 and 01.2 are one version."
        ),
    )
    gallery_namespace: NamespaceName | None = optional(
        "Namespace of the GalleryImageVersions, which have to be shared with this one. Default: the ScaleSet's own"
        " namespace."
    )


class UpgradePolicyRef(Model):
    """Names an UpgradePolicy."""

    name: PolicyName = Field(description="Name of an UpgradePolicy in the same namespace.")


def _ignoring(properties: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Further properties that the schema allows and the model drops."""
    return lambda schema: schema["properties"].update(properties)


class ClaimMetadata(Model):
    """Name, labels and annotations of a volume claim template."""

    model_config = ConfigDict(
        json_schema_extra=_ignoring({key: value for key, value in IGNORED_METADATA.items() if key != "name"})
    )

    name: DnsLabel = Field(
        description=(
            "Name of the volume in the pod, for volumeMounts. The claim is named <this>-<scale set>-<instance id>."
        )
    )
    labels: Annotated[dict[str, str], WithJsonSchema(label_schema("the claims", max_items=64))] = Field(
        default_factory=dict
    )
    annotations: Annotated[dict[str, str], WithJsonSchema(annotation_schema("the claims", max_items=64))] = Field(
        default_factory=dict
    )
    finalizers: Annotated[tuple[str, ...], WithJsonSchema(finalizer_schema("the claims"))] = ()


class VolumeClaimTemplate(Model):
    """A data disk: one claim for each instance."""

    model_config = ConfigDict(
        json_schema_extra=_ignoring(
            {
                "apiVersion": {"type": "string", "maxLength": 63, "description": "Ignored; v1."},
                "kind": {"type": "string", "maxLength": 63, "description": "Ignored; PersistentVolumeClaim."},
                "status": {**OPEN, "description": "Ignored. Allowed since the API server writes one in a StatefulSet."},
            }
        )
    )

    metadata: ClaimMetadata = Field(
        description="Name, labels, annotations and finalizers of the claims. All else is ignored, as in a StatefulSet."
    )
    spec: Annotated[
        dict[str, Any],
        AfterValidator(check_depth),
        WithJsonSchema(CLAIM_SPEC_SCHEMA),
    ] = Field(
        description=(
            "PersistentVolumeClaimSpec as in a StatefulSet: accessModes, resources.requests.storage, storageClassName "
            "and so on."
        ),
    )


class ProtectedInstance(Model):
    """Keeps one instance from being removed or replaced by the platform."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.protectFromScaleSetActions) && self.protectFromScaleSetActions"
                " && has(self.protectFromScaleIn) && !self.protectFromScaleIn)",
                "set protectFromScaleIn to true or remove it: protectFromScaleSetActions includes it",
            )
        )
    )

    id: InstanceId = Field(description="Instance id: the number at the end of the pod's name.")
    protect_from_scale_in: Bool | None = optional(
        "true: scaling in does not choose this instance. Default: the value of protectFromScaleSetActions."
    )
    protect_from_scale_set_actions: Bool = optional(
        "true: neither scaling in nor an upgrade of any kind touches this instance. Default: false.", default=False
    )

    @property
    def keeps_from_scale_in(self) -> bool:
        """Whether scaling in must keep the instance: protection from all actions includes that."""
        return bool(self.protect_from_scale_in) or self.protect_from_scale_set_actions


_INSTANCE_CONTAINER: Final = (
    "(has(self.instanceContainer) ? self.instanceContainer : self.template.spec.containers[0].name)"
)
_START: Final = "(has({0}.ordinals) && has({0}.ordinals.start) ? {0}.ordinals.start : 0)"
HIGHEST_ID_FITS: Final = (
    "!has(self.spec.ordinals) || !has(self.spec.ordinals.start) || size(self.metadata.name) + 1 + size(string("
    "self.spec.ordinals.start + (has(self.spec.replicas) && self.spec.replicas > 0 ? self.spec.replicas : 1) - 1))"
    f" <= {MAX_HOST_NAME}"
)
"""At the root of the CRD, since the name is part of it."""
TOO_LONG_WITH_ID: Final = (
    "shorten the name of the ScaleSet, or lower ordinals.start or replicas: the name, a dash and the highest id "
    f"have at most {MAX_HOST_NAME} characters"
)


class ScaleSetSpec(Spec):
    """Desired state of a ScaleSet."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.upgradePolicy) && has(self.upgradePolicyRef))",
                "keep one of upgradePolicy and upgradePolicyRef: a set has one policy",
                at=".upgradePolicy",
            ),
            cel(
                "!has(self.instanceContainer) || self.template.spec.containers.exists(c, c.name == "
                "self.instanceContainer)",
                "set instanceContainer to the name of a container in template.spec.containers",
                at=".instanceContainer",
            ),
            cel(
                "!(has(self.health) && has(self.health.probe)) || !self.template.spec.containers.exists(c,"
                f" has(c.readinessProbe) && c.name == {_INSTANCE_CONTAINER})",
                "remove health.probe or the readinessProbe of the instance container: there can be only one "
                "source of health",
            ),
            cel(
                "!(has(self.health) && has(self.health.probe) && has(self.health.probe.gracePeriodInSeconds))"
                f" || !self.template.spec.containers.exists(c, has(c.startupProbe) && c.name == {_INSTANCE_CONTAINER})",
                "remove health.probe.gracePeriodInSeconds or the startupProbe of the instance container: the one "
                "is rendered as the other",
            ),
            cel(
                "!(has(self.singlePlacementGroup) && self.singlePlacementGroup) || !has(self.replicas)"
                f" || self.replicas <= {MAX_SINGLE_PLACEMENT_GROUP}",
                f"set singlePlacementGroup to false, once, for more than {MAX_SINGLE_PLACEMENT_GROUP} instances; it "
                "cannot be set back",
                at=".singlePlacementGroup",
            ),
            cel(
                "(has(self.zones) ? self.zones : []) == (has(oldSelf.zones) ? oldSelf.zones : [])",
                "leave zones as they are: an instance stays in its zone for ever; create another ScaleSet",
                at=".zones",
            ),
            cel(
                f"{_START.format('self')} == {_START.format('oldSelf')}",
                "leave ordinals.start as it is: names of instances and claims follow from it; create another ScaleSet",
                at=".ordinals",
            ),
            cel(
                RETENTION_STAYS,
                "leave persistentVolumeClaimRetentionPolicy as it is: claims keep the owner that they were created "
                "with; create another ScaleSet",
                at=".persistentVolumeClaimRetentionPolicy",
            ),
            cel(
                "!(has(self.runCustomData) && self.runCustomData) || has(self.customData)",
                "set customData, or remove runCustomData",
                at=".runCustomData",
            ),
            cel(
                "!(has(self.serviceFabric) && has(self.health) && has(self.health.probe))"
                " || (has(self.serviceFabric.isStateless) && self.serviceFabric.isStateless)",
                "remove health.probe: a Service Fabric set reports its health by Service Fabric, unless "
                "serviceFabric.isStateless is true",
                at=".serviceFabric",
            ),
            cel(
                "!has(oldSelf.serviceFabric) || !(oldSelf.serviceFabric.durabilityLevel in ['Silver', 'Gold'])"
                " || has(self.serviceFabric)",
                "leave serviceFabric in place: its durability of Silver or Gold cannot be taken back",
                at=".serviceFabric",
            ),
            cel(
                "!(has(oldSelf.singlePlacementGroup) && !oldSelf.singlePlacementGroup)"
                " || !has(self.singlePlacementGroup) || !self.singlePlacementGroup",
                "leave singlePlacementGroup at false: it cannot be set back to true",
                at=".singlePlacementGroup",
            ),
        )
    )

    replicas: Int = optional("Desired number of instances, 0 to 1000. Default: 1.", default=1, ge=0, le=MAX_REPLICAS)
    image_reference: ImageReference = Field(description="The image that the instances run.")
    upgrade_policy: UpgradePolicySpec | None = optional(
        "A policy of this set alone, with the fields of an UpgradePolicy. Instead of upgradePolicyRef. Default: none.",
        json_schema_extra={NO_DEFAULTS: True},
    )
    upgrade_policy_ref: UpgradePolicyRef | None = optional(
        "The UpgradePolicy of the set. Default: none, which equals a policy without any field."
    )
    template: Annotated[dict[str, Any], AfterValidator(check_template), WithJsonSchema(POD_TEMPLATE_SCHEMA)] = Field(
        description=(
            "The pod that every instance is made from, as in a StatefulSet. Fields that are not shown here are passed "
            "on as they are."
        ),
    )
    instance_container: Annotated[str, Field(min_length=1, max_length=63)] | None = optional(
        "The container that always runs the image of the version, and that health.probe is about. Containers and "
        "init containers without an image run it too. Default: the first container."
    )
    service_name: ServiceName | None = optional(
        "A headless Service that gives each instance the DNS name <scale set>-<id>.<serviceName>. Default: none."
    )
    volume_claim_templates: Annotated[
        tuple[VolumeClaimTemplate, ...],
        Field(
            max_length=MAX_CLAIMS,
            json_schema_extra=rules(
                cel(
                    "self.all(first, self.exists_one(second, second.metadata.name == first.metadata.name))",
                    "give each of the volumeClaimTemplates a name of its own",
                ),
                cel(CLAIMS_KEEP_THEIR_SPEC, CLAIMS_CANNOT_CHANGE),
            ),
        ),
    ] = optional(
        f"Data disks, at most {MAX_CLAIMS}: one claim for each instance. Claims outlive their instance and, unless "
        "persistentVolumeClaimRetentionPolicy says otherwise, the ScaleSet; the operator never deletes one. Templates "
        "may be added and removed; the spec of one cannot be changed. Default: none.",
        default=(),
    )
    persistent_volume_claim_retention_policy: ClaimRetention | None = optional(
        "What becomes of the claims. Cannot be changed. Default: they outlive their instance and the ScaleSet."
    )
    ordinals: Ordinals | None = optional("The numbers of the instances. Cannot be changed. Default: from 0 upwards.")
    pod_management_policy: PodManagementPolicy | None = optional(
        "OrderedReady: instances that do not exist yet are created one after the other, by id, each once all instances "
        "with a lower id are healthy; scaling in removes one at a time. Parallel: all at once. Upgrades "
        "and self-healing ignore it. Default: Parallel."
    )
    rolling_upgrade_order: RollingUpgradeOrder | None = optional(
        "The order of the instances in a rollout. Default: ascending."
    )
    health: Health = optional("The criteria of a healthy instance. Default: its readiness probe.", default=Health())
    location: Region | None = optional(
        "Region, as in the node label topology.kubernetes.io/region: instances run there, and only image versions "
        "replicated there count. Default: any node, and versions for the region default."
    )
    protected_instances: Annotated[
        tuple[ProtectedInstance, ...], Field(max_length=MAX_REPLICAS, json_schema_extra=list_map("id"))
    ] = optional("Instances that the platform must not remove or replace, each id once. Default: none.", default=())
    single_placement_group: Bool | None = optional(
        "true: at most 100 instances. May be set to false, and never back to true. Default: absent, no "
        "limit. Sets created with an operator before 1.1 have an explicit true."
    )
    custom_data: CustomData | None = optional(
        "A script or document of at most 64 KiB, as text or base64. Every container of every new pod finds it at "
        "/var/lib/scaleset/custom-data; on Windows at /var/lib/scaleset-custom-data/custom-data.ps1. Default: none."
    )
    run_custom_data: Bool = optional(
        "true: customData is run by /bin/sh of the instance image before the extensions, on Windows by powershell.exe; "
        "its failure is reported and does not fail the instance. Default: false.",
        default=False,
    )
    extensions: Extensions = optional(
        f"Software that runs once in every new pod before the containers start, at most {MAX_EXTENSIONS}. "
        "Default: none.",
        default=(),
    )
    zones: Zones = optional(
        "Zones, as in the node label topology.kubernetes.io/zone: instance i lives in zones[i % number of zones] "
        "for ever. Cannot be changed. Default: none, any node.",
        default=(),
    )
    update_domains: Int | None = optional(
        "Number of update domains that the instances are spread over, 1 to 20; batches go one after the other. "
        "Default: 1; 5 in a Service Fabric set. Sets created with an operator before 1.1 have an explicit "
        "5.",
        ge=1,
        le=MAX_UPDATE_DOMAINS,
    )
    scale_in_policy: ScaleInPolicy = optional(
        "Order of scaling in, and the number of instances at a time.", default=ScaleInPolicy()
    )
    os_profile: OSProfile | None = optional("Settings of the operating system. Default: none.")
    service_fabric: ServiceFabric | None = optional("Marks the set as a Service Fabric node type. Default: none.")
    suspend: Bool = optional(
        "true: no rollout starts, and a running one stops after its current batch until this is false. "
        "Scaling and self-healing go on. Default: false.",
        default=False,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.upgrade_policy is not None and self.upgrade_policy_ref is not None:
            raise ValueError("keep one of upgradePolicy and upgradePolicyRef: a set has one policy")
        if self.instance_container is not None and self.instance_container not in container_names(self.template):
            raise ValueError("set instanceContainer to the name of a container in template.spec.containers")
        if self.replicas > MAX_SINGLE_PLACEMENT_GROUP and self.single_placement_group:
            raise ValueError("set singlePlacementGroup to false, once, for more than 100 instances")
        claims = [claim.metadata.name for claim in self.volume_claim_templates]
        if len(set(claims)) != len(claims):
            raise ValueError("give each of the volumeClaimTemplates a name of its own")
        return self

    @property
    def first_id(self) -> int:
        """The lowest instance id."""
        return (self.ordinals.start or 0) if self.ordinals is not None else 0

    @property
    def deletes_claims(self) -> bool:
        """Whether claims are deleted together with the set."""
        retention = self.persistent_volume_claim_retention_policy
        return retention is not None and retention.deletes

    @property
    def ordered(self) -> bool:
        """Whether instances are created and removed one after the other."""
        return self.pod_management_policy == "OrderedReady"

    @property
    def descends(self) -> bool:
        """Whether the instances with the highest ids are upgraded first."""
        return self.rolling_upgrade_order is not None and self.rolling_upgrade_order.direction == "Descending"

    @property
    def domains(self) -> int:
        """The number of update domains in force."""
        return self.update_domains or (FABRIC_UPDATE_DOMAINS if self.service_fabric is not None else 1)

    @property
    def instance_container_name(self) -> str:
        """The container whose image is the OS image."""
        return self.instance_container or container_names(self.template)[0]
