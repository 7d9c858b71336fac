"""A zip for a bug report: everything from the API server about one set, without secrets."""

import io
import json
import platform
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_scaleset import checks, pictures, trees
from kubectl_scaleset.failures import CliError, explain
from kubectl_scaleset.outcomes import outcome
from kubectl_scaleset.pictures import SetView
from kubectl_scaleset.redaction import Redactor
from kubectl_scaleset.words import ASCII, printed
from scaleset import __version__
from scaleset.api import names
from scaleset.kube.errors import ApiError
from scaleset.kube.resources import CLAIMS, EVENTS, JSON, PODS, REVISIONS

if TYPE_CHECKING:
    from kubectl_scaleset.session import Session


README = """A report about one ScaleSet, made by `kubectl scaleset report`.

Taken out: custom data, values of environment variables, settings of extensions, annotations that are not ours, HTTP
headers of probes, and what looks like a token or a password anywhere. No Secret was read. Look through it before you
pass it on: names, images and messages are as they are.
"""


def file_name(found: SetView, *, now: float) -> str:
    """`scaleset-report-<namespace>-<name>-<time>.zip`."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"scaleset-report-{found.namespace}-{found.name}-{stamp}.zip"


def write(session: "Session", found: SetView, path: Path) -> list[str]:
    """Write the file, readable by its owner only; returns the names of its members. CliError if it exists or cannot be
    written.
    """
    contents = documents(session, found)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(packed.getvalue())
    except FileExistsError as error:
        raise CliError(f"{path} exists: name another file with -f.") from error
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}. Name another file with -f.") from error
    return sorted(contents)


def documents(session: "Session", found: SetView) -> dict[str, str]:
    """The files of the report by name, redacted."""
    missing: list[str] = []
    objects = _objects(session, found, missing)
    redactor = Redactor()
    for each in objects.values():
        redactor.collect(each)
    files = {name: json.dumps(redactor.clean(each), indent=2, ensure_ascii=False) for name, each in objects.items()}
    files["overview.txt"] = redactor.text(_overview(session, found, objects.get("pods.json") or []))
    files["check.txt"] = redactor.text(_check(session))
    files["versions.txt"] = (
        f"kubectl-scaleset {__version__}\nPython {platform.python_version()}, {platform.platform()}\n"
    )
    files["README.txt"] = README
    if missing:
        files["missing.txt"] = redactor.text("\n".join(missing) + "\n")
    return dict(sorted(files.items()))


def _objects(session: "Session", found: SetView, missing: list[str]) -> dict[str, Any]:
    """Objects that the user may read; a line in `missing` for each kind that the user may not."""
    client, space = session.client, found.namespace
    selector = f"{names.LABEL_NAME}={found.name}"
    home = (found.spec.get("imageReference") or {}).get("galleryNamespace") or space
    sources: Mapping[str, Callable[[], Any]] = {
        "pods.json": lambda: client.list(PODS, space, selector=selector)[0],
        "claims.json": lambda: client.list(CLAIMS, space, selector=selector)[0],
        "revisions.json": lambda: [raw for raw in client.list(REVISIONS, space)[0] if _of(raw, found)],
        "policies.json": lambda: [raw for raw in session.policies(space) if raw["metadata"]["name"] == found.policy],
        "image-versions.json": lambda: session.versions(home),
        "events.json": lambda: [raw for raw in client.list(EVENTS, space)[0] if _about(raw, found)],
    }
    objects: dict[str, Any] = {"scaleset.json": found.raw}
    for name, read in sources.items():
        try:
            objects[name] = read()
        except ApiError as error:
            missing.append(f"{name}: {explain(error, server=session.server)}")
    return objects


def _of(raw: JSON, found: SetView) -> bool:
    return any(owner.get("uid") == found.uid for owner in raw["metadata"].get("ownerReferences") or ())


def _about(raw: JSON, found: SetView) -> bool:
    """Events of the set and of its pods."""
    regarding = raw.get("regarding") or {}
    name = str(regarding.get("name") or "")
    return regarding.get("uid") == found.uid or (
        regarding.get("kind") == "Pod" and name.rpartition("-")[0] == found.name
    )


def _overview(session: "Session", found: SetView, pods: list[JSON]) -> str:
    from rich.console import Console

    now = session.client.now()
    rows = pictures.instances(found, pods, now=now)
    console = Console(width=400, color_system=None, highlight=False, markup=False, emoji=False)
    picture = trees.picture(found, rows, now=now, glyphs=ASCII, everything=True)
    return f"{outcome(found).text}\n\n{printed(console, picture)}"


def _check(session: "Session") -> str:
    try:
        return "".join(f"{each.state:<7}{each.what}: {each.text}\n" for each in checks.findings(session))
    except ApiError as error:
        return f"{explain(error, server=session.server)}\n"
