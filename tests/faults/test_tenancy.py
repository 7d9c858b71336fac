"""What somebody reaches who may create ScaleSets in a namespace and nothing else: what whoever may create pods does.

Rights are real: the operator has those of deploy/install.yaml, people have tokens of accounts with a role of their own.
What becomes of forged annotations and statuses is in tests/faults/test_input.py, tests/cluster/test_forged_status.py
and tests/unit/planner/test_forged_builds.py; the shares of a gallery are in tests/cluster/test_versions.py.
"""

from typing import Any

import pytest

from tests.cluster.harness.api import (
    CLAIMS,
    IMAGES,
    PODS,
    POLICIES,
    REVISIONS,
    SCALE_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Api,
    ApiError,
    Json,
)
from tests.cluster.harness.fleet import until
from tests.cluster.harness.manifests import image_version, pod, scale_set, upgrade_policy
from tests.cluster.harness.scene import says, with_claims
from tests.faults.harness import tenants
from tests.faults.harness.rig import PATIENCE, Rig, refusal

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 6

SETS_ONLY = [
    {
        "apiGroups": ["scaleset.dev"],
        "resources": ["scalesets", "upgradepolicies", "galleryimageversions"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    }
]
PODS_ONLY = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
CANARY = "c2VjcmV0LWNhbmFyeS03MQ=="


def author(rig: Rig, *arguments: str) -> Api:
    """Somebody with rights on our kinds in this namespace, where the operator runs with its own."""
    rig.start(*arguments, kubeconfig=tenants.operators_account(rig.cluster, rig.directory))
    somebody = tenants.account(rig.cluster, rig.namespace, "author", rig.directory, SETS_ONLY)
    until(lambda: not refusal(somebody.list, SCALE_SETS, rig.namespace), timeout=PATIENCE, message="the role holds")
    return somebody


def test_who_may_create_sets_gets_pods_and_claims_and_no_other_right(rig):
    """As with Deployments and StatefulSets: the right to create pods, in effect, and nothing on the pods themselves."""
    somebody = author(rig)
    mine = rig.namespace
    assert refusal(somebody.create, PODS, mine, pod("own", "1.0.0-fast")) == 403
    somebody.create(POLICIES, mine, upgrade_policy())
    somebody.create(IMAGES, mine, image_version("1.0.0", behaviour="fast"))
    somebody.create(SCALE_SETS, mine, scale_set(replicas=2, volumeClaimTemplates=with_claims()))
    rig.healthy(2, version="1.0.0")
    assert len(rig.claims()) == 2
    for kind in (PODS, CLAIMS, SECRETS, REVISIONS, SERVICE_ACCOUNTS):
        assert refusal(somebody.list, kind, mine) == 403
    assert refusal(somebody.delete, PODS, mine, "web-0") == 403
    assert refusal(somebody.patch, SCALE_SETS, mine, "web", {"status": {"replicas": 9}}, subresource="status") == 403
    assert refusal(somebody.create, SCALE_SETS, "default", scale_set()) == 403
    for each in rig.world.pods.values():
        assert each["spec"]["serviceAccountName"] == "default"


def test_nothing_of_another_namespace_is_reached(rig):
    """A policy, a version, an account and a secret of the names that the set asks for are next door. None of them is
    taken, and next door nothing is written.
    """
    mine, other = rig.namespace, rig.another_namespace()
    somebody = author(rig, "--namespace", other)
    rig.api.create(POLICIES, other, upgrade_policy())
    rig.api.create(IMAGES, other, image_version("7.0.0", behaviour="fast"))
    rig.api.create(SERVICE_ACCOUNTS, other, {"metadata": {"name": "robot"}})
    rig.api.create(SECRETS, other, {"metadata": {"name": "settings"}, "data": {"key": CANARY}})
    before = {kind.plural: rig.api.list(kind, other) for kind in (PODS, CLAIMS, REVISIONS, SCALE_SETS, SECRETS)}
    somebody.create(SCALE_SETS, mine, scale_set(replicas=1))
    rig.condition("Accepted", "PolicyNotFound")
    somebody.create(POLICIES, mine, upgrade_policy())
    rig.condition("Accepted", "ImageNotFound")
    reference = {"galleryNamespace": other}
    somebody.patch(SCALE_SETS, mine, "web", {"spec": {"imageReference": reference}})
    rig.wait(lambda world: f"not shared with namespace {mine}" in says(world, "Accepted")["message"], "it is told why")
    assert not rig.world.pods
    for spec in (
        {"upgradePolicyRef": {"name": "policy", "namespace": other}},
        {"upgradePolicyRef": {"name": f"{other}/policy"}},
        {"extensions": [extension(protectedSettingsSecretRef={"name": "settings", "namespace": other})]},
        {"extensions": [extension(protectedSettingsSecretRef={"name": f"{other}/settings"})]},
    ):
        kept = stored(somebody, mine, spec)
        assert other not in str(kept), f"a reference to another namespace was stored: {kept}"
    rig.quiet(seconds=5)
    assert not rig.world.pods
    after = {kind.plural: rig.api.list(kind, other) for kind in (PODS, CLAIMS, REVISIONS, SCALE_SETS, SECRETS)}
    assert after == before
    everything = str(rig.api.list(SCALE_SETS, mine)) + rig.log()
    assert CANARY not in everything


def extension(**settings: Any) -> Json:
    return {"name": "agent", "image": "registry.example/agent:1.0.0", **settings}


def stored(somebody: Api, namespace: str, spec: Json) -> Json:
    """What the API server would keep of that change; {} if it refuses it."""
    try:
        answer = somebody.patch(SCALE_SETS, namespace, "web", {"spec": spec}, dryRun="All")
    except ApiError as error:
        if error.status != 422:
            raise
        return {}
    return {key: answer["spec"].get(key) for key in spec}


def test_a_secret_is_named_and_never_read(rig):
    """The kubelet reads it, as for any pod. The operator's account may not read it, so nothing can make it."""
    somebody = author(rig)
    mine = rig.namespace
    rig.api.create(SECRETS, mine, {"metadata": {"name": "settings"}, "data": {"key": CANARY}})
    somebody.create(POLICIES, mine, upgrade_policy())
    somebody.create(IMAGES, mine, image_version("1.0.0", behaviour="fast"))
    body = scale_set(replicas=1, extensions=[extension(protectedSettingsSecretRef={"name": "settings"})])
    somebody.create(SCALE_SETS, mine, body)
    rig.wait(lambda world: world.pods_of("web"), "there is a pod")
    [made] = rig.world.pods_of("web")
    variables = [each for container in made["spec"]["initContainers"] for each in container["env"]]
    assert [each["valueFrom"]["secretKeyRef"]["name"] for each in variables if "valueFrom" in each] == ["settings"]
    operator = tenants.Tenant(tenants.operators_account(rig.cluster, rig.directory))
    assert refusal(operator.get, SECRETS, mine, "settings") == 403
    assert refusal(operator.list, SECRETS, mine) == 403
    found = [rig.api.list(kind, mine) for kind in (SCALE_SETS, PODS, REVISIONS)]
    assert CANARY not in str(found) + rig.log() + rig.last.metrics()


REQUESTS: dict[str, Json] = {
    "plain": {},
    "host-network": {"hostNetwork": True},
    "host-path": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
    "host-pid": {"hostPID": True},
    "node": {"nodeName": "kwok-node-0"},
    "priority": {"priorityClassName": "system-node-critical"},
    "no-such-priority": {"priorityClassName": "absent"},
    "account": {"serviceAccountName": "robot"},
    "no-such-account": {"serviceAccountName": "absent"},
    "tolerates-all": {"tolerations": [{"operator": "Exists"}]},
    "no-such-runtime": {"runtimeClassName": "absent"},
    "privileged": {"securityContext": {"privileged": True}},
    "adds-rights": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "restricted": {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    },
}


def spread(request: Json) -> tuple[Json, Json]:
    """The part of it that belongs to the container, and that which belongs to the pod."""
    inner = {key: value for key, value in request.items() if key == "securityContext"}
    return inner, {key: value for key, value in request.items() if key not in inner}


@pytest.mark.parametrize("level", ["privileged", "baseline", "restricted"])
def test_a_set_gets_the_pods_that_its_author_could_create(rig, level):
    """For each request and each level of Pod Security: a bare pod of that kind is refused to somebody who may create
    pods if and only if the set is refused.
    """
    rig.label_namespace({"pod-security.kubernetes.io/enforce": level})
    somebody = author(rig)
    maker = tenants.account(rig.cluster, rig.namespace, "maker", rig.directory, PODS_ONLY)
    mine = rig.namespace
    rig.api.create(SERVICE_ACCOUNTS, mine, {"metadata": {"name": "robot"}})
    somebody.create(POLICIES, mine, upgrade_policy(automatic=False))
    somebody.create(IMAGES, mine, image_version("1.0.0", behaviour="fast"))
    until(lambda: refusal(maker.try_create, PODS, mine, {}) != 403, timeout=PATIENCE, message="the role holds")
    refused: set[str] = set()
    for name, request in REQUESTS.items():
        inner, outer = spread(request)
        bare = pod("bare", "1.0.0-fast", **outer)
        bare["spec"]["containers"][0].update(inner)
        if refusal(maker.try_create, PODS, mine, bare):
            refused.add(name)
        body = scale_set(name, replicas=1)
        body["spec"]["template"]["spec"].update(outer)
        body["spec"]["template"]["spec"]["containers"][0].update(inner)
        somebody.create(SCALE_SETS, mine, body)
    assert len(refused) == {"privileged": 3, "baseline": 8, "restricted": 13}[level]
    rig.wait(
        lambda world: all(bool(world.pods_of(name)) != bool(denied(world, name)) for name in REQUESTS),
        "each set has its pod, or says why not",
    )
    assert {name for name in REQUESTS if not rig.world.pods_of(name)} == refused
    for each in rig.world.pods.values():
        assert each["metadata"]["namespace"] == mine
    accounts = {
        p["metadata"]["labels"]["scaleset.dev/name"]: p["spec"]["serviceAccountName"] for p in rig.world.pods.values()
    }
    assert {name: used for name, used in accounts.items() if used != "default"} == (
        {"account": "robot"} if "account" not in refused else {}
    )


def denied(world, name: str) -> str:
    """What a set says of its refused pods."""
    found = says(world, "Accepted", name=name)
    return str(found["message"]) if found["reason"] in ("ModelRefused", "InvalidSpec") else ""
