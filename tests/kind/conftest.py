"""Fixtures of the kind tests: one cluster and one Helm release for the whole session.

Tests that ask for `scene` are scenarios: those of one module are played at the same time, each in a namespace of its
own, and end with a check of all invariants. Tests that ask for `lone_stage` play alone.
"""

import os
import re
from collections.abc import Iterator
from itertools import count

import pytest

from tests.cluster.harness.api import NAMESPACES
from tests.cluster.harness.company import Company, pytest_pyfunc_call, scenarios_of, scene, with_sections  # noqa: F401 - pytest finds them here
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import AuditLog
from tests.kind.harness.cluster import BUILD_INSTANCES, BUILD_OPERATOR, KindCluster, output, run
from tests.kind.harness.release import IMAGE, NAMESPACE, Release
from tests.kind.harness.stage import TAGS, Stage

_numbers = count(1)
AT_ONCE = 5
"""Scenarios: containers that start cost more than simulated ones, and all of them share the health timeout."""

_release = pytest.StashKey[Release]()


@pytest.fixture(scope="session")
def images(pytestconfig: pytest.Config) -> list[str]:
    """The operator's image and those of the instances, in the docker engine."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # minutes the first time: show it
        run([BUILD_OPERATOR, IMAGE])
        return [IMAGE, *output([BUILD_INSTANCES, *TAGS]).split()]


@pytest.fixture(scope="session")
def cluster(
    images: list[str], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[KindCluster]:
    """A kind cluster with the images on its node, for the whole session."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        cluster = KindCluster(f"test-{os.getpid()}", tmp_path_factory.mktemp("kind")).__enter__()
    try:
        cluster.load(*images)
        yield cluster
    finally:
        cluster.__exit__(None, None, None)


@pytest.fixture(scope="session")
def release(cluster: KindCluster, pytestconfig: pytest.Config) -> Release:
    """The operator, installed by Helm."""
    release = pytestconfig.stash[_release] = Release(cluster)
    release.install()
    return release


@pytest.fixture
def lone_stage(cluster: KindCluster, release: Release, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A namespace of its own, with its record; at the end of the test every invariant is checked on it."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    namespace = cluster.make_namespace(f"{slug}-{next(_numbers)}")
    with Recorder(cluster.api, namespace, AuditLog(cluster.audit_log), shared=True) as recorder:
        yield Stage(cluster, namespace, recorder)
    violations = recorder.violations()
    cluster.api.delete(NAMESPACES, None, namespace)
    if violations:
        pytest.fail("Invariants that did not hold:\n" + "\n".join(violations), pytrace=False)


@pytest.fixture(scope="module")
def company(cluster: KindCluster, release: Release, request: pytest.FixtureRequest) -> Iterator[Company]:
    """The scenarios of this module, at play."""
    with Company(cluster, release, scenarios_of(request), scene=Stage, at_once=AT_ONCE) as company:
        yield company


def _diagnosis(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Pods, events and the operator's log; whatever cannot be had is left out."""
    if (release := item.config.stash.get(_release, None)) is None:
        return
    commands = {
        "pods": ["get", "pods", "--all-namespaces", "--output=wide"],
        "sets": ["get", "scalesets", "--all-namespaces", "--output=wide"],
        "the operator's pods": ["describe", "pods", "--namespace", NAMESPACE],
        "events": ["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
    }
    for title, command in commands.items():
        try:
            yield title, release.cluster.kubectl(*command)[-6000:]
        except AssertionError as error:
            yield title, str(error)
    yield "the operator's log (its end)", release.log()[-12000:]


pytest_runtest_makereport = with_sections(_diagnosis)
