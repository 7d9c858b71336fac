"""Verbs about published versions: publish, exclude, include."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from kubectl_scaleset import changes, options
from kubectl_scaleset.failures import CliError, did_you_mean
from kubectl_scaleset.options import Acting, Definition, DefinitionWord, Flag, Word
from kubectl_scaleset.session import Session
from scaleset.kube.errors import AlreadyExists, Forbidden
from scaleset.kube.resources import JSON
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS, SCALE_SETS

if TYPE_CHECKING:
    from kubectl_scaleset.pictures import SetView

SHOWN = 5
"""Most sets that a sentence names."""

Image = Annotated[str, Word("IMAGE", "Container image reference, best with a digest.")]
Version = Annotated[
    str | None,
    Flag(("--version",), "One to four numbers, such as 17 or 1.10.0, compared as numbers.", metavar="VERSION"),
]
FromTag = Annotated[
    str | None,
    Flag(
        ("--version-from-tag",),
        "Take the version from the image's tag instead: a regular expression that matches the whole tag. Its one to "
        "four groups are the numbers, named (?P<major>...), minor, patch and build, or in this order.",
        metavar="PATTERN",
    ),
]
Published = Annotated[str, Word("VERSION", "Number of the version, in any spelling: 1.2 is 1.2.0.")]
Regions = Annotated[
    list[str] | None,
    Flag(("--regions",), "Regions that it is for; default: every region.", metavar="REGION,..."),
]
Exclude = Annotated[bool, Flag(("--exclude-from-latest",), "`latest` never means it.")]


def publish(
    session: Session,
    image: Image,
    definition: Definition,
    how: Acting,
    version: Version = None,
    version_from_tag: FromTag = None,
    regions: Regions = None,
    exclude_from_latest: Exclude = False,
) -> int:
    """Publish an image as a version: create its GalleryImageVersion. Sets that follow `latest` roll to it.

    The number is given by --version, or read from the tag by --version-from-tag. It says how many sets follow, and
    warns if none does. --wait: until the version is ready in all its regions.
    """
    from kubectl_scaleset import publishing

    version = _number(image, version, version_from_tag)
    body = publishing.body(
        image,
        definition,
        version,
        regions=[part for each in regions or [] for part in each.split(",")],
        exclude_from_latest=exclude_from_latest,
    )
    name = body["metadata"]["name"]
    if (rival := publishing.published_already(session, body)) is not None:
        raise _published(session, rival)
    follows = None if exclude_from_latest else following(session, body)
    session.confirm(
        f"Publish {image} as version {version} of {definition} in {session.namespace}?"
        + (f" {follows.sentence}" if follows is not None and follows.number else ""),
        yes=how.unasked,
    )
    try:
        created = session.client.create(GALLERY_IMAGE_VERSIONS, session.namespace, body, dry_run=how.tries)
    except AlreadyExists as error:
        raise _published(session, name) from error
    changes.say(session, f"galleryimageversion.scaleset.dev/{name} published", how)
    if follows is not None and follows.number:
        session.say(follows.sentence)
    elif follows is not None:
        session.note(f"Warning: {follows.sentence}")
    if how.waits:
        return publishing.wait(session, created, timeout=options.seconds(how.timeout))
    return 0


def _number(image: str, version: str | None, pattern: str | None) -> str:
    """The version to publish; CliError unless it is said in exactly one way."""
    from kubectl_scaleset.version_tags import version_of

    if version is not None and pattern is None:
        return version
    if pattern is not None and version is None:
        return version_of(image, pattern)
    raise CliError("Give the version by --version or by --version-from-tag, one of the two.")


def exclude(session: Session, definition: DefinitionWord, version: Published, how: Acting) -> int:
    """Withdraw a version: `latest` does not mean it any more. Instances that run it keep it.

    Undo it with include.
    """
    return _exclude(session, definition, version, how, excluded=True)


def include(session: Session, definition: DefinitionWord, version: Published, how: Acting) -> int:
    """Let `latest` mean an excluded version again, if it is the highest."""
    return _exclude(session, definition, version, how, excluded=False)


def _exclude(session: Session, definition: str, version: str, how: Acting, *, excluded: bool) -> int:
    raw = _version(session, definition, version)
    if _is_excluded(raw) is not excluded:
        what = f"Exclude {definition} {version} from" if excluded else f"Include {definition} {version} in"
        session.confirm(f"{what} latest? {following(session, raw).sentence}", yes=how.unasked)
    set_excluded(session, raw, how, excluded=excluded)
    return 0


def set_excluded(session: Session, raw: JSON, how: Acting, *, excluded: bool) -> None:
    """Write `excludeFromLatest` of this very version, unless it is so."""
    metadata, spec = raw["metadata"], raw["spec"]
    what = f"{spec['publisher']}/{spec['offer']}/{spec['sku']} {spec['version']}"
    word = "excluded from latest" if excluded else "included in latest"
    if _is_excluded(raw) is excluded:
        session.say(f"{what}: {word} already.")
        return
    body = {
        "metadata": {"uid": metadata["uid"]},
        "spec": {"publishingProfile": {"excludeFromLatest": True if excluded else None}},
    }
    session.client.patch(GALLERY_IMAGE_VERSIONS, metadata["namespace"], metadata["name"], body, dry_run=how.tries)
    changes.say(session, f"{what}: {word}", how)


def _is_excluded(raw: JSON) -> bool:
    return bool((raw["spec"].get("publishingProfile") or {}).get("excludeFromLatest"))


def _version(session: Session, definition: str, version: str) -> JSON:
    """The object that publishes the version: of several the oldest, which counts. CliError without one."""
    from kubectl_scaleset.catalogue import understood
    from kubectl_scaleset.publishing import parts
    from scaleset.planner.gallery import Definition as Place
    from scaleset.planner.gallery import number, winners

    place = Place(session.namespace, *parts(definition))
    raws = session.versions(session.namespace)
    known = winners(understood(raws))
    mine = {each.version: each.name for each in known.values() if each.definition == place}
    if not mine:
        defined = sorted({"/".join(each.definition[1:]) for each in known.values()})
        raise CliError(
            f"{definition} has no version in namespace {session.namespace}.{did_you_mean(definition, defined)}"
        )
    try:
        winner = known.get((place, number(version)))
    except ValueError as error:
        raise CliError(f"{version[:60]!r} is no version: write one to four numbers, such as 1.10.0.") from error
    if winner is None:
        raise CliError(f"{definition} has no version {version}.{did_you_mean(version, mine)}")
    return next(raw for raw in raws if raw["metadata"]["name"] == winner.name)


@dataclass(frozen=True, slots=True)
class Followers:
    """The sets that follow the definition of a version, as far as they may be read."""

    number: int
    sentence: str


def following(session: Session, raw: JSON) -> Followers:
    """Who follows this version's definition by `latest`, and how many of them start by themselves."""
    from kubectl_scaleset.pictures import SetView

    spec = raw["spec"]
    home = raw["metadata"].get("namespace") or session.namespace
    asked = (home, spec["publisher"], spec["offer"], spec["sku"])
    raws, everywhere = _readable(session)
    mine = [each for each in map(SetView, raws) if _follows(each, asked)]
    automatic = _automatic(session, mine)
    what = f"{spec['publisher']}/{spec['offer']}/{spec['sku']}"
    if not mine:
        seen = "" if everywhere else f" in namespace {session.namespace}"
        return Followers(0, f"No set{seen} follows the latest version of {what}.")
    shown = ", ".join(f"{each.namespace}/{each.name}" for each in mine[:SHOWN])
    more = f" and {len(mine) - SHOWN} more" if len(mine) > SHOWN else ""
    start = f"{automatic} {'starts' if automatic == 1 else 'start'} by {'itself' if automatic == 1 else 'themselves'}"
    verb = "set follows" if len(mine) == 1 else "sets follow"
    return Followers(len(mine), f"{len(mine)} {verb} it, {start}: {shown}{more}.")


def _readable(session: Session) -> tuple[list[JSON], bool]:
    """All sets, or those of the namespace if you may not list all."""
    try:
        return session.client.list(SCALE_SETS, None)[0], True
    except Forbidden:
        pass
    try:
        return session.client.list(SCALE_SETS, session.namespace)[0], False
    except Forbidden:
        return [], False


def _follows(found: "SetView", asked: tuple[str, ...]) -> bool:
    image = found.spec.get("imageReference") or {}
    home = image.get("galleryNamespace") or found.namespace
    parts = (home, image.get("publisher"), image.get("offer"), image.get("sku"))
    return parts == asked and image.get("version", "latest") == "latest"


def _automatic(session: Session, sets: Iterable["SetView"]) -> int:
    """The number of sets whose policy starts upgrades, and that nobody suspended."""
    policies: dict[str, dict[str, JSON]] = {}
    count = 0
    for each in sets:
        if each.namespace not in policies:
            try:
                listed = session.policies(each.namespace)
            except Forbidden:
                listed = []
            policies[each.namespace] = {raw["metadata"]["name"]: raw.get("spec") or {} for raw in listed}
        policy = each.own_policy or policies[each.namespace].get(each.policy, {})
        switched = (policy.get("automaticOSUpgradePolicy") or {}).get("enableAutomaticOSUpgrade")
        count += bool(switched) and not policy.get("suspend") and not each.spec.get("suspend")
    return count


def _published(session: Session, name: str) -> CliError:
    return CliError(
        f"GalleryImageVersion {name} exists in {session.namespace}: a published version cannot be changed, so give "
        "this image the next version."
    )
