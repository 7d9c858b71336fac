"""What a quota, a webhook or a server in trouble gets to see of a thousand instances, and that nobody is kept waiting
by an instance that is always refused.
"""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp import web

from scaleset.controllers.instance_writer import InstanceWriter
from scaleset.controllers.memory import LAST_RETRY, Memory
from scaleset.controllers.watches import Wakes, watch
from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.planner.instances import Build
from scaleset.planner.plan import Creation, Deletion, Plan
from scaleset.planner.revisions import describe
from scaleset.planner.state import State
from tests.simulation.world import EPOCH, OWNER, spec
from tests.unit.fake_api_server import FakeApi

MODEL = describe(OWNER.name, spec())
BUILD = Build(MODEL.name, "1.0.0", "example.com/web:1.0.0")


def nobody(*_: object) -> None:
    """Wakes nobody."""


class Scene:
    """A set whose missing instances are created again and again, as reconciles do it."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api, self.memory, self.now = api, Memory(), EPOCH
        self.caches = watch(
            client, Wakes(scale_sets=nobody, instances=nobody, versions=nobody, replications=nobody, policies=nobody)
        )
        self.writer = InstanceWriter(client, self.caches, now=lambda: self.now)
        self.refuses: dict[str, int] = {}
        """Answers, by the method and the name of a pod; `*` is any."""
        self.room: int | None = None
        """How many pods a quota has room for."""
        self.seen: list[str] = []
        api.before = self._before

    async def _before(self, request: web.Request) -> None:
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            name = json.loads(await request.read())["metadata"]["name"]
        self.seen.append(f"{request.method} {name}")
        full = self.room is not None and request.method == "POST" and len(self.api.objects) >= self.room
        code = self.refuses.get(f"{request.method} {name}", self.refuses.get(f"{request.method} *", 403 if full else 0))
        if code:
            raise _error(code)

    @property
    def missing(self) -> list[int]:
        return [n for n in range(1000) if f"{OWNER.namespace}/web-{n}" not in self.api.objects]

    async def create(self, numbers: Iterable[int] | None = None, *, deletions: Iterable[str] = ()) -> None:
        """One reconcile."""
        self.seen.clear()
        wanted = self.missing if numbers is None else list(numbers)
        plan = Plan(
            State(),
            creations=tuple(Creation(n, BUILD, None, EPOCH) for n in wanted),
            deletions=tuple(Deletion(0, name, "uid") for name in deletions),
        )
        self.memory.forget_unplanned(dict.fromkeys(wanted, BUILD), ["uid"])
        await self.writer.carry_out(OWNER, plan, {MODEL.name: MODEL}, self.memory)

    def later(self) -> None:
        """When whatever was refused is due again."""
        retry = self.memory.next_retry()
        assert retry is not None
        self.now = retry


def _error(code: int) -> web.HTTPException:
    body = {"kind": "Status", "code": code, "reason": "Refused", "message": "exceeded quota"}
    kinds = {403: web.HTTPForbidden, 429: web.HTTPTooManyRequests, 500: web.HTTPInternalServerError}
    kind: type[Any] = kinds.get(code, web.HTTPServiceUnavailable)
    error: web.HTTPException = kind(text=json.dumps(body), content_type="application/json")
    return error


@pytest.fixture
def scene(api, client):
    return Scene(api, client)


async def test_a_quota_without_room_sees_one_of_a_thousand(scene):
    scene.room = 0
    await scene.create()
    assert scene.seen == ["POST web-0"]
    assert len(scene.memory.create_errors) == 1000
    others = "Not tried, since the API server refuses instance 0: exceeded quota"
    assert {refusal.message for refusal in scene.memory.create_errors.values()} == {"exceeded quota", others}


async def test_it_is_asked_again_for_one_at_a_time_and_less_and_less_often(scene):
    scene.room = 0
    began = scene.now
    times, asked = [], []
    for _ in range(8):
        await scene.create()
        asked += scene.seen
        times.append(scene.now - began)
        scene.later()
    assert times == [0, 2, 6, 14, 30, 62, 122, 182]
    assert asked == [f"POST web-{n}" for n in range(8)]


async def test_nothing_is_asked_for_before_it_is_due(scene):
    scene.room = 0
    await scene.create()
    scene.now += 1
    await scene.create()
    assert scene.seen == []


async def test_when_there_is_room_again_all_are_created(scene):
    scene.room = 0
    for _ in range(6):
        await scene.create()
        scene.later()
    scene.room = 100
    await scene.create(range(100))
    assert len(scene.seen) == len(scene.api.objects) == 100
    assert not scene.memory.create_errors


async def test_a_quota_with_some_room_is_filled_and_not_asked_for_all_the_rest(scene):
    scene.room = 50
    await scene.create()
    assert len(scene.api.objects) == 50
    assert len(scene.seen) <= 50 + 24


@pytest.mark.parametrize("code", [403, 500], ids=["refused", "by a webhook that fails"])
async def test_one_that_is_always_refused_keeps_nobody(scene, code):
    scene.refuses["POST web-3"] = code
    for _ in range(3):
        await scene.create(n for n in scene.missing if n < 20)
        scene.later()
    assert scene.missing[:2] == [3, 20]
    await scene.create([3, 20, 21])
    assert sorted(scene.seen) == ["POST web-20", "POST web-21", "POST web-3"]


@pytest.mark.parametrize("code", [429, 503])
async def test_one_that_always_fails_keeps_nobody(scene, code):
    """Of an error that says nothing about it, the reconcile backs off and comes again."""
    scene.refuses["POST web-0"] = code
    with pytest.raises(errors.ApiError):
        await scene.create(range(10))
    assert scene.seen == ["POST web-0"]
    with pytest.raises(errors.ApiError):
        await scene.create(n for n in scene.missing if n < 10)
    assert [n for n in scene.missing if n < 10] == [0]


async def test_a_new_model_is_tried_with_one_again(scene):
    await scene.create(range(100))
    scene.memory.new_generation(2)
    scene.refuses["POST *"] = 403
    await scene.create(range(100, 300))
    assert scene.seen == ["POST web-100"]


async def test_a_refused_delete_keeps_neither_the_others_nor_a_creation(scene):
    scene.refuses["DELETE web-500"] = 403
    await scene.create([1], deletions=["web-500", "web-501", "web-502"])
    assert scene.memory.delete_errors["uid"].message == "exceeded quota"
    written = [call for call in scene.seen if not call.startswith("GET")]  # that they are gone is read
    assert written == ["DELETE web-500", "DELETE web-501", "DELETE web-502", "POST web-1"]


async def test_a_server_in_trouble_gets_nothing_more(scene):
    scene.refuses["DELETE *"] = 503
    with pytest.raises(errors.Unavailable):
        await scene.create(range(5), deletions=[f"web-{n}" for n in range(500, 600)])
    assert scene.seen == ["DELETE web-500"]


def test_refusals_come_back_within_a_minute():
    memory = Memory()
    for attempt in range(10):
        memory.create_errors.add(0, "no", now=100.0 * attempt, build=BUILD)
        assert memory.create_errors[0].retry_at <= 100.0 * attempt + LAST_RETRY
