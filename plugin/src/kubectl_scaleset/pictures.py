"""The view of a ScaleSet: its status, pods and claims as a few words and numbers. Pure.

Pods show the state of an instance earlier than the status, so health is judged from the pods by the operator's own
rules. The status adds whether an instance is blocked, and why it failed earlier in this run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaleset.api import names
from scaleset.api.moments import parse_duration
from scaleset.planner import gallery, health, ranges
from scaleset.records.projections import CONTROL, instance_number, seconds
from scaleset.records.projections import pod as project

JSON = Mapping[str, Any]

DEFAULT_TIMEOUT = 300.0
WAITS = frozenset(
    {
        "ApplyingModel",
        "ConcurrencyLimit",
        "HealthGateWaiting",
        "InstancesInitializing",
        "ScalingIn",
        "StartRefused",
        "Suspended",
        "TargetFailed",
    }
)
"""Reasons of the condition Progressing with which a rollout waits to begin."""
ATTENTION = frozenset({"HealthGateWaiting", "PodsTerminating", "StartRefused", "TargetFailed"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: status, reason, message."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SetView:
    """A ScaleSet, its rollout included. Times are seconds since the epoch."""

    raw: JSON = field(repr=False)
    status: JSON = field(init=False, repr=False)
    """The status without control characters: a status must not control the terminal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", _visible(self.raw.get("status") or {}))

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def generation(self) -> int:
        return int(self.raw["metadata"].get("generation") or 0)

    @property
    def created(self) -> float | None:
        return seconds(self.raw["metadata"].get("creationTimestamp"))

    @property
    def annotations(self) -> JSON:
        return self.raw["metadata"].get("annotations") or {}

    @property
    def spec(self) -> JSON:
        return self.raw.get("spec") or {}

    @property
    def desired(self) -> int:
        return int(self.spec.get("replicas", 1))

    @property
    def healthy(self) -> int:
        return int(self.status.get("healthyReplicas") or 0)

    @property
    def updated(self) -> int | None:
        """Instances that have the build which the spec asks for; None where the operator has not said it."""
        said = self.status.get("updatedReplicas")
        return None if said is None else int(said)

    @property
    def own_policy(self) -> JSON | None:
        """The policy in the set itself, if it has one."""
        found: JSON | None = self.spec.get("upgradePolicy")
        return found

    @property
    def policy(self) -> str:
        """The name of its UpgradePolicy; empty if it has a policy of its own, or none."""
        return str((self.spec.get("upgradePolicyRef") or {}).get("name") or "")

    @property
    def observed(self) -> bool:
        """Whether the operator has seen the spec as it is now."""
        return int(self.status.get("observedGeneration") or 0) >= self.generation

    @property
    def rollout(self) -> JSON:
        """The running or the last rolling upgrade; empty before the first."""
        return self.status.get("rollingUpgrade") or {}

    @property
    def code(self) -> str:
        """RollingForward, Completed, Cancelled or Faulted; empty before the first rollout."""
        return str((self.rollout.get("runningStatus") or {}).get("code") or "")

    @property
    def rolling(self) -> bool:
        return self.code == "RollingForward"

    @property
    def target(self) -> str:
        """Version that the rollout leads to; empty for one that changes only the model."""
        return str((self.rollout.get("targetImageReference") or {}).get("exactVersion") or "")

    @property
    def current(self) -> str:
        return str(self.status.get("currentVersion") or "")

    @property
    def versions(self) -> str:
        """The versions of the instances: one version, or each with its count."""
        return str(self.status.get("versions") or self.current)

    @property
    def wanted(self) -> str:
        """The version that the spec means now; an older operator only reports the version of `latest`."""
        return str(self.status.get("targetVersion") or self.latest)

    @property
    def behind(self) -> str:
        """The spec's version if not all instances run it, as `latest 1.1.0` or `target 1.1.0`."""
        if not self.wanted or gallery.same(self.wanted, self.versions):
            return ""
        return f"{'latest' if self.wanted == self.latest else 'target'} {self.wanted}"

    @property
    def latest(self) -> str:
        return str(self.status.get("latestVersion") or "")

    def condition(self, kind: str) -> Condition:
        """The condition of that type."""
        for each in self.status.get("conditions") or ():
            if each.get("type") == kind:
                return Condition(str(each.get("status")), str(each.get("reason") or ""), str(each.get("message") or ""))
        return Condition()

    @property
    def state(self) -> str:
        """One word: what `kubectl get` shows as STATUS."""
        if not self.status:
            return "Unobserved"
        return self.condition("Ready").reason or "Unknown"

    @property
    def waiting(self) -> tuple[str, str]:
        """Reason and sentence of what is waited for; empty when nothing is."""
        if not self.status:
            return "Unobserved", "No operator has seen this set yet: look with kubectl scaleset check."
        if self.rolling:
            waiting = self.rollout.get("waitingFor") or {}
            return str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        stalled, progressing = self.condition("Stalled"), self.condition("Progressing")
        if stalled.status == "True":
            return stalled.reason, stalled.message
        if progressing.reason in WAITS:
            return progressing.reason, progressing.message
        busy = self.condition("Reconciling")
        return (busy.reason, busy.message) if busy.status == "True" else ("", "")

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look: the operator cannot go on alone, or waits for something that is not normal."""
        return (
            not self.status
            or self.condition("Stalled").status == "True"
            or self.condition("Available").status == "False"
            or self.waiting[0] in ATTENTION
        )

    def count(self, what: str) -> int:
        """Azure's counts: successful, failed, inProgress or pending."""
        return int((self.rollout.get("progress") or {}).get(f"{what}InstanceCount") or 0)

    def ids(self, what: str) -> frozenset[int]:
        """Instances that the rollout names so: successful, failed, restored, inProgress, restoring or pending."""
        try:
            return ranges.parse(self.rollout.get(what))
        except ValueError:
            return frozenset()


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance and its pod."""

    id: int
    name: str
    health: str
    version: str = ""
    model: str = ""
    phase: str = ""
    restarts: int = 0
    created: float | None = None
    node: str = ""
    zone: str = ""
    update_domain: str = ""
    protection: str = ""
    message: str = ""
    """Message of Kubernetes about the instance now."""
    failure: str = ""
    """Why the instance failed in the shown rollout."""


def instances(found: SetView, pods: Iterable[JSON], *, now: float) -> list[InstanceView]:
    """Every existing or wanted instance, by id."""
    mine = {}
    for raw in pods:
        number = instance_number(found.name, str(raw["metadata"]["name"]))
        if number is not None and _controller(raw) in (found.uid, None):
            mine[number] = raw
    listed = {row["id"]: row for row in found.status.get("instances") or ()}
    builds = _builds(found)
    wanted = builds.keys() if builds else set(range(found.desired)) if not found.status else set()
    judge = _Judge.of(found, now=now)
    protected = {row["id"]: row for row in found.spec.get("protectedInstances") or ()}
    failures = {row["id"]: str(row["message"]) for row in found.rollout.get("messages") or ()}
    rows = []
    for number in sorted(mine.keys() | wanted | listed.keys()):
        row = listed.get(number) or {}
        view = judge.view(number, f"{found.name}-{number}", mine.get(number), row)
        rows.append(
            InstanceView(
                **{
                    **view,
                    "version": view.get("version") or builds.get(number, ""),
                    "protection": _protection(protected.get(number)),
                    "failure": failures.get(number, ""),
                }
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Judge:
    """Health by the operator's rules: `planner.health`."""

    source: str
    timeout: float
    now: float

    @classmethod
    def of(cls, found: SetView, *, now: float) -> "_Judge":
        source = health.source_of(found.spec.get("template") or {}, found.spec.get("health") or {})
        timeout = (found.rollout.get("policy") or {}).get("healthTimeout")
        return cls(source, _duration(timeout), now)

    def view(self, number: int, name: str, raw: JSON | None, row: JSON) -> dict[str, Any]:
        if raw is None:
            state = "Blocked" if row.get("state") == "Blocked" else "Missing"
            return {"id": number, "name": name, "health": state, "message": str(row.get("message") or "")}
        pod = project(dict(raw))
        if row.get("state") == "Blocked":
            state = "Blocked"
        elif pod.deleting:
            state = "Terminating"
        else:
            state = str(health.state(pod, by=self.source, now=self.now, timeout=self.timeout))
        labels, status = raw["metadata"].get("labels") or {}, raw.get("status") or {}
        message = pod.note if state == "Healthy" else pod.message or str(row.get("message") or "")
        return {
            "id": number,
            "name": name,
            "health": state,
            "version": pod.version,
            "model": pod.model,
            "phase": _phase(raw),
            "restarts": sum(int(c.get("restartCount") or 0) for c in status.get("containerStatuses") or ()),
            "created": pod.created,
            "node": str((raw.get("spec") or {}).get("nodeName") or ""),
            "zone": str(labels.get(names.LABEL_ZONE) or ""),
            "update_domain": str(labels.get(names.LABEL_UPDATE_DOMAIN) or ""),
            "message": _worth_telling(message, state),
        }


def _visible(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return CONTROL.sub(" ", value) if isinstance(value, str) else value


def _worth_telling(message: str, state: str) -> str:
    """Whether a message is shown: not that a starting pod is not ready, but why it cannot start or has no node."""
    return "" if state == "Initializing" and not message.startswith(("container ", "Unschedulable")) else message


def _duration(text: str | None) -> float:
    try:
        return parse_duration(text).total_seconds() if text else DEFAULT_TIMEOUT
    except ValueError:
        return DEFAULT_TIMEOUT


def _phase(raw: JSON) -> str:
    """As in the STATUS column of `kubectl get pods`: the reason that a container waits for, else the phase."""
    if raw["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = raw.get("status") or {}
    for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        reason = ((each.get("state") or {}).get("waiting") or {}).get("reason")
        if reason:
            return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _controller(raw: JSON) -> str | None:
    for reference in raw["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def _builds(found: SetView) -> dict[int, str]:
    """The recorded version of each instance."""
    wanted: dict[int, str] = {}
    for build in found.status.get("builds") or ():
        try:
            wanted.update(dict.fromkeys(ranges.parse(build.get("instances")), str(build.get("version") or "")))
        except ValueError:
            continue
    return wanted


def _protection(row: JSON | None) -> str:
    if row is None:
        return ""
    if row.get("protectFromScaleSetActions"):
        return "all actions"
    return "scale-in" if row.get("protectFromScaleIn") else ""


def instance_ids(found: SetView) -> frozenset[int]:
    """The instances of the set by its status; without a status, those that it will have."""
    known = frozenset(_builds(found)) | {int(row["id"]) for row in found.status.get("instances") or ()}
    first = int((found.spec.get("ordinals") or {}).get("start") or 0)
    return known or frozenset(range(first, first + found.desired))
