"""One writer at a time, whatever the clocks, the network and other people do."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from scaleset.kube.client import Client
from scaleset.kube.lease import Lease
from tests.unit.fake_api_server import FakeApi


class Contender:
    """A process that wants the lease: with a monotonic clock of its own that a test can push on."""

    def __init__(self, client: Client, identity: str) -> None:
        self.ahead = 0.0
        self.clock: Callable[[], float] = float
        """Stands still, unless a test is about real time."""
        self.log: list[str] = []
        self.lease = Lease(
            client,
            "a",
            "scaleset-operator",
            identity,
            duration=15,
            renew_deadline=10,
            retry_period=0.02,
            on_started=lambda: self.log.append("started"),
            on_lost=lambda: self.log.append("lost"),
            now=lambda: 1_800_000_000.5,
            monotonic=lambda: self.clock() + self.ahead,
            jitter=lambda: 0.0,
        )

    @contextlib.asynccontextmanager
    async def run(self):
        task = asyncio.create_task(self.lease.run())
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def one(client):
    return Contender(client, "one")


@pytest.fixture
def two(client):
    return Contender(client, "two")


def spec(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects["a/scaleset-operator"]["spec"]
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what a test waits for has no event of its own
            await asyncio.sleep(0.005)


async def turns(api: FakeApi, count: int = 3) -> None:
    """Let so many requests pass: everybody has looked again."""
    seen = len(api.requests)
    await until(lambda: len(api.requests) >= seen + count)


async def test_created_renewed_and_given_back(api, one, two):
    async with one.run():
        await until(one.lease.held)
        assert spec(api) == {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "acquireTime": "2027-01-15T08:00:00.500000Z",
            "renewTime": "2027-01-15T08:00:00.500000Z",
            "leaseTransitions": 0,
        }
        version = api.version
        await until(lambda: api.version > version + 2)
        async with two.run():
            await turns(api, 6)
            assert not two.lease.held()
            assert two.lease.holder == "one"
    assert one.log == ["started", "lost"]
    assert not one.lease.held()
    assert spec(api)["holderIdentity"] == ""
    async with two.run():
        await until(two.lease.held)
        assert (spec(api)["holderIdentity"], spec(api)["leaseTransitions"]) == ("two", 1)


async def test_somebody_elses_lease_expires_by_our_own_clock_and_only_if_it_does_not_change(api, two):
    lease = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "2000-01-01T00:00:00.000000Z"}
    api.put("a", "scaleset-operator", spec=lease)
    async with two.run():
        for number in range(5):
            api.put("a", "scaleset-operator", spec=lease | {"renewTime": f"1999-01-01T00:00:0{number}.000000Z"})
            await turns(api)
            two.ahead += 14.5
            await turns(api)
            assert not two.lease.held(), "renewed, however old its times look"
        two.ahead += 1
        await until(two.lease.held)
        assert spec(api)["leaseTransitions"] == 1


async def test_held_turns_false_on_time_though_nothing_else_runs(api, one):
    """Rows 9 and 15: the process was stopped, or its loop is blocked."""
    async with one.run() as running:
        await until(one.lease.held)
        one.ahead += 10
        assert not one.lease.held()
        await asyncio.wait([running], timeout=30)
        assert running.done()
        assert one.log == ["started", "lost"]
        before = api.version
        await asyncio.sleep(0.05)
        assert api.version == before, "not renewed after it ran out, even if the API server would still let us"


async def test_no_answer_is_a_lost_lease_at_the_deadline_and_not_before(api, one):
    async with one.run() as running:
        await until(one.lease.held)
        api.refuse("PUT", 503, times=10_000)
        api.refuse("GET", 503, times=10_000)
        one.ahead += 9
        await turns(api)
        assert one.lease.held()
        one.ahead += 1
        assert not one.lease.held()
        await asyncio.wait([running], timeout=30)
        assert one.log == ["started", "lost"]


async def test_an_answer_counts_from_when_the_request_was_sent(api, one):
    async def hang(_):
        await asyncio.sleep(20)

    async def slow(_):
        one.ahead += 9
        api.before = hang

    async with one.run():
        await until(one.lease.held)
        one.ahead += 5
        await turns(api, 2)
        api.before = slow
        await until(lambda: one.ahead == 14 and one.lease.held())
        one.ahead += 1.5
        assert not one.lease.held()


async def test_a_request_never_outlives_the_deadline(api, one):
    async def hang(_):
        await asyncio.sleep(20)

    one.clock = time.monotonic
    async with one.run() as running:
        await until(one.lease.held)
        one.ahead += 9.7
        api.before = hang
        began = time.monotonic()
        await asyncio.wait([running], timeout=30)
        assert running.done()
        assert time.monotonic() - began < 10


async def test_taken_by_somebody_else_is_lost_at_once(api, one):
    async with one.run() as running:
        await until(one.lease.held)
        api.put("a", "scaleset-operator", spec={"holderIdentity": "intruder", "leaseDurationSeconds": 15})
        await asyncio.wait([running], timeout=30)
        assert running.done()
        assert one.log == ["started", "lost"]
        assert one.lease.holder == "intruder"


async def test_a_deleted_lease_is_created_again_by_its_holder_and_by_nobody_else(api, one, two):
    """Row 10."""
    async with one.run(), two.run():
        await until(lambda: one.lease.held() or two.lease.held())
        holder, other = (one, two) if one.lease.held() else (two, one)
        await turns(api, 8)
        for _ in range(10):
            api.drop("a", "scaleset-operator")
            await until(lambda: "a/scaleset-operator" in api.objects)
            assert spec(api)["holderIdentity"] == holder.lease.identity
            assert holder.lease.held()
            assert not other.lease.held()
            await turns(api, 4)
        assert holder.log == ["started"]


async def test_a_deleted_lease_of_a_dead_holder_is_waited_for(api, two):
    api.put("a", "scaleset-operator", spec={"holderIdentity": "dead", "leaseDurationSeconds": 15})
    async with two.run():
        await turns(api)
        api.drop("a", "scaleset-operator")
        two.ahead += 14
        await turns(api)
        assert not two.lease.held()
        two.ahead += 2
        await until(two.lease.held)


async def test_a_lost_reply_is_found_out(api, one):
    """The write happened, the answer did not arrive: for the create, then for a renewal."""
    for method in ("POST", "PUT"):

        async def commit_and_fail(request, method=method):
            if request.method == method:
                api.before = None
                await api._handle(request)
                api.refuse(method, 500)

        api.before = commit_and_fail
        async with one.run():
            await until(lambda: api.before is None and one.lease.held())
            await turns(api, 4)
            assert one.lease.held()
            assert spec(api)["holderIdentity"] == "one"
            if method == "PUT":
                assert one.log == ["started"]
        one.log.clear()
        api.drop("a", "scaleset-operator")


async def test_a_note_on_the_lease_is_no_reason_to_lose_it(api, one):
    async with one.run():
        await until(one.lease.held)
        for number in range(5):
            known = api.objects["a/scaleset-operator"]
            known["metadata"]["annotations"] = {"note": str(number)}
            api.put("a", "scaleset-operator")
            await turns(api, 3)
        assert one.lease.held()
        assert one.log == ["started"]
        assert api.objects["a/scaleset-operator"]["metadata"]["annotations"]["note"] == "4"


async def test_many_contenders_never_two_at_once(api, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        contenders = []
        for number in range(5):
            client = await stack.enter_async_context(await Client.open(api.kubeconfig(tmp_path)))
            contender = Contender(client, f"c{number}")
            contenders.append((contender, await stack.enter_async_context(contender.run())))
        for _ in range(4):
            await until(lambda: any(contender.lease.held() for contender, _ in contenders))
            [(holder, task)] = [each for each in contenders if each[0].lease.held()]
            task.cancel()
            await asyncio.wait([task])
            assert not holder.lease.held()
        assert spec(api)["leaseTransitions"] == 4 or spec(api)["holderIdentity"] == ""


async def test_times_must_make_sense(client):
    with pytest.raises(ValueError, match="expected retry_period < renew_deadline < duration"):
        Lease(client, "a", "b", "c", duration=10, renew_deadline=10)
