"""UpgradePolicy: how upgrades are carried out."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from scaleset.api.base import Bool, Int, Model, Spec, Status
from scaleset.api.conditions import Conditions
from scaleset.api.duration import Between

Pause = Annotated[timedelta, Between("PT0S", "P7D")]
"""From nothing to a week."""
HealthTimeout = Annotated[timedelta, Between("PT1S", "P1D")]
"""From a second to a day."""
MinReadyTime = Annotated[timedelta, Between("PT0S", "P1D")]
"""From nothing to a day."""


class RollingUpgradePolicy(Model):
    """Size and limits of batches."""

    max_batch_instance_percent: Int = Field(
        default=20,
        ge=5,
        le=100,
        description=(
            "Largest batch, in percent of all instances, 5 to 100; at least one instance. Scaling in removes as "
            "many at a time, unless scaleInPolicy.maxConcurrent is set. Default: 20."
        ),
    )
    max_unhealthy_instance_percent: Int = Field(
        default=20,
        ge=5,
        le=100,
        description=(
            "No batch starts while more than this percentage of all instances is unhealthy, 5 to 100. Default: 20."
        ),
    )
    max_unhealthy_upgraded_instance_percent: Int = Field(
        default=20,
        ge=0,
        le=100,
        description=(
            "The upgrade stops after a batch when more than this percentage of the upgraded instances is unhealthy, 0 "
            "to 100. Default: 20."
        ),
    )
    pause_time_between_batches: Pause = Field(
        default=timedelta(0), description="Pause after each batch, ISO 8601 such as PT10M, at most P7D. Default: PT0S."
    )
    prioritize_unhealthy_instances: Bool = Field(
        default=False,
        description=(
            "true: unhealthy instances that are not up to date go first, even while too many are unhealthy. "
            "Default: false; even then, instances on a version that failed here, or whose rollout never "
            "completed, may be upgraded."
        ),
    )
    enable_cross_zone_upgrade: Bool = Field(
        default=False,
        description="true: a batch may hold instances of several zones. Default: false, zone after zone.",
    )
    rollback_failed_instances_on_policy_breach: Bool = Field(
        default=False,
        description=(
            "true: if a rollout of a changed model stops because too many instances failed, the failed "
            "instances get their previous model back. Default: false."
        ),
    )
    max_surge: Bool = Field(
        default=False,
        description=(
            "true: new instances are created first, and the old ones are deleted once the new ones are healthy. "
            "Only for sets without volumeClaimTemplates, and if quota and nodes have room; otherwise "
            "replacementMethod applies. Default: false."
        ),
    )


class AutomaticOSUpgradePolicy(Model):
    """Upgrades that the platform starts by itself."""

    enable_automatic_os_upgrade: Bool = Field(
        default=False,
        description="true: an upgrade starts by itself when a newer image version is published. Default: false.",
    )
    disable_automatic_rollback: Bool = Field(
        default=False,
        description=(
            "true: an instance that does not become healthy keeps the new image. Default: false, it gets its previous "
            "image back."
        ),
    )
    use_rolling_upgrade_policy: Bool = Field(
        default=True,
        description=(
            "false: image upgrades use 20 %, 20 %, 20 % and no pause, and ignore rollingUpgradePolicy. Default: true."
        ),
    )


class UpgradePolicySpec(Spec):
    """How upgrades are carried out. A running rollout keeps the policy it started with, except for suspend."""

    mode: Literal["Automatic", "Manual", "Rolling"] = Field(
        default="Manual",
        description=(
            "How changes of the model reach existing instances. Rolling: batch by batch. Automatic: all at once. "
            "Manual: when annotation scaleset.dev/apply-model names them. Image upgrades ignore it. Default: Manual."
        ),
    )
    rolling_upgrade_policy: RollingUpgradePolicy = Field(
        default=RollingUpgradePolicy(), description="Size and limits of batches."
    )
    automatic_os_upgrade_policy: AutomaticOSUpgradePolicy = Field(
        default=AutomaticOSUpgradePolicy(), description="Upgrades that the platform starts by itself."
    )
    replacement_method: Literal["Recreate", "InPlaceIfPossible"] = Field(
        default="Recreate",
        description=(
            "How an instance gets a new build. Recreate: its pod is deleted and created again. "
            "InPlaceIfPossible: if only the image differs, and the instance has no extensions and runs no "
            "custom data, the image is changed in the running pod. The pod keeps its uid, IP, node, volumes and "
            "other containers. With maxSurge new instances still come first. Default: Recreate."
        ),
    )
    health_timeout: HealthTimeout = Field(
        default=timedelta(minutes=5),
        description="Longest time for an upgraded instance to become healthy, ISO 8601, PT1S to P1D. Default: PT5M.",
    )
    min_ready_time: MinReadyTime | None = Field(
        default=None,
        description=(
            "Time that an upgraded instance has to stay healthy before it counts as upgraded, ISO 8601, at most "
            "P1D. Default: PT10S if health.source is InstanceState, else PT0S."
        ),
    )
    max_concurrent_scale_sets: Int | None = Field(
        default=None,
        ge=1,
        le=10000,
        description=(
            "Number of ScaleSets of this policy that may roll at the same time; the set that has waited longest "
            "is next. Default: any number."
        ),
    )

    suspend: Bool | None = Field(
        default=None,
        description=(
            "true: no rollout of a set of this policy starts, and a running one stops after its current batch until "
            "this is false, as with spec.suspend of the set. Scaling and self-healing go on. Default: false."
        ),
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
        return self.replacement_method == "InPlaceIfPossible"


class UpgradePolicyStatus(Status):
    """Observed state of an UpgradePolicy."""

    scale_sets: Int | None = Field(default=None, ge=0, description="Number of ScaleSets that refer to this policy.")
    observed_generation: Int | None = Field(
        default=None, ge=0, description="metadata.generation of the spec that this status was computed from."
    )
    conditions: Conditions = Field(default=(), description="Ready.")
