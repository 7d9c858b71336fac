"""All scenarios of a module at once, in front of one operator that serves the whole cluster.

A scenario mostly waits: for health timeouts, pauses, and for proof that something does not happen. Played one after
the other they would take many minutes. Each has a namespace and a recorder of its own, so they do not meet. The test
of a scenario is where its end is waited for.
"""

import re
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, Protocol, Self

import pytest

from .api import NAMESPACES
from .cluster import Cluster
from .recorder import Recorder
from .scene import Scene
from .trace import AuditLog

AT_ONCE = 12
PLAYED_AS = ("scene", "rig")
"""Fixtures that make a test a scenario."""
_numbers = count(1)

Scenario = tuple[str, Callable[..., object], dict[str, Any]]


class Logs(Protocol):
    """An operator, however it runs."""

    def log(self) -> str: ...


def scenarios_of(request: pytest.FixtureRequest) -> list[Scenario]:
    """The tests of the module that ask for `scene`: each is played, and its test waits for its end."""
    items = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    return [(item.name, item.obj, _parameters(item)) for item in items if "scene" in item.fixturenames]


def with_sections(sections: Callable[[pytest.Item], Iterable[tuple[str, str]]]) -> Callable[..., Any]:
    """`pytest_runtest_makereport` for a conftest: a failed test shows these sections, each with a title."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            report.sections.extend(sections(item))
        return report

    return pytest_runtest_makereport


def _parameters(item: pytest.Function) -> dict[str, object]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


@pytest.fixture
def scene(company: "Company") -> "Company":
    """Makes a test a scenario. What it is played with is a Scene; here its end is waited for."""
    return company


def company_of(item: pytest.Item) -> "Company | None":
    """What plays the scenario of this test, if it is one."""
    found = [item.funcargs.get(name) for name in PLAYED_AS] if isinstance(item, pytest.Function) else []
    return next((each for each in found if isinstance(each, Company)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A scenario is played already: its test ends with it. This and `scene` are for a conftest to import."""
    company = company_of(pyfuncitem)
    if company is None:
        return None
    company.end_of(pyfuncitem.name)
    return True


class Company:
    """`with Company(cluster, operator, scenarios) as company:` begins at once; `company.end_of(name)` waits for one."""

    def __init__(
        self,
        cluster: Cluster,
        operator: Logs | None,
        scenarios: Iterable[Scenario],
        *,
        scene: type[Scene] = Scene,
        at_once: int = AT_ONCE,
    ) -> None:
        self.operator = operator
        self._scene = scene
        self._cluster = cluster
        self._scenarios = list(scenarios)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="scenario")
        self._played: dict[str, Future[None]] = {}
        self._namespaces: dict[str, str] = {}

    def __enter__(self) -> Self:
        for name, play, parameters in self._scenarios:
            self._namespaces[name] = self._namespace(name, parameters)
            self._played[name] = self._pool.submit(self._play, self._namespaces[name], play, parameters)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def end_of(self, name: str) -> None:
        """Waits for the end of a scenario and raises what it raised."""
        self._played[name].result()

    def log(self, name: str) -> str:
        """What the operator said about a scenario, or about nothing in particular."""
        mine, others = self._namespaces[name], set(self._namespaces.values()) - {self._namespaces[name]}
        lines = self.operator.log().splitlines() if self.operator is not None else []
        return "\n".join(line for line in lines if mine in line or not any(other in line for other in others))

    def _namespace(self, name: str, _parameters: dict[str, Any], /) -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
        return f"{slug}-s{next(_numbers)}"

    def _play(self, namespace: str, play: Callable[..., object], parameters: dict[str, Any]) -> None:
        self._cluster.make_namespace(namespace)
        audit = AuditLog(self._cluster.audit_log)
        try:
            with Recorder(self._cluster.api, namespace, audit, shared=True) as recorder:
                self._perform(namespace, recorder, play, parameters)
            if violations := self._violations(recorder):
                raise AssertionError("Invariants that did not hold:\n" + "\n".join(violations))
        finally:
            if self._cluster.api.find(NAMESPACES, None, namespace) is not None:
                self._cluster.api.delete(NAMESPACES, None, namespace)

    def _perform(
        self, namespace: str, recorder: Recorder, play: Callable[..., object], parameters: dict[str, Any]
    ) -> None:
        play(scene=self._scene(self._cluster, namespace, recorder), **parameters)

    def _violations(self, recorder: Recorder) -> list[str]:
        return recorder.violations()
