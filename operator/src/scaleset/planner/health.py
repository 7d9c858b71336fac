"""Is an instance healthy? (docs/behaviour.md, Health)

Readiness is application health: an instance is Healthy while its pod is Ready. Without any application signal the
rule is Azure's default, "power state and extension provisioning": all containers run.

A pod that was never Ready is Initializing until the health timeout after its creation, then Unhealthy. A pod that lost
readiness is Unhealthy, however old it is. The Ready condition shows this: it changed after the pod had started. The
kubelet writes the first `Ready=False` together with the start time; both have whole seconds.

A pod whose image was changed in place starts anew with the change. Until the container is restarted, its status
(`Pod.current`) is about the previous image.

With `source: PodCondition` somebody else's condition decides, and readiness nothing. The pod is Healthy while the
condition is True and all containers run, Unhealthy while it is False, and Unknown while it is anything else. Without
the condition it is Initializing until the health timeout, then Unhealthy. Conditions have a domain name, so a health
source is passed on as one word: one of the two constants, or the type of the condition.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scaleset.planner.instances import HealthState, Pod

if TYPE_CHECKING:  # the plugin judges health without the models
    from scaleset.planner.revisions import Revision

READINESS = "ReadinessProbe"
INSTANCE_STATE = "InstanceState"
POD_CONDITION = "PodCondition"
OWN = (READINESS, INSTANCE_STATE)
"""Sources that Kubernetes itself reports."""

NO_POD = "The pod does not exist."
UNREACHABLE = "Instance found to be unhealthy or unreachable."

# The kubelet takes the two times one after the other and cuts them to seconds.
_SAME_MOMENT = 2.0


def has_application_signal(model: "Revision") -> bool:
    """Whether something reports application health: a probe or a readiness gate."""
    return _reports(model.template, _asked(model))


def _reports(template: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    if asked.get("probe") is not None:
        return True
    pod: dict[str, Any] = template.get("spec") or {}
    return bool(pod.get("readinessGates")) or any(
        isinstance(container, dict) and container.get("readinessProbe") for container in _lasting(pod)
    )


def _lasting(pod: dict[str, Any]) -> Iterator[Any]:
    """Containers that run as long as the pod, including native sidecars: their readiness is part of the pod's."""
    yield from pod.get("containers") or ()
    for container in pod.get("initContainers") or ():
        if isinstance(container, dict) and container.get("restartPolicy") == "Always":
            yield container


def source(model: "Revision") -> str:
    """The health source in force: the configured one, else readiness if there is a signal, else the state of the
    containers. Of a pod condition it is the type of the condition.
    """
    return source_of(model.template, _asked(model))


def source_of(template: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The same, from the template and the `health` of a spec."""
    if (configured := asked.get("source")) == POD_CONDITION:
        return str(asked.get("conditionType", ""))
    if configured is not None:
        return str(configured)
    return READINESS if _reports(template, asked) else INSTANCE_STATE


def _asked(model: "Revision") -> dict[str, Any]:
    """The set's `health`, which is part of the model."""
    return model.data.get("health") or {}


def healthy_since(pod: Pod, *, by: str) -> float | None:
    """Since when the pod has been healthy without a break; None if it is not healthy."""
    if pod.deleting or pod.ended or not pod.reporting or not pod.current:
        return None
    if by == INSTANCE_STATE:
        return pod.running_since if pod.running else None
    if by == READINESS:
        return pod.ready_since if pod.ready else None
    reported = pod.reported(by) if pod.running else None
    if reported is None or reported.status != "True":
        return None
    times = (reported.since, pod.running_since, pod.begun)
    return max(at for at in times if at is not None)


def state(pod: Pod, *, by: str, now: float, timeout: float) -> HealthState:
    """Health of a pod of ours."""
    if not pod.reporting:
        return HealthState.UNKNOWN
    if healthy_since(pod, by=by) is not None:
        return HealthState.HEALTHY
    if pod.deleting or pod.ended:
        return HealthState.UNHEALTHY
    reported = None if by in OWN else pod.reported(by)
    if reported is not None and reported.status != "True":
        return HealthState.UNHEALTHY if reported.status == "False" else HealthState.UNKNOWN
    late = now >= pod.begun + timeout or (by in OWN and _was_ready(pod))
    return HealthState.UNHEALTHY if late else HealthState.INITIALIZING


def _was_ready(pod: Pod) -> bool:
    if pod.ready or pod.ready_since is None or pod.started is None:
        return False
    return pod.ready_since > pod.started + _SAME_MOMENT


def changed(pod: Pod, *, by: str, now: float) -> float:
    """Since when the pod is as healthy as it is. A writer's time that has not come yet does not count."""
    if by in OWN:
        return pod.ready_since or pod.begun
    reported = pod.reported(by)
    since = None if reported is None else reported.since
    return pod.begun if since is None or since > now else max(pod.begun, since)


def explanation(pod: Pod, *, by: str) -> str:
    """Why the pod is not healthy, in the words of Kubernetes or of the condition's writer."""
    if by in OWN:
        return pod.message or UNREACHABLE
    reported = pod.reported(by)
    if reported is not None and reported.status != "True":
        return f"Condition {by} is {reported.status}{f': {reported.message}' if reported.message else '.'}"
    if not pod.running and pod.message:
        return pod.message
    stale = any(each.type == by for each in pod.conditions)
    why = "was not written since the image was changed" if stale else "is not set"
    return f"Condition {by} {why}." if reported is None else UNREACHABLE
