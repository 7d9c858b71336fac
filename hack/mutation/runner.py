"""The tests of many mutants in one pytest session: collected once, then each mutant in a fork, its fastest test first.

mutmut's own runner collects the tests anew for each mutant, and takes them in any order.
Started by `python -m hack.mutation`, in the folder that mutmut made:

python -m hack.mutation.runner FILE            a JSON list of [mutant, [test, ...]]; verdicts go to FILE.verdicts
python -m hack.mutation.runner --anew FILE     each in a pytest session of its own

A test without its parameters stands for all of them. A session of its own is slow, and notices what the common one
cannot: a function that is called while its module is imported, which is before the fork.
"""

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation.trampoline import set_mutant_under_test

CPU_SECONDS, CPU_SECONDS_ANEW = 120, 900
"""A mutant that takes longer than this is taken to run for ever: no test takes a tenth of it. The long tests, which
are asked in a session of its own, take two minutes together.
"""
JOBS = os.cpu_count() or 1
OPTIONS = ("-q", "-s", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:randomly")
VERDICTS = {0: "survived", 1: "killed", -signal.SIGXCPU: "timeout"}
"""By the exit code of a fork."""


class Mutants:
    """Runs in place of pytest's loop over the tests."""

    def __init__(self, pairs: Iterable[tuple[str, list[str]]], verdicts: Path) -> None:
        self._pairs = list(pairs)
        self._verdicts = verdicts
        self._running: dict[int, str] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Fork for each mutant; True: nothing more is to be run."""
        items: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            for name in {item.nodeid, item.nodeid.partition("[")[0]}:
                items.setdefault(name, []).append(item)
        gc.freeze()  # a fork that collects garbage would copy all of these pages
        self.run(lambda tests: _play([item for test in tests for item in items[test]]))
        return True

    def run(self, play: Callable[[list[str]], int], *, limit: int = CPU_SECONDS) -> None:
        """`play` runs the tests in a fork and gives its exit code."""
        for mutant, tests in self._pairs:
            while len(self._running) >= JOBS:
                self._await_one()
            if pid := os.fork():
                self._running[pid] = mutant
            else:
                _become(mutant, limit)
                os._exit(play(tests))
        while self._running:
            self._await_one()

    def _await_one(self) -> None:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        verdict = VERDICTS.get(code, f"ended with {code}")
        with self._verdicts.open("a") as file:
            file.write(json.dumps([self._running.pop(pid), verdict]) + "\n")


def _become(mutant: str, limit: int) -> None:
    """A process of its own, so that nothing a mutant does outlives it."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    set_mutant_under_test(mutant)


def _play(items: list[pytest.Item]) -> int:
    for item, following in zip_longest(items, items[1:]):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return 1
    return 0


def _play_anew(tests: list[str]) -> int:
    """A module that cannot be imported any more is noticed, too."""
    return min(1, int(pytest.main(["-x", *OPTIONS, *tests])))


def main(path: Path, *, anew: bool) -> int:
    pairs = [(mutant, tests) for mutant, tests in json.loads(path.read_text())]
    sys.path.insert(0, str(Path("src").resolve()))
    mutants = Mutants(pairs, path.with_suffix(".verdicts"))
    if anew:
        mutants.run(_play_anew, limit=CPU_SECONDS_ANEW)
        return 0
    files = sorted({test.partition("::")[0] for _, tests in pairs for test in tests})
    return int(pytest.main([*OPTIONS, *files], plugins=[mutants]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]).resolve(), anew="--anew" in sys.argv))
