"""The chart of one release: a copy whose Chart.yaml says what a catalogue wants to know of this release."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

_KINDS = {
    "Added": "added",
    "Changed": "changed",
    "Deprecated": "deprecated",
    "Removed": "removed",
    "Fixed": "fixed",
    "Security": "security",
}


def changes(changelog: str) -> list[dict[str, str]]:
    """The entries of the newest section. ValueError if it has none under a heading that Artifact Hub knows."""
    newest = re.split(r"^## ", changelog, flags=re.MULTILINE)[1]
    found = [
        {"kind": _KINDS[heading], "description": " ".join(entry.split())}
        for heading, body in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", newest, re.MULTILINE | re.DOTALL)
        if heading in _KINDS
        for entry in re.findall(r"^- (.*?)(?=^- |\Z)", body, re.MULTILINE | re.DOTALL)
    ]
    if not found:
        raise ValueError(f"the newest section of CHANGELOG.md has no entry below one of: {', '.join(_KINDS)}")
    return found


def annotations(version: str, changelog: str, *, sign_key: Mapping[str, str] | None) -> dict[str, str]:
    """What belongs to one release alone."""
    found = {
        "artifacthub.io/changes": yaml.safe_dump(changes(changelog), sort_keys=False, width=10_000),
        "artifacthub.io/prerelease": "true" if "-" in version or re.search(r"[0-9](a|b|rc)[0-9]", version) else "false",
    }
    if sign_key:
        found["artifacthub.io/signKey"] = yaml.safe_dump(dict(sign_key), sort_keys=False)
    return found


def copy_for(
    chart: Path, target: Path, *, changelog: str, addresses: Mapping[str, object], sign_key: Mapping[str, str] | None
) -> Path:
    """The chart at `target`, with those fields of Chart.yaml replaced and the release's annotations added."""
    shutil.copytree(chart, target)
    path = target / "Chart.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described |= addresses
    described["annotations"] |= annotations(str(described["version"]), changelog, sign_key=sign_key)
    path.write_text(yaml.safe_dump(described, sort_keys=False, width=10_000, allow_unicode=True), encoding="utf-8")
    return target
