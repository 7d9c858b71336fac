"""A release: made by `make release`, pushed to a registry, and installed from there by nothing but its address.

The registry speaks HTTP on this machine. The node reaches it as localhost, which containerd takes for plain HTTP, too.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hack.release.registry import SBOM_TYPE
from tests import signing
from tests.cluster.harness.api import DEPLOYMENTS, NAMESPACES
from tests.cluster.harness.cluster import ROOT
from tests.cluster.harness.fleet import until
from tests.kind.harness.cluster import KindCluster, output
from tests.kind.harness.registry import reachable_registry
from tests.kind.harness.release import NAME, NAMESPACE, Release
from tests.kind.harness.stage import Stage
from tests.registry import content, referrers

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True, slots=True)
class Pushed:
    """The registry's host and port, as this machine and the node know it, and the folder of the release."""

    place: str
    folder: Path


@pytest.fixture(scope="module")
def pushed(cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """A release in a registry that the node reaches."""
    folder = tmp_path_factory.mktemp("release")
    with reachable_registry(cluster, folder) as place:
        keyring = signing.keyring(folder, "Kind Test <kind@example.com>")
        command: list[str | Path] = [sys.executable, "-m", "hack.release", "--output", folder / "files"]
        command += ["--platform", "linux/amd64", "--signing-keyring", keyring]
        command += ["--push", place, "--plain-http"]
        output(command, PYTHONS=f"{sys.version_info.major}.{sys.version_info.minor}")
        yield Pushed(place, folder / "files")


def test_a_release_has_all_its_files_and_their_digests(pushed: Pushed):
    names = {path.name for path in pushed.folder.iterdir()}
    version = _version()
    assert names == {
        f"scaleset-operator-image-{version}.tar",
        f"scaleset-operator-{version}.tgz",
        f"scaleset-operator-{version}.tgz.prov",
        f"kubectl-scaleset-{version}-linux-amd64.tar.gz",
        "scaleset.yaml",
        "crds.yaml",
        "install.yaml",
        "sbom.cdx.json",
        "pushed.txt",
        "signing-key.asc",
        "SHA256SUMS",
        "SHA256SUMS.asc",
    }
    output(["sh", "-c", 'cd "$0" && sha256sum --check --strict SHA256SUMS', pushed.folder])
    listed = re.findall(r"  (\S+)$", (pushed.folder / "SHA256SUMS").read_text(), re.MULTILINE)
    assert {*listed, "SHA256SUMS", "SHA256SUMS.asc"} == names
    manifest = yaml.safe_load((pushed.folder / "scaleset.yaml").read_text())
    assert manifest["spec"]["version"] == f"v{version}"


def test_image_and_chart_have_the_bill_of_materials_beside_them(pushed: Pushed):
    """This registry has no referrers API, so the list is below a tag. tests/chart has the one with it."""
    lines = (pushed.folder / "pushed.txt").read_text().splitlines()
    assert len(lines) == 2
    for each in lines:
        (bill,) = referrers(each, by_tag=True)
        assert bill["artifactType"] == SBOM_TYPE
        assert content(each, bill) == (pushed.folder / "sbom.cdx.json").read_bytes()


def test_it_installs_from_the_registry_alone(cluster: KindCluster, release: Release, pushed: Pushed, tmp_path: Path):
    """Chart and image come from there, and the chart is the one that was signed."""
    release.uninstall()
    cluster.api.delete(NAMESPACES, None, NAMESPACE)
    until(lambda: cluster.api.find(NAMESPACES, None, NAMESPACE) is None, timeout=120, message="the namespace is gone")
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    keyring = tmp_path / "public.gpg"
    armored = pushed.folder / "signing-key.asc"
    output(["gpg", "--homedir", home, "--quiet", "--output", keyring, "--dearmor", armored])
    chart = f"oci://{pushed.place}/charts/{NAME}"
    cluster.helm(
        *("install", NAME, chart, "--version", _version(), "--plain-http", "--verify", "--keyring", str(keyring)),
        *("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "300s"),
        *("--set", f"image.registry={pushed.place}"),
    )
    (container,) = cluster.api.get(DEPLOYMENTS, NAMESPACE, NAME)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{pushed.place}/{NAME}:{_version()}"
    (digest,) = re.findall(
        rf"^{pushed.place}/\S+@(sha256:\w+)$", (pushed.folder / "pushed.txt").read_text(), re.MULTILINE
    )
    on_node = cluster.on_node(f"ctr --namespace k8s.io images list name=={container['image']}")
    assert digest in on_node, on_node
    assert "Phase:          Succeeded" in cluster.helm("test", NAME, "--namespace", NAMESPACE)


def test_a_set_rolls_under_what_was_installed(lone_stage: Stage):
    lone_stage.create(replicas=3)
    before = lone_stage.uids()
    lone_stage.publish("1.1.0")
    lone_stage.healthy(3, version="1.1.0")
    assert lone_stage.replaced(before) == set(before)


def _version() -> str:
    return str(yaml.safe_load((ROOT / "charts" / NAME / "Chart.yaml").read_text())["version"])
