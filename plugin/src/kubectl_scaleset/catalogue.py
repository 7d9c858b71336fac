"""Published versions and the choice of `latest`, by the planner's rules."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_scaleset.failed_sets import is_about, sentences, what_happened
from kubectl_scaleset.failures import CliError
from kubectl_scaleset.pictures import SetView
from scaleset.api.base import InvalidSpec
from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.kube.resources import JSON
from scaleset.planner import gallery, revisions
from scaleset.planner.gallery import DEFAULT_REGION, LATEST, Asker, Definition, GalleryVersion
from scaleset.records.custom_objects import Projection
from scaleset.records.versions import gallery_version

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session


@dataclass(frozen=True, slots=True)
class Choice:
    """A published version and whether `latest` means it."""

    name: str
    namespace: str
    definition: str
    version: str
    image: str
    created: float
    why_not: str | None = None
    """Why `latest` skips the version, as the end of a sentence."""
    chosen: bool = False
    """Whether `latest` means this version."""


def understood(raws: Iterable[JSON]) -> list[GalleryVersion]:
    """The versions for the planner, without those that are being deleted or make no sense."""
    projection = Projection(GalleryImageVersionSpec.parse)
    records = (projection(raw) for raw in raws)
    found = (gallery_version(record) for record in records if not record.deleting)
    return [version for version in found if version is not None]


def spec_of(found: SetView) -> ScaleSetSpec:
    """The spec; CliError with the reason if it cannot be understood."""
    try:
        return ScaleSetSpec.parse(found.raw)
    except InvalidSpec as error:
        raise CliError(f"The spec of {found.name} cannot be carried out: {error}") from error


def newest_model(found: SetView) -> frozenset[str]:
    """Possible names of the spec's model: the name by its content, and that of the stored model that the operator found
    to be equal. Empty if the spec cannot be parsed.
    """
    try:
        spec = ScaleSetSpec.parse(found.raw)
    except InvalidSpec:
        return frozenset()
    name, checked = revisions.describe(found.name, spec).name, found.status.get("checkedModel") or {}
    same = {str(checked.get("model"))} if checked.get("asked") == name else {revisions.former_name(found.name, spec)}
    return frozenset({name, *same})


def choices(session: "Session", found: SetView | None, *, quiet: bool = False) -> list[Choice]:
    """The versions for a set, or all of a namespace, the highest first. Failures and a pin are noted unless `quiet`."""
    if found is None:
        return _all(session)
    image = spec_of(found).image_reference
    home = image.gallery_namespace or found.namespace
    definition = Definition(home, image.publisher, image.offer, image.sku)
    asker = Asker(found.namespace, str(found.spec.get("location") or DEFAULT_REGION))
    now = session.client.now()
    raws = session.versions(home)
    every = [version for version in understood(raws) if version.definition == definition]
    eligible = gallery.eligible(every, definition, asker, now=now)
    best = eligible[0] if eligible else None
    winners = gallery.winners(every)
    rows = []
    for version in _sorted(every):
        rival = winners[version.definition, gallery.number(version.version)]
        if rival.name != version.name:
            why: str | None = f"{rival.name} is older and publishes the same version"
        elif best is not None and version.name == best.name:
            why = _failed(found, version)
        else:
            why = gallery.why_not(version, asker, now=now) or (f"{best.version} is higher" if best else None)
        rows.append(_choice(version, why, chosen=best is not None and version.name == best.name))
    if quiet:
        return rows
    mine = {version.name for version in every}
    for sentence in sentences(session, (raw for raw in raws if raw["metadata"]["name"] in mine)):
        session.note(sentence)
    if image.version != LATEST:
        session.note(f"{found.name} is pinned to {image.version}: it does not follow latest.")
    return rows


def _failed(found: SetView, version: GalleryVersion) -> str | None:
    """A sentence that a chosen version does not reach the set by itself."""
    row = _failure(found, version.version, version.image)
    if row is None:
        return None
    when = f" at {row['time']}" if row.get("time") else ""
    return f"(it {what_happened(row)} here{when}, and is not tried again by itself)"


def how_it_failed(found: SetView, choice: Choice) -> str:
    """What happened to that version in the set: `failed`, `was cancelled` or `was rolled back`."""
    return what_happened(_failure(found, choice.version, choice.image) or {})


def _failure(found: SetView, version: str, image: str) -> Mapping[str, Any] | None:
    rows = found.status.get("failedTargets") or ()
    return next((row for row in rows if is_about(row, version=version, image=image)), None)


def failures(session: "Session", found: SetView) -> list[str]:
    """Sentences about failures of the spec's version, here or elsewhere, with time and place."""
    if not found.wanted:
        return []
    image = spec_of(found).image_reference
    asked = (image.publisher, image.offer, image.sku)
    return sentences(
        session,
        (
            raw
            for raw in session.versions(image.gallery_namespace or found.namespace)
            if (raw["spec"]["publisher"], raw["spec"]["offer"], raw["spec"]["sku"]) == asked
            and gallery.same(raw["spec"]["version"], found.wanted)
        ),
    )


def _all(session: "Session") -> list[Choice]:
    raws = session.versions(session.namespace)
    every = understood(raws)
    for sentence in sentences(session, raws):
        session.note(sentence)
    now = session.client.now()
    definitions = {version.definition for version in every}
    best = set()
    for definition in definitions:
        eligible = gallery.eligible(every, definition, Asker(definition.gallery), now=now)
        best |= {eligible[0].name} if eligible else set()
    ordered = sorted(_sorted(every), key=lambda version: version.definition)
    return [_choice(version, None, chosen=version.name in best) for version in ordered]


def _sorted(versions: Iterable[GalleryVersion]) -> list[GalleryVersion]:
    return sorted(versions, key=lambda version: (gallery.number(version.version), version.name), reverse=True)


def _choice(version: GalleryVersion, why: str | None, *, chosen: bool) -> Choice:
    gallery_, publisher, offer, sku = version.definition
    return Choice(
        name=version.name,
        namespace=gallery_,
        definition=f"{publisher}/{offer}/{sku}",
        version=version.version,
        image=version.image,
        created=version.created,
        why_not=why,
        chosen=chosen,
    )
