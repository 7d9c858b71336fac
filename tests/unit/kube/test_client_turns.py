"""Requests take turns, and an API server that protects itself is left alone; the lease does not wait for either."""

import asyncio
from time import monotonic

import pytest
from aiohttp import web

from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.kube.rate_limit import Limits
from scaleset.kube.resources import LEASES, PODS

LONG = "50"
"""Seconds: whoever waits for so long fails the test."""


@pytest.fixture
def overloaded(api):
    """The server answers the next request as its flow control does, in plain text."""

    def refuse(retry_after: str) -> None:
        async def once(_: web.Request) -> None:
            api.before = None
            raise web.HTTPTooManyRequests(
                text="Too many requests, please try again later.", headers={"Retry-After": retry_after}
            )

        api.before = once

    return refuse


@pytest.fixture
def waits():
    return []


@pytest.fixture
async def narrow(api, tmp_path, waits):
    """A client that may send one request at a time and write once and then every 300 ms."""
    limits = Limits(qps=1 / 0.3, burst=1, concurrency=1)
    path = api.kubeconfig(tmp_path)
    async with await Client.open(path, limits=limits, on_wait=lambda *wait: waits.append(wait)) as opened:
        yield opened


def body(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}}


async def test_writes_keep_to_the_rate_and_reads_do_not(api, narrow, waits):
    began = monotonic()
    await asyncio.gather(*(narrow.create(PODS, "a", body(f"web-{n}")) for n in range(3)))
    assert monotonic() - began >= 0.55
    await asyncio.gather(*(narrow.get(PODS, "a", "web-0") for _ in range(20)))
    assert [method for method, _ in waits] == ["POST"] * 3 + ["GET"] * 20
    assert sum(seconds for method, seconds in waits if method == "POST") >= 0.55


async def test_the_time_limit_of_a_call_begins_with_its_turn(api, narrow):
    """With few tokens it is our own limit that a request waits for, and no news of the server."""
    await narrow.create(PODS, "a", body("web-0"))
    await narrow.create(PODS, "a", body("web-1"), timeout=0.25)
    assert len(api.requests) == 2


async def test_the_lease_waits_for_no_turn(api, narrow):
    arrived, released = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> None:
        if "pods" in request.path:
            arrived.set()
            await released.wait()

    api.before = hang
    others = [asyncio.create_task(narrow.create(PODS, "a", body(f"web-{n}"))) for n in range(5)]
    async with asyncio.timeout(10):
        await arrived.wait()
        await narrow.create(LEASES, "a", body("lease"))
        await narrow.get(LEASES, "a", "lease")
    assert sum("pods" in line for line in api.requests) == 1
    released.set()
    await asyncio.gather(*others)


async def test_an_overloaded_server_is_left_alone_for_as_long_as_it_asks(api, client, overloaded):
    overloaded("0.5")
    with pytest.raises(errors.Overloaded) as caught:
        await client.create(PODS, "a", body("web-0"))
    assert caught.value.retry_after == 0.5
    began = monotonic()
    await asyncio.gather(client.create(PODS, "a", body("web-0")), client.create(PODS, "b", body("web-0")))
    assert monotonic() - began >= 0.45
    assert len(api.requests) == 3


async def test_lists_are_a_reason_as_well_and_wait_too(client, overloaded):
    overloaded("0.5")
    with pytest.raises(errors.Overloaded):
        await client.list(PODS, "a")
    began = monotonic()
    await asyncio.gather(client.create(PODS, "a", body("web-0")), client.list(PODS, "b"))
    assert monotonic() - began >= 0.45
    overloaded("0.5")
    with pytest.raises(errors.Overloaded):
        await client.create(PODS, "a", body("web-1"))
    began = monotonic()
    await client.list(PODS, "a")
    assert monotonic() - began >= 0.45


async def test_the_lease_is_renewed_meanwhile(client, overloaded):
    overloaded(LONG)
    with pytest.raises(errors.Overloaded):
        await client.list(PODS, "a")
    async with asyncio.timeout(10):
        await client.create(LEASES, "a", body("lease"))


async def test_what_is_refused_for_itself_holds_back_nothing_else(api, client):
    """A webhook may answer 429, and the storage of one kind may not be ready: those say so in a Status."""
    api.refuse("POST", 429, headers={"Retry-After": LONG})
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.create(PODS, "a", body("web-0"))
    assert caught.value.retry_after == float(LONG)
    async with asyncio.timeout(10):
        await client.create(PODS, "a", body("web-1"))
