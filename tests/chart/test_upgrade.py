"""The release before, upgraded by `helm upgrade` and by `kubectl apply` in the middle of a rollout: docs/upgrade.md.

Chart, definitions and operator of the release before come from its commit; it is packaged as it was. Both operators run
outside of the cluster, each with the arguments and with nothing but the account that its own chart gives it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chart.conftest import Kubectl
from tests.chart.helm import Helm
from tests.chart.releases import DEPLOYMENTS, Release, empty
from tests.cluster.harness.api import CLAIMS, CRDS, NAMESPACES, PODS, POLICIES, SCALE_SETS, Api, Json, condition
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import claim, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.trace import AuditLog
from tests.cluster.stored.__main__ import GIT, checkout
from tests.cluster.stored.definitions import OURS

pytestmark = pytest.mark.timeout(300)

BEFORE = "6f8e8d7"
"""The commit that the release before was made from."""
OPS = "scaleset-system"
RELEASE = Release("scaleset-operator", own=OPS, serves="shop")
NAME = "scaleset-operator"
USER = f"system:serviceaccount:{OPS}:{NAME}"
REPLICAS = 10


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of the release before."""
    known = subprocess.run([GIT, "cat-file", "-e", f"{BEFORE}^{{commit}}"], check=False, cwd=ROOT, capture_output=True)
    if known.returncode:
        pytest.skip(f"this clone has no commit {BEFORE}: fetch the whole history")
    with checkout(BEFORE, tmp_path_factory.mktemp("before") / "tree") as tree:
        yield tree


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of its own: the definitions come with the release before."""
    with empty("upgrade", tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def emptied(cluster: Cluster) -> Iterator[None]:
    """The namespace of the sets, and at the end neither that nor a release nor definitions."""
    api = cluster.api
    cluster.make_namespace(RELEASE.serves)
    yield
    for name in (RELEASE.serves, OPS):
        api.delete(NAMESPACES, None, name)
    for body in OURS:
        api.delete(CRDS, None, body["metadata"]["name"])
    until(
        lambda: not api.list(CRDS) and not any(api.find(NAMESPACES, None, name) for name in (RELEASE.serves, OPS)),
        timeout=120,
        message="all of it is gone",
    )


@pytest.fixture
def installer(program: Path, cluster: Cluster) -> Helm:
    return Helm(program, cluster.kubeconfig)


@contextmanager
def operator(cluster: Cluster, folder: Path, tree: Path) -> Iterator[Operator]:
    """That tree's operator, as the Deployment that is in the cluster now starts it."""
    deployment = cluster.api.get(DEPLOYMENTS, OPS, NAME)
    found: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    inside = ("--metrics-bind-address", "--health-bind-address")
    process = Operator(
        kubeconfig=cluster.kubeconfig_of(OPS, NAME, folder),
        namespaces=[],
        log=folder / f"{tree.name}.log",
        arguments=[*(each for each in found if not each.startswith(inside)), f"--leader-election-namespace={OPS}"],
        environment={"PYTHONPATH": str(tree / "operator" / "src")},
    )
    with process.at_work(timeout=90):
        yield process


def pods(api: Api, name: str) -> dict[str, str]:
    """The uid of each pod of a set."""
    found = api.list(PODS, RELEASE.serves, selector=f"scaleset.dev/name={name}")
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}


def rollout(api: Api) -> Json:
    found: Json = (api.get(SCALE_SETS, RELEASE.serves, "web").get("status") or {}).get("rollingUpgrade") or {}
    return found


def ready(api: Api, name: str) -> bool:
    return condition(api.get(SCALE_SETS, RELEASE.serves, name), "Ready") == "True"


def begin(api: Api) -> tuple[dict[str, str], dict[str, str], str]:
    """A set at rest, with claims, and one in the first of its batches.

    Returns the pods of both, as they were before, and when the rollout began.
    """
    space = RELEASE.serves
    slowly = {"pauseTimeBetweenBatches": "PT15S"}
    api.create(POLICIES, space, upgrade_policy(rolling=slowly))
    publish(api, space, "1.0.0", "fast")
    quiet = scale_set("quiet", replicas=3, version="1.0.0", volumeClaimTemplates=[claim("data")])
    api.create(SCALE_SETS, space, quiet)
    api.create(SCALE_SETS, space, scale_set(replicas=REPLICAS))
    until(lambda: ready(api, "quiet") and ready(api, "web"), timeout=90, message="both sets are healthy")
    first, quiet_pods = pods(api, "web"), pods(api, "quiet")
    publish(api, space, "1.1.0", "fast")
    until(
        lambda: (rollout(api).get("batch") or {}).get("number") == 1, timeout=60, message="the first batch is admitted"
    )
    status = rollout(api)["runningStatus"]
    assert status["code"] == "RollingForward"
    return first, quiet_pods, status["startTime"]


def ended(api: Api) -> bool:
    found = rollout(api)
    code = (found.get("runningStatus") or {}).get("code")
    return code == "Completed" and found["targetImageReference"]["exactVersion"] == "1.1.0"


def carried_on(api: Api, audit: AuditLog, *, first: dict[str, str], quiet: dict[str, str], started: str) -> None:
    """The rollout that ran is the one that ended, each instance was replaced once, nothing else was touched."""
    until(lambda: ended(api), timeout=150, message="the rollout ends")
    until(lambda: ready(api, "web"), timeout=60, message="all are healthy")
    assert rollout(api)["runningStatus"]["startTime"] == started
    assert pods(api, "quiet") == quiet
    assert not set(pods(api, "web").values()) & set(first.values())
    deletions = [
        each.name
        for each in audit.writes("", RELEASE.serves)
        if each.verb == "delete" and each.resource == "pods" and each.user == USER and each.took_effect
    ]
    assert sorted(deletions) == sorted(first)
    assert len(api.list(CLAIMS, RELEASE.serves)) == 3
    for body in OURS:
        there = api.get(CRDS, None, body["metadata"]["name"])
        assert there["spec"]["versions"][0]["schema"] == body["spec"]["versions"][0]["schema"]


def test_kubectl_apply_in_the_middle_of_a_rollout(
    cluster: Cluster, api: Api, kubectl: Kubectl, before: Path, tmp_path: Path
):
    """The manifests of both releases, as docs/upgrade.md applies them."""
    audit = AuditLog(cluster.audit_log)
    kubectl("apply", "--server-side", *_manifests(before))
    kubectl("--namespace", OPS, "rollout", "status", f"deployment/{NAME}", "--timeout=3m")
    with operator(cluster, tmp_path, before):
        first, quiet, started = begin(api)
    kubectl("apply", "--server-side", *_manifests(ROOT))
    kubectl("--namespace", OPS, "rollout", "status", f"deployment/{NAME}", "--timeout=3m")
    with operator(cluster, tmp_path, ROOT):
        carried_on(api, audit, first=first, quiet=quiet, started=started)
    assert api.find(NAMESPACES, None, OPS) is not None


def test_helm_upgrade_in_the_middle_of_a_rollout(
    cluster: Cluster, api: Api, installer: Helm, chart: Path, before: Path, tmp_path: Path, kubectl: Kubectl
):
    """One command: the definitions are objects of the chart."""
    # What the test before has made outside of namespaces.
    kubectl("delete", "--ignore-not-found", "-f", ROOT / "deploy" / "install.yaml")
    archive, audit = tmp_path / "before", AuditLog(cluster.audit_log)
    said = installer.run("package", before / "charts" / NAME, "--destination", archive)
    package = Path(said.strip().rpartition(": ")[2])
    where = ("--namespace", OPS, "--wait", "--timeout", "3m")
    installer.run("install", NAME, package, *where, "--create-namespace", "--set", "commonLabels.team=platform")
    with operator(cluster, tmp_path, before):
        first, quiet, started = begin(api)
    installer.run("upgrade", NAME, chart, *where, "--reset-then-reuse-values")
    assert api.get(DEPLOYMENTS, OPS, NAME)["metadata"]["labels"]["team"] == "platform"
    with operator(cluster, tmp_path, ROOT):
        carried_on(api, audit, first=first, quiet=quiet, started=started)
    # And back, as the page says: the definitions stay.
    after = pods(api, "web")
    installer.run("upgrade", NAME, package, *where, "--set", "crds.enabled=false")
    assert len(api.list(CRDS)) == len(OURS)
    with operator(cluster, tmp_path, before):
        publish(api, RELEASE.serves, "1.2.0", "fast")
        until(
            lambda: (rollout(api).get("batch") or {}).get("number") == 2, timeout=90, message="the first batch is done"
        )
    assert pods(api, "quiet") == quiet
    kept = [f"web-{number}" for number in range(4, REPLICAS)]
    assert {name: pods(api, "web")[name] for name in kept} == {name: after[name] for name in kept}


def _manifests(tree: Path) -> Iterator[str | Path]:
    """All that the release has: the one before had its definitions in install.yaml."""
    for name in ("crds.yaml", "install.yaml"):
        if (tree / "deploy" / name).exists():
            yield from ("-f", tree / "deploy" / name)
