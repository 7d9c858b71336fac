"""Fixtures of the fault tests. A test that asks for `rig` gets a namespace, a record, a proxy and whatever operators it
starts; those of one module are played at the same time. Each ends with all rules of tests/faults/trace.

A module that breaks the cluster itself asks for `cluster` and plays alone.
"""

import os
import random
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.company import company_of, pytest_pyfunc_call, with_sections  # noqa: F401 - pytest finds them here
from tests.faults.harness.components import ControlPlane
from tests.faults.harness.report import Report
from tests.faults.harness.rig import Ensemble

LONGEST = ("test_random_walk", "test_control_plane", "test_api_faults", "test_checker", "test_two_api_servers")
SEEDS = ("WALK_SEED", "INPUT_SEED")
LEFT_BEHIND = r"ignore:Exception ignored in. <ssl\.SSLSocket:pytest.PytestUnraisableExceptionWarning"


def pytest_configure(config: pytest.Config) -> None:
    # When an API server is killed under a TLS handshake, CPython leaves the socket to the garbage collector, which may
    # come by in any later test.
    config.addinivalue_line("filterwarnings", LEFT_BEHIND)
    for name in SEEDS:  # before pytest-xdist starts its workers, who get them with the environment
        os.environ.setdefault(name, str(random.SystemRandom().randrange(1, 10**6)))


def pytest_report_header() -> str:
    return "To repeat what is random here: " + " ".join(f"{name}={os.environ[name]}" for name in SEEDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take longest begin first: else one of them would be played alone at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def report() -> Report:
    return Report()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A control plane of this module's own: some modules kill it."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    directory = tmp_path_factory.mktemp("cluster")
    with capture.global_and_fixture_disabled():  # a first start builds binaries for minutes: show it
        cluster = Cluster(f"faults-{os.getpid()}-{directory.name[-1]}", directory).__enter__()
    try:
        ControlPlane(cluster).whole()  # where a machine is slow, the controller manager gives up waiting for the others
        yield cluster
    finally:
        cluster.__exit__(None, None, None)


@pytest.fixture(scope="module")
def ensemble(
    cluster: Cluster, report: Report, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ensemble]:
    """The tests of this module, at play."""
    items = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    scenarios = [
        (item.name, item.obj, dict(item.callspec.params) if hasattr(item, "callspec") else {})
        for item in items
        if "rig" in item.fixturenames
    ]
    directory = tmp_path_factory.mktemp("rigs")
    at_once = getattr(request.module, "AT_ONCE", 6)
    with Ensemble(cluster, scenarios, report=report, directory=directory, at_once=at_once) as ensemble:
        yield ensemble


@pytest.fixture
def rig(ensemble: Ensemble) -> Ensemble:
    """Makes a test a scenario. What it is played with is a Rig; here its end is waited for."""
    return ensemble


def _said(item: pytest.Item) -> Iterator[tuple[str, str]]:
    if (ensemble := company_of(item)) is not None:
        yield "what its operators said (their end)", ensemble.log(item.name)[-8000:]


pytest_runtest_makereport = with_sections(_said)
