"""Earlier models of a set, and the verb that brings one back: undo."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.options import Acting, Flag, Name
from kubectl_scaleset.session import Session
from scaleset.api import names
from scaleset.kube.resources import REVISIONS
from scaleset.planner import ranges
from scaleset.records.projections import seconds

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView

JSON = Mapping[str, Any]

ToRevision = Annotated[
    int | None,
    Flag(("--to-revision",), "Revision of history --models; default: the one before the present.", metavar="REVISION"),
]


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


def undo(session: Session, name: Name, how: Acting, to_revision: ToRevision = None) -> int:
    """Bring an earlier pod template back, and roll it out in batches. Image version and size stay as they are.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset.outcomes import outcome

    found = session.scale_set(name)
    chosen = _chosen(found, models(session, found), to_revision)
    spec = {"template": merge_patch(found.spec.get("template") or {}, _kept(found, chosen.template))}
    if not spec["template"]:
        session.say(f"{name}: the spec has the template of revision {chosen.revision} already.")
        return changes.wait(session, found, outcome, how)
    if (refused := changes.refusal(session, found, names.ANNOTATION_MODEL_ROLLOUT, spec=spec)) is not None:
        raise CliError(f"{name}: {refused}")
    session.confirm(
        f"Bring the template of revision {chosen.revision} back in {name}? It goes out in batches.", yes=how.unasked
    )
    request = {"annotations": {names.ANNOTATION_MODEL_ROLLOUT: changes.stamp(session)}}
    # The template is patched against what was read, so that nothing of another edit remains in it.
    metadata = {**request, "resourceVersion": found.raw["metadata"]["resourceVersion"]}
    found = changes.patch(session, found, {"metadata": metadata, "spec": spec}, how)
    changes.say(session, f"{name}: back to the template of revision {chosen.revision}", how)
    return changes.wait(session, found, outcome, how)


def models(session: Session, found: "SetView") -> list[StoredModel]:
    """The stored models of the set, the newest first."""
    from kubectl_scaleset.catalogue import newest_model

    mine = [raw for raw in session.client.list(REVISIONS, found.namespace)[0] if _owned(raw, found)]
    mine.sort(key=lambda raw: int(raw.get("revision") or 0))
    newest, rows = newest_model(found), []
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


def _chosen(found: "SetView", stored: list[StoredModel], wanted: int | None) -> StoredModel:
    if wanted is not None:
        there = next((each for each in stored if each.revision == wanted), None)
        if there is None:
            known = ", ".join(str(each.revision) for each in stored) or "none"
            raise CliError(f"{found.name} has no revision {wanted}: it has {known}.")
        return there
    earlier = [each for each in stored if not each.current]
    if not earlier:
        raise CliError(f"{found.name} has no earlier model: see kubectl scaleset history {found.name} --models.")
    return earlier[0]


def _kept(found: "SetView", template: JSON) -> JSON:
    """The stored template. A model leaves out the image of the instance container, which the version gives; an image in
    the spec stays, so that nothing but the model differs.
    """
    now = {str(each.get("name")): each for each in _containers(found.spec.get("template") or {})}
    containers = [
        {**each, "image": now[name]["image"]}
        if "image" not in each and "image" in now.get(name := str(each.get("name")), {})
        else each
        for each in _containers(template)
    ]
    return {**template, "spec": {**(template.get("spec") or {}), "containers": containers}}


def _containers(template: JSON) -> list[JSON]:
    return [each for each in (template.get("spec") or {}).get("containers") or () if isinstance(each, Mapping)]


def merge_patch(now: JSON, wanted: JSON) -> dict[str, Any]:
    """The JSON merge patch that makes `wanted` of `now`."""
    patch: dict[str, Any] = {key: None for key in now if key not in wanted}
    for key, value in wanted.items():
        there = now.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            if inner := merge_patch(there, value):
                patch[key] = inner
        elif value != there or key not in now:
            patch[key] = value
    return patch


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
