"""The invariants about the operator's writes (S5, S7, S11, S12), on the API server's audit log."""

from collections import Counter
from collections.abc import Callable, Iterator

from .api import Json
from .trace import MODEL_LABEL, VERSION_LABEL, Trace, Write, precondition_uid

ALLOWED: frozenset[tuple[str, str]] = frozenset(
    {
        ("create", "pods"),
        ("patch", "pods"),
        ("delete", "pods"),
        ("create", "persistentvolumeclaims"),
        ("create", "apps/controllerrevisions"),
        ("update", "apps/controllerrevisions"),
        ("patch", "apps/controllerrevisions"),
        ("delete", "apps/controllerrevisions"),
        ("create", "events.k8s.io/events"),
        ("patch", "events.k8s.io/events"),
        ("patch", "scaleset.dev/scalesets/status"),
        ("patch", "scaleset.dev/upgradepolicies/status"),
        ("patch", "scaleset.dev/galleryimageversions/status"),
        ("create", "coordination.k8s.io/leases"),
        ("update", "coordination.k8s.io/leases"),
        ("patch", "coordination.k8s.io/leases"),
    }
)
PREPULL_LABEL = "scaleset.dev/prepull"
PREPULL_NAME = "prepull-"
# Status writes that have nothing to do with batches: the first ones of a set, conditions, pods that come up.
STATUS_WRITES_BASE = 40


def s5_no_force_delete(trace: Trace) -> Iterator[str]:
    """A pod gets its own grace period: zero is a force delete, which Kubernetes takes for "it is surely gone"."""
    for write in trace.writes:
        if write.resource == "pods" and write.verb == "delete" and write.body.get("gracePeriodSeconds") is not None:
            yield f"{write} sets gracePeriodSeconds={write.body['gracePeriodSeconds']}"


def s7_deletes_carry_the_uid(trace: Trace) -> Iterator[str]:
    """Every pod delete names the uid that it means, and that pod belongs to a ScaleSet or only pulled an image."""
    pods = (seen for seen in trace.of("pods") if not seen.label(PREPULL_LABEL))
    owners = {seen.uid: seen.object["metadata"].get("ownerReferences") or [] for seen in pods}
    for write in trace.writes:
        if write.resource != "pods" or write.verb != "delete":
            continue
        uid = precondition_uid(write)
        if not uid:
            yield f"{write} has no uid precondition"
        elif uid in owners and not any(_controls(each) for each in owners[uid]):
            yield f"{write} is about a pod that no ScaleSet controls"


def s7_changes_carry_uid_and_version(trace: Trace) -> Iterator[str]:
    """Every change of a pod in place names its uid and the version that was seen, and touches nothing but the image of
    containers, the same for all, and what we write on our pods.
    """
    for write in trace.writes:
        if write.resource != "pods" or write.verb != "patch":
            continue
        metadata = write.body.get("metadata") or {}
        if not metadata.get("uid") or not metadata.get("resourceVersion"):
            yield f"{write} lacks the uid or the resourceVersion of the pod"
        marks = {*(metadata.get("labels") or {}), *(metadata.get("annotations") or {})}
        if not all(mark.startswith("scaleset.dev/") for mark in marks):
            yield f"{write} changes marks that are not ours: {sorted(marks)}"
        containers = (write.body.get("spec") or {}).get("containers") or []
        if {tuple(sorted(each)) for each in containers} != {("image", "name")}:
            yield f"{write} changes more than images"
        elif len({each["image"] for each in containers}) != 1:
            yield f"{write} gives containers different images"


def s11_only_allowed_writes(trace: Trace) -> Iterator[str]:
    """Writes touch only pods, claims (create), revisions, events, own status and the lease, in the set's namespace;
    in the operator's own one only pods that pull an image.
    """
    for write in trace.writes:
        if (write.verb, _resource(write)) not in ALLOWED:
            yield f"{write} is none of the operator's business"
        elif write.namespace in trace.operator_namespaces and _pulls(write):
            continue
        elif write.resource != "leases" and trace.namespaces and write.namespace not in trace.namespaces:
            yield f"{write} is outside {', '.join(sorted(trace.namespaces))}"


def s12_few_writes(trace: Trace) -> Iterator[str]:
    """One create and one delete per pod; status writes grow with batches."""
    creates = Counter(write.name for write in trace.writes if _pod_write(write, "create") and not _pulls(write))
    made = Counter({name: len(uids) for name, uids in _uids(trace).items()})
    for name, count in creates.items():
        if count > made[name]:
            yield f"pod {name}: {count} creates for {made[name]} pods"
    deletes = Counter(precondition_uid(write) for write in trace.writes if _pod_write(write, "delete"))
    for uid, count in deletes.items():
        if count > 1:
            yield f"pod with uid {uid}: {count} deletes that took effect"
    batches: dict[str, set[tuple[str, int]]] = {}
    generations: dict[str, set[int]] = {}
    for seen in trace.of("scalesets"):
        rollout = (seen.object.get("status") or {}).get("rollingUpgrade") or {}
        generations.setdefault(seen.name, set()).add(seen.object["metadata"].get("generation", 1))
        if rollout.get("batch"):
            batches.setdefault(seen.name, set()).add((rollout.get("id", ""), rollout["batch"].get("number", 0)))
    statuses = Counter(write.name for write in trace.writes if write.resource == "scalesets" and write.took_effect)
    for name, count in statuses.items():
        steps = len(batches.get(name, ())) + len(generations.get(name, ()))
        limit = STATUS_WRITES_BASE + trace.status_writes_per_batch * steps
        if count > limit:
            yield f"set {name}: {count} status writes for {steps} batches and changes of its spec, {limit} are plenty"


def s12_one_patch_for_a_build(trace: Trace) -> Iterator[str]:
    """Changing an instance in place is one write."""
    patches = Counter(write.name for write in trace.writes if _pod_write(write, "patch"))
    builds: dict[str, list[tuple[str, str]]] = {}
    for seen in trace.of("pods"):
        build = seen.label(VERSION_LABEL), seen.label(MODEL_LABEL)
        if builds.setdefault(seen.name, [build])[-1] != build:
            builds[seen.name].append(build)
    for name, count in patches.items():
        if count >= len(builds.get(name, ())):
            yield f"pod {name}: {count} patches for {len(builds.get(name, ()))} builds"


RULES: dict[str, Callable[[Trace], Iterator[str]]] = {
    "S5": s5_no_force_delete,
    "S7": s7_deletes_carry_the_uid,
    "S7 in place": s7_changes_carry_uid_and_version,
    "S11": s11_only_allowed_writes,
    "S12": s12_few_writes,
    "S12 in place": s12_one_patch_for_a_build,
}


def _controls(owner: Json) -> bool:
    return bool(owner.get("controller")) and owner["kind"] == "ScaleSet"


def _resource(write: Write) -> str:
    return "/".join(filter(None, (write.group, write.resource, write.subresource)))


def _pod_write(write: Write, verb: str) -> bool:
    return write.resource == "pods" and write.verb == verb and write.took_effect


def _pulls(write: Write) -> bool:
    """Whether it is about a pod that pulls an image onto a node."""
    labels = (write.body.get("metadata") or {}).get("labels") or {}
    known = write.verb != "create" or PREPULL_LABEL in labels
    return write.resource == "pods" and write.name.startswith(PREPULL_NAME) and known


def _uids(trace: Trace) -> dict[str, set[str]]:
    uids: dict[str, set[str]] = {}
    for seen in trace.of("pods"):
        uids.setdefault(seen.name, set()).add(seen.uid)
    return uids
