"""Following an API server that pages, forgets, freezes, cuts and goes back in time."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from scaleset.kube import informer as informer_module
from scaleset.kube.client import Client
from scaleset.kube.errors import Unavailable
from scaleset.kube.informer import Informer
from scaleset.kube.resources import PODS
from tests.unit.kube.test_store import Pod

KEY = ("a", "web")


def project(obj: dict[str, Any]) -> Pod:
    metadata = obj["metadata"]
    group = metadata["labels"]["set"]
    return Pod(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"], group)


class Following:
    """An informer that runs, and what it woke."""

    def __init__(self, client: Client, **options: Any) -> None:
        self.woken: Counter[tuple[str, str]] = Counter()
        self.informer: Informer[Pod] = Informer(
            client,
            PODS,
            project=project,
            group=lambda pod: (pod.namespace, pod.group),
            on_change=lambda key: self.woken.update([key]),
            jitter=lambda: 0.5,
            **options,
        )

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Informer[Pod]]:
        task = asyncio.create_task(self.informer.run())
        try:
            yield self.informer
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def following(client, monkeypatch):
    monkeypatch.setattr(informer_module, "BACKOFF_SECONDS", (0.01, 0.05))
    return Following(client)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110 - what a test waits for has no event of its own
            await asyncio.sleep(0.005)


def names(informer: Informer[Pod]) -> list[str]:
    return sorted(pod.name for pod in informer.all())


async def test_lists_in_pages_then_follows(api, following, monkeypatch):
    monkeypatch.setattr(informer_module, "PAGE", 3)
    for number in range(8):
        api.put("a", f"web-{number}")
    api.put("a", "db-0")
    async with following.run() as informer:
        assert not informer.synced
        assert informer.age() == float("inf")
        await until(lambda: informer.synced)
        assert len(informer.of(KEY)) == 8
        assert following.woken == {KEY: 1, ("a", "db"): 1}, "once per key, however many pods and pages"
        assert informer.age() < 1
        api.put("a", "web-8")
        api.drop("a", "web-0")
        await until(lambda: names(informer) == ["db-0", *(f"web-{n}" for n in range(1, 9))])
        assert following.woken[KEY] == 3
        assert informer.get("a", "web-0") is None
        assert informer.relists == 1


async def test_a_forgotten_version_lists_again_and_deletes_what_is_gone(api, following):
    api.put("a", "web-0")
    api.put("a", "web-1")
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.frozen = True
        api.drop("a", "web-1")
        api.compact()
        api.emit("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
        api.thaw()
        await until(lambda: names(informer) == ["web-0"])
        assert informer.relists == 2
        assert following.woken[KEY] == 2


async def test_410_as_http_status(api, following):
    api.put("a", "web-0")
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.frozen = True
        api.drop("a", "web-0")
        api.put("a", "web-1")
        api.compact()
        api.cut()
        api.thaw()
        await until(lambda: names(informer) == ["web-1"])
        assert informer.relists == 2


async def test_410_on_a_continue_token(api, following, monkeypatch):
    monkeypatch.setattr(informer_module, "PAGE", 2)
    for number in range(5):
        api.put("a", f"web-{number}")
    api.expire_continue = 2
    async with following.run() as informer:
        await until(lambda: informer.synced)
        assert len(informer.all()) == 5


async def test_a_cut_stream_goes_on_where_it_was_without_a_list(api, following):
    async with following.run() as informer:
        await until(lambda: api.watching)
        for number in range(5):
            api.put("a", f"web-{number}")
            await until(lambda: len(informer.all()) == api.version - 100)
            api.cut()
            await until(lambda: api.watching == 1)
        assert informer.relists == 1
        assert len(informer.all()) == 5


async def test_a_frozen_stream_is_noticed_and_replaced(api, following, monkeypatch):
    monkeypatch.setattr("scaleset.kube.transport.SILENCE_SECONDS", 0.1)
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.frozen = True
        api.put("a", "web-0")
        await asyncio.sleep(0.05)
        assert names(informer) == []
        await until(lambda: sum("watch=true" in request for request in api.requests) >= 2)
        api.thaw()
        await until(lambda: names(informer) == ["web-0"])
        assert informer.relists == 1


async def test_bookmarks_keep_it_fresh_and_move_it_on_without_waking_anybody(api, following):
    async with following.run() as informer:
        await until(lambda: api.watching)
        for _ in range(5):
            api.bookmark()
        await until(lambda: informer._streams[0].version == api.version)
        api.compact()
        api.cut()
        await until(lambda: api.watching == 1)
        api.put("a", "web-0")
        await until(lambda: names(informer) == ["web-0"])
        assert informer.relists == 1, "the bookmark's version was not forgotten"
        assert following.woken == {KEY: 1}


async def test_a_refused_list_is_tried_for_ever(api, following, caplog):
    api.refuse("GET", 503, times=7)
    api.put("a", "web-0")
    async with following.run() as informer:
        await until(lambda: informer.synced)
    complaints = [r.message for r in caplog.records if "informer_unavailable" in r.message]
    assert len(complaints) == 1, "said once, not once a try"
    assert any("informer_recovered" in r.message for r in caplog.records) or caplog.records


async def test_retry_after_is_kept(api, following):
    api.refuse("GET", 429, headers={"Retry-After": "0.15"})
    began = asyncio.get_running_loop().time()
    async with following.run() as informer:
        await until(lambda: informer.synced)
    assert asyncio.get_running_loop().time() - began >= 0.15


async def test_own_writes_are_seen_before_the_watch_shows_them(api, following, client):
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.frozen = True
        body = {"metadata": {"name": "web-0", "labels": {"set": "web"}}}
        made = await client.create(PODS, "a", body)
        informer.remember(made)
        assert [pod.uid for pod in informer.of(KEY)] == [made["metadata"]["uid"]]
        answer = await client.delete(PODS, "a", "web-0", uid=made["metadata"]["uid"])
        informer.forget("a", "web-0", made["metadata"]["uid"])
        informer.remember({"kind": "Status", "status": "Success"})
        informer.remember({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "a"}})
        informer.remember(answer)
        assert informer.of(KEY) == []
        api.thaw()
        api.put("a", "web-1")
        await until(lambda: names(informer) == ["web-1"])


async def test_the_answer_to_a_write_of_what_has_lost_the_label_says_that_it_is_gone(client):
    """Its watch tells nothing of it any more, so nothing would ever take it out again."""
    informer = Following(client, label="set").informer
    seen = {"name": "web-0", "namespace": "a", "uid": "1", "resourceVersion": "5", "labels": {"set": "web"}}
    informer.remember({"metadata": seen})
    assert names(informer) == ["web-0"]
    for labels in ({}, {"other": "web"}):
        informer.remember({"metadata": seen | {"resourceVersion": "9", "labels": labels}})
        assert informer.all() == []
    informer.remember({"metadata": seen | {"resourceVersion": "7"}})
    assert informer.all() == []
    informer.remember({"metadata": seen | {"resourceVersion": "10"}})
    assert names(informer) == ["web-0"]


async def test_a_swallowed_event_is_found_by_the_next_resync(api, following, monkeypatch):
    monkeypatch.setattr(informer_module, "RESYNC_SECONDS", 0.15)
    api.put("a", "web-0")
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.drop("a", "web-0")
        api.history.pop()
        await until(lambda: names(informer) == [])
        assert informer.relists >= 2


async def test_a_resync_comes_however_many_watches_end_before(api, following, monkeypatch):
    """A server ends each watch after some five minutes."""
    monkeypatch.setattr(informer_module, "RESYNC_SECONDS", 0.3)
    monkeypatch.setattr(informer_module, "GOOD_WATCH_SECONDS", 0.0)
    api.put("a", "web-0")
    async with following.run() as informer, asyncio.timeout(3):
        await until(lambda: api.watching)
        api.drop("a", "web-0")
        api.history.pop()
        while names(informer):
            api.cut()
            await asyncio.sleep(0.05)
        assert informer.relists == 2


async def test_a_server_that_answers_has_been_heard_though_it_sends_no_bookmarks(api, following, monkeypatch):
    monkeypatch.setattr("scaleset.kube.transport.SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(informer_module, "GOOD_WATCH_SECONDS", 0.0)
    async with following.run() as informer:
        await until(lambda: sum("watch=true" in request for request in api.requests) >= 6)
        assert informer.age() < 0.3, "0.5 s of silence"
        assert informer.relists == 1


async def test_an_etcd_that_went_back_is_noticed_when_the_watch_breaks(api, following, caplog):
    """Row 23: the server's versions are lower than ours, and a watch from ours would be silent for ever."""
    api.put("a", "web-0")
    backup, version = dict(api.objects), api.version
    async with following.run() as informer:
        await until(lambda: api.watching)
        for number in range(1, 6):
            api.put("a", f"web-{number}")
        api.drop("a", "web-0")
        await until(lambda: len(informer.all()) == 5 and not informer.get("a", "web-0"))
        api.objects, api.version = backup, version
        api.history.clear()
        api.cut()
        await until(lambda: names(informer) == ["web-0"])
        assert "etcd_restored" in caplog.text
        api.put("a", "web-9")
        await until(lambda: names(informer) == ["web-0", "web-9"])


async def test_a_fresh_list_of_one_set_is_merged_and_returned(api, following, client):
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.put("a", "web-0")
        api.put("a", "db-0")
        await until(lambda: len(informer.all()) == 2)
        api.frozen = True
        api.drop("a", "web-0")
        api.put("a", "web-1")
        assert [pod.name for pod in await informer.refresh(KEY, label_selector="set=web")] == ["web-1"]
        assert names(informer) == ["db-0", "web-1"]


async def test_a_fresh_list_older_than_what_we_know_decides_nothing_and_lists_everything(api, following):
    api.put("a", "web-0")
    backup, version = dict(api.objects), api.version
    async with following.run() as informer:
        await until(lambda: api.watching)
        api.put("a", "web-1")
        await until(lambda: len(informer.all()) == 2)
        api.objects, api.version = backup, version
        api.history.clear()
        with pytest.raises(Unavailable, match="back in time"):
            await informer.refresh(KEY, label_selector="set=web")
        await until(lambda: names(informer) == ["web-0"])


async def test_each_namespace_has_its_own_watch(api, client):
    api.put("a", "web-0")
    api.put("b", "web-0")
    api.put("c", "web-0")
    following = Following(client, namespaces=["a", "b"])
    async with following.run() as informer:
        await until(lambda: api.watching == 2)
        assert informer.synced
        api.put("b", "web-1")
        await until(lambda: len(informer.of(("b", "web"))) == 2)
        assert len(informer.of(KEY)) == 1
        assert informer.of(("c", "web")) == []


async def test_a_watch_that_ends_at_once_is_no_reason_to_spin(api, following):
    async def end(request):
        if "watch" in request.query:
            api.refuse("GET", 200)

    api.before = end
    async with following.run():
        await asyncio.sleep(0.15)
    assert sum("watch=true" in request for request in api.requests) < 12


async def test_a_watch_that_is_always_refused_is_no_storm_of_lists(api, following):
    """Row 17: 410 again and again."""

    async def refuse(request):
        if "watch" in request.query:
            api.refuse("GET", 410, reason="Expired")

    api.before = refuse
    async with following.run() as informer:
        await asyncio.sleep(0.2)
        assert informer.synced
        assert informer.relists < 10


async def test_where_watches_never_work_lists_do(api, following):
    """A proxy that breaks streams: the view is as old as the last list, not as the first."""

    async def refuse(request):
        if "watch" in request.query:
            api.refuse("GET", 500)

    api.before = refuse
    async with following.run() as informer:
        await until(lambda: informer.synced)
        api.put("a", "web-0")
        await until(lambda: names(informer) == ["web-0"])
        api.drop("a", "web-0")
        await until(lambda: names(informer) == [])
