"""Published versions and what `latest` makes of them, by the planner's own rules."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.model import InvalidSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.cli.failures import CliError
from scaleset.cli.pictures import SetView
from scaleset.cli.tables import Choice
from scaleset.planning import gallery, models
from scaleset.planning.gallery import DEFAULT_REGION, LATEST, Asker, Definition, GalleryVersion
from scaleset.records.custom_objects import Projection
from scaleset.records.versions import gallery_version

if TYPE_CHECKING:
    from scaleset.cli.session import Session

JSON = dict[str, Any]


def understood(raws: Iterable[JSON]) -> list[GalleryVersion]:
    """The versions as the planner sees them; those that are going or make no sense are left out."""
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


def newest_model(found: SetView) -> str | None:
    """Name of the model that the spec asks for; None if the spec cannot be understood."""
    try:
        return models.describe(found.name, ScaleSetSpec.parse(found.raw)).name
    except InvalidSpec:
        return None


def choices(session: "Session", found: SetView | None) -> list[Choice]:
    """The versions that concern a set, or all of a namespace; the highest first."""
    if found is None:
        return _all(session)
    image = spec_of(found).image_reference
    home = image.gallery_namespace or found.namespace
    definition = Definition(home, image.publisher, image.offer, image.sku)
    asker = Asker(found.namespace, str(found.spec.get("location") or DEFAULT_REGION))
    now = session.client.now()
    every = [version for version in understood(session.versions(home)) if version.definition == definition]
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
    if image.version != LATEST:
        session.note(f"{found.name} is pinned to {image.version}: it does not follow latest.")
    return rows


def _failed(found: SetView, version: GalleryVersion) -> str | None:
    """That it is chosen and yet does not reach the set by itself."""
    row = next((row for row in found.status.get("failedTargets") or () if _is_about(row, version)), None)
    if row is None:
        return None
    what = "was cancelled here" if row.get("reason") == "Cancelled" else "failed here"
    when = f" at {row['time']}" if row.get("time") else ""
    return f"(it {what}{when}, so only a start by hand tries it again)"


def _is_about(row: JSON, version: GalleryVersion) -> bool:
    """Whether an entry of `failedTargets` is about that version and its image."""
    return gallery.same(row.get("version"), version.version) and row.get("image") in (None, version.image)


def _all(session: "Session") -> list[Choice]:
    every = understood(session.versions(session.namespace))
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
