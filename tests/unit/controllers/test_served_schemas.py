"""Whether the API server knows the fields that the operator writes, asked before anything is done."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.controllers import served_schemas
from scaleset.controllers.served_schemas import STATUSES, ServedSchemas, missing
from scaleset.kube.client import Client
from scaleset.planner import status_codec
from tests.unit.fake_api_server import JSON, FakeApi, openapi

BUILD = {"model": "web-1", "version": "1.0.0", "image": "example.com/web:1.0.0", "instances": "0-3"}
TIME = "2026-11-21T12:00:00Z"
RESTARTED = {**BUILD, "restartTime": TIME}
RUNNING = {
    "code": "RollingForward",
    "startTime": TIME,
    "completedTime": TIME,
    "lastAction": "Cancel",
    "lastActionTime": TIME,
}
PROGRESS = {
    "successfulInstanceCount": 1,
    "failedInstanceCount": 1,
    "inProgressInstanceCount": 1,
    "pendingInstanceCount": 1,
}
ERROR = {
    "code": "Bad",
    "message": "It is bad.",
    "target": "web",
    "details": [{"code": "Bad", "target": "web/instances/0", "message": "It is bad."}],
}
ROLLBACK = {
    "successfullyRolledbackInstanceCount": 1,
    "failedRolledbackInstanceCount": 1,
    "rollbackError": ERROR,
}
IMAGE = {
    "publisher": "acme",
    "offer": "web",
    "sku": "stable",
    "version": "latest",
    "exactVersion": "2.0.0",
    "image": "example.com/web:2.0.0",
}
FULL: JSON = {
    "observedGeneration": 3,
    "replicas": 4,
    "healthyReplicas": 3,
    "updatedReplicas": 2,
    "selector": "a=b",
    "acceptedReplicas": 4,
    "currentVersion": "1.0.0",
    "currentImage": "example.com/web:1.0.0",
    "latestVersion": "2.0.0",
    "provenTime": TIME,
    "waitingSince": TIME,
    "lastHandledStart": "a",
    "lastHandledCancel": "b",
    "lastHandledApply": "c",
    "lastHandledRestart": "d",
    "lastHandledRetry": "e",
    "lastHandledModelRollout": "f",
    "lastHandledRollback": "g",
    "builds": [RESTARTED],
    "previousBuilds": [{**BUILD, "instances": "0"}],
    "applying": "3",
    "clocks": [{"instances": "0", "since": TIME, "lost": 1}],
    "endedPods": [{"instances": "1", "count": 2, "time": TIME}],
    "ages": [{"instances": "0", "time": TIME}],
    "failedTargets": [
        {"version": "1.5.0", "image": "os:5", "model": "web-1", "policy": "x", "reason": "Breach", "time": TIME}
    ],
    "retry": {"model": "web-1", "version": "2.0.0", "attempts": 2, "time": TIME},
    "rollingUpgrade": {
        "id": "r1",
        "kind": "Image",
        "startedBy": "User",
        "policy": {
            "maxBatchInstancePercent": 30,
            "maxUnhealthyInstancePercent": 30,
            "maxUnhealthyUpgradedInstancePercent": 30,
            "pauseTimeBetweenBatches": "PT1S",
            "prioritizeUnhealthyInstances": True,
            "enableCrossZoneUpgrade": True,
            "rollbackFailedInstancesOnPolicyBreach": True,
            "maxSurge": True,
            "replacementMethod": "InPlaceIfPossible",
            "healthTimeout": "PT1M",
            "minReadyTime": "PT1S",
            "disableAutomaticRollback": True,
        },
        "targetImageReference": IMAGE,
        "targetModel": "web-1",
        "runningStatus": RUNNING,
        "progress": PROGRESS,
        "batch": {
            "number": 1,
            "of": 4,
            "instances": "0-1",
            "startTime": TIME,
            "surge": "4",
            "replaces": "1",
            "restoreStartTime": TIME,
        },
        "batchesDone": 1,
        "waitingFor": {"reason": "Health", "message": "It waits."},
        "ending": {"code": "Cancelled", "reason": "User", "message": "A user said so."},
        "nextBatchTime": TIME,
        "successful": "2",
        "failed": "1",
        "restored": "1",
        "restoreFailed": "3",
        "restoring": "1",
        "inProgress": "0",
        "pending": "3",
        "withModel": True,
        "versionOnly": True,
        "neverRan": "1",
        "withoutSurge": True,
        "messages": [{"id": 1, "message": "It is bad."}],
        "rollbackInfo": ROLLBACK,
        "error": ERROR,
    },
    "osUpgradeHistory": [
        {
            "properties": {
                "runningStatus": {**RUNNING, "code": "Completed"},
                "progress": PROGRESS,
                "error": ERROR,
                "startedBy": "User",
                "targetImageReference": IMAGE,
                "rollbackInfo": ROLLBACK,
            },
            "type": "another",
            "location": "west",
        }
    ],
    "instances": [
        {
            "id": 0,
            "version": "1.0.0",
            "latestModelApplied": False,
            "state": "Unhealthy",
            "since": TIME,
            "message": "It is bad.",
        }
    ],
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Healthy",
            "message": "All are.",
            "observedGeneration": 3,
            "lastTransitionTime": TIME,
        }
    ],
}


def parts(status: JSON, above: str = "") -> Iterator[str]:
    """Every field in a status, as "rollingUpgrade.batch.number"."""
    for name, value in status.items():
        yield f"{above}{name}"
        inner = value[0] if isinstance(value, list) else value
        if isinstance(inner, dict):
            yield from parts(inner, f"{above}{name}.")


PARTS = sorted(parts(FULL))


def without(status: JSON, path: str) -> JSON:
    """A copy of a full status that lost a field, as an API server drops it."""
    left = copy.deepcopy(status)
    *above, last = path.split(".")
    place: Any = left
    for name in above:
        place = place[name][0] if isinstance(place[name], list) else place[name]
    del place[last]
    return left


def served(kind: str = "ScaleSet", path: str = "") -> JSON:
    """The document of an API server whose CRDs do not know that field of that kind's status."""
    document = copy.deepcopy(openapi())
    place = document["components"]["schemas"][f"dev.scaleset.v1beta1.{kind}"]["properties"]["status"]
    *above, last = path.split(".")
    for name in above:
        place = place["properties"][name]
        place = place.get("items", place)
    if path:
        del place["properties"][last]
    return document


def test_nothing_is_missing_in_the_crds_of_this_version() -> None:
    assert missing(served()) == []


@pytest.mark.parametrize("path", PARTS)
def test_each_field_that_is_missing_is_named(path: str) -> None:
    assert missing(served(path=path)) == [f"ScaleSet status.{path}"]


def test_the_full_status_has_every_field() -> None:
    nothing: JSON = {"components": {"schemas": {}}}
    for kind in STATUSES:
        known = [{"group": "scaleset.dev", "version": "v1beta1", "kind": kind}]
        schema = {"x-kubernetes-group-version-kind": known, "properties": {}}
        nothing["components"]["schemas"][kind] = schema
    tops = [path for path in missing(nothing) if path.startswith("ScaleSet ")]
    assert tops == [f"ScaleSet status.{name}" for name in ScaleSetStatus().model_dump(by_alias=True)]
    assert set(PARTS) == set(parts(ScaleSetStatus.parse({"status": FULL}).to_raw()))


@pytest.mark.parametrize("path", PARTS)
def test_only_what_decisions_do_without_may_be_missing(path: str) -> None:
    state = status_codec.read(ScaleSetStatus.parse({"status": FULL}))
    after = status_codec.read(ScaleSetStatus.parse({"status": without(FULL, path)}))
    top = path.partition(".")[0]
    if {path, top} & status_codec.ONLY_SHOWN:
        assert after == state
    elif not path.startswith("rollingUpgrade."):  # some of its parts are in the state a second time
        assert after != state


async def test_an_operator_newer_than_the_crds_may_not_begin(api: FakeApi, client: Client) -> None:
    schemas = ServedSchemas(client)
    api.openapi = served(path="rollingUpgrade.batch")
    problem = await schemas.problem()
    assert problem == (
        "the CustomResourceDefinitions are older than this operator, and do not know ScaleSet "
        "status.rollingUpgrade.batch: kubectl apply --server-side -f crds/"
    )
    del api.openapi["components"]["schemas"]["dev.scaleset.v1beta1.ScaleSet"]["properties"]["status"]
    assert "ScaleSet status.acceptedReplicas, " in (problem := await schemas.problem())
    assert problem.count("ScaleSet status.") == 5
    assert " more: kubectl" in problem
    api.openapi = served()
    assert await schemas.problem() == ""


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("ScaleSet", "instances"),
        ("ScaleSet", "conditions.message"),
        ("UpgradePolicy", "scaleSets"),
        ("GalleryImageVersion", "replicationStatus.summary.progress"),
    ],
)
async def test_what_is_only_shown_may_be_missing_and_the_log_says_so(
    api: FakeApi, client: Client, caplog: pytest.LogCaptureFixture, kind: str, path: str
) -> None:
    api.openapi = served(kind, path)
    assert await ServedSchemas(client).problem() == ""
    assert f'not_shown="{kind} status.{path}"' in caplog.text


async def test_crds_newer_than_the_operator_are_fine(
    api: FakeApi, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    api.openapi = served()
    for schema in api.openapi["components"]["schemas"].values():
        schema["properties"]["status"]["properties"]["ofTheFuture"] = {"type": "string"}
    assert await ServedSchemas(client).problem() == ""
    status = api.openapi["components"]["schemas"]["dev.scaleset.v1beta1.ScaleSet"]["properties"]["status"]
    status.clear()
    status["x-kubernetes-preserve-unknown-fields"] = True
    assert await ServedSchemas(client).problem() == ""
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


NO_DOCUMENTS = [[], {}, {"components": None}, {"components": {"schemas": {"a": None}}}, {"components": {"schemas": {}}}]


@pytest.mark.parametrize("document", NO_DOCUMENTS, ids=str)
async def test_a_document_that_says_nothing_is_waited_for_and_then_done_without(
    api: FakeApi,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    document: Any,
) -> None:
    now = 100.0
    monkeypatch.setattr(served_schemas, "monotonic", lambda: now)
    schemas = ServedSchemas(client)
    api.openapi = document
    assert "cannot read the schemas" in await schemas.problem()
    now += served_schemas.UNREAD_SECONDS - 0.1
    assert "cannot read the schemas" in await schemas.problem()
    now += 0.2
    assert await schemas.problem() == ""
    assert "crds_unchecked" in caplog.text


@pytest.mark.parametrize(("code", "waits"), [(403, False), (404, True), (503, True)])
async def test_a_document_that_is_refused(api: FakeApi, client: Client, code: int, waits: bool) -> None:
    api.refuse("GET", code)
    assert bool(await ServedSchemas(client).problem()) == waits
