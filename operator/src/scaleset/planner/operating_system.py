"""The operating system of a version in its pods: `spec.os`, a node selector, and the way of custom data into them.

A template that chooses the system itself keeps its choice: a Windows set that follows versions without `osType` chose
its nodes before the operator did. A build that an earlier operator recorded has no system, and its pods get none, so
they come back as they were.

Windows mounts no single file of a volume, so custom data has a folder of its own there. Its file ends in `.ps1`, since
PowerShell runs no other.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from scaleset.api.base import JSON

LINUX: Final = "Linux"
WINDOWS: Final = "Windows"
OS_LABEL: Final = "kubernetes.io/os"
CUSTOM_DATA: Final = "/var/lib/scaleset/custom-data"
_FOLDER: Final = "/var/lib/scaleset-custom-data"

# A failure is recorded and not passed on. $0 is the command, $@ its arguments.
NEVER_FAILS: Final = '"$0" "$@"; code=$?; [ "$code" = 0 ] || echo "exit code $code" >/dev/termination-log; exit 0'
# The same for a script of PowerShell. The kubelet expands $(NAME), so no expression is in brackets after a $.
_NEVER_FAILS_ON_WINDOWS: Final = (
    f"try {{ & '{_FOLDER}/custom-data.ps1'; if ($LASTEXITCODE) {{ $failure = \"exit code $LASTEXITCODE\" }} }} "
    'catch { $failure = "exit code 1: $_" }; '
    "if ($failure) { Set-Content -Path /dev/termination-log -Value $failure }; exit 0"
)


class CustomData(NamedTuple):
    """How custom data gets into containers: its file in the volume, the mount, and the command that runs it."""

    file: str
    mount: Mapping[str, str]
    command: tuple[str, ...]


_ON_LINUX: Final = CustomData(
    "custom-data",
    {"mountPath": CUSTOM_DATA, "subPath": "custom-data"},
    ("/bin/sh", "-c", NEVER_FAILS, CUSTOM_DATA),
)
_ON_WINDOWS: Final = CustomData(
    "custom-data.ps1",
    {"mountPath": _FOLDER},
    (
        *("powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command"),
        _NEVER_FAILS_ON_WINDOWS,
    ),
)


def known(system: str | None) -> str | None:
    """The system as a status or an annotation has it; None for what is none."""
    return system if system in (LINUX, WINDOWS) else None


def custom_data(system: str | None) -> CustomData:
    """The way of that system; an unknown one is Linux."""
    return _ON_WINDOWS if system == WINDOWS else _ON_LINUX


def add(spec: JSON, system: str | None) -> None:
    """Add the system of the version to a pod's spec. Linux is added only to a template that chooses none."""
    if system is None or (system == LINUX and any(_choices(spec))):
        return
    spec["os"] = {"name": system.lower()}
    spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), OS_LABEL: system.lower()}


def conflict(spec: Mapping[str, Any]) -> str | None:
    """What in a template's pod keeps it from running on Windows, as the end of a sentence."""
    name = (spec.get("os") or {}).get("name")
    if name not in (None, "windows"):
        return f"spec.template.spec.os.name is {name}"
    label = (spec.get("nodeSelector") or {}).get(OS_LABEL)
    if label not in (None, "windows"):
        return f"spec.template.spec.nodeSelector asks for {OS_LABEL}={label}"
    return None


def _choices(spec: Mapping[str, Any]) -> Iterator[bool]:
    """Signs that a template chooses the system: what it says of it, a runtime class, options of Windows."""
    yield bool(spec.get("os") or spec.get("runtimeClassName"))
    yield any(OS_LABEL in key for key in spec.get("nodeSelector") or ())
    yield OS_LABEL in str((spec.get("affinity") or {}).get("nodeAffinity") or "")
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    contexts = (spec.get("securityContext"), *(container.get("securityContext") for container in containers))
    yield any((context or {}).get("windowsOptions") for context in contexts)
