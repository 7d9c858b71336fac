"""What -o json and yaml print of our own views: camelCase, times in RFC 3339, as Kubernetes writes them. Pure."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scaleset.api.moments import timestamp

if TYPE_CHECKING:
    from kubectl_scaleset.outcomes import Outcome
    from kubectl_scaleset.pictures import SetView

_TIMES = frozenset({"created", "began", "ended"})
_LEFT_OUT = frozenset({"template", "started"})
"""Fields that repeat another one, or an object that kubectl shows."""
_NAMES = {"source": "from", "target": "to", "began": "startTime", "ended": "completedTime", "code": "result"}


def of(view: Any) -> dict[str, Any]:
    """The fields of a frozen view. An empty text of a field that may be absent is left out."""
    shown: dict[str, Any] = {}
    for each in fields(view):
        value = getattr(view, each.name)
        if each.name in _LEFT_OUT or value in (None, ""):
            continue
        if each.name in _TIMES:
            value = timestamp(value)
        shown[_NAMES.get(each.name) or _camel(each.name)] = list(value) if isinstance(value, tuple) else value
    return shown


def status(found: "SetView", now: "Outcome") -> dict[str, Any]:
    """The answer of `status`."""
    document = {
        "name": found.name,
        "namespace": found.namespace,
        "status": found.state,
        "rollout": found.code or None,
        "targetVersion": found.wanted or None,
        "replicas": found.desired,
        "healthyReplicas": found.healthy,
        "updatedReplicas": found.updated,
        "message": now.text.removeprefix(f"{found.name}: "),
        "exitCode": now.exit_code,
    }
    return {key: value for key, value in document.items() if value is not None}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
