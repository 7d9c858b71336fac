"""What a fault is played on: a namespace, its record, an operator of its own, and a proxy in front of that.

`Ensemble` plays the tests of a module at the same time, as tests/cluster does with its scenarios; here each has its
own operator, since it is the operator that is maltreated.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from tests.cluster.harness.api import ApiError
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.company import Company, Scenario
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.scene import Scene, ready, runs
from tests.cluster.harness.trace import AuditLog
from tests.faults import trace

from .proxy import Proxy
from .report import Report

RECOVERY_SECONDS = 60.0
"""What docs/reliability.md promises: after a fault has ended, the operator is at work again within this time."""
PATIENCE = 240.0
"""For whatever is expected: only a machine that stands still needs longer."""
Program = Sequence[str]


def here(seconds: float) -> float:
    """How long what is promised within `seconds` may take on this machine now. Up to four processes that want to run on
    a processor are what this suite makes of it by itself; with more, everything takes as many times longer.
    """
    return seconds * max(1.0, os.getloadavg()[0] / (4 * (os.cpu_count() or 1)))


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> int:
    """The HTTP status of the API server's refusal, 0 if it was carried out."""
    try:
        call(*arguments, **options)
    except ApiError as error:
        return error.status
    return 0


class Rig(Scene):
    """One test's part of the cluster, with the means to break it."""

    patience = PATIENCE

    def __init__(self, cluster: Cluster, namespace: str, recorder: Recorder, directory: Path, report: Report) -> None:
        super().__init__(cluster, namespace, recorder)
        self.directory, self.report = directory, report
        self.settings = trace.Settings()
        self.proxy = Proxy(cluster.kubeconfig, directory)
        self._operators: list[Operator] = []
        self._numbers = itertools.count()

    @property
    def last(self) -> Operator:
        """The one that was started last."""
        return self._operators[-1]

    def start(
        self,
        *arguments: str,
        kubeconfig: Path | None = None,
        program: Program = (sys.executable, "-m", "scaleset"),
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Operator:
        """Another operator for this namespace, behind the proxy unless a kubeconfig is given."""
        elect = () if any("leader-elect" in each for each in arguments) else ("--no-leader-elect",)
        process = Operator(
            kubeconfig=kubeconfig or self.proxy.kubeconfig,
            namespaces=[self.namespace],
            log=self.directory / f"operator-{next(self._numbers)}.log",
            arguments=[*elect, *arguments],
            program=program,
            environment={"PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self._operators.append(process)
        process.start()
        if wait:
            process.wait_ready(PATIENCE)
        return process

    def stop(self) -> None:
        for process in self._operators:
            process.stop()

    def log(self) -> str:
        return "\n".join(f"--- {each.log_path.name}\n{each.log()}" for each in self._operators)

    # What is waited for

    def upgraded(self, version: str, count: int = 1, *, name: str = "web") -> None:
        """At least so many instances are healthy on that version."""
        self.wait(
            lambda world: sum(ready(pod) and runs(pod) == version for pod in world.pods_of(name)) >= count,
            f"{count} instances run {version}",
        )

    def recovered(self, until: Callable[[], object]) -> float:
        """Call it when the fault has just ended: waits for `until`, and returns the seconds that it took."""
        return self.recovered_within(RECOVERY_SECONDS, until)

    def recovered_within(self, promised: float, until: Callable[[], object]) -> float:
        began = monotonic()
        until()
        seconds = monotonic() - began
        assert seconds <= here(promised), f"recovery took {seconds:.0f} s, promised are {promised:.0f}"
        return seconds

    def tell(self, row: int, what: str, *, times: int, outcome: str, recovery: float | None = None) -> None:
        """For the table in docs/reliability.md."""
        self.report.add(row, what, times=times, outcome=outcome, recovery=recovery)

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Inside, another recorder follows the namespace: the one before has seen a past that was undone."""
        before = self.recorder
        with Recorder(self.api, self.namespace, AuditLog(self.cluster.audit_log), shared=True) as self.recorder:
            yield
        found = self.violations()
        self.recorder = before
        assert not found, "Promises that were not kept:\n" + "\n".join(found)

    def violations(self) -> list[str]:
        failure = self.recorder.violations()[:1] if self.recorder.broken else []
        return failure or trace.violations(self.recorder.trace(), self.settings)


class Ensemble(Company):
    """`with Ensemble(cluster, scenarios) as ensemble:` plays all of them, so many at once."""

    def __init__(
        self, cluster: Cluster, scenarios: Iterable[Scenario], *, report: Report, directory: Path, at_once: int
    ) -> None:
        super().__init__(cluster, None, scenarios, at_once=at_once)
        self._report = report
        self._rigs: dict[str, Rig] = {}
        self._directory = directory

    def log(self, name: str) -> str:
        rig = self._rigs.get(self._namespaces.get(name, ""))
        return rig.log() if rig is not None else ""

    def _perform(
        self, namespace: str, recorder: Recorder, play: Callable[..., object], parameters: dict[str, Any]
    ) -> None:
        directory = self._directory / namespace
        directory.mkdir()
        rig = self._rigs[namespace] = Rig(self._cluster, namespace, recorder, directory, self._report)
        with rig.proxy:
            try:
                play(rig=rig, **parameters)
            finally:
                rig.stop()

    def _violations(self, recorder: Recorder) -> list[str]:
        return next(rig for rig in self._rigs.values() if rig.recorder is recorder).violations()
