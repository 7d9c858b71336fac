"""Registries for tests of releases, and what they have."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.fleet import until

Json = dict[str, Any]
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextmanager
def registry(folder: Path, address: str, *, referrers: bool = False) -> Iterator[None]:
    """Docker's registry at an address such as `127.0.0.1:5000`, or one in memory with a referrers API; no TLS."""
    script = [str(ROOT / "hack" / "release" / "registry.sh"), *(["--referrers"] if referrers else [])]
    program = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    (folder / "registry.yaml").write_text(yaml.safe_dump(settings))
    command = [program, address] if referrers else [program, "serve", str(folder / "registry.yaml")]
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: _answers(address.rpartition(":")[2]), timeout=30, message="the registry answers")
            yield
        finally:
            process.terminate()
            process.wait()


def _answers(port: str) -> bool:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/v2/", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def referrers(pushed: str, *, by_tag: bool) -> list[Json]:
    """What refers to `host:port/path@digest`, by the referrers API, or by the tag that stands in for it."""
    base, digest = _split(pushed)
    listed = f"{base}/manifests/{digest.replace(':', '-')}" if by_tag else f"{base}/referrers/{digest}"
    found: list[Json] = _get(listed, INDEX).json()["manifests"]
    return found


def content(pushed: str, referrer: Json) -> bytes:
    """The one file of a referrer."""
    base, _ = _split(pushed)
    (layer,) = _get(f"{base}/manifests/{referrer['digest']}", MANIFEST).json()["layers"]
    return _get(f"{base}/blobs/{layer['digest']}", layer["mediaType"]).data


def delete(pushed: str) -> None:
    """The registry does not know `host:port/path@digest` any more."""
    base, digest = _split(pushed)
    answer = urllib3.request("DELETE", f"{base}/manifests/{digest}")
    assert answer.status == 202, f"{pushed}: {answer.status} {answer.data!r}"


def _split(pushed: str) -> tuple[str, str]:
    """The address of its repository in the API, and its digest. It may have a tag, too."""
    name, _, digest = pushed.removeprefix("oci://").partition("@")
    host, _, path = name.partition("/")
    return f"http://{host}/v2/{path.partition(':')[0]}", digest


def _get(address: str, accept: str) -> urllib3.BaseHTTPResponse:
    answer = urllib3.request("GET", address, headers={"Accept": accept})
    assert answer.status == 200, f"{address}: {answer.status} {answer.data!r}"
    return answer
