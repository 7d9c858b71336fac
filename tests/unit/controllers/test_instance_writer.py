"""What becomes of a change in place that the API server does not carry out, and of what vanishes between two calls."""

import json
from dataclasses import replace
from typing import Any

import pytest

from scaleset.controllers.caches import Caches
from scaleset.controllers.instance_writer import InstanceWriter
from scaleset.controllers.memory import Memory
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.planner.instances import Build, Change, Pod
from scaleset.planner.plan import Creation, ImageChange, Plan
from scaleset.planner.state import State
from tests.simulation.world import OWNER, World, spec
from tests.unit.fake_api_server import FakeApi

NAMESPACE = OWNER.namespace


def nobody(*_: object) -> None:
    """Wakes nobody."""


class Scene:
    """One pod of a set, as it is seen."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api, self.memory = api, Memory()
        self.caches: Caches = watch(
            client, Wakes(scale_sets=nobody, instances=nobody, versions=nobody, replications=nobody, policies=nobody)
        )
        self.writer = InstanceWriter(client, self.caches, now=lambda: 0.0)
        api.put(NAMESPACE, "web-0", spec={"containers": [{"name": "app", "image": "os:1"}]})
        self.raw = api.objects[f"{NAMESPACE}/web-0"]
        self.caches.pods.remember(self.raw)

    @property
    def seen(self) -> Pod | None:
        return self.caches.pods.get(NAMESPACE, "web-0")

    async def change(self, **changes: Any) -> bool:
        assert self.seen is not None
        wanted = ImageChange(
            0,
            "web-0",
            self.seen.uid,
            self.seen.resource_version,
            Build("web-2", "2.0.0", "os:2"),
            None,
            Change(0.0, "app", "os:1", "a"),
        )
        plan = Plan(State(), changes=(replace(wanted, **changes),))
        return await self.writer.carry_out(OWNER, plan, {}, self.memory)


@pytest.fixture
def scene(api, client):
    return Scene(api, client)


async def test_it_is_one_strategic_merge_patch_and_its_answer_is_known(api, scene):
    sent = []

    async def record(request):
        sent.append((request.method, request.content_type, json.loads(await request.read())["metadata"]["uid"]))

    api.before = record
    assert await scene.change() is False
    assert sent == [("PATCH", "application/strategic-merge-patch+json", scene.raw["metadata"]["uid"])]
    assert scene.seen.images == (("app", "os:2"),)


async def test_a_pod_that_changed_meanwhile_is_read_and_decided_on_again(api, scene):
    api.put(NAMESPACE, "web-0", spec={"containers": [{"name": "app", "image": "os:1"}]}, status={"phase": "Running"})
    before = scene.seen.resource_version
    assert await scene.change() is True
    assert int(scene.seen.resource_version) > int(before)
    assert scene.seen.images == (("app", "os:1"),)
    assert not scene.memory.patch_errors
    assert await scene.change() is False
    assert scene.seen.images == (("app", "os:2"),)


@pytest.mark.parametrize(("code", "error"), [(409, errors.Conflict), (404, errors.NotFound)])
async def test_a_refusal_about_a_pod_that_did_not_change_is_raised_so_that_the_set_backs_off(api, scene, code, error):
    """An admission webhook may answer 409, a control plane that comes up again 404."""
    api.refuse("PATCH", code, reason=error.__name__)
    with pytest.raises(error):
        await scene.change()
    assert scene.seen is not None


@pytest.mark.parametrize("code", [403, 422])
async def test_a_refusal_is_remembered_as_long_as_the_pod_lives(api, scene, code):
    api.refuse("PATCH", code)
    assert await scene.change() is True
    assert scene.memory.patch_errors == {scene.seen.uid: f"refused with {code}"}
    scene.memory.remember_pods([(0, scene.seen)])
    assert scene.memory.patch_errors
    scene.memory.remember_pods([(0, replace(scene.seen, uid="next"))])
    assert not scene.memory.patch_errors


@pytest.mark.parametrize("when", ["before", "between"])
async def test_a_pod_that_is_gone_is_forgotten(api, scene, when):
    if when == "before":
        api.drop(NAMESPACE, "web-0")
    else:
        api.refuse("PATCH", 409, reason="Conflict")
        api.refuse("GET", 404, reason="NotFound")
    assert await scene.change() is True
    assert scene.seen is None


async def test_what_may_or_may_not_have_happened_is_raised(api, scene):
    api.refuse("PATCH", 503)
    with pytest.raises(errors.Unavailable):
        await scene.change()
    assert not scene.memory.patch_errors


async def test_a_webhook_that_fails_keeps_a_pod_for_a_while_and_has_it_not_recreated(api, scene):
    api.refuse("PATCH", 500)
    assert await scene.change() is True, "decided about at once"
    assert not scene.memory.patch_errors
    assert list(scene.memory.delete_errors)
    assert scene.memory.next_retry() is not None


CLAIM = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}


def creation(scene: Scene, *, claims: tuple[str, ...] = ()) -> Any:
    """Carries out the creation of web-0, which is not there any more."""
    model = replace(World(spec=spec(volumeClaimTemplates=[CLAIM])).model, number=1)
    plan = Plan(State(), creations=(Creation(0, Build(model.name, "1.0.0", "os:1"), None, 0.0, claims),))
    return scene.writer.carry_out(OWNER, plan, {model.name: model}, scene.memory)


@pytest.mark.parametrize("what", ["pod", "claim"])
async def test_what_vanishes_between_two_calls_is_created_and_nothing_was_refused(api, scene, what):
    """AlreadyExists, then 404: a pod that was just leaving, or a claim that somebody deleted."""
    api.drop(NAMESPACE, "web-0")
    api.refuse("POST", 409, reason="AlreadyExists")
    api.refuse("GET", 404, reason="NotFound")
    await creation(scene, claims=("data",) if what == "claim" else ())
    assert f"{NAMESPACE}/web-0" in api.objects
    assert scene.memory.create_errors == {}


async def test_what_says_so_again_and_again_is_no_refusal_and_not_asked_at_once(api, scene):
    """An admission webhook may answer anything: the set backs off, and no instance is blamed."""
    api.drop(NAMESPACE, "web-0")
    api.refuse("POST", 409, reason="AlreadyExists", times=2)
    api.refuse("GET", 404, reason="NotFound", times=2)
    with pytest.raises(errors.AlreadyExists):
        await creation(scene)
    assert scene.memory.create_errors == {}


async def test_a_model_that_vanishes_between_two_calls_is_stored(api, scene):
    model = World().model
    api.refuse("POST", 409, reason="AlreadyExists")
    api.refuse("GET", 404, reason="NotFound")
    await scene.writer.store(OWNER, [model], scene.memory)
    assert f"{NAMESPACE}/{model.name}" in api.objects
