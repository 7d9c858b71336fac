"""Creates a GalleryImageVersion from the command line, and waits until it is ready."""

import re
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from kubectl_scaleset.failures import FAILED, TIMED_OUT, CliError
from scaleset.api import names
from scaleset.api.base import InvalidSpec
from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.kube.resources import JSON
from scaleset.records.kinds import GALLERY_IMAGE_VERSIONS

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session


def body(image: str, definition: str, version: str, *, regions: Sequence[str], exclude_from_latest: bool) -> JSON:
    """The object to create; CliError for a value that its schema refuses, before any question to the user."""
    publisher, offer, sku = parts(definition)
    profile: JSON = {}
    if exclude_from_latest:
        profile["excludeFromLatest"] = True
    wanted = [region.strip() for region in regions if region.strip()]
    if wanted:
        profile["targetRegions"] = [{"name": region} for region in dict.fromkeys(wanted)]
    found: JSON = {
        "apiVersion": names.API_VERSION,
        "kind": names.GALLERY_IMAGE_VERSION_KIND,
        "metadata": {"name": name(publisher, offer, sku, version)},
        "spec": {"publisher": publisher, "offer": offer, "sku": sku, "version": version, "image": image}
        | ({"publishingProfile": profile} if profile else {}),
    }
    try:
        GalleryImageVersionSpec.parse(found)
    except InvalidSpec as error:
        raise CliError(f"This version cannot be published: {error}.".replace("..", ".")) from error
    return found


def parts(definition: str) -> tuple[str, str, str]:
    """Publisher, offer and sku; CliError if the text does not have them."""
    found = definition.split("/")
    if len(found) != 3 or not all(found):
        raise CliError(f"{definition} is no definition: write it as PUBLISHER/OFFER/SKU, such as example/web/stable.")
    return found[0], found[1], found[2]


def name(publisher: str, offer: str, sku: str, version: str) -> str:
    """`offer-sku-version`, as far as it fits a name: the same image definition and version give the same name."""
    text = re.sub(r"[^a-z0-9.-]+", "-", f"{publisher}-{offer}-{sku}".lower()).strip("-.")
    room = names.MAX_OTHER_NAME - len(version) - 1
    return f"{text[:room].strip('-.')}-{version}"


def published_already(session: "Session", wanted: JSON) -> str | None:
    """Name of the object that already publishes this version in any spelling; None if you may not list versions."""
    from kubectl_scaleset.catalogue import understood
    from scaleset.kube.errors import Forbidden
    from scaleset.planner.gallery import Definition, number, winners

    spec = wanted["spec"]
    definition = Definition(session.namespace, spec["publisher"], spec["offer"], spec["sku"])
    try:
        known = winners(understood(session.versions(session.namespace)))
    except Forbidden:
        return None
    rival = known.get((definition, number(spec["version"])))
    return rival.name if rival is not None else None


def wait(session: "Session", created: JSON, *, timeout: float | None) -> int:
    """Print the progress until the version is ready in all its regions; returns the exit code."""
    from kubectl_scaleset.follow import TICK_SECONDS, Follower, Subject

    metadata = created["metadata"]
    deadline = None if timeout is None else monotonic() + timeout
    subject = Subject(GALLERY_IMAGE_VERSIONS, metadata["namespace"], name=metadata["name"])
    with Follower(session.client, subject) as follower:
        seen, shown = -1, ""
        while True:
            there = follower.objects()
            if not there:
                raise CliError(f"GalleryImageVersion {metadata['name']} was deleted meanwhile.")
            text, code = progress(there[0])
            if text != shown:
                shown = text
                session.say(text)
            if code is not None:
                return code
            left = TICK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0:
                session.note(f"Timed out after {timeout:g} s. The version stays published and may still become ready.")
                return TIMED_OUT
            seen = follower.wait(seen, min(left, TICK_SECONDS))


def progress(raw: JSON) -> tuple[str, int | None]:
    """A sentence, and the exit code once the wait is over."""
    name_, status = raw["metadata"]["name"], raw.get("status") or {}
    ready = next((each for each in status.get("conditions") or () if each["type"] == "Ready"), None)
    if ready is None or int(status.get("observedGeneration") or 0) < int(raw["metadata"].get("generation") or 0):
        return f"{name_}: waiting for the operator to take note.", None
    if ready["status"] != "True":
        return f"{name_}: {ready['reason']}: {ready['message']}", FAILED
    replication = status.get("replicationStatus") or {}
    state = replication.get("aggregatedState")
    if state in (None, "Completed"):
        return f"{name_}: published.", 0
    regions = ", ".join(f"{each['region']} {each.get('progress', 0)} %" for each in replication.get("summary") or ())
    return f"{name_}: replication {state}: {regions}.", FAILED if state == "Failed" else None
