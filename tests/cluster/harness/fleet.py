"""Shortcuts of tests that begin with a healthy fleet, and an API server that refuses writes for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep

from .api import IMAGES, PODS, POLICIES, QUOTAS, REVISIONS, SCALE_SETS, Api, ApiError, Json, Kind, condition
from .manifests import image_version, scale_set, upgrade_policy
from .recorder import Recorder, World
from .trace import VERSION_LABEL, parse_ranges

POLICY_RULES = Kind("validatingadmissionpolicies", "admissionregistration.k8s.io", namespaced=False)
POLICY_BINDINGS = Kind("validatingadmissionpolicybindings", "admissionregistration.k8s.io", namespaced=False)


def limit(
    api: Api, namespace: str, name: str, hard: Json, *, used: Json | None = None, scopes: list[str] | None = None
) -> None:
    """A quota, once the API server goes by it: it has counted, and that much where `used` is given."""

    def counts(quota: Json | None) -> bool:
        counted = (quota or {}).get("status", {}).get("used")
        return bool(counted) if used is None else counted == used

    spec = {"hard": hard, **({"scopes": scopes} if scopes else {})}
    api.create(QUOTAS, namespace, {"metadata": {"name": name}, "spec": spec})
    api.wait(QUOTAS, namespace, name, counts, timeout=25, message="the quota counts")


def deploy(
    api: Api,
    namespace: str,
    *,
    name: str = "web",
    replicas: int = 5,
    policy: Json | None = None,
    template: Json | None = None,
) -> None:
    """A policy, version 1.0.0 and a set of it. `template` is the metadata of the pod template."""
    api.apply(POLICIES, namespace, policy or upgrade_policy())
    publish(api, namespace, "1.0.0", "fast")
    body = scale_set(name, replicas=replicas)
    body["spec"]["template"]["metadata"].update(template or {})
    api.create(SCALE_SETS, namespace, body)


def publish(api: Api, namespace: str, version: str, behaviour: str = "") -> Json:
    return api.create(IMAGES, namespace, image_version(version, behaviour=behaviour))


def wait_ready(recorder: Recorder, name: str = "web", *, version: str = "1.0.0", timeout: float = 60) -> None:
    """Until all is well on that version, and the rollout to it has ended."""

    def settled(world: World) -> bool:
        found = world.scale_sets.get(name)
        if found is None or condition(found, "Ready") != "True" or code(world, name) == "RollingForward":
            return False
        pods = world.pods_of(name)
        return len(pods) == found["spec"].get("replicas", 1) and all(version_of(pod) == version for pod in pods)

    recorder.wait_for(settled, timeout=timeout, message=f"{name} is ready on {version}")


def rollout(world: World, name: str = "web") -> Json:
    """The running or last rolling upgrade, {} if there was none."""
    found: Json = world.status(name).get("rollingUpgrade") or {}
    return found


def code(world: World, name: str = "web") -> str:
    return str((rollout(world, name).get("runningStatus") or {}).get("code", ""))


def ids(world: World, field: str, name: str = "web") -> frozenset[int]:
    """Instances that the rollout names as successful, failed, restored, inProgress or pending."""
    return parse_ranges(rollout(world, name).get(field))


def version_of(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(VERSION_LABEL, ""))


def versions(world: World, name: str = "web") -> dict[str, str]:
    return {pod["metadata"]["name"]: version_of(pod) for pod in world.pods_of(name)}


def uids(world: World, name: str = "web") -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in world.pods_of(name)}


def until(done: Callable[[], object], *, timeout: float, message: str) -> None:
    """For what cannot be watched: asks again and again."""
    deadline = monotonic() + timeout
    while not done():
        assert monotonic() < deadline, f"{message}: not within {timeout:g} s"
        sleep(0.05)


@contextmanager
def refusing(
    api: Api,
    namespace: str,
    resource: str,
    operation: str,
    *,
    group: str = "",
    unless: str = "false",
    sample: Json | None = None,
) -> Iterator[None]:
    """Inside, the API server refuses that operation in the namespace; before and after, it does not.

    `resource` may have a subresource. Where `unless`, a CEL expression, is true, the operation is allowed. It takes a
    moment until the API server knows of a rule, so dry runs of a probe tell when it does: for new pods, the
    creation of `sample`.
    """
    name = f"refuse-{operation.lower()}-{resource.replace('/', '-')}-{namespace}"
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": [operation],
        "resources": [resource],
    }
    place = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    api.create(
        POLICY_RULES,
        None,
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule], **place},
                "validations": [{"expression": unless, "message": "refused by the test"}],
            },
        },
    )
    binding = {"policyName": name, "validationActions": ["Deny"]}
    body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding"}
    api.create(POLICY_BINDINGS, None, {**body, "metadata": {"name": name}, "spec": binding})
    probe = _PROBES[resource, operation] if sample is None else partial(_create_pod, sample)
    try:
        until(lambda: _refused(api, namespace, probe), timeout=30, message=f"{operation} {resource} is refused")
        yield
    finally:
        api.delete(POLICY_BINDINGS, None, name)
        api.delete(POLICY_RULES, None, name)
        until(lambda: not _refused(api, namespace, probe), timeout=30, message=f"{operation} {resource} is allowed")


def _refused(api: Api, namespace: str, probe: Callable[[Api, str], object]) -> bool:
    try:
        probe(api, namespace)
    except ApiError as error:
        return error.status in {403, 422} and "refused by the test" in error.message
    return False


def _create_pod(sample: Json, api: Api, namespace: str) -> None:
    api.try_create(PODS, namespace, sample)


def _delete_pod(api: Api, namespace: str) -> None:
    for pod in api.list(PODS, namespace):
        api.delete(PODS, namespace, pod["metadata"]["name"], dryRun=["All"])


def _change_pod(api: Api, namespace: str) -> None:
    for pod in api.list(PODS, namespace):
        body: Json = {"metadata": {"annotations": {"example.com/probe": ""}}}
        api.patch(PODS, namespace, pod["metadata"]["name"], body, dryRun="All")


def _write_status(api: Api, namespace: str) -> None:
    for found in api.list(SCALE_SETS, namespace):
        api.patch(SCALE_SETS, namespace, found["metadata"]["name"], {"status": {}}, subresource="status")


def _store_revision(api: Api, namespace: str) -> None:
    api.try_create(REVISIONS, namespace, {"metadata": {"name": "probe"}, "data": {}, "revision": 1})


def _change_revision(api: Api, namespace: str) -> None:
    for found in api.list(REVISIONS, namespace):
        api.patch(REVISIONS, namespace, found["metadata"]["name"], {"revision": found["revision"] + 1}, dryRun="All")


def _delete_revision(api: Api, namespace: str) -> None:
    for found in api.list(REVISIONS, namespace):
        api.delete(REVISIONS, namespace, found["metadata"]["name"], dryRun=["All"])


_PROBES: dict[tuple[str, str], Callable[[Api, str], object]] = {
    ("controllerrevisions", "CREATE"): _store_revision,
    ("controllerrevisions", "UPDATE"): _change_revision,
    ("controllerrevisions", "DELETE"): _delete_revision,
    ("pods", "DELETE"): _delete_pod,
    ("pods", "UPDATE"): _change_pod,
    ("scalesets/status", "UPDATE"): _write_status,
}
