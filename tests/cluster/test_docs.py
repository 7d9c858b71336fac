"""Every console block of README and docs/, played on a cluster and compared with what it prints (tests/console.py).

A page has a namespace of its own, which its context names, and a folder with the repository's files. Several pages are
played at the same time. `DOCS_WRITE=1` writes into a page what its commands print where that is something else: look at
the difference, and put `...` where nobody wants to read.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.plugin import kubectl
from tests.console import Block, Command, blocks, pages, same

PAGES = pages()
AT_A_TIME = 4
TIMEOUT = 120.0
WRITE = bool(os.environ.get("DOCS_WRITE"))


class Reader:
    """Somebody who types what a page says."""

    def __init__(self, cluster: Cluster, page: str, folder: Path) -> None:
        self._page = page
        self._namespace = cluster.make_namespace(
            f"docs-{list(PAGES).index(page):02}"
        )  # as long as "default": tables stay aligned
        self._folder = folder
        for path in ROOT.iterdir():
            if not path.name.startswith("."):
                (folder / path.name).symlink_to(path)
        config = folder / "kubeconfig"
        config.write_bytes(cluster.kubeconfig.read_bytes())
        programs = os.pathsep.join([str(Path(sys.executable).parent), str(kubectl().parent), os.environ["PATH"]])
        more = {"KUBECONFIG": str(config), "PATH": programs, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
        self._environment = {**os.environ, **more}
        self._run(f"kubectl config set-context --current --namespace={self._namespace}")

    def play(self) -> list[str]:
        """What the page says otherwise than it is."""
        text = PAGES[self._page].read_text(encoding="utf-8")
        wrong: list[str] = []
        found: dict[Command, list[str]] = {}
        for block in blocks(text):
            if block.file:
                (self._folder / block.file).write_text(block.content)
            elif not block.left_out:
                wrong += self._block(block, found)
            if wrong and not WRITE:
                break
        if WRITE and found:
            PAGES[self._page].write_text(_written(text, found), encoding="utf-8")
        return wrong

    def _block(self, block: Block, found: dict[Command, list[str]]) -> list[str]:
        wrong = []
        if block.first:
            ended = self._run(f"set -e\n{block.first}")
            if ended.returncode:
                wrong.append(f"before the block in line {block.line}: {ended.stdout}")
        for command in block.commands:
            ended = self._run(command.line)
            printed = [line.replace(self._namespace, "default").rstrip() for line in ended.stdout.splitlines()]
            while printed and not printed[-1]:
                printed.pop()
            if ended.returncode != command.code:
                wrong.append(f"$ {command.line}\nexit code {ended.returncode}, not {command.code}\n{ended.stdout}")
            elif not same(command.output, printed):
                found[command] = printed
                shown = "\n".join(command.output)
                wrong += [] if WRITE else [f"$ {command.line}\n" + "\n".join(printed) + f"\n--- the page:\n{shown}"]
        return wrong

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )


def _written(text: str, found: dict[Command, list[str]]) -> str:
    lines = text.splitlines()
    for command in sorted(found, key=lambda each: each.begin, reverse=True):
        typed = lines[command.begin - len(command.line.splitlines())]
        indent = typed.partition("$")[0]
        lines[command.begin : command.end] = [f"{indent}{line}".rstrip() for line in found[command]]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def played(
    cluster: Cluster, served: Operator, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[str]]]]:
    """The pages of this run, at play."""
    asked = [item.callspec.params.get("page") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            page: pool.submit(lambda page: Reader(cluster, page, tmp_path_factory.mktemp("page")).play(), page)
            for page in asked
            if page in PAGES
        }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_happens(page: str, played: dict[str, Future[list[str]]]) -> None:
    wrong = played[page].result()
    assert not wrong, "\n\n".join(wrong)
