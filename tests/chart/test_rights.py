"""What the operator's account may do, and that it is all that the operator needs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hack.chart import CHART
from tests.chart.conftest import Kubectl
from tests.chart.helm import Helm
from tests.chart.releases import ALL, LISTED, PULL_SECRET, VALUES, Release
from tests.cluster.harness.api import (
    CLAIMS,
    EVENTS,
    IMAGES,
    LEASES,
    PODS,
    POLICIES,
    REVISIONS,
    SCALE_SETS,
    SECRETS,
    Api,
    ApiError,
    Json,
    Kind,
    condition,
)
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import claim, image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.regions import Regions, prepulls, replication
from tests.cluster.harness.trace import AuditLog

pytestmark = pytest.mark.timeout(300)

REVIEWS = Kind("subjectaccessreviews", "authorization.k8s.io", namespaced=False)
CR = ("scalesets.scaleset.dev", "upgradepolicies.scaleset.dev", "galleryimageversions.scaleset.dev")
SERVES, OWN, ELSEWHERE, CLUSTER = "{serves}", "{own}", "elsewhere", ""
Question = tuple[str, str, str]
"""Verb, resource (plural.group/subresource:name), namespace."""


def questions(verbs: str, resources: str, namespace: str) -> list[Question]:
    return [(verb, resource, namespace) for resource in resources.split() for verb in verbs.split()]


# What the code calls: see the calls of kube.client in controllers/, observability/, kube/lease.py and kube/informer.py.
ALLOWED = [
    *questions("get list watch", " ".join(CR), SERVES),
    *questions("patch", " ".join(f"{each}/status" for each in CR), SERVES),
    *questions("get list watch create patch delete", "pods", SERVES),
    *questions("get list watch create", "persistentvolumeclaims", SERVES),
    *questions("list", "resourcequotas", SERVES),
    *questions("get list watch create patch delete", "controllerrevisions.apps", SERVES),
    *questions("create patch", "events.events.k8s.io", SERVES),
    *questions("create", "leases.coordination.k8s.io", OWN),
    *questions("get update", "leases.coordination.k8s.io:scaleset-operator", OWN),
    *questions("list watch", "nodes", CLUSTER),
    *questions("get list watch create delete", "pods", OWN),
    *questions("update", "scalesets.scaleset.dev/finalizers", SERVES),
]
FORBIDDEN = [
    *questions("get list watch create update patch delete deletecollection", "secrets", SERVES),
    *questions("get list create update", "secrets", OWN),
    *questions("get list create update delete", "configmaps", SERVES),
    *questions("update patch delete deletecollection", "persistentvolumeclaims", SERVES),
    *questions("get list create update patch delete", "persistentvolumes", CLUSTER),
    *questions("get watch create update patch delete deletecollection", "resourcequotas", SERVES),
    *questions("get list create update", "limitranges", SERVES),
    *questions("update deletecollection", "pods", SERVES),
    *questions("create get", "pods/exec pods/attach pods/portforward pods/proxy", SERVES),
    *questions("get", "pods/log", SERVES),
    *questions("create", "pods/eviction pods/binding serviceaccounts/token", SERVES),
    *questions("update patch", "pods/status pods/ephemeralcontainers pods/resize", SERVES),
    *questions("create update patch delete deletecollection", " ".join(CR), SERVES),
    *questions("update", " ".join(f"{each}/status" for each in CR), SERVES),
    *questions("update patch", "scalesets.scaleset.dev/scale", SERVES),
    *questions("update deletecollection", "controllerrevisions.apps", SERVES),
    *questions("get list watch delete update", "events.events.k8s.io events", SERVES),
    *questions("create get list", "deployments.apps statefulsets.apps jobs.batch services", SERVES),
    *questions("get create update patch delete", "leases.coordination.k8s.io:another", SERVES),
    *questions("get update patch delete", "leases.coordination.k8s.io:another", OWN),
    *questions("patch delete", "leases.coordination.k8s.io:scaleset-operator", OWN),
    *questions("list watch", "leases.coordination.k8s.io", OWN),
    *questions("get create update patch delete", "nodes", CLUSTER),
    *questions("get", "nodes/proxy nodes/log nodes/stats", CLUSTER),
    *questions("get list watch create update patch delete", "namespaces", CLUSTER),
    *questions("get list create update patch delete", "customresourcedefinitions.apiextensions.k8s.io", CLUSTER),
    *questions("create update patch delete bind escalate", "clusterroles.rbac.authorization.k8s.io", CLUSTER),
    *questions("create update", "clusterrolebindings.rbac.authorization.k8s.io", CLUSTER),
    *questions("create update bind escalate", "roles.rbac.authorization.k8s.io", SERVES),
    *questions("create update", "rolebindings.rbac.authorization.k8s.io", SERVES),
    *questions("impersonate", "users groups serviceaccounts", CLUSTER),
    *questions("create delete", "validatingadmissionpolicies.admissionregistration.k8s.io", CLUSTER),
    *questions("create", "validatingwebhookconfigurations.admissionregistration.k8s.io", CLUSTER),
    *questions("create", "certificatesigningrequests.certificates.k8s.io", CLUSTER),
    *questions("*", "*.*", CLUSTER),
]
# A release for listed namespaces has no rights in others, and in its own only what lease and pre-pulls need.
FORBIDDEN_LISTED = [
    *questions("get list watch", " ".join(CR), ELSEWHERE),
    *questions("get list watch create delete", "pods", ELSEWHERE),
    *questions("create", "persistentvolumeclaims controllerrevisions.apps events.events.k8s.io", ELSEWHERE),
    *questions("list watch", " ".join([*CR, "pods", "persistentvolumeclaims", "controllerrevisions.apps"]), CLUSTER),
    *questions("get list create", "persistentvolumeclaims controllerrevisions.apps", OWN),
    *questions("list", "resourcequotas", OWN),
    *questions("list", "resourcequotas", ELSEWHERE),
    *questions("list", " ".join(CR), OWN),
]


def answer(api: Api, question: Question, *, user: str, groups: list[str]) -> bool:
    """Whether that user may."""
    verb, resource, place = question
    resource, _, name = resource.partition(":")
    resource, _, subresource = resource.partition("/")
    plural, _, group = resource.partition(".")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "name": name,
        "namespace": place,
    }
    spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
    return bool(api.create(REVIEWS, None, {"spec": spec})["status"]["allowed"])


def allowed(api: Api, release: Release, question: Question) -> bool:
    """Whether the release's account may."""
    verb, resource, place = question
    here = (verb, resource, place.format(serves=release.serves, own=release.own))
    return answer(api, here, user=release.user, groups=release.groups)


@pytest.mark.parametrize("release", [ALL, LISTED], ids=lambda release: release.name)
def test_it_may_do_what_it_does(released: Cluster, api: Api, release: Release):
    assert [each for each in ALLOWED if not allowed(api, release, each)] == []


@pytest.mark.parametrize(
    ("release", "forbidden"),
    [(ALL, FORBIDDEN), (LISTED, FORBIDDEN + FORBIDDEN_LISTED)],
    ids=["all", "listed"],
)
def test_it_may_do_nothing_else(released: Cluster, api: Api, release: Release, forbidden: list[Question]):
    assert len(set(forbidden)) == len(forbidden) > 40
    assert [each for each in forbidden if allowed(api, release, each)] == []


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("view", "get list watch", "create update patch delete deletecollection"),
        ("edit", "get list watch create update patch delete", "deletecollection"),
        ("admin", "get list watch create update patch delete deletecollection", ""),
    ],
)
def test_the_clusters_own_roles_include_the_custom_resources(
    kubectl: Kubectl, api: Api, role: str, may: str, may_not: str
):
    user = f"{role}-of-bank"
    kubectl("--namespace", "bank", "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")

    def asked(verb: str, resource: str) -> bool:
        return answer(api, (verb, resource, "bank"), user=user, groups=[])

    # Aggregation is a controller's work.
    until(lambda: asked("get", "scalesets.scaleset.dev"), timeout=60, message=f"{role} includes scalesets")
    for resource in CR:
        assert [verb for verb in may.split() if not asked(verb, resource)] == []
        assert [verb for verb in may_not.split() if asked(verb, resource)] == []
    assert asked("patch", "scalesets.scaleset.dev/scale") == (role != "view")
    assert not asked("patch", "scalesets.scaleset.dev/status")


@pytest.mark.usefixtures("released")
def test_who_publishes_may_publish_and_nothing_else(released: Cluster, kubectl: Kubectl, api: Api):
    """With the role for CI jobs alone."""
    space = released.make_namespace("publishing")
    role = f"--clusterrole={ALL.account}-publisher"
    kubectl("--namespace", space, "create", "rolebinding", "ci", role, "--user=ci")
    version = yaml.safe_dump(image_version("1.0.0"))

    def may(verb: str, resource: str) -> bool:
        return answer(api, (verb, resource, space), user="ci", groups=["system:authenticated"])

    until(lambda: may("create", CR[2]), timeout=30, message="the role is bound")
    assert "created" in kubectl("--as=ci", "--namespace", space, "create", "-f", "-", text=version)
    verbs = ("get", "list", "watch", "update", "patch", "delete", "deletecollection")
    assert [verb for verb in verbs if may(verb, CR[2])] == []
    others = (*CR[:2], f"{CR[2]}/status", "pods", "secrets")
    assert [resource for resource in others if may("create", resource)] == []
    kubectl("--as=ci", "--namespace", space, "get", "galleryimageversions", refused="Forbidden")
    kubectl("--as=ci", "--namespace", ALL.serves, "create", "-f", "-", text=version, refused="Forbidden")


# The operator itself, with its account's token and nothing else


@pytest.fixture(params=[ALL, LISTED], ids=lambda release: release.name)
def release(request: pytest.FixtureRequest, released: Cluster) -> Release:
    found: Release = request.param
    return found


@pytest.fixture
def running(released: Cluster, release: Release, tmp_path: Path) -> Iterator[Operator]:
    """As the chart starts it, but outside of the cluster."""
    process = Operator(
        kubeconfig=released.kubeconfig_of(release.own, release.account, tmp_path),
        namespaces=[],
        log=tmp_path / "operator.log",
        arguments=release.arguments(released.api),
    )
    try:
        with process.at_work(timeout=60):
            yield process
    finally:
        for kind in (SCALE_SETS, PODS, CLAIMS):  # pytest shows it when the test fails
            for each in released.api.list(kind, release.serves):
                sys.stdout.write(f"{kind.plural} {each['metadata']['name']} {each.get('status')}\n")
        sys.stdout.write(process.log())


@pytest.fixture
def denied(kubectl: Kubectl) -> Callable[[], int]:
    """How many requests the API server has refused for want of rights, reads included."""

    def count() -> int:
        """RBAC refuses nothing outright: it has no opinion, and then nobody else has one."""
        metrics = kubectl("get", "--raw", "/metrics")
        found = re.search(r'^authorization_attempts_total\{result="no-opinion"\} (\S+)$', metrics, re.MULTILINE)
        return int(float(found[1])) if found else 0

    return count


def code(api: Api, namespace: str) -> tuple[str, str]:
    """Of the last rolling upgrade: the version and how it stands."""
    rollout = (api.get(SCALE_SETS, namespace, "web").get("status") or {}).get("rollingUpgrade") or {}
    version = (rollout.get("targetImageReference") or {}).get("exactVersion", "")
    return version, (rollout.get("runningStatus") or {}).get("code", "")


def reaches(done: Callable[[], object], message: str) -> None:
    until(done, timeout=120, message=message)


def test_its_account_is_all_that_the_operator_needs(
    released: Cluster, release: Release, running: Operator, denied: Callable[[], int], api: Api, tmp_path: Path
) -> None:
    """A set with claims; many models; a bad image, restored, and a good one; one that is changed in place; one that is
    pulled beforehand.
    """
    audit, space = AuditLog(released.audit_log), release.serves
    stranger = Api(released.kubeconfig_of(release.own, release.account, tmp_path))
    before = denied()
    with pytest.raises(ApiError, match="403"):
        stranger.list(SECRETS, space)
    assert denied() == before + 1  # so it counts
    stranger.close()

    twos = {"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40}  # for a batch of two quotas are read
    api.create(POLICIES, space, upgrade_policy(rolling=twos))
    publish(api, space, "1.0.0", "fast")
    api.create(SCALE_SETS, space, scale_set(replicas=5, volumeClaimTemplates=[claim("data")]))
    reaches(lambda: condition(api.get(SCALE_SETS, space, "web"), "Ready") == "True", "five instances are ready")
    assert len(api.list(CLAIMS, space)) == 5

    for number in [*range(12), 8]:  # more models than are kept, and one that comes back
        template = {"metadata": {"annotations": {"example.com/model": str(number)}}}
        changed = api.patch(SCALE_SETS, space, "web", {"spec": {"template": template}})["metadata"]["generation"]
        reaches(
            lambda: api.get(SCALE_SETS, space, "web")["status"]["observedGeneration"] >= changed,  # noqa: B023 - asked at once
            "the change is seen",
        )
    reaches(
        lambda: any(
            each.verb == "patch"
            for each in audit.writes("", space)
            if each.user == release.user and each.resource == "controllerrevisions"
        ),
        "the model that came back is the newest",
    )
    reaches(lambda: len(api.list(REVISIONS, space)) <= 11, "old models are deleted")

    publish(api, space, "1.1.0", "bad")
    reaches(lambda: code(api, space) == ("1.1.0", "Faulted"), "the bad image is stopped")
    publish(api, space, "1.2.0", "fast")
    reaches(lambda: code(api, space) == ("1.2.0", "Completed"), "the good one is everywhere")
    before_change = {each["metadata"]["uid"] for each in api.list(PODS, space)}
    api.patch(POLICIES, space, "policy", {"spec": {"replacementMethod": "InPlaceIfPossible"}})
    publish(api, space, "1.2.1", "fast")
    reaches(lambda: code(api, space) == ("1.2.1", "Completed"), "the next one is everywhere, in the same pods")
    assert {each["metadata"]["uid"] for each in api.list(PODS, space)} == before_change

    with Regions(api, space) as regions:
        regions.add("west")
        (broken,) = regions.add("west", works=False)
        profile = regions.targets("west")
        version = api.create(IMAGES, space, image_version("1.3.0", publishingProfile=profile))

        def waiting() -> list[Json]:
            return [each for each in prepulls(api, release.own, version) if "nopull" in str(each["spec"]["affinity"])]

        reaches(waiting, "a pod pulls where it cannot")
        (pod,) = waiting()
        assert pod["spec"]["serviceAccountName"] == f"{release.account}-prepull"
        assert pod["spec"]["imagePullSecrets"] == [{"name": PULL_SECRET}]
        regions.remove(broken)
        west = regions.name("west")
        reaches(
            lambda: replication(api.get(IMAGES, space, "server-1.3.0")).get(west, {}).get("state") == "Completed",
            "the image is on the node",
        )
    reaches(
        lambda: (
            {"RolloutFaulted", "RolloutCompleted", "InstanceRestored"}
            <= {each["reason"] for each in api.list(EVENTS, space)}
        ),
        "the events are there",
    )
    assert api.get(LEASES, release.own, "scaleset-operator")["spec"]["holderIdentity"]
    running.terminate()
    assert not api.get(LEASES, release.own, "scaleset-operator")["spec"].get("holderIdentity")

    assert denied() == before + 1
    assert not re.search(r"\b403\b|forbidden", running.log(), re.IGNORECASE), running.log()
    mine = [write for write in audit.writes("") if write.user == release.user]
    assert len(mine) > 50
    assert [str(write) for write in mine if write.code == 403] == []


# helm test


def asked(
    cluster: Cluster, release: Release, operator: Operator, directory: Path, helm: Helm, *more: str
) -> subprocess.CompletedProcess[str]:
    """Runs what the test's pod runs, with its arguments and its account, outside of the cluster."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    account = directory / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(cluster.api.create_token(release.own, release.account))
    (account / "ca.crt").write_bytes(Path(config["certificate-authority"]).read_bytes())
    host, _, port = config["server"].removeprefix("https://").rpartition(":")
    (pod,) = [each for each in helm.render(VALUES[release]) if each["kind"] == "Pod"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python3", "-I", "-c"]
    assert container["args"][0] == (CHART / "files" / "helm_test.py").read_text()
    arguments = [each for each in container["args"][1:] if not each.startswith(("--metrics=", "--lease="))]
    assert len(container["args"]) == len(arguments) + 3
    here = (f"--metrics=http://{operator.metrics_address}/metrics", f"--lease={release.own}")
    environment = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "SERVICE_ACCOUNT_DIR": str(account),
    }
    return subprocess.run(
        [sys.executable, "-I", "-c", container["args"][0], *arguments, *here, *more],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


def test_what_helm_test_asks(
    released: Cluster, release: Release, running: Operator, tmp_path: Path, helm: Helm
) -> None:
    done = asked(released, release, running, tmp_path, helm)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok:"] * 3
    assert "leads" in done.stdout
    running.terminate()
    done = asked(released, release, running, tmp_path, helm, "--seconds=0")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
