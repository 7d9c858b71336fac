"""An upgrade of Kubernetes or of the operator, and whatever meddles with pods, rolls nothing.

An API server with a new default is played by a webhook that writes that default into every new pod.
"""

import pytest

from tests.cluster.harness.api import PODS, REVISIONS, SCALE_SETS, Api, Items, Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import deploy, limit, uids, until, wait_ready
from tests.cluster.harness.manifests import pod, upgrade_policy
from tests.cluster.harness.operator import Operator, Start
from tests.cluster.harness.recorder import Recorder
from tests.faults.harness.components import Component
from tests.faults.harness.webhook import Change, meddling, sidecar_and_mirror

pytestmark = pytest.mark.timeout(180)


def new_default(made: Json, _: int) -> Items:
    """`setHostnameAsFQDN` has no default today; the next version has."""
    if "setHostnameAsFQDN" in made["spec"]:
        return []
    return [{"op": "add", "path": "/spec/setHostnameAsFQDN", "value": False}]


def injector(made: Json, count: int) -> Items:
    """A sidecar, with something that it makes up for each pod."""
    nonce: Json = {"op": "add", "path": "/metadata/annotations", "value": {**_annotations(made), "nonce": str(count)}}
    return [*sidecar_and_mirror(made, count)[:1], nonce]


def _annotations(made: Json) -> Json:
    found: Json = made["metadata"].get("annotations") or {}
    return found


def changed(api: Api, recorder: Recorder, namespace: str, spec: Json) -> None:
    """A changed spec, once the operator has looked at it."""
    found = api.patch(SCALE_SETS, namespace, "web", {"spec": spec})
    generation = found["metadata"]["generation"]
    recorder.wait_for(
        lambda world: world.status("web").get("observedGeneration") == generation,
        timeout=20,
        message="the operator has looked at the changed spec",
    )


def meddles(api: Api, namespace: str, change: Change) -> None:
    """Waits until the API server asks the webhook: it learns of one after a while."""

    def asked() -> bool:
        body = pod("probe", "1")
        made = api.try_create(PODS, namespace, body)
        return not change(made, 0) or len(made["spec"]["containers"]) > 1

    until(asked, timeout=30, message="pods are changed on their way")


def two_instances(operator: Start, api: Api, namespace: str, recorder: Recorder) -> tuple[Operator, dict[str, str]]:
    """An operator, and a healthy set whose rollouts only a change of its model starts; the uids of its two pods."""
    process = operator()
    deploy(api, namespace, replicas=2, policy=upgrade_policy(automatic=False, mode="Rolling"))
    wait_ready(recorder)
    return process, uids(recorder.world, "web")


def test_a_new_default_of_the_api_server_rolls_nothing(
    cluster: Cluster, namespace: str, recorder: Recorder, operator: Start
) -> None:
    api = cluster.api
    process, before = two_instances(operator, api, namespace, recorder)
    process.terminate()
    with meddling(api, Component(cluster, "kube-apiserver"), namespace, new_default):
        meddles(api, namespace, new_default)
        process.start()
        process.wait_ready()
        # Another spelling, and then the new default spelled out, as tools do that read what they wrote.
        changed(api, recorder, namespace, {"template": {"spec": {"restartPolicy": "Always"}}})
        changed(api, recorder, namespace, {"template": {"spec": {"setHostnameAsFQDN": False}}})
        process.terminate()
        process.start()
        process.wait_ready()
        changed(api, recorder, namespace, {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}})
        recorder.never(lambda world: uids(world, "web") != before, seconds=3, message="an instance is replaced")
        assert len(api.list(REVISIONS, namespace)) == 1
        changed(api, recorder, namespace, {"template": {"spec": {"setHostnameAsFQDN": True}}})
        recorder.wait_for(
            lambda world: not before.items() & uids(world, "web").items(),
            timeout=30,
            message="a real change rolls",
        )
        wait_ready(recorder)


def test_an_injected_sidecar_with_words_of_its_own_rolls_nothing(
    cluster: Cluster, namespace: str, recorder: Recorder, operator: Start
) -> None:
    api = cluster.api
    _, before = two_instances(operator, api, namespace, recorder)
    with meddling(api, Component(cluster, "kube-apiserver"), namespace, injector):
        meddles(api, namespace, injector)
        changed(api, recorder, namespace, {"template": {"spec": {"restartPolicy": "Always"}}})
        recorder.never(lambda world: uids(world, "web") != before, seconds=2, message="an instance is replaced")
        assert len(api.list(REVISIONS, namespace)) == 1


def test_a_restart_of_the_operator_asks_nothing_again(
    cluster: Cluster, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """Not even where an answer could not be had any more: there is no room for one more pod."""
    api = cluster.api
    process, before = two_instances(operator, api, namespace, recorder)
    changed(api, recorder, namespace, {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}})
    checked = recorder.world.status("web")["checkedModel"]
    assert checked["asked"] != checked["model"]
    process.terminate()
    limit(api, namespace, "full", {"pods": "2"})
    recorder.settle(2)
    process.start()
    process.wait_ready()
    recorder.quiet(seconds=3)
    assert uids(recorder.world, "web") == before
