"""The status of a ScaleSet: its durable state, the rollout as Azure's rolling upgrade API shows it, and conditions.

Everything is optional and strings are cut to their bound, so that the API server never refuses a status. At 1000
instances it stays below 100 kB: sets of instances are ranges such as "0-3,7".
"""

import hashlib
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from scaleset.api.base import Bool, Conditions, Int, Message, Model, Ranges, ShortMessage, Status, Time, Word, optional
from scaleset.api.duration import Duration
from scaleset.api.placement import MAX_REPLICAS
from scaleset.api.upgrade_policy import ReplacementMethod

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


class RecordedDigest(Model):
    """A digest that the tag of the image meant when these instances ran it."""

    digest: Word = Field(description="Digest of the image, such as sha256:...")
    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')


class RecordedBuild(Model):
    """A model and an image version, and the instances it is meant for."""

    model: Word = Field(description="Name of the ControllerRevision that holds the model.")
    version: Word | None = optional("Version of the image.")
    image: Word | None = optional("Container image reference of that version.")
    restart_time: Time | None = optional("When the restart began that made these instances again last.")
    os_type: Word | None = optional("Operating system of that version: Linux or Windows.")
    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    digests: tuple[RecordedDigest, ...] | None = optional(
        "What the tag of the image meant when the instances ran it, at most 10 of one image: restores and self-healing "
        "use it."
    )


class InstanceClock(Model):
    """The clock of instances that are being replaced."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    since: Time | None = optional(
        "healthTimeout counts from this time. Absent: the clock stands still, because others deleted the pod."
    )
    lost: Int = optional("Number of their pods that others deleted meanwhile.", default=0, ge=0)


class EndedPods(Model):
    """Instances whose pods ended for good (evicted or rejected by the kubelet) and are created again."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    count: Int = optional("Number of ended pods in a row.", default=1, ge=1)
    time: Time | None = optional("When the last one was deleted.")


class InstanceAge(Model):
    """First creation time of instances that have no pod now."""

    instances: Ranges = Field(description='Instance ids as ranges, such as "0-3,7".')
    time: Time | None = optional("When their first pod was created.")


class ScaleInStatus(Model):
    """Scaling in that is under way, at most a batch at a time."""

    from_: Int | None = optional("The size before scaling in; batches are a share of it.", ge=1)
    start_time: Time | None = optional("When scaling in began.")
    waiting_since: Time | None = optional("Since when the next batch waits for unhealthy instances.")


class FailedTargetStatus(Model):
    """A target that the platform does not try again by itself."""

    version: Word | None = optional("Version of the image.")
    image: Word | None = optional("Container image reference of that version.")
    model: Word | None = optional("Name of the ControllerRevision that holds the model.")
    policy: Word | None = optional("Hash of the rules that judged the target: timeouts and limits of the policy.")
    reason: Word | None = optional("Reason not to try the target again, in one word.")
    time: Time | None = optional("When it failed.")


class RetryStatus(Model):
    """A target that is tried again later."""

    model: Word | None = optional("Name of the ControllerRevision that holds the model.")
    version: Word | None = optional("Version of the image.")
    attempts: Int = optional("Number of attempts.", default=0, ge=0)
    time: Time | None = optional("When the last one ended.")


class CheckedModel(Model):
    """The API server's answer about the model of the spec."""

    asked: Word | None = optional("Name of the model, by its content.")
    model: Word | None = optional(
        "The ControllerRevision that holds the model, or another one that produces the same instances."
    )
    warning: Message | None = optional("A warning about the model, which runs nevertheless.")


class PolicySnapshot(Model):
    """The policy that a rollout started with; later changes of the UpgradePolicy apply to the next rollout."""

    max_batch_instance_percent: Int = optional("Largest batch, in percent of all instances.", default=20, ge=0, le=100)
    max_unhealthy_instance_percent: Int = optional(
        "Limit of unhealthy instances, in percent of all.", default=20, ge=0, le=100
    )
    max_unhealthy_upgraded_instance_percent: Int = optional(
        "Limit of unhealthy upgraded instances, in percent of the upgraded ones.", default=20, ge=0, le=100
    )
    pause_time_between_batches: Duration | None = optional("Pause after each batch, ISO 8601.")
    prioritize_unhealthy_instances: Bool = optional("Whether unhealthy instances go first.", default=False)
    enable_cross_zone_upgrade: Bool = optional("Whether a batch may hold several zones.", default=False)
    rollback_failed_instances_on_policy_breach: Bool = optional(
        "Whether failed instances return to their previous model after a breach.", default=False
    )
    max_surge: Bool = optional("Whether new instances are created before old ones go.", default=False)
    replacement_method: ReplacementMethod = optional("How an instance gets a new build.", default="Recreate")
    health_timeout: Duration | None = optional("Longest time for an instance to become healthy, ISO 8601.")
    min_ready_time: Duration | None = optional("Time that an instance has to stay healthy, ISO 8601.")
    disable_automatic_rollback: Bool = optional("Whether a failed instance keeps the new image.", default=False)
    upgrade_timeout: Duration | None = optional("Longest time for the whole rollout, ISO 8601.")


class TargetImageReference(Model):
    """The target image of a rollout."""

    publisher: Word | None = optional("Publisher of the image definition.")
    offer: Word | None = optional("Offer of the image definition.")
    sku: Word | None = optional("SKU of the image definition.")
    version: Word | None = optional(
        "Version as written in the model, latest or exact, in rollingUpgrade; exact in the history."
    )
    exact_version: Word | None = optional("The version that latest meant at the start.")
    image: Word | None = optional("Container image reference of that version.")
    os_type: Word | None = optional("Operating system of that version: Linux or Windows.")


class RunningStatus(Model):
    """State of a rollout."""

    code: RunningCode = Field(description="RollingForward, Cancelled, Completed or Faulted.")
    start_time: Time | None = optional("When it started.")
    completed_time: Time | None = optional("When it ended.")
    last_action: Literal["Start", "Cancel"] | None = optional("Last request: Start or Cancel.")
    last_action_time: Time | None = optional("Time of the last request.")


class Progress(Model):
    """Numbers of instances by state. Protected instances are not counted."""

    successful_instance_count: Int = optional("Upgraded and healthy.", default=0, ge=0)
    failed_instance_count: Int = optional("Not healthy in time, including restored ones.", default=0, ge=0)
    in_progress_instance_count: Int = optional("Being replaced now.", default=0, ge=0)
    pending_instance_count: Int = optional("Not begun.", default=0, ge=0)


class BatchStatus(Model):
    """The batch that runs, or ran last."""

    number: Int = Field(ge=0, description="Counted from 1.")
    of: Int | None = optional("Expected number of batches.", ge=0)
    instances: Ranges = optional('Instance ids as ranges, such as "0-3,7".', default="")
    start_time: Time | None = optional("When the batch was admitted.")
    surge: Ranges | None = optional(
        "New instances of the batch, created beside the instances that they replace, as ranges."
    )
    replaces: Ranges | None = optional("Old instances that go once the new ones are healthy, as ranges.")
    restore_start_time: Time | None = optional("When the batch began to restore its failed instances.")


class WaitingFor(Model):
    """Why a rollout waits."""

    reason: Word = Field(description="One word for programs.")
    message: Message = optional("A sentence for people.", default="")


class EndingStatus(Model):
    """How a rollout will end once its batch has finished."""

    code: RunningCode | None = optional("Cancelled or Faulted.")
    reason: Word = Field(description="One word for programs.")
    message: Message = optional("A sentence for people.", default="")


class UpgradeErrorDetail(Model):
    """The error of one instance."""

    code: Word = Field(description="Error code.")
    target: Word | None = optional("The instance: <scale set>/instances/<id>.")
    message: ShortMessage = optional("Message of Kubernetes about the instance.", default="")


class UpgradeErrorStatus(Model):
    """Why a rollout failed, in Azure's words."""

    code: Word = Field(description="Error code.")
    message: Message = optional("A sentence with the numbers.", default="")
    target: Word | None = optional("Subject of the error.")
    details: Annotated[tuple[UpgradeErrorDetail, ...], _first(MAX_DETAILS)] = optional(
        "The first instances that failed, at most 5.", default=(), max_length=MAX_DETAILS
    )


class RollbackInfo(Model):
    """Results for instances that got their previous image back."""

    successfully_rolledback_instance_count: Int = optional("Healthy again on their previous image.", default=0, ge=0)
    failed_rolledback_instance_count: Int = optional("Not healthy on their previous image either.", default=0, ge=0)
    rollback_error: UpgradeErrorStatus | None = optional("Why restoring failed.")


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
    policy: PolicySnapshot = optional("The policy that the rollout started with.", default=PolicySnapshot())
    target_image_reference: TargetImageReference = optional(
        "The target image of the rollout.", default=TargetImageReference()
    )
    target_model: Word | None = optional("Name of the target ControllerRevision.")
    from_version: Word | None = optional("Version that most of its instances ran when it began.")
    from_model: Word | None = optional("ControllerRevision that most of its instances had when it began.")
    running_status: RunningStatus = Field(description="State of the rollout.")
    progress: Progress = optional("Numbers of instances by state.", default=Progress())
    batch: BatchStatus | None = optional("The batch that runs, or ran last.")
    batches_done: Int = optional("Number of finished batches.", default=0, ge=0)
    waiting_for: WaitingFor | None = optional("Why the rollout waits.")
    ending: EndingStatus | None = optional("How the rollout will end once its batch has finished.")
    next_batch_time: Time | None = optional("When the pause between batches is over.")
    deadline: Time | None = optional("When the rollout ends as Faulted (upgradeTimeout), if it is not held until then.")
    held_since: Time | None = optional(
        "Since when the rollout waits for something that does not count for its deadline, which moves by that time."
    )
    successful: Ranges = optional("Instances that are upgraded and healthy, as ranges.", default="")
    failed: Ranges = optional("Instances that failed, as ranges.", default="")
    restored: Ranges = optional(
        "Failed instances that are healthy again on their previous build, as ranges.", default=""
    )
    restore_failed: Ranges = optional(
        "Failed instances that are not healthy on their previous build either, as ranges.", default=""
    )
    restoring: Ranges = optional("Failed instances being restored now, as ranges.", default="")
    in_progress: Ranges = optional("Instances being replaced now, as ranges.", default="")
    pending: Ranges = optional("Instances not begun, as ranges.", default="")
    with_model: Bool = optional(
        "Image: whether instances that lack only the newest model are upgraded as well.", default=False
    )
    version_only: Bool = optional("Model: whether only the version of the image changes.", default=False)
    never_ran: Ranges = optional(
        "Failed instances on which no container of the new pod started, as ranges: the image is not to blame.",
        default="",
    )
    without_surge: Bool = optional(
        "Whether the rest of the rollout runs without surge, since new instances could not be scheduled.", default=False
    )
    messages: Annotated[tuple[InstanceMessage, ...], _first(MAX_INSTANCES)] = optional(
        "Messages of Kubernetes about failed instances, at most 50.", default=(), max_length=MAX_INSTANCES
    )
    rollback_info: RollbackInfo | None = optional("Results of restoring instances.")
    error: UpgradeErrorStatus | None = optional("Why it failed.")


class HistoryProperties(Model):
    """One image upgrade, with Azure's keys."""

    running_status: RunningStatus = Field(description="State of the rollout.")
    progress: Progress = optional("Numbers of instances by state.", default=Progress())
    error: UpgradeErrorStatus | None = optional("Why it failed.")
    started_by: StartedBy = Field(description="Platform or User.")
    target_image_reference: TargetImageReference = optional(
        "The target image of the upgrade.", default=TargetImageReference()
    )
    rollback_info: RollbackInfo | None = optional("Results of restoring instances.")


class HistoryEntry(Model):
    """An entry as `az vmss get-os-upgrade-history` shows it."""

    properties: HistoryProperties = Field(description="The upgrade.")
    type: Word = optional("Azure's resource type.", default="Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades")
    location: Word | None = optional("Region of the ScaleSet.")


class PastRollout(Model):
    """One ended rollout of any kind."""

    kind: Literal["Image", "Model", "Restart"] = Field(description="As in rollingUpgrade.")
    started_by: StartedBy = Field(description="Platform or User.")
    code: RunningCode = Field(description="How it ended.")
    start_time: Time = Field(description="When it began.")
    completed_time: Time | None = optional("When it ended.")
    from_version: Word | None = optional("Version that most of its instances ran when it began.")
    from_model: Word | None = optional("ControllerRevision that most of its instances had when it began.")
    to_version: Word | None = optional("Target version.")
    to_model: Word | None = optional("Target ControllerRevision.")
    progress: Progress = optional("Numbers of instances by state.", default=Progress())
    restored: Int = optional("Number of instances that got their previous build back.", default=0, ge=0)
    error_code: Word | None = optional("Why it failed.")


class InstanceStatus(Model):
    """An instance that is not simply healthy and current."""

    id: Int = Field(ge=0, description="Instance id.")
    version: Word | None = optional("Version of the image that the instance runs.")
    latest_model_applied: Bool | None = optional("Whether the instance runs the newest model.")
    state: Word | None = optional("Healthy, Unhealthy, Initializing, Unknown, Missing or Blocked.")
    since: Time | None = optional("Since when the instance is in this state.")
    message: ShortMessage | None = optional("Message of Kubernetes about the instance.")


class ScaleSetStatus(Status):
    """Observed state of a ScaleSet."""

    observed_generation: Int | None = optional(
        "metadata.generation of the spec that this status was computed from.", ge=0
    )
    replicas: Int | None = optional("Number of instances with a pod.", ge=0)
    healthy_replicas: Int | None = optional("Number of healthy instances.", ge=0)
    updated_replicas: Int | None = optional("Number of instances with the newest model and the right version.", ge=0)
    selector: Annotated[str, Field(max_length=1024)] | None = optional(
        "Label selector of the pods, for the scale subresource."
    )
    accepted_replicas: Annotated[Int, Field(ge=0, le=MAX_REPLICAS)] | None = optional(
        "Desired number of instances: spec.replicas of the last accepted spec."
    )
    current_version: Word | None = optional(
        "Version that a completed rollout last proved, or that all instances run without a rollout. At "
        "first the version that the set was created with."
    )
    current_image: Word | None = optional("Container image reference of currentVersion.")
    latest_version: Word | None = optional("What latest means now.")
    target_version: Word | None = optional("The version that spec.imageReference means now.")
    versions: Word | None = optional(
        'Versions that the instances run, the most frequent first, such as "1.3.0 (6), 1.5.0 (4)".'
    )
    proven_time: Time | None = optional("When the set was first healthy on the version it was created with.")
    waiting_since: Time | None = optional(
        "Since when a rollout waits for other ScaleSets of its policy (maxConcurrentScaleSets)."
    )
    last_handled_start: Word | None = optional(
        "Value of annotation scaleset.dev/start-upgrade-at that was handled last."
    )
    last_handled_cancel: Word | None = optional(
        "Value of annotation scaleset.dev/cancel-upgrade-at that was handled last."
    )
    last_handled_apply: Word | None = optional("Value of annotation scaleset.dev/apply-model that was handled last.")
    last_handled_restart: Word | None = optional("Value of annotation scaleset.dev/restart-at that was handled last.")
    last_handled_retry: Word | None = optional("Value of annotation scaleset.dev/retry-at that was handled last.")
    last_handled_model_rollout: Word | None = optional(
        "Value of annotation scaleset.dev/start-model-rollout-at that was handled last."
    )
    last_handled_rollback: Word | None = optional("Value of annotation scaleset.dev/rollback-at that was handled last.")
    builds: tuple[RecordedBuild, ...] = optional(
        "The recorded build of each instance; a lost pod is created again with it.", default=()
    )
    previous_builds: tuple[RecordedBuild, ...] = optional(
        "Previous builds of the instances that the running rollout has reached: a restore returns to them.", default=()
    )
    applying: Ranges = optional("Instances being replaced at once, without batches, as ranges.", default="")
    clocks: tuple[InstanceClock, ...] = optional("The clock of each instance that is being replaced.", default=())
    ended_pods: tuple[EndedPods, ...] = optional(
        "Instances whose pods end repeatedly; they are created again after a growing back-off.", default=()
    )
    ages: tuple[InstanceAge, ...] = optional(
        "First creation times of instances whose pod is being replaced.", default=()
    )
    scale_in: ScaleInStatus | None = optional("Scaling in, while it is under way.")
    failed_targets: tuple[FailedTargetStatus, ...] = optional(
        "Targets that the platform does not try again by itself.", default=()
    )
    retry: RetryStatus | None = optional("The target that the platform tries again later.")
    checked_model: CheckedModel | None = optional(
        "The model of the spec as the API server understands it, checked once."
    )
    rolling_upgrade: RollingUpgradeStatus | None = optional("The running rollout, or else the last one.")
    os_upgrade_history: Annotated[tuple[HistoryEntry, ...], _first(MAX_HISTORY)] = optional(
        "Image upgrades of the last two months, newest first, at most 5.", default=(), max_length=MAX_HISTORY
    )
    rollout_history: Annotated[tuple[PastRollout, ...], _first(MAX_ROLLOUTS)] = optional(
        "Ended rollouts of every kind of the last two months, newest first, at most 10.",
        default=(),
        max_length=MAX_ROLLOUTS,
    )
    instances: Annotated[tuple[InstanceStatus, ...], _first(MAX_INSTANCES)] = optional(
        "Instances that are not simply healthy and current, at most 50.", default=(), max_length=MAX_INSTANCES
    )
    conditions: Conditions = optional(
        "Accepted, Ready, Available, Progressing, UpToDate, Reconciling and Stalled.", default=()
    )


def handled(annotation: str) -> str:
    """The form in which a status records a handled annotation: the value, or a digest of a long value.

    Two values are the same request if this is the same for both.
    """
    if len(annotation) <= MAX_HANDLED:
        return annotation
    return "sha256:" + hashlib.sha256(annotation.encode(errors="surrogatepass")).hexdigest()
