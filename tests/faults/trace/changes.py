"""Which events of a trace show that the operator changed a pod in place, and by which write.

The audit log decides, not the marks on the pod: an image that somebody else's hand has changed is none of these.
"""

from collections import defaultdict
from collections.abc import Mapping

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import Seen, Trace, Write

Changes = Mapping[tuple[str, int], Write]
"""By uid of the pod and order of the first event that shows it."""


def changes(trace: Trace) -> Changes:
    """Every PATCH of a pod's image that took effect and that an event shows."""
    patches: defaultdict[str, list[Write]] = defaultdict(list)
    for write in sorted(trace.writes, key=lambda each: each.time):
        if write.resource == "pods" and write.verb == "patch" and write.took_effect and _image(write):
            patches[write.name].append(write)
    found: dict[tuple[str, int], Write] = {}
    for seen in trace.of("pods") if patches else ():
        waiting = patches.get(seen.name, [])
        for number, write in enumerate(waiting):
            if _shows(seen, write):
                found[seen.uid, seen.order] = write
                del waiting[: number + 1]
                break
    return found


def metadata_of(write: Write) -> Json:
    """What a patch says of its object's metadata."""
    found: Json = write.body.get("metadata") or {}
    return found


def _image(write: Write) -> str:
    containers = (write.body.get("spec") or {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _shows(seen: Seen, write: Write) -> bool:
    """Whether the pod is as it became by that write. Of two writes to the same build the version tells which."""
    wanted = metadata_of(write)
    labels: Json = wanted.get("labels") or {}
    return (
        seen.type != "DELETED"
        and wanted.get("uid", seen.uid) == seen.uid
        and int(wanted.get("resourceVersion") or 0) < seen.order
        and seen.image == _image(write)
        and all(seen.label(key) == value for key, value in labels.items())
    )
