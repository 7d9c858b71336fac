"""How the process starts and ends: parts in the right order, signals at any time, an error of a part is the end."""

import asyncio
import copy
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scaleset.application import Application, CannotStartError, Options, one_line
from scaleset.kube.informer import Informer
from scaleset.runtime.workers import Workers
from tests.unit.fake_api_server import JSON, FakeApi, openapi


def application(kubeconfig: str, **options: Any) -> Application:
    given = {"leader_elect": False, **options}
    return Application(
        Options(
            kubeconfig=kubeconfig,
            namespaces=("a",),
            metrics_bind_address="127.0.0.1:0",
            health_bind_address="127.0.0.1:0",
            **given,
        )
    )


@pytest.fixture(autouse=True)
def kopf_without_discovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf asks for more than the fake API server has. What counts here is its end: it cancels all of its loop."""

    async def root() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    async def spawn_tasks(**_: Any) -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(root())]

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


def older_crds() -> JSON:
    """What an API server publishes whose CRDs do not know what failed."""
    document = copy.deepcopy(openapi())
    schema = document["components"]["schemas"]["dev.scaleset.v1beta1.ScaleSet"]
    del schema["properties"]["status"]["properties"]["failedTargets"]
    return document


async def asked(api: FakeApi, times: int) -> None:
    """So many times more for the schemas."""
    before = sum("openapi" in each for each in api.requests)
    await until(lambda: sum("openapi" in each for each in api.requests) >= before + times)


async def test_on_older_crds_nothing_begins(api, tmp_path, caplog):
    """No watch, no lease, and not ready, until the CRDs know all that decisions go on from."""
    api.openapi = older_crds()
    api.put("a", "web", spec={})
    process = application(api.kubeconfig(tmp_path))
    task = asyncio.create_task(process.run())
    await asked(api, 3)
    assert process._unready() == "waiting for the API server and the CustomResourceDefinitions"
    assert api.watching == 0
    assert {each.partition(" ")[0] for each in api.requests} == {"GET"}
    assert caplog.text.count("do not know ScaleSet status.failedTargets") == 1
    api.openapi = openapi()
    await until(lambda: "conditions" in api.objects["a/web"].get("status", {}))
    assert process._unready() is None
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)


async def test_a_replica_that_begins_to_lead_looks_at_the_crds_again(api, tmp_path):
    """They were replaced by older ones while it waited: it holds the lease, and does nothing else."""

    async def older(request: Any) -> None:
        if request.method == "POST" and "/leases" in request.path:
            api.openapi = older_crds()

    api.before = older
    api.put("a", "web", spec={})
    process = application(api.kubeconfig(tmp_path), leader_elect=True, lease_namespace="ops")
    task = asyncio.create_task(process.run())
    await until(lambda: "ops/scaleset-operator" in api.objects)
    await asked(api, 3)
    assert process._unready() is not None
    assert "status" not in api.objects["a/web"]
    api.openapi = openapi()
    await until(lambda: "conditions" in api.objects["a/web"].get("status", {}))
    assert process._unready() is None
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)


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
