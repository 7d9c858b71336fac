"""The kube layer against a real API server: what the unit tests' own one might get wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.kube.informer import Informer
from scaleset.kube.lease import Lease
from scaleset.kube.resources import CRDS, LEASES, PODS
from scaleset.records.kinds import SCALE_SETS
from scaleset.runtime.clock import ServerClock
from tests.cluster.harness.cluster import Cluster
from tests.unit.kube.test_store import Pod

JSON = dict[str, Any]


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with await Client.open(str(cluster.kubeconfig)) as opened:
        yield opened


def pod(name: str, **labels: str) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"set": name.rpartition("-")[0], **labels}},
        "spec": {"containers": [{"name": "main", "image": "example.test/web:1.0.0"}]},
    }


def project(obj: JSON) -> Pod:
    metadata = obj["metadata"]
    group = metadata.get("labels", {}).get("set", "")
    return Pod(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"], group)


def pods(
    client: Client, namespace: str, on_change: Callable[[tuple[str, str]], None] = lambda _: None
) -> Informer[Pod]:
    return Informer(
        client,
        PODS,
        namespaces=[namespace],
        project=project,
        group=lambda found: (found.namespace, found.group),
        on_change=on_change,
    )


@contextlib.asynccontextmanager
async def running(*work: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(each.run()) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what a test waits for has no event of its own
            await asyncio.sleep(0.02)


async def test_create_delete_and_their_preconditions(client: Client, namespace: str) -> None:
    dry = await client.create(PODS, namespace, pod("web-0"), dry_run=True)
    assert dry["metadata"]["uid"]
    with pytest.raises(errors.NotFound):
        await client.get(PODS, namespace, "web-0")
    made = await client.create(PODS, namespace, pod("web-0"))
    uid = made["metadata"]["uid"]
    for dry_run in (False, True):
        with pytest.raises(errors.AlreadyExists, match="web-0"):
            await client.create(PODS, namespace, pod("web-0"), dry_run=dry_run)
    with pytest.raises(errors.Conflict, match="UID in the precondition"):
        await client.delete(PODS, namespace, "web-0", uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(errors.Conflict, match="ResourceVersion in the precondition"):
        await client.delete(PODS, namespace, "web-0", uid=uid, resource_version="1")
    with pytest.raises(errors.Invalid, match="containers"):
        await client.create(PODS, namespace, {"metadata": {"name": "web-1"}, "spec": {}})
    with pytest.raises(errors.NamespaceTerminating):
        await client.create(PODS, "no-such-namespace", pod("web-0"))
    await client.delete(PODS, namespace, "web-0", uid=uid)


async def test_a_deleted_pod_is_answered_as_it_is_terminating(client: Client, namespace: str) -> None:
    made = await client.create(PODS, namespace, pod("web-0"))
    informer = pods(client, namespace)
    async with running(informer):
        # With a node it has a grace period to go through.
        await until(lambda: informer.get(namespace, "web-0"))
        async with asyncio.timeout(10):
            while not (await client.get(PODS, namespace, "web-0"))["spec"].get("nodeName"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        answer = await client.delete(PODS, namespace, "web-0", uid=made["metadata"]["uid"])
        assert answer["metadata"]["deletionTimestamp"]
        assert answer["metadata"]["uid"] == made["metadata"]["uid"]
        await until(lambda: not informer.get(namespace, "web-0"))


async def test_merge_patches_with_a_stale_version_are_conflicts(client: Client, namespace: str) -> None:
    # Gated: nobody else writes to it meanwhile.
    gated = pod("web-0")
    gated["spec"]["schedulingGates"] = [{"name": "example.test/never"}]
    made = await client.create(PODS, namespace, gated)
    stale = {"resourceVersion": made["metadata"]["resourceVersion"]}
    patched = await client.patch(PODS, namespace, "web-0", {"metadata": {**stale, "annotations": {"a": "1"}}})
    assert patched["metadata"]["annotations"]["a"] == "1"
    with pytest.raises(errors.Conflict):
        await client.patch(PODS, namespace, "web-0", {"metadata": {**stale, "annotations": {"a": "2"}}})
    with pytest.raises(errors.Conflict):
        await client.patch_status(PODS, namespace, "web-0", {"metadata": stale, "status": {"message": "late"}})
    other = {"uid": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(errors.Invalid, match="uid"):
        await client.patch_status(PODS, namespace, "web-0", {"metadata": other, "status": {"message": "wrong"}})
    gone = await client.patch(PODS, namespace, "web-0", {"metadata": {"annotations": {"a": None}}})
    assert "a" not in gone["metadata"].get("annotations", {})


async def test_lists_in_pages_and_by_label(client: Client, namespace: str) -> None:
    await asyncio.gather(*(client.create(PODS, namespace, pod(f"web-{n}")) for n in range(7)))
    await client.create(PODS, namespace, pod("db-0"))
    items, version = await client.list(PODS, namespace, limit=3)
    assert len(items) == 8
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)
    items, _ = await client.list(PODS, namespace, label_selector="set=db")
    assert [item["metadata"]["name"] for item in items] == ["db-0"]
    crds, _ = await client.list(CRDS, None)
    assert any(crd["metadata"]["name"] == f"{SCALE_SETS.plural}.{SCALE_SETS.group}" for crd in crds)


async def test_watch_from_a_list_and_from_too_long_ago(client: Client, namespace: str) -> None:
    _, version = await client.list(PODS, namespace)
    made = await client.create(PODS, namespace, pod("web-0"))
    async with aclosing(client.watch(PODS, namespace, resource_version=version, timeout=10)) as events:
        event = await anext(events)
        assert (event["type"], event["object"]["metadata"]["uid"]) == ("ADDED", made["metadata"]["uid"])
    # The server's cache of a custom resource begins after its CRD was created, and says 429 until it has.
    with pytest.raises(errors.Gone):
        async with asyncio.timeout(20):
            await begin_watch(client, namespace, "1")


async def begin_watch(client: Client, namespace: str, version: str) -> JSON:
    while True:
        try:
            async with aclosing(client.watch(SCALE_SETS, namespace, resource_version=version, timeout=10)) as events:
                return await anext(events)
        except errors.TooManyRequests as error:
            await asyncio.sleep(error.retry_after or 0.1)


async def test_a_watch_ends_by_itself_with_a_bookmark(client: Client, namespace: str) -> None:
    _, version = await client.list(PODS, "default")
    # A bookmark tells of what changed elsewhere; where nothing did, none is sent.
    await client.create(PODS, namespace, pod("web-0"))
    async with aclosing(client.watch(PODS, "default", resource_version=version, timeout=4)) as events:
        kinds = [event["type"] async for event in events]
    assert kinds[-1:] == ["BOOKMARK"]


async def test_the_informer_follows(client: Client, namespace: str) -> None:
    woken: list[tuple[str, str]] = []
    informer = pods(client, namespace, woken.append)
    async with running(informer):
        await until(lambda: informer.synced)
        made = await client.create(PODS, namespace, pod("web-0"))
        informer.remember(made)
        assert [found.uid for found in informer.of((namespace, "web"))] == [made["metadata"]["uid"]]
        await until(lambda: int(informer.all()[0].resource_version) > int(made["metadata"]["resourceVersion"]))
        await client.create(PODS, namespace, pod("web-1"))
        fresh = await informer.refresh((namespace, "web"), label_selector="set=web")
        assert sorted(found.name for found in fresh) == ["web-0", "web-1"]
        for found in fresh:
            informer.remember(await client.delete(PODS, namespace, found.name, uid=found.uid))
        await until(lambda: not informer.all())
        assert set(woken) == {(namespace, "web")}
        assert informer.relists == 1


async def test_the_informer_lists_again_after_410(client: Client, namespace: str) -> None:
    informer = pods(client, namespace)
    informer.resource = SCALE_SETS
    stream = informer._streams[0]
    stream.relist, stream.version = False, 1
    async with running(informer):
        await until(lambda: informer.synced)
        assert informer.relists == 1
        assert stream.version > 1


async def test_two_contenders_for_one_lease(cluster: Cluster, client: Client, namespace: str) -> None:
    async with await Client.open(str(cluster.kubeconfig)) as other:
        times: dict[str, Any] = {"duration": 15, "renew_deadline": 10, "retry_period": 0.1}
        one = Lease(client, namespace, "lease", "one", **times)
        two = Lease(other, namespace, "lease", "two", **times)
        async with running(one, two) as tasks:
            await until(lambda: one.held() or two.held())
            first, second = (one, two) if one.held() else (two, one)
            # A contender that never saw the lease cannot tell a deleted one from none.
            await until(lambda: second.holder == first.identity)
            for _ in range(3):
                lease = await client.get(LEASES, namespace, "lease")
                await client.delete(LEASES, namespace, "lease", uid=lease["metadata"]["uid"])
                await asyncio.sleep(0.4)
                assert first.held()
                assert not second.held()
            tasks[0 if first is one else 1].cancel()
            await until(second.held)
            assert not first.held()
            lease = await client.get(LEASES, namespace, "lease")
            assert lease["spec"]["holderIdentity"] == second.identity


async def test_a_lease_whose_holder_died_is_taken_after_its_duration(client: Client, namespace: str) -> None:
    times: dict[str, Any] = {"duration": 1, "renew_deadline": 0.8, "retry_period": 0.1}
    dead = Lease(client, namespace, "lease", "dead", **times)
    task = asyncio.create_task(dead.run())
    await until(dead.held)
    # As by kill -9: nothing is given back.
    dead._object = None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    heir = Lease(client, namespace, "lease", "heir", **times)
    began = asyncio.get_running_loop().time()
    async with running(heir):
        await until(heir.held)
    assert 1.0 <= asyncio.get_running_loop().time() - began < 3


async def test_the_servers_clock(client: Client, namespace: str) -> None:
    clock = ServerClock(wall=lambda: 0.0)
    client.transport.on_date = clock.observe
    for _ in range(20):
        made = await client.create(PODS, namespace, pod("web-0"), dry_run=True)
        await asyncio.sleep(0.05)
    assert clock.uncertainty < 0.3
    assert made["metadata"]["creationTimestamp"].startswith("20")
    assert clock.now() > 1_700_000_000
