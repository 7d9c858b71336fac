"""Every reason of an event, with its types and meaning: docs/reference/events.md."""

from typing import Final

NORMAL: Final = "Normal"
WARNING: Final = "Warning"

REASONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "NewVersionAvailable": ((NORMAL,), "`latest` means a higher version now."),
    "RolloutStarted": ((NORMAL,), "A rolling upgrade begins: to what, and who started it."),
    "BatchStarted": ((NORMAL,), "These instances are being replaced."),
    "BatchCompleted": ((NORMAL, WARNING), "All instances of the batch are finished; a Warning if some failed."),
    "RolloutCompleted": ((NORMAL,), "Every instance that could be upgraded was."),
    "RolloutCancelled": (
        (NORMAL,),
        "The rollout ended early: the user cancelled it, a newer model replaced it, or its target was withdrawn.",
    ),
    "RolloutFaulted": (
        (WARNING,),
        "The rollout ended because too many instances were unhealthy, or because the API server refuses the new pods.",
    ),
    "InstanceRestored": ((WARNING,), "Failed instances are healthy again on their previous build."),
    "InstanceRestoreFailed": ((WARNING,), "Failed instances are not healthy on their previous build either."),
    "RollingBack": ((WARNING,), "After a breach, failed instances return to their previous model."),
    "HealthGateWaiting": ((NORMAL,), "A rollout does not start or go on until enough instances are healthy."),
    "Suspended": ((NORMAL,), "spec.suspend of the set or of its policy keeps a rollout from starting or going on."),
    "ApplyingModel": ((NORMAL,), "Instances are replaced at once, without batches."),
    "SurgeRefused": ((WARNING,), "There is no room for more instances: this batch is upgraded without surge."),
    "InPlaceRefused": ((WARNING,), "The API server does not change an image in place: the pod is recreated."),
    "StartRefused": ((WARNING,), "A start, a restart or an apply-model by hand was refused, with the reason."),
    "FailuresForgotten": ((NORMAL,), "At the user's request, the platform may try again what failed here."),
    "InstanceBlocked": ((WARNING,), "Instances are left alone: their name is taken or their data would be lost."),
    "FailedCreate": ((WARNING,), "The API server refuses to create the pods or claims of instances."),
    "PodEnded": ((WARNING,), "Pods ended for good (evicted or rejected by the kubelet) and are created again."),
    "InstancesUnhealthy": ((WARNING,), "Instances are not healthy after healthTimeout, while nothing is under way."),
    "ProvisioningFailed": ((WARNING,), "Custom data failed, or an extension whose failure is allowed."),
    "InvalidSpec": ((WARNING,), "The spec cannot be understood or carried out; the event says what to change."),
    "PolicyNotFound": ((WARNING,), "The UpgradePolicy that the set refers to does not exist."),
    "ImageNotFound": ((WARNING,), "No GalleryImageVersion matches the set's image reference."),
    "ImageNotUsed": (
        (WARNING,),
        "The template gives the instance container an image, which is ignored: the version's image runs.",
    ),
    "StatusNotKept": ((WARNING,), "The installed CRDs are older than the operator and drop a part of the status."),
    "ModelRefused": ((WARNING,), "The API server refuses pods of the new model; instances stay on the one before."),
    "ModelNotStored": (
        (WARNING,),
        "The API server refuses the ControllerRevision that keeps the new model; instances stay on the one before.",
    ),
    "UnknownFields": ((WARNING,), "The running model has fields that Kubernetes does not know and drops."),
}
