"""`python -m hack.release`: writes the files of a release, signs them with a key file, pushes image, chart and bill of
materials.

Everything is built from this working tree. Without --push nothing leaves the machine.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from hack.chart import CHART
from hack.chart.manifest import helm as pinned_helm
from hack.release import NAME, ROOT
from hack.release.chart import copy_for
from hack.release.registry import Registry, oras
from hack.release.signing import Key

SUMS = "SHA256SUMS"
PUBLIC_KEY = "signing-key.asc"


def main() -> None:
    asked = _arguments()
    output: Path = asked.output
    version = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])
    key = Key(asked.signing_keyring, asked.passphrase_file) if asked.signing_keyring else None
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    _say(f"Building the image of {NAME} {version} ...")
    image = _run(ROOT / "hack" / "image" / "build.sh").strip()
    _run("docker", "save", "--output", output / f"{NAME}-image-{version}.tar", image)
    _say("Packaging the chart ...")
    helm = pinned_helm()
    package = _chart(helm, output, key, asked)
    _say("Building the plugin's archives ...")
    _run(ROOT / "deploy" / "krew" / "build.sh", asked.url, *asked.platform)
    for path in sorted((ROOT / "dist" / "krew").iterdir()):
        shutil.copy(path, output)
    _say("Writing manifests and the bill of materials ...")
    for name in ("crds.yaml", "install.yaml"):
        shutil.copy(ROOT / "deploy" / name, output)
    sbom = output / "sbom.cdx.json"
    _run(ROOT / "hack" / "sbom.sh", sbom)
    if asked.push:
        _say(f"Pushing to {asked.push} ...")
        registry = Registry(asked.push, plain=asked.plain_http)
        pushed = [registry.push_image(image), registry.push_chart(helm, package)]
        (output / "pushed.txt").write_text("\n".join(pushed) + "\n")
        created = _run("docker", "image", "inspect", "--format", "{{.Created}}", image).strip()
        for each in pushed:
            registry.attach_sbom(oras(), sbom, to=each, created=created)
    _seal(output, key)
    _say(f"Wrote {output}: {', '.join(sorted(each.name for each in output.iterdir()))}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hack.release", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "release", help="folder to write, emptied first")
    parser.add_argument(
        "--url", default="https://scaleset.dev/releases", help="address at which the files will be found"
    )
    parser.add_argument("--home", help="address of the documentation, if it is not that of Chart.yaml")
    parser.add_argument("--source", help="address of the repository, if it is not that of Chart.yaml")
    parser.add_argument(
        "--platform", action="append", default=[], help="OS/ARCH of the plugin; repeat it; all if absent"
    )
    parser.add_argument("--signing-keyring", type=Path, help="file with a PGP secret key, to sign chart and digests")
    parser.add_argument("--passphrase-file", type=Path, help="file with the key's passphrase")
    parser.add_argument(
        "--push",
        help="registry to push image and chart to, each with the bill of materials, e.g. registry.example/platform",
    )
    parser.add_argument("--plain-http", action="store_true", help="the registry speaks HTTP")
    return parser.parse_args()


def _chart(helm: Path, output: Path, key: Key | None, asked: argparse.Namespace) -> Path:
    """The package, with provenance if there is a key."""
    addresses: dict[str, object] = {}
    if asked.home:
        addresses["home"] = asked.home
    if asked.source:
        addresses["sources"] = [asked.source]
    sign_key = {"fingerprint": key.fingerprint(), "url": f"{asked.url}/{PUBLIC_KEY}"} if key else None
    with tempfile.TemporaryDirectory() as folder:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        copy = copy_for(CHART, Path(folder) / NAME, changelog=changelog, addresses=addresses, sign_key=sign_key)
        _run(helm, "lint", "--strict", copy)
        said = _run(helm, "package", copy, "--destination", output, *(key.helm_options() if key else []))
    return Path(said.strip().rpartition("saved it to: ")[2])


def _seal(output: Path, key: Key | None) -> None:
    """The digest of each file, in one file that is signed if there is a key."""
    if key:
        (output / PUBLIC_KEY).write_text(key.public())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(output.iterdir())]
    (output / SUMS).write_text("\n".join(sums) + "\n")
    if key:
        key.sign(output / SUMS)


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, stdin=subprocess.DEVNULL, env=os.environ
    )
    return done.stdout


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
