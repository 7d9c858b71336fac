"""What goes to a registry: the image by docker, the chart by helm."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


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


def _digest(said: str) -> str:
    found = re.findall(r"sha256:[0-9a-f]{64}", said)
    if not found:
        raise RuntimeError(f"the registry gave no digest: {said.strip()}")
    return str(found[-1])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout + done.stderr
