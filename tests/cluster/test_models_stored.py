"""A model that was stored before a rule was there goes on: it is warned about, and never stopped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaleset.api.scale_set import ScaleSetSpec
from scaleset.planner import pod_builder, revisions
from tests.cluster.harness.api import IMAGES, PODS, POLICIES, REVISIONS, SCALE_SETS, Api, ApiError, Json
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.crds import check_nothing
from tests.cluster.harness.desk import accepted_condition
from tests.cluster.harness.fleet import uids, until, wait_ready
from tests.cluster.harness.manifests import image_version, scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.trace import AuditLog

pytestmark = pytest.mark.timeout(240)

DEADLINE = 100_000


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(f"stored-{os.getpid()}", tmp_path_factory.mktemp("stored"), nodes=3) as cluster:
        yield cluster


def older(name: str, *, misspelt: bool = True) -> Json:
    """A set as it may have been stored: with a deadline, and with fields that nobody knows."""
    body = scale_set(name, replicas=2)
    pod = body["spec"]["template"]["spec"]
    pod["activeDeadlineSeconds"] = DEADLINE
    if misspelt:
        pod["containers"][0]["resource"] = {"requests": {"cpu": "500m"}}
    return body


def store(api: Api, namespace: str, body: Json) -> str:
    """Create the set and its model, as an older operator left them; returns the name of the model."""
    created = api.create(SCALE_SETS, namespace, body)
    name = body["metadata"]["name"]
    model = revisions.describe(name, ScaleSetSpec.parse(created))
    owner = pod_builder.Identity(namespace, name, created["metadata"]["uid"])
    api.create(REVISIONS, namespace, pod_builder.revision(owner, model, 1))
    return model.name


def test_what_is_stored_goes_on_with_a_warning(own_cluster: Cluster, tmp_path: Path) -> None:
    api = own_cluster.api
    namespace = own_cluster.make_namespace("stored")
    audit = AuditLog(own_cluster.audit_log)
    check_nothing(api)
    api.create(POLICIES, namespace, upgrade_policy(automatic=False, mode="Rolling"))
    api.create(IMAGES, namespace, image_version("1.0.0", behaviour="fast"))
    model = store(api, namespace, older("web"))
    operator = Operator(
        kubeconfig=own_cluster.kubeconfig,
        namespaces=[namespace],
        log=tmp_path / "operator.log",
        arguments=["--no-leader-elect"],
    )
    operator.start()
    operator.wait_ready()
    try:
        # A change of the definitions ends all watches, so each part has a record of its own.
        with Recorder(api, namespace, audit) as recorder:
            runs_with_a_warning(recorder, operator)
            goes_on_in_other_words(api, recorder, namespace, model)
            is_refused_where_it_is_new(api, recorder, namespace)
        operator.stop()
        served(api)
        with Recorder(api, namespace, audit) as recorder:
            operator.start()
            operator.wait_ready()
            is_written_to_under_the_rules_of_today(api, recorder, namespace)
    finally:
        operator.stop()


def served(api: Api) -> None:
    """The definitions of today, once the API server is through with changing to them."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        api.apply_file(path)

    def refused() -> bool:
        try:
            api.try_create(SCALE_SETS, "default", older("probe"))
        except ApiError as error:
            return "remove activeDeadlineSeconds" in error.message
        return False

    until(refused, timeout=30, message="the definitions are served")


def observed(api: Api, recorder: Recorder, namespace: str, spec: Json) -> Json:
    """Changes the spec; what is said of it once the operator has looked at it."""
    changed = api.patch(SCALE_SETS, namespace, "web", {"spec": spec})
    recorder.wait_for(
        lambda world: world.status("web").get("observedGeneration") == changed["metadata"]["generation"],
        timeout=20,
        message="the changed spec is looked at",
    )
    return accepted_condition(recorder.world, "web")


def runs_with_a_warning(recorder: Recorder, operator: Operator) -> None:
    wait_ready(recorder)
    said = accepted_condition(recorder.world, "web")
    assert (said["status"], said["reason"]) == ("True", "Accepted")
    assert "resource of container os" in said["message"]
    (told,) = recorder.wait_for(
        lambda world: world.events("UnknownFields"), timeout=10, message="an event warns of the fields"
    )
    assert "resource of container os" in told
    recorder.settle(5)
    operator.restart()
    recorder.quiet(seconds=3)
    assert recorder.world.events("UnknownFields") == [told]


def goes_on_in_other_words(api: Api, recorder: Recorder, namespace: str, model: str) -> None:
    """Another spelling has the same fields that nobody knows: it is the model that runs."""
    before = uids(recorder.world, "web")
    container = older("web")["spec"]["template"]["spec"]["containers"][0]
    respelt = {"template": {"spec": {"containers": [{**container, "imagePullPolicy": "IfNotPresent"}]}}}
    said = observed(api, recorder, namespace, respelt)
    assert said["status"] == "True"
    assert "resource of container os" in said["message"]
    assert recorder.world.status("web")["checkedModel"]["model"] == model
    recorder.never(lambda world: uids(world, "web") != before, seconds=1.5, message="an instance is replaced")


def is_refused_where_it_is_new(api: Api, recorder: Recorder, namespace: str) -> None:
    before = uids(recorder.world, "web")
    api.create(SCALE_SETS, namespace, older("new", misspelt=False))
    recorder.wait_for(
        lambda world: accepted_condition(world, "new").get("reason") == "ModelRefused",
        timeout=20,
        message="a new one with a deadline is refused",
    )
    assert "Remove activeDeadlineSeconds" in accepted_condition(recorder.world, "new")["message"]
    said = observed(api, recorder, namespace, {"template": {"spec": {"terminationGracePeriodSeconds": 31}}})
    assert said["reason"] == "ModelRefused"
    recorder.never(lambda world: uids(world, "web") != before, seconds=1.5, message="an instance is replaced")
    said = observed(api, recorder, namespace, {"template": {"spec": {"terminationGracePeriodSeconds": None}}})
    assert said["status"] == "True"


def is_written_to_under_the_rules_of_today(api: Api, recorder: Recorder, namespace: str) -> None:
    before = uids(recorder.world, "web")
    recorder.disturb("web-1")
    api.delete(PODS, namespace, "web-1")
    recorder.wait_for(
        lambda world: uids(world, "web").get("web-1", before["web-1"]) != before["web-1"],
        timeout=20,
        message="a lost one comes back",
    )
    observed(api, recorder, namespace, {"replicas": 3})
    wait_ready(recorder)
    kept = uids(recorder.world, "web")
    assert kept["web-0"] == before["web-0"]
    said = observed(api, recorder, namespace, {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}})
    assert said["status"] == "True"
    recorder.never(lambda world: uids(world, "web") != kept, seconds=1.5, message="an instance is replaced")
    container = scale_set()["spec"]["template"]["spec"]["containers"][0]
    mended = {"template": {"spec": {"containers": [{**container, "args": ["-v"]}], "activeDeadlineSeconds": None}}}
    api.patch(SCALE_SETS, namespace, "web", {"spec": mended})
    recorder.wait_for(
        lambda world: not kept.items() & uids(world, "web").items(), timeout=40, message="the mended model rolls"
    )
    wait_ready(recorder)
