"""What krew installs: the manifest, and the script that starts the plugin."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
KREW = ROOT / "deploy" / "krew"


def test_the_manifest_is_one_that_krew_takes():
    text = (KREW / "scaleset.yaml").read_text()
    found = yaml.safe_load(text)
    assert found["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert found["kind"] == "Plugin"
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", found["metadata"]["name"])
    assert len(found["spec"]["shortDescription"]) <= 50
    assert not found["spec"]["shortDescription"].endswith(".")
    (platform,) = found["spec"]["platforms"]
    assert platform.keys() == {"selector", "uri", "sha256", "bin", "files"}
    filled = set(re.findall(r"@[A-Z0-9]+@", text))
    assert filled == set(re.findall(r"@[A-Z0-9]+@", (KREW / "build.sh").read_text()))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The launcher as krew unpacks it, with libraries for this Python, started by way of krew's link."""
    folder = tmp_path / "store"
    (folder / "lib").mkdir(parents=True)
    shutil.copy(KREW / "kubectl-scaleset", folder)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl-scaleset").symlink_to(folder / "kubectl-scaleset")
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    return folder


def start(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{installed.parent / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        ["/bin/sh", installed.parent / "bin" / "kubectl-scaleset", *arguments],
        env={"PATH": path, "HOME": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_launcher_starts_the_plugin_beside_it(installed):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    package = installed / "lib" / version / "kubectl_scaleset"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    done = start(installed, "get", "a b")
    assert (done.returncode, done.stdout) == (0, "['get', 'a b']\n")


def test_the_launcher_says_which_python_it_needs(installed):
    (installed / "lib" / "2.7").mkdir()
    done = start(installed, "list")
    assert done.returncode == 1
    assert done.stderr == "Error: kubectl scaleset needs one of Python 2.7 as python3 on the PATH.\n"
