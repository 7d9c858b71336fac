"""Fixtures of the cluster tests. A test that asks for `recorder`, `operator` or `scene` ends with a check of all
invariants.

Tests that ask for `scene` are scenarios: those of one module are played at the same time, see harness/company.py.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness.api import NAMESPACES, SCALE_SETS, Api, Json, condition
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.company import (
    Company,
    company_of,
    pytest_pyfunc_call,  # noqa: F401 - pytest finds it here
    scenarios_of,
    scene,  # noqa: F401 - and this
    with_sections,
)
from tests.cluster.harness.desk import Desk, open_desk
from tests.cluster.harness.fleet import deploy
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.plugin import Plugin
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import AuditLog

_numbers = itertools.count(1)
_operators = pytest.StashKey[list[Operator]]()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """One real control plane for the whole session; a container takes one second to become ready."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # a first start builds binaries for minutes: show it
        cluster = Cluster(f"test-{os.getpid()}", tmp_path_factory.mktemp("cluster")).__enter__()
    try:
        yield cluster
    finally:
        cluster.__exit__(None, None, None)


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return cluster.api


@pytest.fixture
def make_namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Fresh namespaces, named after the test; deleted in the background afterwards."""
    made: list[str] = []

    def make() -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
        made.append(cluster.make_namespace(f"{slug}-{next(_numbers)}"))
        return made[-1]

    yield make
    for name in made:
        cluster.api.delete(NAMESPACES, None, name)


@pytest.fixture
def namespace(make_namespace: Callable[[], str]) -> str:
    return make_namespace()


@pytest.fixture
def recorder(cluster: Cluster, namespace: str) -> Iterator[Recorder]:
    """Everything that happens in the namespace; at the end of the test every invariant is checked on it."""
    with Recorder(cluster.api, namespace, AuditLog(cluster.audit_log)) as recorder:
        yield recorder
    violations = recorder.violations()
    if violations:
        pytest.fail("Invariants that did not hold:\n" + "\n".join(violations), pytrace=False)


@pytest.fixture
def operator(
    cluster: Cluster, namespace: str, recorder: Recorder, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Operator]]:
    """`operator()` starts the operator for the test's namespace and waits until it is ready.

    Positional arguments go to its command line; `namespaces` replaces the test's own one; `wait=False` returns at once.
    """
    started: list[Operator] = []
    request.node.stash[_operators] = started

    def start(
        *arguments: str, namespaces: list[str] | None = None, leader_elect: bool = False, wait: bool = True
    ) -> Operator:
        process = Operator(
            kubeconfig=cluster.kubeconfig,
            namespaces=[namespace] if namespaces is None else namespaces,
            log=tmp_path / f"operator-{len(started)}.log",
            arguments=["--leader-elect" if leader_elect else "--no-leader-elect", *arguments],
        )
        started.append(process)
        process.start()
        if wait:
            process.wait_ready()
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="module")
def desk(cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One namespace, named after the module, and one operator for all tests of the module that ask for it."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    with open_desk(cluster, name, tmp_path_factory.mktemp(name)) as desk:
        yield desk


@pytest.fixture(scope="module")
def company(
    cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """The scenarios of this module, at play, with one operator for the whole cluster."""
    operator = Operator(
        kubeconfig=cluster.kubeconfig,
        namespaces=[],
        log=tmp_path_factory.mktemp("company") / "operator.log",
        arguments=["--no-leader-elect"],
    )
    operator.start()
    try:
        operator.wait_ready()
        with Company(cluster, operator, scenarios_of(request)) as company:
            yield company
    finally:
        operator.stop()


def _said(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """What its operators said."""
    if (company := company_of(item)) is not None:
        yield "what the operator said of it (its end)", company.log(item.name)[-8000:]
    for process in item.stash.get(_operators, []):
        yield f"{process.log_path.name} (its end)", process.log()[-8000:]


pytest_runtest_makereport = with_sections(_said)


# What tests of the plugin begin with


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for the whole cluster, with a lease, as it is installed."""
    operator = Operator(
        kubeconfig=cluster.kubeconfig,
        namespaces=[],
        log=tmp_path_factory.mktemp("cli") / "operator.log",
        arguments=["--leader-elect", "--leader-election-namespace", "default"],
    )
    operator.start()
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.stop()


@pytest.fixture
def plugin(cluster: Cluster, namespace: str, tmp_path: Path, served: Operator) -> Plugin:
    return Plugin(cluster.kubeconfig, namespace, tmp_path)


@pytest.fixture
def web(plugin: Plugin, api: Api) -> Callable[..., Plugin]:
    """`web()` makes a set of five that is healthy on 1.0.0; keywords are those of the policy."""

    def make(**policy: object) -> Plugin:
        deploy(api, plugin.namespace, policy=upgrade_policy(**policy))  # type: ignore[arg-type]
        api.wait(SCALE_SETS, plugin.namespace, "web", _ready, timeout=60, message="the set of five is healthy on 1.0.0")
        return plugin

    return make


def _ready(found: Json | None) -> bool:
    return found is not None and condition(found, "Ready") == "True"
