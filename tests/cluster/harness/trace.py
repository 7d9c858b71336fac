"""What happened during a test: every event of its namespace, and every write of the operator, as data.

The invariants are functions of this and of nothing else, so that a made-up trace can show what each of them catches.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .api import Json, condition

SET_LABEL = "scaleset.dev/name"
INSTANCE_LABEL = "scaleset.dev/instance-id"
VERSION_LABEL = "scaleset.dev/image-version"
MODEL_LABEL = "scaleset.dev/model"
CHANGED = "scaleset.dev/changed-in-place"
RELABELLED = "tests/relabelled"
"""Which of our labels others changed or took off a pod, spaces between them, where a judge put those labels back."""
POD_NAME = "authentication.kubernetes.io/pod-name"


class Seen(NamedTuple):
    """One event of a watch."""

    at: float  # monotonic seconds of the recorder
    type: str  # ADDED, MODIFIED or DELETED; ADDED also for what was there at the start
    kind: str  # plural
    object: Json

    @property
    def order(self) -> int:
        """Watches of several kinds have no common order, but all of etcd has one revision."""
        return int(self.object["metadata"]["resourceVersion"])

    @property
    def scale_set(self) -> str:
        """Of a pod: the set that it belongs to, or an empty string."""
        return self.label(SET_LABEL)

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def terminating(self) -> bool:
        return "deletionTimestamp" in self.object["metadata"]

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])

    @property
    def ready(self) -> bool:
        """Whether it is said of the pod as it is now, and of containers with the images that it has now."""
        return condition(self.object, "Ready") == "True" and not self._stale

    @property
    def running(self) -> bool:
        """Whether all containers run: health of a set without an application signal."""
        containers = (self.object.get("status") or {}).get("containerStatuses") or []
        return bool(containers) and not self._stale and all("running" in each["state"] for each in containers)

    def healthy(self, health: Json) -> bool:
        """By what the set says about health: its `health`."""
        if health.get("source") == "InstanceState":
            return self.running
        if health.get("source") == "PodCondition":
            return self.running and condition(self.object, health["conditionType"]) == "True"
        return self.ready

    @property
    def _stale(self) -> bool:
        """Whether the container that the status tells of is the one that ran before the image was changed."""
        metadata, status = self.object["metadata"], self.object.get("status") or {}
        for each in status.get("conditions") or []:
            if each["type"] == "Ready" and each.get("observedGeneration", 1) < metadata.get("generation", 1):
                return True
        note = (metadata.get("annotations") or {}).get(CHANGED)
        if not note or json.loads(note)["image"] == self.image:
            return False
        ids = [each.get("containerID", "") for each in status.get("containerStatuses") or []]
        return json.loads(note)["id"] in ids

    @property
    def image(self) -> str:
        """The image of the instance container: the first one, in every template of the tests."""
        return str(self.object["spec"]["containers"][0].get("image", ""))

    def label(self, key: str) -> str:
        return str((self.object["metadata"].get("labels") or {}).get(key, ""))


@dataclass(frozen=True, slots=True)
class Write:
    """One write request, from the API server's audit log."""

    verb: str
    resource: str
    group: str
    subresource: str
    namespace: str
    name: str
    code: int
    user_agent: str
    dry_run: bool
    body: Json = field(default_factory=dict)
    time: str = ""
    answered: str = ""
    user: str = ""
    pod: str = ""  # whose token it was, where the sender runs in the cluster

    @property
    def took_effect(self) -> bool:
        return self.code < 300 and not self.dry_run

    def __str__(self) -> str:
        what = "/".join(filter(None, (self.resource, self.subresource)))
        return f"{self.verb} {what} {self.namespace}/{self.name} ({self.code}{', dry run' if self.dry_run else ''})"


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded test. `disturbed`: names of pods and claims that the test itself deleted or changed."""

    seen: tuple[Seen, ...] = ()
    writes: tuple[Write, ...] = ()
    disturbed: frozenset[str] = frozenset()
    status_writes_per_batch: int = 12
    namespaces: frozenset[str] = field(default_factory=frozenset)
    operator_namespaces: frozenset[str] = field(default_factory=frozenset)

    def of(self, *kinds: str) -> list[Seen]:
        return sorted((each for each in self.seen if each.kind in kinds), key=lambda each: each.order)

    def changed_in_place(self) -> frozenset[tuple[str, int]]:
        """Uid and order of the events that show another image in a pod that was there before."""
        images: dict[str, str] = {}
        changes: set[tuple[str, int]] = set()
        for seen in self.of("pods"):
            if images.setdefault(seen.uid, seen.image) != seen.image:
                changes.add((seen.uid, seen.order))
                images[seen.uid] = seen.image
        return frozenset(changes)

    def deleted_by_operator(self) -> frozenset[str]:
        """The uids of pods that a delete of the operator reached."""
        deletes = (write for write in self.writes if write.resource == "pods" and write.verb == "delete")
        uids = (precondition_uid(write) for write in deletes if write.took_effect)
        return frozenset(filter(None, uids))


def precondition_uid(write: Write) -> str:
    return str((write.body.get("preconditions") or {}).get("uid") or "")


class AuditLog:
    """Reads the API server's audit log from where it stood when this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def writes(self, agent: str, namespace: str = "") -> list[Write]:
        """All writes until now by clients whose User-Agent begins so, of one namespace if one is named."""
        place = f'"namespace":"{namespace}"' if namespace else ""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            lines = log.read().split(b"\n")[:-1]  # the last line may not be complete yet
        entries = (json.loads(line) for line in lines if agent.encode() in line and place.encode() in line)
        writes = [_write(entry) for entry in entries if str(entry.get("userAgent", "")).startswith(agent)]
        return [write for write in writes if not namespace or write.namespace == namespace]


def _write(entry: Json) -> Write:
    ref = entry.get("objectRef") or {}
    body = entry.get("requestObject") or {}
    return Write(
        verb=entry["verb"],
        resource=ref.get("resource", ""),
        group=ref.get("apiGroup", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name") or (body.get("metadata") or {}).get("name", ""),
        code=(entry.get("responseStatus") or {}).get("code", 0),
        user_agent=entry["userAgent"],
        dry_run="dryRun=All" in entry["requestURI"] or "All" in (body.get("dryRun") or []),
        body=body,
        time=entry["requestReceivedTimestamp"],
        answered=entry["stageTimestamp"],
        user=(entry.get("user") or {}).get("username", ""),
        pod=next(iter(((entry.get("user") or {}).get("extra") or {}).get(POD_NAME, [])), ""),
    )


def parse_ranges(text: str | None) -> frozenset[int]:
    """`"0-3,7"` as a set of ids."""
    ids: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        ids.update(range(int(first), int(last or first) + 1))
    return frozenset(ids)


def parse_duration(text: str) -> float:
    """Seconds of an ISO 8601 duration of weeks, days, hours, minutes and seconds."""
    match = re.fullmatch(r"P(?:([\d.]+)W)?(?:([\d.]+)D)?(?:T(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?)?", text)
    assert match, f"{text!r} is not an ISO 8601 duration"
    units = (604800, 86400, 3600, 60, 1)
    return sum(float(value or 0) * unit for value, unit in zip(match.groups(), units, strict=True))


def parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d+\.\d+\.\d+", text) else ()
