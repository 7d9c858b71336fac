"""GalleryImageVersion: one published version of an image."""

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from scaleset.api.base import (
    LIST_SET,
    Bool,
    Conditions,
    Int,
    Message,
    Model,
    Spec,
    Status,
    Time,
    Word,
    cel,
    immutable,
    list_map,
    optional,
    rules,
)
from scaleset.api.identifiers import DefinitionPart, ExactVersion, ImageName, NamespaceName, Region

MAX_REGIONS: Final = 64
MAX_NAMESPACES: Final = 256


_INSTEAD: Final = "publish another GalleryImageVersion"
_IMMUTABLE: Final = ("publisher", "offer", "sku", "version", "image")


class TargetRegion(Model):
    """A region that the version is meant for."""

    name: Region = Field(description="Name of the region, as in the node label topology.kubernetes.io/region.")
    exclude_from_latest: Bool = optional(
        "true: latest never means this version in this region. Default: false.", default=False
    )


class PublishingProfile(Model):
    """Where a version is offered, and until when."""

    target_regions: Annotated[
        tuple[TargetRegion, ...], Field(max_length=MAX_REGIONS, json_schema_extra=list_map("name"))
    ] = optional(
        f"Regions that the version is meant for, each once, at most {MAX_REGIONS}. Default: every region.", default=()
    )
    exclude_from_latest: Bool = optional(
        "true: latest never means this version, anywhere. Default: false.", default=False
    )
    end_of_life_date: Time | None = optional(
        "RFC 3339, such as 2027-01-31T00:00:00Z. After this time no upgrade to the version starts; "
        "instances on it stay."
        " Default: never."
    )
    replication_mode: Literal["Shallow", "Full"] = optional(
        "Full: the image is pulled onto the nodes of each region before latest means this version there. Shallow: "
        "it counts at once. Default: Shallow.",
        default="Shallow",
    )


class Sharing(Model):
    """Who may use a version."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.namespaces) || size(self.namespaces) == 0 || (has(self.scope) && self.scope == "
                "'Namespaces')",
                "set scope to Namespaces, or remove namespaces",
            ),
            cel(
                "!has(self.scope) || self.scope != 'Namespaces' || (has(self.namespaces) && size(self.namespaces) > 0)",
                "list at least one of the namespaces that may use this version, or set scope to Private",
            ),
        )
    )

    scope: Literal["Private", "Namespaces", "Community"] = optional(
        "Private: its own namespace only. Namespaces: those listed as well. Community: every namespace. Default: "
        "Private.",
        default="Private",
    )
    namespaces: Annotated[tuple[NamespaceName, ...], Field(max_length=MAX_NAMESPACES, json_schema_extra=LIST_SET)] = (
        optional(
            "Namespaces that may use the version besides its own, with scope Namespaces; at most "
            f"{MAX_NAMESPACES}. Default: none.",
            default=(),
        )
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.namespaces and self.scope != "Namespaces":
            raise ValueError("set sharing.scope to Namespaces, or remove sharing.namespaces")
        return self


class SafetyProfile(Model):
    """Guards against accidents. The ValidatingAdmissionPolicy of the chart and of deploy/install.yaml enforces them."""

    block_deletion_before_end_of_life: Bool | None = optional(
        "true: the version cannot be deleted before publishingProfile.endOfLifeDate, and never without such a date. "
        "Its condition EndOfLife decides. Deleting the namespace passes. Default: false."
    )
    allow_deletion_of_replicated_locations: Bool | None = optional(
        "false: regions that the version is replicated to cannot be removed from publishingProfile.targetRegions. "
        "Default: true."
    )


class GalleryImageVersionSpec(Spec):
    """One published version of an image."""

    model_config = ConfigDict(json_schema_extra=rules(*(immutable(field, _INSTEAD) for field in _IMMUTABLE)))

    publisher: DefinitionPart = Field(description="Publisher of the image definition. Cannot be changed.")
    offer: DefinitionPart = Field(description="Offer of the image definition. Cannot be changed.")
    sku: DefinitionPart = Field(description="SKU of the image definition. Cannot be changed.")
    version: ExactVersion = Field(
        description=(
            "One to four integers, each below 2147483648, such as 17, 1.10.0 or 2024.10.17.1; in YAML in quotes where "
            "there are fewer than three. Compared as numbers, so 1.10.0 is above 1.9.0; a part that is missing is 0, "
            "so 1.2, 1.2.0 and 01.2 are one version. Cannot be changed."
        )
    )
    image: ImageName = Field(
        description=(
            "Container image reference, best with a digest, such as example.com/web@sha256:<64 hex digits>. Cannot be "
            "changed."
        ),
    )
    os_type: Literal["Linux", "Windows"] = optional(
        "Operating system of the image: Linux or Windows. New pods get it as spec.os and as node selector "
        "kubernetes.io/os; a template that chooses the system itself keeps its choice. Default: Linux.",
        default="Linux",
    )
    publishing_profile: PublishingProfile = optional(
        "Where the version is offered, and until when.", default=PublishingProfile()
    )
    sharing: Sharing = optional("Namespaces that may use the version. Default: its own only.", default=Sharing())
    safety_profile: SafetyProfile | None = optional(
        "Guards against deletion. A user who may change the version may switch them off. Default: none."
    )


class RegionalReplicationStatus(Model):
    """Replication of a version to one region."""

    region: Word = Field(description="Name of the region.")
    state: Literal["Unknown", "Replicating", "Completed", "Failed"] = Field(
        description="Unknown, Replicating, Completed or Failed."
    )
    progress: Int = optional("Percent of the nodes that have the image.", default=0, ge=0, le=100)
    details: Message | None = optional("Reason to wait, or the failure.")


class ReplicationStatus(Model):
    """Replication of a version to all its regions."""

    aggregated_state: Literal["Unknown", "InProgress", "Completed", "Failed"] = Field(
        description="Unknown, InProgress, Completed or Failed."
    )
    mode: Literal["Shallow", "Full"] | None = optional(
        "The replicationMode of this status: Completed by Shallow says nothing about the nodes."
    )
    summary: tuple[RegionalReplicationStatus, ...] = optional("One entry for each region.", default=())


class GalleryImageVersionStatus(Status):
    """Observed state of a published version."""

    published_date: Time | None = optional("When the version was published.")
    replication_status: ReplicationStatus | None = optional("Replication of the version to its regions.")
    failed_scale_sets: Int | None = optional(
        "Number of ScaleSets of this image definition in which this version and image failed, so that the "
        "platform does not try it again. Absent: none. Cancelled rollouts do not count.",
        ge=0,
    )
    conditions: Conditions = optional(
        "Ready: may be chosen. Pinned: the image reference has a digest. EndOfLife: the end of life has come; only "
        "with an endOfLifeDate, or with blockDeletionBeforeEndOfLife.",
        default=(),
    )
    observed_generation: Int | None = optional(
        "metadata.generation of the spec that this status was computed from.", ge=0
    )
