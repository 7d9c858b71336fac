"""The plugin as users install it: its own distribution, with neither the operator nor kopf."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROCESS = ("__main__", "application", "controllers", "endpoints", "handlers", "observability", "runtime")
"""Modules of the operator's process."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT / "plugin"))
    (found,) = folder.glob("kubectl_scaleset-*.whl")
    return found


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "PIP_NO_INDEX": "1"})


def needed(requirements: list[str], known: set[str]) -> Iterator[Distribution]:
    """The distributions that pip would install, from what is installed here."""
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        found = distribution(wanted.name)
        if found.metadata["Name"] not in known:
            known.add(found.metadata["Name"])
            yield found
            yield from needed(found.requires or [], known)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """An environment with the wheel and what it requires, and nothing else; the names of all that it has."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", str(wheel))
    known: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    requirements = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    for each in needed(requirements, known):
        top = {file.parts[0] for file in each.files or () if file.parts[0] not in ("..", "__pycache__")}
        for name in top:
            (packages / name).symlink_to(Path(str(each.locate_file(name))).resolve())
    return folder, known


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [folder / "bin" / arguments[0], *arguments[1:]], env=clean, capture_output=True, text=True, check=False
    )


def test_it_requires_neither_kopf_nor_the_operator(installed):
    _, names = installed
    assert {"click", "pydantic", "PyYAML", "rich", "urllib3"} <= names
    assert not names & {"kopf", "prometheus_client", "scaleset-operator"}


def test_the_wheel_has_nothing_of_the_operators_process(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "scaleset/planner/decide.py" in names
    assert not [name for name in names if name.startswith(tuple(f"scaleset/{each}" for each in PROCESS))]
    assert not [name for name in names if "__pycache__" in name]


def test_the_plugin_runs_in_an_environment_of_its_own(installed):
    folder, _ = installed
    modules = sorted(
        path.stem for path in (ROOT / "plugin/src/kubectl_scaleset").glob("*.py") if path.stem != "__init__"
    )
    code = "import importlib, importlib.util\n" + "".join(
        f"importlib.import_module('kubectl_scaleset.{name}')\n" for name in modules
    )
    done = run(folder, "python", "-c", f"{code}print(importlib.util.find_spec('kopf'))")
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
    assert run(folder, "kubectl-scaleset", "version", "--client").stdout.startswith("Client: ")
    linted = run(folder, "kubectl-scaleset", "lint", "-f", str(ROOT / "deploy" / "samples"))
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert linted.stdout.endswith("nothing wrong.\n")
