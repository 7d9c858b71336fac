"""What a set has been through: its rollouts, and the models that it had."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaleset.kube.resources import REVISIONS
from scaleset.planner import ranges
from scaleset.records.projections import seconds

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView
    from kubectl_scaleset.session import Session

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Past:
    """One rollout. `source` and `target` are versions, or models where the version is the same."""

    kind: str
    source: str
    target: str
    started: str
    by: str
    code: str
    began: float | None
    ended: float | None
    upgraded: int
    failed: int
    restored: int
    pending: int
    error: str
    """Azure's code of the error; empty without one."""

    def way(self, arrow: str) -> str:
        return f"{self.source} {arrow} {self.target}" if self.source else self.target or "-"


def rollouts(found: "SetView") -> list[Past]:
    """All rollouts that the status has, the newest first. Operators before 1.1 recorded image upgrades only."""
    known = [_past(entry) for entry in found.status.get("rolloutHistory") or ()]
    began = {each.started for each in known}
    images = [_image(entry) for entry in found.status.get("osUpgradeHistory") or ()]
    older = [each for each in images if each.started not in began and each.code != "RollingForward"]
    now = [_running(found.rollout)] if found.rolling else []
    return now + sorted([*known, *older], key=lambda each: each.started, reverse=True)


def _past(entry: JSON) -> Past:
    old, new = (
        tuple(str(entry.get(f"{side}{part}") or "") for part in ("Version", "Model")) for side in ("from", "to")
    )
    same_version = old[0] == new[0] or not new[0]
    restart = entry.get("kind") == "Restart"
    return Past(
        kind=str(entry.get("kind") or "-"),
        source="" if restart else old[1] if same_version else old[0],
        target=old[0] if restart else new[1] if same_version else new[0],
        started=str(entry.get("startTime") or ""),
        by=str(entry.get("startedBy") or ""),
        code=str(entry.get("code") or ""),
        began=seconds(entry.get("startTime")),
        ended=seconds(entry.get("completedTime")),
        restored=int(entry.get("restored") or 0),
        error=str(entry.get("errorCode") or ""),
        **_counts(entry.get("progress") or {}),
    )


def _running(rollout: JSON) -> Past:
    status, image = rollout.get("runningStatus") or {}, rollout.get("targetImageReference") or {}
    known = {key: rollout.get(key) for key in ("kind", "startedBy", "fromVersion", "fromModel", "progress")}
    reached = {"toVersion": image.get("exactVersion"), "toModel": rollout.get("targetModel")}
    return _past({**known, **reached, **status})


def _image(entry: JSON) -> Past:
    """An entry as Azure has it, which does not know what ran before."""
    seen = entry.get("properties") or {}
    error, rollback = seen.get("error") or {}, seen.get("rollbackInfo") or {}
    return _past(
        {
            "kind": "Image",
            "startedBy": seen.get("startedBy"),
            "toVersion": (seen.get("targetImageReference") or {}).get("version"),
            "progress": seen.get("progress"),
            "restored": rollback.get("successfullyRolledbackInstanceCount"),
            "errorCode": error.get("code"),
            **(seen.get("runningStatus") or {}),
        }
    )


def _counts(progress: JSON) -> dict[str, int]:
    kinds = {"upgraded": "successful", "failed": "failed", "pending": "pending"}
    return {name: int(progress.get(f"{kind}InstanceCount") or 0) for name, kind in kinds.items()}


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A ControllerRevision of a set."""

    revision: int
    name: str
    created: float | None
    instances: str
    """The instances that run it, as ranges."""
    current: bool
    """Whether it is the spec's model."""
    changed: tuple[str, ...]
    """The places in which it differs from the revision before."""
    template: JSON


def models(session: "Session", found: "SetView", newest: Collection[str]) -> list[StoredModel]:
    """The stored models of the set, the newest first. `newest` are the names that the spec's model may have."""
    mine = [raw for raw in session.client.list(REVISIONS, found.namespace)[0] if _owned(raw, found)]
    mine.sort(key=lambda raw: int(raw.get("revision") or 0))
    rows = []
    for position, raw in enumerate(mine):
        before = mine[position - 1].get("data") or {} if position else None
        data, name = raw.get("data") or {}, str(raw["metadata"]["name"])
        rows.append(
            StoredModel(
                revision=int(raw.get("revision") or 0),
                name=name,
                created=seconds(raw["metadata"].get("creationTimestamp")),
                instances=ranges.render(_instances(found, name)),
                current=name in newest,
                changed=tuple(differences(before, data)) if before is not None else (),
                template=data.get("template") or {},
            )
        )
    return rows[::-1]


def _owned(raw: JSON, found: "SetView") -> bool:
    return any(owner.get("uid") == found.uid for owner in raw["metadata"].get("ownerReferences") or ())


def _instances(found: "SetView", model: str) -> frozenset[int]:
    builds = [row for row in found.status.get("builds") or () if row.get("model") == model]
    try:
        return frozenset[int]().union(*(ranges.parse(row.get("instances")) for row in builds))
    except ValueError:
        return frozenset()


def differences(before: object, after: object, place: str = "") -> list[str]:
    """The places in which two documents differ, such as `template.spec.containers[0].env`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted(before.keys() | after.keys()):
            found += differences(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            each
            for n, pair in enumerate(zip(before, after, strict=True))
            for each in differences(*pair, f"{place}[{n}]")
        ]
    return [] if before == after else [place]
