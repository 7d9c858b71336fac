"""kopf as it is, on an API server that refuses a watch: why it has a thread of its own, and that it works there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from scaleset import handlers
from scaleset.api import names
from scaleset.kube.client import Client
from tests.unit.fake_api_server import JSON, FakeApi

SPACES = ("a", "b", "c", "d")


def refusing(plural: str, namespace: str) -> Callable[[web.Request], Awaitable[None]]:
    """Answer the watches of that kind, in that namespace, with 410."""

    async def before(request: web.Request) -> None:
        if "watch" in request.query and request.path.endswith(f"/{namespace}/{plural}"):
            raise web.HTTPGone

    return before


@asynccontextmanager
async def running(work: Any) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - what the fake API server has seen is no event
            await asyncio.sleep(0.02)


def watched(api: FakeApi, *, since: int = 0) -> set[str]:
    """The namespaces whose watches were asked for, from that request on."""
    asked = [each for each in api.requests[since:] if "watch=true" in each]
    return {each.partition("/namespaces/")[2].partition("/")[0] for each in asked}


async def test_events_are_delivered_again_after_a_refused_watch(
    api: FakeApi, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """kopf ends with it and is started again; our own tasks do not notice."""
    found: list[str] = []

    def seen(_: str | None, raw: JSON) -> None:
        found.append(raw["metadata"]["name"])

    ours = asyncio.create_task(asyncio.sleep(60))
    kinds: dict[str, handlers.Seen] = {names.SCALE_SET_PLURAL: seen}
    async with running(handlers.run(client, kinds, namespaces=SPACES)):
        await until(lambda: watched(api) == set(SPACES))
        api.put("a", "before")
        await until(lambda: "before" in found)
        api.before = refusing(names.SCALE_SET_PLURAL, "b")
        api.cut()
        await until(lambda: "kopf_ended" in caplog.text)
        api.before = None
        now = len(api.requests)
        await until(lambda: watched(api, since=now) == set(SPACES))
        api.put("a", "after")
        await until(lambda: "after" in found)
        assert not ours.done()
    ours.cancel()


async def test_the_wait_before_a_new_start_grows_until_kopf_has_run_for_a_minute(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or an operator that lives for months would leave kopf ended for half a minute each time."""
    lives = iter([1.0, 1.0, handlers.SETTLED_SECONDS + 1, 1.0])
    now, over = 0.0, asyncio.Event()

    async def run_in_kopf_thread(_: Any, **__: Any) -> None:
        nonlocal now
        life = next(lives, None)
        if life is None:
            over.set()
            return await asyncio.sleep(60)
        now += life
        raise ValueError("a watch failed")

    monkeypatch.setattr(handlers, "run_in_kopf_thread", run_in_kopf_thread)
    monkeypatch.setattr(handlers, "monotonic", lambda: now)
    monkeypatch.setattr(handlers, "Backoffs", lambda: [0.001, 0.002, 0.003, 0.004])
    async with running(handlers.run(client, {}, namespaces=SPACES)):
        await asyncio.wait_for(over.wait(), 5)
    ends = [record.args for record in caplog.records if record.msg.startswith("kopf_ended")]
    assert [each["retry_in"] for each in ends if isinstance(each, dict)] == [0.001, 0.002, 0.001, 0.002]


async def test_the_watches_end_before_the_session_that_they_read_from(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one that has an event at hand when the operator stops would log an error."""
    left: list[str] = []
    close = handlers._Login.aclose

    async def aclose(login: handlers._Login) -> None:
        left[:] = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]
        await close(login)

    monkeypatch.setattr(handlers._Login, "aclose", aclose)
    async with running(handlers.run(client, {names.SCALE_SET_PLURAL: lambda *_: None}, namespaces=SPACES)):
        await until(lambda: watched(api) == set(SPACES))
        assert left
    assert not left
