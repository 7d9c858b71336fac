"""spec.safetyProfile of versions, by the admission policy of deploy/install.yaml."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from tests.cluster.harness.api import IMAGES, NAMESPACES, Api, ApiError, Json, condition
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.fleet import POLICY_BINDINGS, POLICY_RULES, until
from tests.cluster.harness.manifests import image_version
from tests.cluster.harness.operator import Operator

KINDS = {"ValidatingAdmissionPolicy": POLICY_RULES, "ValidatingAdmissionPolicyBinding": POLICY_BINDINGS}
KEPT = "safetyProfile.blockDeletionBeforeEndOfLife keeps this version until its condition EndOfLife is True."
REPLICATED = "safetyProfile.allowDeletionOfReplicatedLocations is false, and the version is replicated to"
BLOCKED = {"blockDeletionBeforeEndOfLife": True}
REGIONS_STAY = {"allowDeletionOfReplicatedLocations": False}
WAIT = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One whose controllers have accounts, as kubeadm sets them up: the policy knows two of them by name."""
    folder = tmp_path_factory.mktemp("guards")
    with Cluster(f"guards-{os.getpid()}", folder, nodes=1, options=["--accounts"]) as made:
        yield made


@pytest.fixture(scope="module")
def guards(cluster: Cluster, served: Operator) -> Iterator[Api]:
    """The policy as `kubectl apply` installs it, in force."""
    api: Api = cluster.api
    install = yaml.safe_load_all((ROOT / "deploy" / "install.yaml").read_text())
    made = [each for each in install if each and each["kind"] in KINDS]
    assert {each["kind"] for each in made} == set(KINDS)
    for each in made:
        api.create(KINDS[each["kind"]], None, each)
    space = cluster.make_namespace("gallery-guards")
    publish(api, space, BLOCKED)
    until(lambda: KEPT in refusal(lambda: delete(api, space, dryRun=["All"])), timeout=WAIT, message="it is in force")
    yield api
    for each in made:
        api.delete(KINDS[each["kind"]], None, each["metadata"]["name"])


def publish(api: Api, namespace: str, guards: Json | None, **profile: object) -> Json:
    body = image_version("1.0.0")
    body["spec"] |= {"safetyProfile": guards} if guards is not None else {}
    body["spec"] |= {"publishingProfile": profile} if profile else {}
    api.create(IMAGES, namespace, body)
    found = api.wait(IMAGES, namespace, "server-1.0.0", observed, timeout=WAIT, message="the operator took note")
    assert found is not None
    return found


def observed(found: Json | None) -> bool:
    status = (found or {}).get("status") or {}
    return found is not None and status.get("observedGeneration") == found["metadata"]["generation"]


def delete(api: Api, namespace: str, **options: object) -> Json:
    return api.delete(IMAGES, namespace, "server-1.0.0", **options)


def change(api: Api, namespace: str, **spec: object) -> Json:
    return api.patch(IMAGES, namespace, "server-1.0.0", {"spec": spec})


def refusal(request: Callable[[], object]) -> str:
    """What the API server says to it; nothing if it passes."""
    try:
        request()
    except ApiError as error:
        return error.message if error.status == 403 else f"another answer: {error}"
    return ""


def end_of_life(found: Json) -> tuple[str, str]:
    (only,) = [each for each in found["status"]["conditions"] if each["type"] == "EndOfLife"]
    return only["status"], only["reason"]


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_version_is_kept_until_its_end_of_life(guards: Api, namespace: str):
    found = publish(guards, namespace, BLOCKED, endOfLifeDate=in_seconds(8))
    assert end_of_life(found) == ("False", "BeforeEndOfLife")
    assert KEPT in refusal(lambda: delete(guards, namespace))
    assert KEPT in refusal(lambda: guards.delete(IMAGES, namespace, ""))  # the whole collection
    reached = guards.wait(IMAGES, namespace, "server-1.0.0", ended, timeout=WAIT, message="the end of life has come")
    assert reached is not None
    assert end_of_life(reached) == ("True", "EndOfLifeReached")
    delete(guards, namespace)
    assert guards.find(IMAGES, namespace, "server-1.0.0") is None


def ended(found: Json | None) -> bool:
    return found is not None and condition(found, "EndOfLife") == "True"


def test_without_a_date_it_is_kept_until_the_guard_is_taken_off(guards: Api, namespace: str):
    assert end_of_life(publish(guards, namespace, BLOCKED)) == ("False", "NoEndOfLifeDate")
    assert KEPT in refusal(lambda: delete(guards, namespace))
    change(guards, namespace, safetyProfile={"blockDeletionBeforeEndOfLife": False})
    found = guards.wait(IMAGES, namespace, "server-1.0.0", observed, timeout=WAIT, message="the operator took note")
    assert found is not None
    assert condition(found, "EndOfLife") == "", "nobody needs it any more"
    delete(guards, namespace)


def test_an_end_that_was_put_off_keeps_it_before_the_operator_has_seen_it(guards: Api, namespace: str):
    """The condition counts for the generation that it was computed from, and a new version has none at all."""
    body = image_version("1.0.0")
    body["spec"] |= {"safetyProfile": BLOCKED, "publishingProfile": {"endOfLifeDate": "2020-01-01T00:00:00Z"}}
    body["spec"]["publisher"] = "another"
    guards.create(IMAGES, namespace, body)
    found = guards.wait(IMAGES, namespace, "server-1.0.0", ended, timeout=WAIT, message="the end of life has come")
    assert found is not None
    stale = {**found, "spec": {**found["spec"], "publishingProfile": {"endOfLifeDate": "2999-01-01T00:00:00Z"}}}
    guards.replace(IMAGES, namespace, stale)
    assert KEPT in refusal(lambda: delete(guards, namespace))


@pytest.mark.parametrize("guard", [None, {}, REGIONS_STAY, {"blockDeletionBeforeEndOfLife": False}])
def test_other_versions_may_be_deleted(guards: Api, namespace: str, guard):
    found = publish(guards, namespace, guard, endOfLifeDate="2999-01-01T00:00:00Z")
    assert end_of_life(found) == ("False", "BeforeEndOfLife")
    delete(guards, namespace)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (["west", "east"], ["west"], "east"),
        (["west", "east", "north"], ["north"], "west, east"),
        (["west"], ["east"], "west"),
        ([], ["west"], "every region that is not listed"),
        (["west", "east"], ["west", "east", "north"], ""),
        (["west", "east"], [], ""),
        (["west", "east"], ["east", "west"], ""),
    ],
)
def test_a_region_stays(guards: Api, namespace: str, before, after, lost):
    profile = {"targetRegions": [{"name": name} for name in before]}
    publish(guards, namespace, REGIONS_STAY, **profile)
    wanted = {"targetRegions": [{"name": name} for name in after]}
    said = refusal(lambda: change(guards, namespace, publishingProfile=wanted))
    assert (f"{REPLICATED} {lost}. Leave the region" in said) if lost else said == ""
    if lost:
        together = {"publishingProfile": wanted, "safetyProfile": {"allowDeletionOfReplicatedLocations": True}}
        assert REPLICATED in refusal(lambda: change(guards, namespace, **together)), "first the one, then the other"
        change(guards, namespace, safetyProfile={"allowDeletionOfReplicatedLocations": True})
        change(guards, namespace, publishingProfile=wanted)


def test_a_region_that_has_no_image_yet_may_be_taken_out(guards: Api, namespace: str):
    """No node is in these regions, so a Full version is never replicated to them."""
    regions = [{"name": "atlantis"}, {"name": "eldorado"}]
    found = publish(guards, namespace, REGIONS_STAY, replicationMode="Full", targetRegions=regions)
    assert all(each["state"] != "Completed" for each in found["status"]["replicationStatus"]["summary"])
    change(guards, namespace, publishingProfile={"targetRegions": regions[:1]})


def test_other_changes_pass(guards: Api, namespace: str):
    publish(guards, namespace, {**BLOCKED, **REGIONS_STAY}, targetRegions=[{"name": "west"}])
    change(guards, namespace, publishingProfile={"excludeFromLatest": True})
    guards.label(IMAGES, namespace, "server-1.0.0", reviewed="true")


def test_a_namespace_goes_with_all_that_is_in_it(guards: Api, cluster: Cluster):
    namespace = cluster.make_namespace("leaving")
    publish(guards, namespace, {**BLOCKED, **REGIONS_STAY})
    guards.delete(NAMESPACES, None, namespace)
    until(lambda: guards.find(NAMESPACES, None, namespace) is None, timeout=90, message="the namespace is gone")


def test_the_garbage_collector_passes(guards: Api, namespace: str):
    """A version that belongs to another object goes with it."""
    owner = image_version("2.0.0")
    made = guards.create(IMAGES, namespace, owner)
    publish(guards, namespace, BLOCKED)
    reference = {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "name": made["metadata"]["name"],
        "uid": made["metadata"]["uid"],
    }
    guards.patch(IMAGES, namespace, "server-1.0.0", {"metadata": {"ownerReferences": [reference]}})
    guards.delete(IMAGES, namespace, made["metadata"]["name"])
    gone = lambda: guards.find(IMAGES, namespace, "server-1.0.0") is None  # noqa: E731 - one line
    until(gone, timeout=WAIT, message="it went with its owner")
