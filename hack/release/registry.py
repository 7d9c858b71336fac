"""What goes to a registry: the image by docker, the chart by helm, the bill of materials of both by oras.

The bill is a referrer as OCI 1.1 defines it: an artifact that names image or chart as its subject. Where a registry has
no referrers API, oras keeps the list below a tag, `sha256-DIGEST`, as the specification asks of a client.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hack.release import ROOT

SBOM_TYPE = "application/vnd.cyclonedx+json"


def oras() -> Path:
    """The pinned oras, built when it is missing."""
    script = ROOT / "hack" / "release" / "oras.sh"
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    return Path(done.stdout.strip())


@dataclass(frozen=True, slots=True)
class Registry:
    """`place` is a host with an optional path, e.g. registry.example/platform. `plain` speaks HTTP."""

    place: str
    plain: bool = False

    def push_image(self, image: str) -> str:
        """Returns its name there, with the digest that the registry gives it."""
        target = f"{self.place}/{image}"
        _output(["docker", "tag", image, target])
        said = _output(["docker", "push", target])
        return f"{target}@{_digest(said)}"

    def push_chart(self, helm: Path, package: Path) -> str:
        """The chart with its provenance, if it lies beside it. Returns its name there, with its digest."""
        where = f"oci://{self.place}/charts"
        said = _output([str(helm), "push", str(package), where, *(["--plain-http"] if self.plain else [])])
        return f"{where}/{package.name.rpartition('-')[0]}@{_digest(said)}"

    def attach_sbom(self, oras: Path, sbom: Path, *, to: str, created: str) -> str:
        """The bill of materials of what was pushed as `to`. Returns its digest.

        The same `created` gives the same digest, so that a release that is pushed again has one bill and not two.
        """
        said = _output(
            [str(oras), "attach", to.removeprefix("oci://"), f"{sbom.name}:{SBOM_TYPE}", "--artifact-type", SBOM_TYPE]
            + ["--annotation", f"org.opencontainers.image.created={created}", "--no-tty"]
            + (["--plain-http"] if self.plain else []),
            folder=sbom.parent,
        )
        return _digest(said)


def _digest(said: str) -> str:
    found = re.findall(r"sha256:[0-9a-f]{64}", said)
    if not found:
        raise RuntimeError(f"the registry gave no digest: {said.strip()}")
    return str(found[-1])


def _output(command: list[str], *, folder: Path | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout + done.stderr
