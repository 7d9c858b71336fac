"""Numbers, placement and order of instances: first id, zones, scaling in, Windows, Service Fabric."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr, WithJsonSchema

from scaleset.api.base import Bool, Int, Model, cel, optional, rules
from scaleset.api.identifiers import Form

MAX_ZONES: Final = 16
MAX_REPLICAS: Final = 1000
MAX_UPDATE_DOMAINS: Final = 20
MAX_ID: Final = 9999
MAX_START: Final = MAX_ID + 1 - 2 * MAX_REPLICAS
"""Highest first id: a batch with surge may have every instance twice."""

_SHARE: Final = re.compile("(100|[1-9][0-9]?)%")


def check_share(value: int | str) -> int | str:
    """A number of instances or a share of them."""
    if isinstance(value, str):
        if not _SHARE.fullmatch(value):
            raise ValueError("write a number of instances, or a share from 1% to 100%")
    elif not 1 <= value <= MAX_REPLICAS:
        raise ValueError(f"write a number from 1 to {MAX_REPLICAS}, or a share from 1% to 100%")
    return value


Zone = Annotated[
    str,
    Form(
        "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
        "use the value of the nodes' topology.kubernetes.io/zone label: letters, digits, '.', '_' and '-' only",
    ),
]
"""A zone: the value of the node label topology.kubernetes.io/zone."""

Zones = Annotated[
    tuple[Zone, ...],
    Field(
        max_length=MAX_ZONES,
        json_schema_extra={
            "x-kubernetes-list-type": "atomic",
            **rules(cel("self.all(one, self.exists_one(other, other == one))", "name each zone once")),
        },
    ),
]

MaxConcurrent = Annotated[
    StrictInt | StrictStr,
    AfterValidator(check_share),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maximum": MAX_REPLICAS,
            "maxLength": 4,
            "pattern": "^(100|[1-9][0-9]?)%$",
        }
    ),
]
"""A number of instances, or a share of the set such as 50%."""

ScaleInRule = Literal["Default", "OldestVM", "NewestVM"]
DurabilityLevel = Literal["Bronze", "Silver", "Gold"]
PodManagementPolicy = Literal["OrderedReady", "Parallel"]
InstanceId = Annotated[Int, Field(ge=0, le=MAX_ID)]
"""The number at the end of an instance's name."""


class Ordinals(Model):
    """The numbers of the instances."""

    start: Int | None = optional(
        f"The lowest instance id, 0 to {MAX_START}. The name of the ScaleSet, a dash and the highest id have at most "
        "63 characters. Cannot be changed. Default: 0.",
        ge=0,
        le=MAX_START,
    )


class RollingUpgradeOrder(Model):
    """The order of the instances in a rollout."""

    direction: Literal["Ascending", "Descending"] | None = optional(
        "Ascending: the lowest zone, update domain and id first. Descending: the highest first, as a StatefulSet "
        "upgrades. Each batch goes by what is written here then. Default: Ascending."
    )


class ScaleInPolicy(Model):
    """Order and size of scaling in."""

    rules: Annotated[tuple[ScaleInRule, ...], Field(max_length=1)] = optional(
        "One of Default (the highest instance id), OldestVM, NewestVM (by the age of the instance, not of its "
        "present pod). Each rule balances the zones first and skips protected instances. Default: Default.",
        default=(),
    )

    max_concurrent: MaxConcurrent | None = optional(
        "Number of instances that may go at the same time: a number, or a share such as 50% of the size "
        "before scaling in, at least one. Default: maxBatchInstancePercent of the upgrade policy. One at a time "
        "where podManagementPolicy is OrderedReady."
    )
    preferred_instances: (
        Annotated[
            tuple[InstanceId, ...],
            Field(max_length=MAX_REPLICAS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = optional(
        "Ids of the instances that scaling in takes before all others, in this order. Protected instances and ids "
        "without an instance are passed over. The list stays in force until it is changed. Default: none."
    )
    prioritize_unhealthy_instances: Bool | None = optional(
        "true: scaling in takes unhealthy instances before healthy ones. Default: false."
    )

    def limit(self, size: int, *, percent: int) -> int:
        """Number of instances of a set of that size that may go at the same time; `percent` is the upgrade policy's."""
        most = self.max_concurrent
        if isinstance(most, int):
            return most
        return max(1, size * (percent if most is None else int(most.removesuffix("%"))) // 100)

    @property
    def rule(self) -> ScaleInRule:
        """The rule in force."""
        return self.rules[0] if self.rules else "Default"


class WindowsConfiguration(Model):
    """Settings of Windows."""

    enable_automatic_updates: Bool = optional(
        "Whether Windows updates itself. Must be false with automatic upgrades of a Windows image. Default: false.",
        default=False,
    )


class OSProfile(Model):
    """Settings of the operating system."""

    windows_configuration: WindowsConfiguration | None = optional("Settings of Windows. Default: none.")


class ServiceFabric(Model):
    """Marks the set as a Service Fabric node type."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(oldSelf.durabilityLevel in ['Silver', 'Gold']) || self.durabilityLevel != 'Bronze'",
                "leave durabilityLevel at Silver or Gold: it cannot become Bronze",
            )
        )
    )

    durability_level: DurabilityLevel = Field(
        description="Durability of the set. Automatic image upgrades need Silver or Gold, or isStateless. Cannot go "
        "back to Bronze."
    )
    node_type_durability_level: DurabilityLevel = Field(
        description="Durability that the cluster's node type has; must be the same."
    )
    type_handler_version: Annotated[
        str, Form("[0-9]{1,4}[.][0-9]{1,4}", "write the version as MAJOR.MINOR, such as 1.1", max_length=9)
    ] = Field(description="Version of the Service Fabric extension; automatic image upgrades need 1.1 or higher.")
    is_stateless: Bool | None = optional(
        "true: a stateless node type. Bronze durability is enough then, and automatic image upgrades need a health "
        "source: a probe, a readiness gate, or health.source. Default: false."
    )
