"""What becomes of the claims of a set, and the part of a claim template that the API server validates before the
operator reads it.

The schema declares the fields that define a disk, so that a rule can compare them with the previous ones. No bound or
type is stricter than that of a PersistentVolumeClaim, and null is allowed, since rules also apply when a status is
written. The rule is about changes only: stored objects stay valid.
"""

from typing import Any, Final, Literal

from scaleset.api.base import OPEN, Model, optional

_MAX_MODES: Final = 16

CLAIM_SPEC_SCHEMA: Final[dict[str, Any]] = {
    **OPEN,
    "properties": {
        "accessModes": {
            "type": "array",
            "nullable": True,
            "description": "How the disk may be mounted. Cannot be changed. Default: none.",
            "maxItems": _MAX_MODES,
            "items": {"type": "string", "maxLength": 63},
        },
        "resources": {
            **OPEN,
            "nullable": True,
            "description": "The size, as in a PersistentVolumeClaim. Cannot be changed.",
            "properties": {
                "requests": {
                    **OPEN,
                    "nullable": True,
                    "description": "Least size of the disk.",
                    "properties": {
                        "storage": {
                            "x-kubernetes-int-or-string": True,
                            "nullable": True,
                            "maxLength": 63,
                            "description": "Size, such as 10Gi. Default: none.",
                        }
                    },
                }
            },
        },
        "storageClassName": {
            "type": "string",
            "nullable": True,
            "maxLength": 253,
            "description": "StorageClass of the disk. Cannot be changed. Default: the cluster's.",
        },
        "volumeMode": {
            "type": "string",
            "nullable": True,
            "maxLength": 63,
            "description": "Filesystem or Block. Cannot be changed. Default: Filesystem.",
        },
    },
}


CLAIMS_KEEP_THEIR_SPEC: Final = (
    "self.all(new, oldSelf.all(old, old.metadata.name != new.metadata.name || old.spec == new.spec))"
)
"""Word for word: the cost of comparing a size as an amount, or with a default, is estimated by the largest request."""

CLAIMS_CANNOT_CHANGE: Final = (
    "leave the spec of each volumeClaimTemplate as it is, since no disk would change: to grow a disk edit its "
    "PersistentVolumeClaim; for other disks add a template with another name, or create another ScaleSet"
)


class ClaimRetention(Model):
    """What becomes of the claims that the set makes."""

    when_deleted: Literal["Retain", "Delete"] | None = optional(
        "Retain: claims outlive the ScaleSet. Delete: each new claim names the ScaleSet as its owner, and Kubernetes "
        "deletes it with its data when the ScaleSet is deleted. Cannot be changed. Default: Retain."
    )
    when_scaled: Literal["Retain"] | None = optional(
        "Retain: claims outlive their instance when the set is scaled in. There is no other value. Default: Retain."
    )

    @property
    def deletes(self) -> bool:
        """Whether claims are deleted together with the set."""
        return self.when_deleted == "Delete"


_DELETES: Final = (
    "has({0}.persistentVolumeClaimRetentionPolicy)"
    " && has({0}.persistentVolumeClaimRetentionPolicy.whenDeleted)"
    " && {0}.persistentVolumeClaimRetentionPolicy.whenDeleted == 'Delete'"
)
RETENTION_STAYS: Final = f"({_DELETES.format('self')}) == ({_DELETES.format('oldSelf')})"
"""By its meaning. A set turned to Retain would still lose the claims that it made before."""
