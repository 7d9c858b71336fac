"""The operator's image, as the docker engine has it: what is in it, how large it is, how fast it starts."""

import json
import re
import tarfile
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import IO

import pytest

from tests.cluster.harness.cluster import ROOT
from tests.kind.harness.cluster import BUILD_OPERATOR, output
from tests.kind.harness.figures import Say
from tests.kind.harness.release import IMAGE

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("images")]
LARGEST_MB = 200
SLOWEST_START_SECONDS = 2.0
HARDENED = ["--rm", "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
# How long the interpreter worked until the command line was there: wall time depends on what else the machine does.
WORK = """
import resource, sys
sys.argv = ["scaleset-operator", "--version"]
from scaleset.__main__ import main
try:
    main()
except SystemExit:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime)
"""


def inspected() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(output(["docker", "image", "inspect", IMAGE]))[0]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> dict[str, tarfile.TarInfo]:
    """Everything in the image, by path."""
    archive = tmp_path_factory.mktemp("image") / "files.tar"
    container = output(["docker", "create", IMAGE])
    try:
        output(["docker", "export", "--output", str(archive), container])
    finally:
        output(["docker", "rm", container])
    with tarfile.open(archive) as opened:
        return {f"/{member.name}": member for member in opened}


def test_it_is_small_and_starts_fast(say: Say) -> None:
    megabytes = int(str(inspected()["Size"])) / 1e6
    began = monotonic()
    said, work = output(
        ["docker", "run", *HARDENED, "--entrypoint=/opt/scaleset/bin/python", IMAGE, "-c", WORK]
    ).split()
    took = monotonic() - began
    assert said == version("scaleset-operator")
    say(f"image: {megabytes:.0f} MB; start: {float(work):.2f} s of processor time, {took:.1f} s with its container's")
    assert megabytes < LARGEST_MB
    assert float(work) < SLOWEST_START_SECONDS


def test_it_runs_as_a_user_without_name_on_a_read_only_filesystem() -> None:
    """As OpenShift does it: any uid."""
    config = inspected()["Config"]
    assert config["User"] == "65532:65532"  # numeric, or the kubelet could not tell that it is not root
    for user in ("65532:65532", "1000700000:0"):
        assert output(["docker", "run", *HARDENED, f"--user={user}", IMAGE, "--version"]) == version(
            "scaleset-operator"
        )


def test_there_is_neither_compiler_nor_pip_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    unwanted = re.compile(
        r".*/(pip[\d.]*|gcc|g\+\+|cc|cc1|ld|as|make|(pip|ensurepip|setuptools)/__init__\.py|pip-.*\.whl)"
    )
    assert [path for path, member in files.items() if member.isfile() and unwanted.fullmatch(path)] == []
    assert [path for path, member in files.items() if member.isfile() and member.mode & 0o002] == []


def test_it_has_the_locked_packages_and_no_others(files: dict[str, tarfile.TarInfo]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = {_normal(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    folder = re.compile(r"/opt/scaleset/lib/python3\.11/site-packages/(.+)-[^-]+\.dist-info")
    installed = {_normal(match[1]) for path in files if (match := folder.fullmatch(path))}
    assert installed - {"scaleset-operator"} <= locked
    assert {"kopf", "kubernetes", "pydantic", "scaleset-operator"} <= installed


def test_the_same_sources_give_the_same_content(tmp_path: Path) -> None:
    """Built again from nothing, each of its layers has the same digest."""
    again = f"{IMAGE}-again"
    output([BUILD_OPERATOR, again], NO_CACHE="1")
    try:
        second = json.loads(output(["docker", "image", "inspect", again]))[0]
        if second["RootFS"] != inspected()["RootFS"]:
            pytest.fail(f"not the same: {_differences(tmp_path, IMAGE, again)}")
    finally:
        output(["docker", "rmi", again])


def _differences(folder: Path, *images: str) -> list[str]:
    """The files that differ, by content, time or rights."""
    seen: list[set[tuple[str, int, float, int, str]]] = []
    for number, image in enumerate(images):
        archive = folder / f"{number}.tar"
        output(["docker", "save", "--output", str(archive), image])
        with tarfile.open(archive) as saved:
            layer = next(each for each in saved if each.name.endswith("layer.tar") or each.size > 10_000_000)
            content = saved.extractfile(layer)
            assert content is not None
            seen.append(_members(content))
    return sorted({path for path, *_ in seen[0] ^ seen[1]})[:20]


def _members(layer: IO[bytes]) -> set[tuple[str, int, float, int, str]]:
    with tarfile.open(fileobj=layer) as files:
        return {(each.name, each.size, each.mtime, each.mode, each.linkname) for each in files}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
