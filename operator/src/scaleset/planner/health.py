"""Is an instance healthy? (docs/behaviour.md, Health)

Readiness is application health: an instance is Healthy while its pod is Ready. Without any application signal the
rule is Azure's default, "power state and extension provisioning": all containers run.

A pod that was never Ready is Initializing until the health timeout after its creation, then Unhealthy. A pod that lost
readiness is Unhealthy, however old it is. The Ready condition shows this: it changed after the pod had started. The
kubelet writes the first `Ready=False` together with the start time; both have whole seconds.

A pod whose image was changed in place starts anew with the change. Until the container is restarted, its status
(`Pod.current`) is about the previous image.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scaleset.planner.instances import HealthState, Pod

if TYPE_CHECKING:  # the plugin judges health without the models
    from scaleset.planner.revisions import Revision

READINESS = "ReadinessProbe"
INSTANCE_STATE = "InstanceState"

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
    containers.
    """
    return source_of(model.template, _asked(model))


def source_of(template: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The same, from the template and the `health` of a spec."""
    if (configured := asked.get("source")) is not None:
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
    return pod.ready_since if pod.ready else None


def state(pod: Pod, *, by: str, now: float, timeout: float) -> HealthState:
    """Health of a pod of ours."""
    if not pod.reporting:
        return HealthState.UNKNOWN
    if healthy_since(pod, by=by) is not None:
        return HealthState.HEALTHY
    if pod.deleting or pod.ended or _was_ready(pod) or now >= pod.begun + timeout:
        return HealthState.UNHEALTHY
    return HealthState.INITIALIZING


def _was_ready(pod: Pod) -> bool:
    if pod.ready or pod.ready_since is None or pod.started is None:
        return False
    return pod.ready_since > pod.started + _SAME_MOMENT
