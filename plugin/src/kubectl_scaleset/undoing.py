"""The verb that brings an earlier pod template back: undo."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from kubectl_scaleset import changes
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.histories import StoredModel, models
from kubectl_scaleset.options import Acting, Flag, Name
from kubectl_scaleset.session import Session
from scaleset.api import names

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView

JSON = Mapping[str, Any]

ToRevision = Annotated[
    int | None,
    Flag(("--to-revision",), "Revision of history --models; default: the one before the present.", metavar="REVISION"),
]


def undo(session: Session, name: Name, how: Acting, to_revision: ToRevision = None) -> int:
    """Bring an earlier pod template back, and roll it out in batches. Image version and size stay as they are.

    With --wait it prints and exits as `status --watch` does.
    """
    from kubectl_scaleset.catalogue import newest_model

    found = session.scale_set(name)
    chosen = _chosen(found, models(session, found, newest_model(found)), to_revision)
    spec = {"template": merge_patch(found.spec.get("template") or {}, _kept(found, chosen.template))}
    if not spec["template"]:
        session.say(f"{name}: the spec has the template of revision {chosen.revision} already.")
        return changes.wait(session, found, how)
    changes.require(session, found, names.ANNOTATION_MODEL_ROLLOUT, spec=spec)
    body = {**changes.request(session, names.ANNOTATION_MODEL_ROLLOUT), "spec": spec}
    # The template is patched against what was read, so that nothing of another edit remains in it.
    body["metadata"]["resourceVersion"] = found.raw["metadata"]["resourceVersion"]
    question = f"Bring the template of revision {chosen.revision} back in {name}? It goes out in batches."
    done = f"back to the template of revision {chosen.revision}"
    return changes.carry_out(session, found, body, how, question=question, done=done)


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
