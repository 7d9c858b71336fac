"""The status of a ScaleSet: its durable state, the rollout as Azure's rolling upgrade API shows it, and conditions.

Everything is optional and strings are cut to their bound, so that the API server never refuses a status. At 1000
instances it stays below 100 kB: sets of instances are ranges such as "0-3,7".
"""

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from scaleset.api.base import Bool, Int, Message, Model, Ranges, ShortMessage, Status, Time, Word
from scaleset.api.conditions import Conditions
from scaleset.api.duration import Duration
from scaleset.api.placement import MAX_REPLICAS

MAX_INSTANCES: Final = 50
MAX_HISTORY: Final = 5
MAX_ROLLOUTS: Final = 10
MAX_DETAILS: Final = 5
MAX_HANDLED: Final = 253

RunningCode = Literal["RollingForward", "Cancelled", "Completed", "Faulted"]
StartedBy = Literal["Platform", "User"]


def _first(limit: int) -> BeforeValidator:
    def shorten(value: object) -> object:
        return value[:limit] if isinstance(value, list | tuple) else value

    return BeforeValidator(shorten)


class RecordedBuild(Model):
    """A model and an image version, and the instances it is meant for."""

    model: Word = Field(description="Name of the ControllerRevision that holds the model.")
    version: Word | None = Field(default=None, description="Version of the image.")
    image: Word | None = Field(default=None, description="Container image reference of that version.")
    restart_time: Time | None = Field(
        default=None, description="When the restart began that made these instances again last."
    )
    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')


class InstanceClock(Model):
    """The clock of instances that are being replaced."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    since: Time | None = Field(
        default=None,
        description=(
            "healthTimeout counts from this time. Absent: the clock stands still, because others deleted the pod."
        ),
    )
    lost: Int = Field(default=0, ge=0, description="Number of their pods that others deleted meanwhile.")


class EndedPods(Model):
    """Instances whose pods ended for good (evicted or rejected by the kubelet) and are created again."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    count: Int = Field(default=1, ge=1, description="Number of ended pods in a row.")
    time: Time | None = Field(default=None, description="When the last one was deleted.")


class InstanceAge(Model):
    """First creation time of instances that have no pod now."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    time: Time | None = Field(default=None, description="When their first pod was created.")


class ScaleInStatus(Model):
    """Scaling in that is under way, at most a batch at a time."""

    size: Int | None = Field(
        default=None, ge=1, alias="from", description="The size before scaling in; batches are a share of it."
    )
    start_time: Time | None = Field(default=None, description="When scaling in began.")
    waiting_since: Time | None = Field(
        default=None, description="Since when the next batch waits for unhealthy instances."
    )


class FailedTarget(Model):
    """A target that the platform does not try again by itself."""

    version: Word | None = Field(default=None, description="Version of the image.")
    image: Word | None = Field(default=None, description="Container image reference of that version.")
    model: Word | None = Field(default=None, description="Name of the ControllerRevision that holds the model.")
    policy: Word | None = Field(
        default=None, description="Hash of the rules that judged the target: timeouts and limits of the policy."
    )
    reason: Word | None = Field(default=None, description="Reason not to try the target again, in one word.")
    time: Time | None = Field(default=None, description="When it failed.")


class Retry(Model):
    """A target that is tried again later."""

    model: Word | None = Field(default=None, description="Name of the ControllerRevision that holds the model.")
    version: Word | None = Field(default=None, description="Version of the image.")
    attempts: Int = Field(default=0, ge=0, description="Number of attempts.")
    time: Time | None = Field(default=None, description="When the last one ended.")


class CheckedModel(Model):
    """The API server's answer about the model of the spec."""

    asked: Word | None = Field(default=None, description="Name of the model, by its content.")
    model: Word | None = Field(
        default=None,
        description="The ControllerRevision that holds the model, or another one that produces the same instances.",
    )
    warning: Message | None = Field(default=None, description="A warning about the model, which runs nevertheless.")


class PolicySnapshot(Model):
    """The policy that a rollout started with; later changes of the UpgradePolicy apply to the next rollout."""

    max_batch_instance_percent: Int = Field(
        default=20, ge=0, le=100, description="Largest batch, in percent of all instances."
    )
    max_unhealthy_instance_percent: Int = Field(
        default=20, ge=0, le=100, description="Limit of unhealthy instances, in percent of all."
    )
    max_unhealthy_upgraded_instance_percent: Int = Field(
        default=20,
        ge=0,
        le=100,
        description="Limit of unhealthy upgraded instances, in percent of the upgraded ones.",
    )
    pause_time_between_batches: Duration | None = Field(default=None, description="Pause after each batch, ISO 8601.")
    prioritize_unhealthy_instances: Bool = Field(default=False, description="Whether unhealthy instances go first.")
    enable_cross_zone_upgrade: Bool = Field(default=False, description="Whether a batch may hold several zones.")
    rollback_failed_instances_on_policy_breach: Bool = Field(
        default=False, description="Whether failed instances return to their previous model after a breach."
    )
    max_surge: Bool = Field(default=False, description="Whether new instances are created before old ones go.")
    replacement_method: Literal["Recreate", "InPlaceIfPossible"] = Field(
        default="Recreate", description="How an instance gets a new build."
    )
    health_timeout: Duration | None = Field(
        default=None, description="Longest time for an instance to become healthy, ISO 8601."
    )
    min_ready_time: Duration | None = Field(
        default=None, description="Time that an instance has to stay healthy, ISO 8601."
    )
    disable_automatic_rollback: Bool = Field(
        default=False, description="Whether a failed instance keeps the new image."
    )


class TargetImageReference(Model):
    """The target image of a rollout."""

    publisher: Word | None = Field(default=None, description="Publisher of the image definition.")
    offer: Word | None = Field(default=None, description="Offer of the image definition.")
    sku: Word | None = Field(default=None, description="SKU of the image definition.")
    version: Word | None = Field(
        default=None,
        description="Version as written in the model, latest or exact, in rollingUpgrade; exact in the history.",
    )
    exact_version: Word | None = Field(default=None, description="The version that latest meant at the start.")
    image: Word | None = Field(default=None, description="Container image reference of that version.")


class RunningStatus(Model):
    """State of a rollout."""

    code: RunningCode = Field(description="RollingForward, Cancelled, Completed or Faulted.")
    start_time: Time | None = Field(default=None, description="When it started.")
    completed_time: Time | None = Field(default=None, description="When it ended.")
    last_action: Literal["Start", "Cancel"] | None = Field(default=None, description="Last request: Start or Cancel.")
    last_action_time: Time | None = Field(default=None, description="Time of the last request.")


class Progress(Model):
    """Numbers of instances by state. Protected instances are not counted."""

    successful_instance_count: Int = Field(default=0, ge=0, description="Upgraded and healthy.")
    failed_instance_count: Int = Field(default=0, ge=0, description="Not healthy in time, including restored ones.")
    in_progress_instance_count: Int = Field(default=0, ge=0, description="Being replaced now.")
    pending_instance_count: Int = Field(default=0, ge=0, description="Not begun.")


class BatchStatus(Model):
    """The batch that runs, or ran last."""

    number: Int = Field(ge=0, description="Counted from 1.")
    of: Int | None = Field(default=None, ge=0, description="Expected number of batches.")
    instances: Ranges = Field(default="", description='Instance ids as ranges, such as "0-3,7".')
    start_time: Time | None = Field(default=None, description="When the batch was admitted.")
    surge: Ranges | None = Field(
        default=None,
        description="New instances of the batch, created beside the instances that they replace, as ranges.",
    )
    replaces: Ranges | None = Field(
        default=None, description="Old instances that go once the new ones are healthy, as ranges."
    )
    restore_start_time: Time | None = Field(
        default=None, description="When the batch began to restore its failed instances."
    )


class WaitingFor(Model):
    """Why a rollout waits."""

    reason: Word = Field(description="One word for programs.")
    message: Message = Field(default="", description="A sentence for people.")


class Ending(Model):
    """How a rollout will end once its batch has finished."""

    code: RunningCode | None = Field(default=None, description="Cancelled or Faulted.")
    reason: Word = Field(description="One word for programs.")
    message: Message = Field(default="", description="A sentence for people.")


class UpgradeErrorDetail(Model):
    """The error of one instance."""

    code: Word = Field(description="Error code.")
    target: Word | None = Field(default=None, description="The instance: <scale set>/instances/<id>.")
    message: ShortMessage = Field(default="", description="Message of Kubernetes about the instance.")


class UpgradeError(Model):
    """Why a rollout failed, in Azure's words."""

    code: Word = Field(description="Error code.")
    message: Message = Field(default="", description="A sentence with the numbers.")
    target: Word | None = Field(default=None, description="Subject of the error.")
    details: Annotated[tuple[UpgradeErrorDetail, ...], _first(MAX_DETAILS)] = Field(
        default=(), max_length=MAX_DETAILS, description="The first instances that failed, at most 5."
    )


class RollbackInfo(Model):
    """Results for instances that got their previous image back."""

    successfully_rolledback_instance_count: Int = Field(
        default=0, ge=0, description="Healthy again on their previous image."
    )
    failed_rolledback_instance_count: Int = Field(
        default=0, ge=0, description="Not healthy on their previous image either."
    )
    rollback_error: UpgradeError | None = Field(default=None, description="Why restoring failed.")


class InstanceMessage(Model):
    """Message of Kubernetes about a failed instance."""

    id: Int = Field(ge=0, description="Instance id.")
    message: ShortMessage = Field(description="Container state and message.")


class RollingUpgradeStatus(Model):
    """The running rollout, or else the last one."""

    id: Word = Field(description="Id of the rollout.")
    kind: Literal["Image", "Model", "Restart"] = Field(
        description="Image: to another version of the image. Model: to a changed spec. Restart: each instance is made "
        "again with the same build."
    )
    started_by: StartedBy = Field(description="Platform or User.")
    policy: PolicySnapshot = Field(default=PolicySnapshot(), description="The policy that the rollout started with.")
    target_image_reference: TargetImageReference = Field(
        default=TargetImageReference(), description="The target image of the rollout."
    )
    target_model: Word | None = Field(default=None, description="Name of the target ControllerRevision.")
    from_version: Word | None = Field(default=None, description="Version that most of its instances ran when it began.")
    from_model: Word | None = Field(
        default=None, description="ControllerRevision that most of its instances had when it began."
    )
    running_status: RunningStatus = Field(description="State of the rollout.")
    progress: Progress = Field(default=Progress(), description="Numbers of instances by state.")
    batch: BatchStatus | None = Field(default=None, description="The batch that runs, or ran last.")
    batches_done: Int = Field(default=0, ge=0, description="Number of finished batches.")
    waiting_for: WaitingFor | None = Field(default=None, description="Why the rollout waits.")
    ending: Ending | None = Field(default=None, description="How the rollout will end once its batch has finished.")
    next_batch_time: Time | None = Field(default=None, description="When the pause between batches is over.")
    successful: Ranges = Field(default="", description="Instances that are upgraded and healthy, as ranges.")
    failed: Ranges = Field(default="", description="Instances that failed, as ranges.")
    restored: Ranges = Field(
        default="", description="Failed instances that are healthy again on their previous build, as ranges."
    )
    restore_failed: Ranges = Field(
        default="", description="Failed instances that are not healthy on their previous build either, as ranges."
    )
    restoring: Ranges = Field(default="", description="Failed instances being restored now, as ranges.")
    in_progress: Ranges = Field(default="", description="Instances being replaced now, as ranges.")
    pending: Ranges = Field(default="", description="Instances not begun, as ranges.")
    with_model: Bool = Field(
        default=False, description="Image: whether instances that lack only the newest model are upgraded as well."
    )
    version_only: Bool = Field(default=False, description="Model: whether only the version of the image changes.")
    never_ran: Ranges = Field(
        default="",
        description=(
            "Failed instances on which no container of the new pod started, as ranges: the image is not to blame."
        ),
    )
    without_surge: Bool = Field(
        default=False,
        description="Whether the rest of the rollout runs without surge, since new instances could not be scheduled.",
    )
    messages: Annotated[tuple[InstanceMessage, ...], _first(MAX_INSTANCES)] = Field(
        default=(),
        max_length=MAX_INSTANCES,
        description="Messages of Kubernetes about failed instances, at most 50.",
    )
    rollback_info: RollbackInfo | None = Field(default=None, description="Results of restoring instances.")
    error: UpgradeError | None = Field(default=None, description="Why it failed.")


class HistoryProperties(Model):
    """One image upgrade, with Azure's keys."""

    running_status: RunningStatus = Field(description="State of the rollout.")
    progress: Progress = Field(default=Progress(), description="Numbers of instances by state.")
    error: UpgradeError | None = Field(default=None, description="Why it failed.")
    started_by: StartedBy = Field(description="Platform or User.")
    target_image_reference: TargetImageReference = Field(
        default=TargetImageReference(), description="The target image of the upgrade."
    )
    rollback_info: RollbackInfo | None = Field(default=None, description="Results of restoring instances.")


class HistoryEntry(Model):
    """An entry as `az vmss get-os-upgrade-history` shows it."""

    properties: HistoryProperties = Field(description="The upgrade.")
    type: Word = Field(
        default="Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades", description="Azure's resource type."
    )
    location: Word | None = Field(default=None, description="Region of the ScaleSet.")


class PastRollout(Model):
    """One ended rollout of any kind."""

    kind: Literal["Image", "Model", "Restart"] = Field(description="As in rollingUpgrade.")
    started_by: StartedBy = Field(description="Platform or User.")
    code: RunningCode = Field(description="How it ended.")
    start_time: Time = Field(description="When it began.")
    completed_time: Time | None = Field(default=None, description="When it ended.")
    from_version: Word | None = Field(default=None, description="Version that most of its instances ran when it began.")
    from_model: Word | None = Field(default=None, description="ControllerRevision that most of them had when it began.")
    to_version: Word | None = Field(default=None, description="Target version.")
    to_model: Word | None = Field(default=None, description="Target ControllerRevision.")
    progress: Progress = Field(default=Progress(), description="Numbers of instances by state.")
    restored: Int = Field(default=0, ge=0, description="Number of instances that got their previous build back.")
    error_code: Word | None = Field(default=None, description="Why it failed.")


class InstanceStatus(Model):
    """An instance that is not simply healthy and current."""

    id: Int = Field(ge=0, description="Instance id.")
    version: Word | None = Field(default=None, description="Version of the image that the instance runs.")
    latest_model_applied: Bool | None = Field(default=None, description="Whether the instance runs the newest model.")
    state: Word | None = Field(
        default=None, description="Healthy, Unhealthy, Initializing, Unknown, Missing or Blocked."
    )
    since: Time | None = Field(default=None, description="Since when the instance is in this state.")
    message: ShortMessage | None = Field(default=None, description="Message of Kubernetes about the instance.")


class ScaleSetStatus(Status):
    """Observed state of a ScaleSet."""

    observed_generation: Int | None = Field(
        default=None, ge=0, description="metadata.generation of the spec that this status was computed from."
    )
    replicas: Int | None = Field(default=None, ge=0, description="Number of instances with a pod.")
    healthy_replicas: Int | None = Field(default=None, ge=0, description="Number of healthy instances.")
    updated_replicas: Int | None = Field(
        default=None, ge=0, description="Number of instances with the newest model and the right version."
    )
    selector: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="Label selector of the pods, for the scale subresource."
    )
    accepted_replicas: Annotated[Int, Field(ge=0, le=MAX_REPLICAS)] | None = Field(
        default=None,
        description="Desired number of instances: spec.replicas of the last accepted spec.",
    )
    current_version: Word | None = Field(
        default=None,
        description=(
            "Version that a completed rollout last proved, or that all instances run without a rollout. At "
            "first the version that the set was created with."
        ),
    )
    current_image: Word | None = Field(default=None, description="Container image reference of currentVersion.")
    latest_version: Word | None = Field(default=None, description="What latest means now.")
    target_version: Word | None = Field(default=None, description="The version that spec.imageReference means now.")
    versions: Word | None = Field(
        default=None,
        description='Versions that the instances run, the most frequent first, such as "1.3.0 (6), 1.5.0 (4)".',
    )
    proven_time: Time | None = Field(
        default=None, description="When the set was first healthy on the version it was created with."
    )
    waiting_since: Time | None = Field(
        default=None,
        description="Since when a rollout waits for other ScaleSets of its policy (maxConcurrentScaleSets).",
    )
    last_handled_start: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/start-upgrade-at that was handled last."
    )
    last_handled_cancel: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/cancel-upgrade-at that was handled last."
    )
    last_handled_apply: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/apply-model that was handled last."
    )
    last_handled_restart: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/restart-at that was handled last."
    )
    last_handled_retry: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/retry-at that was handled last."
    )
    last_handled_model_rollout: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/start-model-rollout-at that was handled last."
    )
    last_handled_rollback: Word | None = Field(
        default=None, description="Value of annotation scaleset.dev/rollback-at that was handled last."
    )
    builds: tuple[RecordedBuild, ...] = Field(
        default=(), description="The recorded build of each instance; a lost pod is created again with it."
    )
    previous_builds: tuple[RecordedBuild, ...] = Field(
        default=(),
        description="Previous builds of the instances that the running rollout has reached: a restore returns to them.",
    )
    applying: Ranges = Field(default="", description="Instances being replaced at once, without batches, as ranges.")
    clocks: tuple[InstanceClock, ...] = Field(
        default=(), description="The clock of each instance that is being replaced."
    )
    ended_pods: tuple[EndedPods, ...] = Field(
        default=(), description="Instances whose pods end repeatedly; they are created again after a growing back-off."
    )
    ages: tuple[InstanceAge, ...] = Field(
        default=(), description="First creation times of instances whose pod is being replaced."
    )
    scale_in: ScaleInStatus | None = Field(default=None, description="Scaling in, while it is under way.")
    failed_targets: tuple[FailedTarget, ...] = Field(
        default=(), description="Targets that the platform does not try again by itself."
    )
    retry: Retry | None = Field(default=None, description="The target that the platform tries again later.")
    checked_model: CheckedModel | None = Field(
        default=None, description="The model of the spec as the API server understands it, checked once."
    )
    rolling_upgrade: RollingUpgradeStatus | None = Field(
        default=None, description="The running rollout, or else the last one."
    )
    os_upgrade_history: Annotated[tuple[HistoryEntry, ...], _first(MAX_HISTORY)] = Field(
        default=(),
        max_length=MAX_HISTORY,
        description="Image upgrades of the last two months, newest first, at most 5.",
    )
    rollout_history: Annotated[tuple[PastRollout, ...], _first(MAX_ROLLOUTS)] = Field(
        default=(),
        max_length=MAX_ROLLOUTS,
        description="Ended rollouts of every kind of the last two months, newest first, at most 10.",
    )
    instances: Annotated[tuple[InstanceStatus, ...], _first(MAX_INSTANCES)] = Field(
        default=(),
        max_length=MAX_INSTANCES,
        description="Instances that are not simply healthy and current, at most 50.",
    )
    conditions: Conditions = Field(
        default=(), description="Accepted, Ready, Available, Progressing, UpToDate, Reconciling and Stalled."
    )


def handled(annotation: str) -> str:
    """The form in which a status records a handled annotation: the value, or a digest of a long value.

    Two values are the same request if this is the same for both.
    """
    if len(annotation) <= MAX_HANDLED:
        return annotation
    return "sha256:" + hashlib.sha256(annotation.encode(errors="surrogatepass")).hexdigest()


def parse_status(raw: Any) -> ScaleSetStatus:
    """The status of a ScaleSet (the whole object) as far as it is understood; never raises."""
    return ScaleSetStatus.parse(raw)
