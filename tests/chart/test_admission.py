"""The admission policy: who may do what with the pods of a set. The release `all` has it, see releases.py."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.chart.conftest import Kubectl
from tests.chart.releases import ALL, LISTED
from tests.cluster.harness.api import IMAGES as VERSIONS
from tests.cluster.harness.api import PODS, SCALE_SETS, Api, Json, Kind
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import until
from tests.cluster.harness.manifests import image_version, pod, scale_set

pytestmark = pytest.mark.timeout(180)

BINDINGS = Kind("clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False)
LABELS, ANNOTATIONS = "Labels scaleset.dev/... of pods", "Annotations scaleset.dev/... of pods"
OWNER, IMAGES = "Only scaleset-operator makes a ScaleSet the owner", "The images of an instance are its ScaleSet's"
SPACE = "guarded"


@dataclass(frozen=True, slots=True)
class Who:
    """A user that kubectl speaks for."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)

    @property
    def options(self) -> list[str]:
        return [f"--as={self.name}", *(f"--as-group={group}" for group in self.groups)]


STRANGER = Who("stranger")
RESTORER = Who("restorer")
TRUSTED = Who("somebody", ("system:authenticated", "trusted"))
ADMIN = Who("root", ("system:authenticated", "system:masters"))
OPERATOR = Who(ALL.user, tuple(ALL.groups))
COLLECTOR = Who("system:serviceaccount:kube-system:generic-garbage-collector", ("system:authenticated",))
KUBELET = Who("system:node:node-0", ("system:nodes", "system:authenticated"))
SCHEDULER = Who("system:kube-scheduler")


@pytest.fixture(scope="module")
def owner(released: Cluster, api: Api) -> Json:
    """A set, and rights on everything for everybody: only the policy is left to refuse. kubectl reads a status before
    it writes one, as no kubelet does.
    """
    released.make_namespace(SPACE)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subjects = [{"kind": "User", "name": who.name} for who in (STRANGER, RESTORER, TRUSTED, KUBELET)]
    api.create(BINDINGS, None, {"metadata": {"name": "everybody"}, "subjects": subjects, "roleRef": role})
    return api.create(SCALE_SETS, SPACE, scale_set(replicas=0))


def instance(owner: Json, name: str) -> Json:
    """What the operator creates, as far as the policy looks at it."""
    made = pod(name, "1.0.0-fast", annotations={"scaleset.dev/created-at": "2026-01-01T00:00:00Z"})
    made["metadata"]["labels"] = {"scaleset.dev/name": "web", "scaleset.dev/model": "web-1", "app": "web"}
    reference = {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web", "controller": True}
    made["metadata"]["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"]}]
    made["spec"]["schedulerName"] = "nobody"  # so it stays as it is
    return made


@pytest.fixture(scope="module")
def pods(owner: Json, api: Api, kubectl: Kubectl) -> Json:
    """`web-0` is an instance, `plain` is not. The policy takes effect a moment after it was installed."""

    def refused() -> bool:
        try:
            labelled = pod("probe", "1", schedulerName="nobody")
            labelled["metadata"]["labels"] = {"scaleset.dev/name": "web"}
            kubectl(
                "create",
                "-f",
                "-",
                "-n",
                SPACE,
                "--dry-run=server",
                *STRANGER.options,
                text=json.dumps(labelled),
                refused=LABELS,
            )
        except AssertionError:
            return False
        return True

    until(refused, timeout=60, message="the policy is in force")
    kubectl("create", "-f", "-", "-n", SPACE, *OPERATOR.options, text=json.dumps(instance(owner, "web-0")))
    api.create(PODS, SPACE, pod("plain", "1.0.0-fast", schedulerName="nobody"))
    return owner


def creating(change: Callable[[Json], object]) -> Callable[[Json], tuple[list[str], str]]:
    """`kubectl create` of an instance's pod or, without our marks, of another one."""

    def command(owner: Json) -> tuple[list[str], str]:
        made = instance(owner, "made")
        change(made["metadata"])
        return ["create", "-f", "-", "--dry-run=server"], json.dumps(made)

    return command


def patching(name: str, patch: Json, *more: str) -> Callable[[Json], tuple[list[str], str]]:
    def command(_: Json) -> tuple[list[str], str]:
        how = "strategic" if "containers" in patch.get("spec", {}) else "merge"
        return ["patch", "pod", name, f"--type={how}", f"--patch={json.dumps(patch)}", "--dry-run=server", *more], ""

    return command


def metadata(**of: Json | list[Json] | None) -> Json:
    return {"metadata": of}


def plainly(meta: Json) -> None:
    for key in ("labels", "annotations", "ownerReferences"):
        meta.pop(key)


def image(name: str) -> Json:
    return {"spec": {"containers": [{"name": "os", "image": name}]}}


def binding(annotations: Json) -> Callable[[Json], tuple[list[str], str]]:
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "plain", "annotations": annotations},
        "target": {"kind": "Node", "name": "node-0"},
    }

    def command(_: Json) -> tuple[list[str], str]:
        path = f"/api/v1/namespaces/{SPACE}/pods/plain/binding?dryRun=All"
        return ["create", "--raw", path, "-f", "-"], json.dumps(body)

    return command


def given(*arguments: str) -> Callable[[Json], tuple[list[str], str]]:
    return lambda _: (list(arguments), "")


STATUS = {"status": {"message": "seen"}}
IN_STATUS = "--subresource=status"


@pytest.mark.parametrize(
    ("who", "command", "refused"),
    [
        # Strangers may do with pods what they like, but for our marks.
        (STRANGER, creating(plainly), ""),
        (STRANGER, patching("plain", metadata(labels={"app": "other"}, annotations={"example.com/a": "b"})), ""),
        (STRANGER, patching("plain", image("another:1")), ""),
        (STRANGER, patching("web-0", metadata(labels={"app": "other"}, annotations={"example.com/a": "b"})), ""),
        (STRANGER, patching("web-0", STATUS, IN_STATUS), ""),
        (STRANGER, patching("web-0", metadata(labels={"scaleset.devious/x": "y", "sim.scaleset.dev/x": "y"})), ""),
        (STRANGER, binding({"example.com/a": "b"}), ""),
        (STRANGER, given("delete", "pod", "web-0", "--dry-run=server"), ""),
        # Our labels.
        (STRANGER, creating(lambda meta: meta.pop("annotations")), LABELS),
        (STRANGER, patching("plain", metadata(labels={"scaleset.dev/name": "web"})), LABELS),
        (STRANGER, patching("plain", metadata(labels={"scaleset.dev/invented": "x"})), LABELS),
        (STRANGER, patching("web-0", metadata(labels={"scaleset.dev/model": "web-2"})), LABELS),
        (STRANGER, patching("web-0", metadata(labels={"scaleset.dev/name": None})), LABELS),
        (STRANGER, patching("web-0", metadata(labels=None)), LABELS),
        (STRANGER, patching("web-0", metadata(labels={"scaleset.dev/model": "web-2"}), IN_STATUS), LABELS),
        # Our annotations.
        (STRANGER, creating(lambda meta: meta.pop("labels")), ANNOTATIONS),
        (STRANGER, patching("plain", metadata(annotations={"scaleset.dev/prepull-node": "x"})), ANNOTATIONS),
        (STRANGER, patching("web-0", metadata(annotations={"scaleset.dev/previous": "{}"})), ANNOTATIONS),
        (STRANGER, patching("web-0", metadata(annotations={"scaleset.dev/created-at": None})), ANNOTATIONS),
        (STRANGER, patching("web-0", metadata(annotations={"scaleset.dev/previous": "{}"}), IN_STATUS), ANNOTATIONS),
        (STRANGER, binding({"scaleset.dev/previous": "{}"}), ANNOTATIONS),
        # Owner and image of an instance.
        (STRANGER, patching("web-0", metadata(ownerReferences=None)), OWNER),
        (STRANGER, creating(lambda meta: [meta.pop("labels"), meta.pop("annotations")]), OWNER),
        (STRANGER, patching("web-0", image("another:1")), IMAGES),
        # The cluster's own parts.
        (COLLECTOR, patching("web-0", metadata(ownerReferences=None)), ""),
        (KUBELET, patching("web-0", STATUS, IN_STATUS), ""),
        (SCHEDULER, binding({}), ""),
        (COLLECTOR, patching("web-0", metadata(labels={"scaleset.dev/model": "web-2"})), LABELS),
        (KUBELET, patching("web-0", metadata(annotations={"scaleset.dev/previous": "{}"}), IN_STATUS), ANNOTATIONS),
        # Whom it does not concern.
        (OPERATOR, creating(lambda _: None), ""),
        (RESTORER, creating(lambda _: None), ""),
        (RESTORER, patching("web-0", metadata(labels={"scaleset.dev/model": "web-2"})), ""),
        (TRUSTED, patching("web-0", metadata(annotations={"scaleset.dev/previous": "{}"})), ""),
        (TRUSTED, patching("web-0", image("another:1")), ""),
        (ADMIN, patching("web-0", metadata(labels=None, annotations=None, ownerReferences=None)), ""),
    ],
)
def test_who_may_do_what(pods: Json, kubectl: Kubectl, who: Who, command, refused: str):
    arguments, text = command(pods)
    kubectl(*arguments, "--namespace", SPACE, *who.options, text=text, refused=refused)


def test_an_eviction_passes(pods: Json, api: Api, kubectl: Kubectl):
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-0"}}
    path = f"/api/v1/namespaces/{SPACE}/pods/web-0/eviction?dryRun=All"
    kubectl("create", "--raw", path, "-f", "-", *STRANGER.options, text=json.dumps(eviction))


def test_a_guarded_version_is_kept_from_everybody(pods: Json, api: Api, kubectl: Kubectl):
    """By the guards of safetyProfile, which the chart brings by default. An administrator lifts them first."""
    api.create(VERSIONS, SPACE, image_version("1.0.0", safetyProfile={"blockDeletionBeforeEndOfLife": True}))
    command = ["delete", "giv", "server-1.0.0", "--namespace", SPACE, "--dry-run=server"]
    for who in (STRANGER, ADMIN):
        kubectl(*command, *who.options, refused="keeps this version until its condition EndOfLife is True")
    kubectl(*command, *COLLECTOR.options)
    lifted = json.dumps({"spec": {"safetyProfile": None}})
    kubectl("patch", "giv", "server-1.0.0", "--namespace", SPACE, "--type=merge", f"--patch={lifted}", *ADMIN.options)
    kubectl(*command, *ADMIN.options)


def test_a_listed_release_guards_its_namespaces_only(kubectl: Kubectl, pods: Json, api: Api):
    """The policy of `listed` alone would let pass what is elsewhere; that of `all` is what refuses here."""
    selector = api.get(
        Kind("validatingadmissionpolicybindings", "admissionregistration.k8s.io", namespaced=False),
        None,
        "listed-scaleset-operator-pods",
    )["spec"]["matchResources"]["namespaceSelector"]
    (only,) = selector["matchExpressions"]
    assert (only["operator"], only["values"]) == ("In", ["shop", "bank", LISTED.own])
