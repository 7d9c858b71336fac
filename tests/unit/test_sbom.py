"""The bill of materials: what the lock file says, no more, no less, and the same every time."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def boms(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in paths:
        subprocess.run([ROOT / "hack" / "sbom.sh", path], check=True, capture_output=True, cwd=tmp_path)
    return paths


def locked() -> dict[tuple[str, str], set[str]]:
    """The hashes of every locked package, by name and version."""
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==([^ ;]+)((?:.*\\\n)*.*)", text, re.MULTILINE)
    return {(name, version): set(re.findall(r"sha256:(\w{64})", rest)) for name, version, rest in entries}


def test_it_lists_exactly_what_the_lock_lists(boms: list[Path]) -> None:
    bom = json.loads(boms[0].read_text())
    listed = {
        (each["name"], each["version"]): {
            found["content"] for reference in each["externalReferences"] for found in reference["hashes"]
        }
        for each in bom["components"]
    }
    assert len(locked()) > 20
    assert all(locked().values())
    assert listed == locked()
    assert len(bom["components"]) == len(listed)
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "scaleset-operator")


def test_the_same_lock_gives_the_same_bytes(boms: list[Path]) -> None:
    assert boms[0].read_bytes() == boms[1].read_bytes()
