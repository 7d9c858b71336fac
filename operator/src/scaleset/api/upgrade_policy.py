"""UpgradePolicy: how upgrades are carried out."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, model_validator

from scaleset.api.base import Bool, Conditions, Int, Model, Spec, Status, cel, optional, rules
from scaleset.api.duration import Between

Pause = Annotated[timedelta, Between("PT0S", "P7D")]
"""From nothing to a week."""
HealthTimeout = Annotated[timedelta, Between("PT1S", "P1D")]
"""From a second to a day."""
UpgradeTimeout = Annotated[timedelta, Between("PT1S", "P30D")]
"""From a second to 30 days."""
MinReadyTime = Annotated[timedelta, Between("PT0S", "P1D")]
"""From nothing to a day."""


ReplacementMethod = Literal["Recreate", "InPlaceIfPossible", "InPlaceOnly"]
_NO_SURGE: Final = (
    "set maxSurge to false, or replacementMethod to InPlaceIfPossible: a surge makes new pods, and InPlaceOnly none"
)


class RollingUpgradePolicy(Model):
    """Size and limits of batches."""

    max_batch_instance_percent: Int = optional(
        "Largest batch, in percent of all instances, 5 to 100; at least one instance. Scaling in removes as "
        "many at a time, unless scaleInPolicy.maxConcurrent is set. Default: 20.",
        default=20,
        ge=5,
        le=100,
    )
    max_unhealthy_instance_percent: Int = optional(
        "No batch starts while more than this percentage of all instances is unhealthy, 5 to 100. Default: 20.",
        default=20,
        ge=5,
        le=100,
    )
    max_unhealthy_upgraded_instance_percent: Int = optional(
        "The upgrade stops after a batch when more than this percentage of the upgraded instances is unhealthy, 0 "
        "to 100. Default: 20.",
        default=20,
        ge=0,
        le=100,
    )
    pause_time_between_batches: Pause = optional(
        "Pause after each batch, ISO 8601 such as PT10M, at most P7D. Default: PT0S.", default=timedelta(0)
    )
    prioritize_unhealthy_instances: Bool = optional(
        "true: unhealthy instances that are not up to date go first, even while too many are unhealthy. "
        "Default: false; even then, instances on a version that failed here, or whose rollout never "
        "completed, may be upgraded.",
        default=False,
    )
    enable_cross_zone_upgrade: Bool = optional(
        "true: a batch may hold instances of several zones. Default: false, zone after zone.", default=False
    )
    rollback_failed_instances_on_policy_breach: Bool = optional(
        "true: if a rollout of a changed model stops because too many instances failed, the failed "
        "instances get their previous model back. Default: false.",
        default=False,
    )
    max_surge: Bool = optional(
        "true: new instances are created first, and the old ones are deleted once the new ones are healthy. "
        "Only for sets without volumeClaimTemplates, and if quota and nodes have room; otherwise "
        "replacementMethod applies. Default: false.",
        default=False,
    )


class AutomaticOSUpgradePolicy(Model):
    """Upgrades that the platform starts by itself."""

    enable_automatic_os_upgrade: Bool = optional(
        "true: an upgrade starts by itself when a newer image version is published. Default: false.", default=False
    )
    disable_automatic_rollback: Bool = optional(
        "true: an instance that does not become healthy keeps the new image. Default: false, it gets its previous "
        "image back.",
        default=False,
    )
    use_rolling_upgrade_policy: Bool = optional(
        "false: image upgrades use 20 %, 20 %, 20 % and no pause, and ignore rollingUpgradePolicy. Default: true.",
        default=True,
    )


class UpgradePolicySpec(Spec):
    """How upgrades are carried out. A running rollout keeps the policy it started with, except for suspend."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.replacementMethod) && self.replacementMethod == 'InPlaceOnly'"
                " && has(self.rollingUpgradePolicy) && has(self.rollingUpgradePolicy.maxSurge)"
                " && self.rollingUpgradePolicy.maxSurge)",
                _NO_SURGE,
            )
        )
    )

    mode: Literal["Automatic", "Manual", "Rolling"] = optional(
        "How changes of the model reach existing instances. Rolling: batch by batch. Automatic: all at once. "
        "Manual: when annotation scaleset.dev/apply-model names them. Image upgrades ignore it. Default: Manual.",
        default="Manual",
    )
    rolling_upgrade_policy: RollingUpgradePolicy = optional(
        "Size and limits of batches.", default=RollingUpgradePolicy()
    )
    automatic_os_upgrade_policy: AutomaticOSUpgradePolicy = optional(
        "Upgrades that the platform starts by itself.", default=AutomaticOSUpgradePolicy()
    )
    replacement_method: ReplacementMethod = optional(
        "How an instance gets a new build. Recreate: its pod is deleted and created again. "
        "InPlaceIfPossible: if only the image differs, and the instance has no extensions and runs no "
        "custom data, the image is changed in the running pod. The pod keeps its uid, IP, node, volumes and "
        "other containers. With maxSurge new instances still come first. InPlaceOnly: the same, and no pod is "
        "made again for an upgrade: what cannot be done in place is refused with the reason. Lost instances and "
        "restores are no upgrades. Default: Recreate.",
        default="Recreate",
    )
    health_timeout: HealthTimeout = optional(
        "Longest time for an upgraded instance to become healthy, ISO 8601, PT1S to P1D. Default: PT5M.",
        default=timedelta(minutes=5),
    )
    min_ready_time: MinReadyTime | None = optional(
        "Time that an upgraded instance has to stay healthy before it counts as upgraded, ISO 8601, at most "
        "P1D. Default: PT10S if health.source is InstanceState, else PT0S."
    )
    upgrade_timeout: UpgradeTimeout | None = optional(
        "Longest time for a whole rollout, ISO 8601, PT1S to P30D. After it the running batch is finished, and the "
        "rollout ends as Faulted with RollingUpgradeTimeoutError; the platform does not try its target again. Time in "
        "which the rollout waits for its turn (maxConcurrentScaleSets) or is suspended does not count. Default: none."
    )
    max_concurrent_scale_sets: Int | None = optional(
        "Number of ScaleSets of this policy that may roll at the same time; the set that has waited longest "
        "is next. Default: any number.",
        ge=1,
        le=10000,
    )

    suspend: Bool | None = optional(
        "true: no rollout of a set of this policy starts, and a running one stops after its current batch until "
        "this is false, as with spec.suspend of the set. Scaling and self-healing go on. Default: false."
    )

    def ready_for(self, source: str) -> timedelta:
        """Time that an instance has to stay healthy, by health source. A running container proves little in its first
        seconds.
        """
        if self.min_ready_time is not None:
            return self.min_ready_time
        return timedelta(seconds=10) if source == "InstanceState" else timedelta(0)

    @property
    def changes_in_place(self) -> bool:
        """Whether an image is changed in the running pod where that is possible."""
        return self.replacement_method != "Recreate"

    @property
    def only_in_place(self) -> bool:
        """Whether no pod may be made again for an upgrade."""
        return self.replacement_method == "InPlaceOnly"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.only_in_place and self.rolling_upgrade_policy.max_surge:
            raise ValueError(_NO_SURGE)
        return self


class UpgradePolicyStatus(Status):
    """Observed state of an UpgradePolicy."""

    scale_sets: Int | None = optional("Number of ScaleSets that refer to this policy.", ge=0)
    observed_generation: Int | None = optional(
        "metadata.generation of the spec that this status was computed from.", ge=0
    )
    conditions: Conditions = optional("Ready.", default=())
