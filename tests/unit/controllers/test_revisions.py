"""What becomes of a model that the API server does not store, or does not delete."""

from dataclasses import replace
from typing import Any

import pytest

from scaleset.controllers.caches import Caches
from scaleset.controllers.instance_writer import STRANGE, InstanceWriter
from scaleset.controllers.memory import Memory, Refusals
from scaleset.controllers.observation import check_model
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.planner import pod_builder
from scaleset.planner.instances import Build
from scaleset.planner.plan import ModelCheck
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from tests.simulation.world import OWNER
from tests.unit.fake_api_server import FakeApi

NAMESPACE = OWNER.namespace
TEMPLATE = {"metadata": {"labels": {"team": "a", "scaleset.dev/name": "x"}}, "spec": {"containers": [{"name": "app"}]}}
MODEL = Revision("web-1", 1, {"template": TEMPLATE})


def nobody(*_: object) -> None:
    """Wakes nobody."""


class Scene:
    """The writer of one set."""

    def __init__(self, client: Client) -> None:
        self.memory, self.client = Memory(), client
        self.caches: Caches = watch(
            client, Wakes(scale_sets=nobody, instances=nobody, versions=nobody, replications=nobody, policies=nobody)
        )
        self.writer = InstanceWriter(client, self.caches, now=lambda: 100.0)

    async def store(self, model: Revision = MODEL) -> bool:
        return await self.writer.store(OWNER, [model], self.memory)

    def stored(self) -> list[Any]:
        return list(self.caches.revisions.of((NAMESPACE, OWNER.name)))


@pytest.fixture
def scene(client: Client) -> Scene:
    return Scene(client)


def test_revisions_bear_the_labels_of_the_template_and_ours_win():
    labels = pod_builder.revision(OWNER, MODEL, 1)["metadata"]["labels"]
    assert labels == {"team": "a", "scaleset.dev/name": "web", "app.kubernetes.io/managed-by": "scaleset-operator"}


async def test_a_model_is_stored(scene: Scene) -> None:
    assert await scene.store()
    assert [revision.name for revision in scene.stored()] == ["web-1"]


@pytest.mark.parametrize("code", [403, 422, 500])
async def test_a_model_that_is_refused_is_remembered_as_such(api: FakeApi, scene: Scene, code: int) -> None:
    api.refuse("POST", code)
    assert not await scene.store()
    assert scene.memory.verdicts == {
        "web-1": Verdict(accepted=False, message=f"refused with {code}", reason="ModelNotStored", retry_at=102.0)
    }
    assert scene.stored() == []


async def test_a_refused_number_is_too(api: FakeApi, scene: Scene) -> None:
    await scene.store()
    (kept,) = scene.stored()
    api.refuse("PATCH", 403)
    assert not await scene.store(Revision("web-1", 3, MODEL.data, kept.uid))
    assert scene.memory.verdicts["web-1"].reason == "ModelNotStored"


@pytest.mark.parametrize(("code", "error"), [(404, errors.NotFound), (409, errors.Conflict), (503, errors.Unavailable)])
async def test_what_says_nothing_about_the_model_is_raised(
    api: FakeApi, scene: Scene, code: int, error: type[errors.ApiError]
) -> None:
    api.refuse("POST", code, reason=error.__name__)
    with pytest.raises(error):
        await scene.store()
    assert not scene.memory.verdicts


async def test_a_revision_that_stays_a_strangers_is_told_after_a_while(api: FakeApi, scene: Scene) -> None:
    """The garbage collector takes some seconds to delete that of a set of this name before."""
    api.put(NAMESPACE, "web-1", data={}, revision=1)
    for _ in range(STRANGE - 1):
        with pytest.raises(errors.AlreadyExists):
            await scene.store()
    assert not await scene.store()
    assert "Delete it" in scene.memory.verdicts["web-1"].message
    api.drop(NAMESPACE, "web-1")
    assert await scene.store()
    assert scene.memory.foreign_revisions == 0


async def test_a_model_is_stored_at_once_when_the_revision_of_the_former_set_is_gone(
    api: FakeApi, scene: Scene
) -> None:
    """The garbage collector may need longer than the back-off of a refused model waits at first."""
    api.put(NAMESPACE, "web-1", data={}, revision=1)
    former = pod_builder.revision(OWNER._replace(uid="uid-0"), MODEL, 1)
    former["metadata"] |= {"namespace": NAMESPACE, "uid": "uid-1", "resourceVersion": "1"}
    scene.caches.revisions.remember(former)
    for _ in range(STRANGE - 1):
        with pytest.raises(errors.AlreadyExists):
            await scene.store()
    assert not await scene.store()
    scene.memory.revisions_found({"web-1"})
    assert "web-1" in scene.memory.verdicts
    scene.memory.revisions_found(())
    assert not scene.memory.verdicts
    assert not scene.memory.verdicts
    assert not scene.memory.taken_names


async def test_an_old_revision_that_is_kept_stops_nothing_and_is_told_once(
    api: FakeApi, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.store()
    (kept,) = scene.stored()
    old = Revision("web-1", 1, MODEL.data, kept.uid)
    api.refuse("DELETE", 403, times=2)
    for _ in range(2):
        await scene.writer.discard(OWNER, [old], scene.memory)
        scene.memory.discard_errors = Refusals(
            {name: _due(refusal) for name, refusal in scene.memory.discard_errors.items()}
        )
    assert caplog.text.count("revision_not_deleted") == 1
    assert [revision.name for revision in scene.stored()] == ["web-1"]
    await scene.writer.discard(OWNER, [old], scene.memory)
    assert scene.stored() == []
    assert not scene.memory.discard_errors


def _due(refusal: Any) -> Any:
    return replace(refusal, retry_at=0.0)


# --- asking about a model


def asked(*, runs: bool) -> ModelCheck:
    return ModelCheck(MODEL, Build("web-1", "1.0.0", "os:1"), instance=0, beside=1, runs=runs)


async def test_a_model_is_asked_about_strictly_and_its_pod_is_tried(api: FakeApi, client: Client) -> None:
    verdict = await check_model(client, OWNER, asked(runs=False), now=1.8e9)
    assert verdict == Verdict(accepted=True)
    queries = [request.partition("?")[2] for request in api.requests]
    assert queries == ["dryRun=All&fieldValidation=Strict", "dryRun=All"]
    assert not api.objects


@pytest.mark.parametrize("code", [409, 429, 503])
async def test_a_model_that_runs_is_not_stopped_by_silence(api: FakeApi, client: Client, code: int) -> None:
    api.refuse("POST", code)
    assert await check_model(client, OWNER, asked(runs=True), now=1.8e9) == Verdict(accepted=True, unanswered=True)
    api.refuse("POST", code)
    with pytest.raises(errors.ApiError):
        await check_model(client, OWNER, asked(runs=False), now=1.8e9)
