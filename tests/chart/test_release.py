"""What a release says of itself, and its signatures."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hack.chart import CHART, ROOT
from hack.ports import reserve_port
from hack.release.chart import annotations, changes, copy_for
from hack.release.registry import SBOM_TYPE, Registry, oras
from hack.release.signing import Key
from tests import signing
from tests.chart.helm import Helm, HelmError
from tests.registry import content, referrers, registry

CREATED = "2026-01-02T03:04:05Z"
NAME = "Release Test <release@example.com>"
CHANGELOG = """\
# Changelog

## 2.0

Words.

### Added
- A thing that takes
  two lines.
- Another.

### Fixed
- A fault.

## 1.0

### Added
- All of it.
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """A fresh one with a passphrase."""
    folder = tmp_path_factory.mktemp("key")
    words = folder / "passphrase"
    words.write_text("correct horse\n")
    return Key(signing.keyring(folder, NAME, passphrase=words), words)


def public_keyring(key: Key, folder: Path) -> Path:
    """What somebody makes of the public key who has it as text."""
    armored, binary = folder / "key.asc", folder / "key.gpg"
    armored.write_text(key.public())
    gpg: list[str | Path] = ["/usr/bin/env", "gpg", "--homedir", folder, "--quiet"]
    subprocess.run([*gpg, "--dearmor", "--output", binary, armored], check=True, capture_output=True)
    return binary


def packaged(helm: Helm, key: Key, folder: Path) -> Path:
    copy = copy_for(
        CHART,
        folder / CHART.name,
        changelog=CHANGELOG,
        addresses={"home": "https://docs.example"},
        sign_key={"fingerprint": key.fingerprint(), "url": "https://files.example/signing-key.asc"},
    )
    said = helm.run("package", copy, "--destination", folder, *key.helm_options())
    return Path(said.strip().rpartition("saved it to: ")[2])


def test_the_provenance_of_a_chart_proves_it(helm: Helm, key: Key, tmp_path: Path):
    package = packaged(helm, key, tmp_path)
    keyring = public_keyring(key, tmp_path)
    said = helm.run("verify", package, "--keyring", keyring)
    assert f"Signed by: {NAME}" in said
    assert key.fingerprint() in said
    described = yaml.safe_load(helm.run("show", "chart", package))
    assert described["home"] == "https://docs.example"
    assert yaml.safe_load(described["annotations"]["artifacthub.io/signKey"])["fingerprint"] == key.fingerprint()
    assert len(yaml.safe_load(described["annotations"]["artifacthub.io/changes"])) == 3
    package.write_bytes(package.read_bytes() + b"\n")
    with pytest.raises(HelmError, match="sha256 sum does not match"):
        helm.run("verify", package, "--keyring", keyring)


def test_a_package_has_what_installs_and_nothing_else(helm: Helm, key: Key, tmp_path: Path):
    """The values of ci/ are read from the repository; of icon.svg Chart.yaml has the bytes."""
    with tarfile.open(packaged(helm, key, tmp_path)) as package:
        found = {name.partition("/")[2].partition("/")[0] for name in package.getnames()}
    made = {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "templates", "files", ".helmignore"}
    assert found == made
    assert {path.name for path in CHART.iterdir()} - found == {"ci", "icon.svg"}


@dataclass(frozen=True, slots=True)
class Place:
    """A registry that runs: where, and whether it has the referrers API."""

    name: str
    referrers: bool


@pytest.fixture(scope="module", params=[True, False], ids=["referrers-api", "referrers-tag"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    port = reserve_port(request)
    with registry(tmp_path_factory.mktemp("registry"), f"127.0.0.1:{port}", referrers=request.param):
        yield Place(f"127.0.0.1:{port}", request.param)


def test_a_pushed_chart_has_the_bill_of_materials_beside_it(helm: Helm, key: Key, place: Place, tmp_path: Path):
    """Found by the API alone, where there is one, and by oras everywhere. Pushed twice it is there once."""
    sbom = tmp_path / "sbom.cdx.json"
    subprocess.run([ROOT / "hack" / "sbom.sh", sbom], check=True)
    target, program = Registry(place.name, plain=True), oras()
    pushed = target.push_chart(helm.program, packaged(helm, key, tmp_path))
    attached = {
        target.attach_sbom(program, sbom, to=pushed, created=CREATED),
        target.attach_sbom(program, sbom, to=pushed, created=CREATED),
    }
    (bill,) = referrers(pushed, by_tag=not place.referrers)
    assert {bill["digest"]} == attached
    assert bill["artifactType"] == SBOM_TYPE == "application/vnd.cyclonedx+json"
    assert content(pushed, bill) == sbom.read_bytes()
    discover = [str(program), "discover", pushed.removeprefix("oci://"), "--plain-http", "--format", "json"]
    said = subprocess.run(discover, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert [each["digest"] for each in json.loads(said)["referrers"]] == [bill["digest"]]


def test_a_bill_without_a_subject_is_an_error(place: Place, tmp_path: Path):
    sbom = tmp_path / "sbom.cdx.json"
    sbom.write_text("{}")
    gone = f"{place.name}/charts/gone@sha256:{'0' * 64}"
    with pytest.raises(RuntimeError, match="not found"):
        Registry(place.name, plain=True).attach_sbom(oras(), tmp_path / "sbom.cdx.json", to=gone, created=CREATED)


def test_a_signature_proves_a_file(key: Key, tmp_path: Path):
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("0  a\n")
    signature = key.sign(sums)
    verify: list[str | Path] = ["gpgv", "--keyring", public_keyring(key, tmp_path), signature, sums]
    subprocess.run(verify, check=True, capture_output=True)
    sums.write_text("1  a\n")
    assert subprocess.run(verify, check=False, capture_output=True).returncode


def test_a_file_without_a_secret_key_is_refused(key: Key, tmp_path: Path):
    public = public_keyring(key, tmp_path)
    with pytest.raises(ValueError, match="has no secret key"):
        Key(public).fingerprint()


def test_changes_are_those_of_the_newest_section():
    assert changes(CHANGELOG) == [
        {"kind": "added", "description": "A thing that takes two lines."},
        {"kind": "added", "description": "Another."},
        {"kind": "fixed", "description": "A fault."},
    ]
    with pytest.raises(ValueError, match="no entry below one of: Added"):
        changes("# Changelog\n\n## 3.0\n\nNothing.\n")
    assert changes((ROOT / "CHANGELOG.md").read_text())


@pytest.mark.parametrize(
    ("version", "early"), [("1.0.0", "false"), ("1.1.0-rc.1", "true"), ("1.1.0rc1", "true"), ("2.0.0-beta", "true")]
)
def test_an_early_version_says_so(version: str, early: str):
    assert annotations(version, CHANGELOG, sign_key=None)["artifacthub.io/prerelease"] == early
    assert "artifacthub.io/signKey" not in annotations(version, CHANGELOG, sign_key=None)
