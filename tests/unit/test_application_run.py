"""How the process starts and ends: parts in the right order, signals at any time, an error of a part is the end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scaleset.application import Application, CannotStartError, Options, one_line
from scaleset.kube.informer import Informer
from scaleset.runtime.workers import Workers
from tests.unit.fake_api_server import FakeApi


def application(kubeconfig: str, **options: Any) -> Application:
    return Application(
        Options(
            kubeconfig=kubeconfig,
            namespaces=("a",),
            leader_elect=False,
            metrics_bind_address="127.0.0.1:0",
            health_bind_address="127.0.0.1:0",
            **options,
        )
    )


@pytest.fixture(autouse=True)
def kopf_without_discovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf asks for more than the fake API server has. What counts here is its end: it cancels all of its loop."""

    async def root(stop_flag: asyncio.Event) -> None:
        await stop_flag.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def spawn_tasks(*, stop_flag: asyncio.Event, **_: Any) -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(root(stop_flag))]

    monkeypatch.setattr("scaleset.handlers.kopf.spawn_tasks", spawn_tasks)


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - what the fake API server has seen is no event
            await asyncio.sleep(0.02)


async def running(api: FakeApi, folder: Path) -> "asyncio.Task[None]":
    """An application that follows pods, claims and revisions, and soon the pods that pre-pull."""
    task = asyncio.create_task(application(api.kubeconfig(folder)).run())
    await until(lambda: api.watching >= 3 or task.done())
    assert not task.done(), task.result()
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_without_an_error(api, tmp_path, number):
    task = await running(api, tmp_path)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(task, 5)


async def test_a_second_signal_changes_nothing(api, tmp_path):
    task = await running(api, tmp_path)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)


async def test_a_signal_while_it_waits_for_the_api_server(api, tmp_path):
    api.refuse("GET", 503, times=1000)
    task = asyncio.create_task(application(api.kubeconfig(tmp_path)).run())
    await until(lambda: api.requests)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 3)


@pytest.mark.parametrize("part", ["informers", "work"])
async def test_a_part_that_dies_is_the_end_and_not_a_process_that_looks_alive(api, tmp_path, monkeypatch, part):
    broken = asyncio.Event()

    def until_broken(run: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def wrapped(*arguments: Any) -> None:
            task = asyncio.ensure_future(run(*arguments))
            try:
                await broken.wait()
            finally:
                task.cancel()
                await asyncio.wait({task})
            raise ZeroDivisionError("a mistake of ours")

        return wrapped

    kind: Any = Informer if part == "informers" else Workers
    monkeypatch.setattr(kind, "run", until_broken(kind.run))
    task = await running(api, tmp_path)
    broken.set()
    with pytest.raises((ZeroDivisionError, ExceptionGroup)):
        await asyncio.wait_for(task, 15)


async def test_a_reconcile_under_way_is_finished_before_the_end(api, tmp_path):
    """Told to end while a status write is on its way: the write is answered, not cancelled."""
    began, written = asyncio.Event(), []

    async def slow(request: Any) -> None:
        if request.method == "PATCH":
            began.set()
            await asyncio.sleep(0.5)
            written.append(request.path)

    api.before = slow
    # Without a spec that makes sense it gets a condition.
    api.put("a", "web", spec={})
    task = await running(api, tmp_path)
    await asyncio.wait_for(began.wait(), 10)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)
    assert written
    assert api.objects["a/web"]["status"]["conditions"]


async def test_a_kubeconfig_that_makes_no_sense(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text("[]")
    with pytest.raises(CannotStartError, match=f"cannot use kubeconfig {path}"):
        await application(str(path)).run()


@pytest.mark.parametrize(
    ("text", "sentence"), [("a\n  b\tc", "a b c"), ("", ""), ("x" * 1000, "x" * 400)], ids=["lines", "empty", "long"]
)
def test_one_line(text, sentence):
    assert one_line(text) == sentence
