"""Calls: what is sent, what comes back, what an error means."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp.http_writer import StreamWriter

from scaleset.kube import errors
from scaleset.kube.client import Client
from scaleset.kube.resources import LEASES, PODS
from tests.unit.fake_api_server import FakeApi


def pod(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}


async def test_lists_in_pages_of_one_state(api, client):
    for number in range(7):
        api.put("a", f"web-{number}")
    items, version = await client.list(PODS, "a", limit=3)
    assert [item["metadata"]["name"] for item in items] == [f"web-{n}" for n in range(7)]
    assert version == str(api.version)
    assert len(api.requests) == 3
    assert "resourceVersion" not in api.requests[0]


async def test_an_expired_continue_token_starts_the_list_again_once(api, client):
    for number in range(5):
        api.put("a", f"web-{number}")
    api.expire_continue = 1
    items, _ = await client.list(PODS, "a", limit=2)
    assert len(items) == 5
    api.expire_continue = 2
    with pytest.raises(errors.Gone):
        await client.list(PODS, "a", limit=2)


async def test_label_selector_is_encoded(api, client):
    api.put("a", "web-0")
    api.put("a", "db-0")
    items, _ = await client.list(PODS, None, label_selector="set=web")
    assert [item["metadata"]["name"] for item in items] == ["web-0"]


async def test_create_get_patch_replace_delete(api, client):
    dry = await client.create(PODS, "a", pod("web-0"), dry_run=True)
    assert dry["metadata"]["name"] == "web-0"
    assert not api.objects
    made = await client.create(PODS, "a", pod("web-0"))
    with pytest.raises(errors.AlreadyExists):
        await client.create(PODS, "a", pod("web-0"))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    patched = await client.patch_status(
        PODS, "a", "web-0", {"metadata": {"resourceVersion": version}, "status": {"phase": "Running"}}
    )
    assert patched["status"] == {"phase": "Running"}
    assert api.requests[-1] == "PATCH /api/v1/namespaces/a/pods/web-0/status"
    with pytest.raises(errors.Conflict):
        await client.patch(PODS, "a", "web-0", {"metadata": {"resourceVersion": version}})
    with pytest.raises(errors.Conflict):
        await client.replace(PODS, "a", "web-0", made)
    with pytest.raises(errors.Conflict):
        await client.delete(PODS, "a", "web-0", uid="another")
    with pytest.raises(errors.Conflict):
        await client.delete(PODS, "a", "web-0", uid=uid, resource_version=version)
    await client.delete(PODS, "a", "web-0", uid=uid)
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "a", "web-0")


async def test_a_delete_without_uid_is_a_mistake_of_ours(client):
    with pytest.raises(ValueError, match="needs its uid"):
        await client.delete(PODS, "a", "web-0", uid="")


async def test_a_delete_carries_preconditions_and_never_a_grace_period(api, client):
    bodies = []

    async def record(request):
        bodies.append((request.content_type, json.loads(await request.read())))

    api.before = record
    with pytest.raises(errors.NotFound):
        await client.delete(PODS, "a", "web-0", uid="u", resource_version="5")
    with pytest.raises(errors.NotFound):
        await client.patch(PODS, "a", "web-0", {})
    preconditions = {"uid": "u", "resourceVersion": "5"}
    assert bodies == [
        ("application/json", {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}),
        ("application/merge-patch+json", {}),
    ]


NAMED: dict[type[errors.ApiError], list[tuple[int, str]]] = {
    errors.Invalid: [(400, "BadRequest"), (413, "RequestEntityTooLarge"), (422, "Invalid")],
    errors.Forbidden: [(403, "Forbidden")],
    errors.NotFound: [(404, "NotFound")],
    errors.Conflict: [(409, "Conflict")],
    errors.AlreadyExists: [(409, "AlreadyExists")],
    errors.Gone: [(410, "Expired")],
    errors.TooManyRequests: [(429, "TooManyRequests")],
    errors.Unavailable: [(500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")],
    errors.ApiError: [(418, "Teapot")],
}


@pytest.mark.parametrize(
    ("code", "reason", "kind"), [(*answer, kind) for kind, answers in NAMED.items() for answer in answers]
)
async def test_errors_are_named_by_what_to_do(api, client, code, reason, kind):
    api.refuse("GET", code, reason=reason)
    with pytest.raises(errors.ApiError) as caught:
        await client.get(PODS, "a", "web-0")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason, caught.value.message) == (code, reason, f"refused with {code}")


async def test_retry_after_is_honoured_where_the_server_gives_it(api, client):
    api.refuse("POST", 429, headers={"Retry-After": "5"})
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.create(PODS, "a", pod("web-0"))
    assert caught.value.retry_after == 5.0
    api.refuse("POST", 429)
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.create(PODS, "a", pod("web-0"))
    assert caught.value.retry_after == 1.0
    assert len(api.requests) == 2, "a write is never repeated behind the caller's back"


def test_an_error_page_of_a_proxy_is_an_error_too():
    error = errors.from_response(502, b"<html>Bad gateway</html>" * 100, None)
    assert isinstance(error, errors.Unavailable)
    assert len(error.message) <= 200


def test_retry_after_in_the_details_of_a_status():
    status = {"code": 500, "reason": "ServerTimeout", "message": "m", "details": {"retryAfterSeconds": 2}}
    assert errors.from_status(status, code=500).retry_after == 2.0


async def test_nobody_listening_and_silence_are_unavailable(api, client):
    async def hang(_):
        await asyncio.sleep(10)

    counted = []
    client.transport.on_request = lambda *seen: counted.append(seen[:2])
    api.before = hang
    with pytest.raises(errors.Unavailable, match="TimeoutError: GET /api/v1/namespaces/a/pods/web-0"):
        await client.get(PODS, "a", "web-0", timeout=0.05)
    assert counted == [("GET", "<error>")]

    async def cut(request):
        request.transport.abort()
        await asyncio.sleep(10)

    api.before = cut
    with pytest.raises(errors.Unavailable):
        await client.create(PODS, "a", pod("web-0"))


async def test_connection_refused_is_unavailable(tmp_path):
    api = FakeApi()
    async with api.serve():
        path = api.kubeconfig(tmp_path)
    async with await Client.open(path) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.list(PODS, None)
    assert caught.value.status == 0


async def test_writes_need_the_lease_but_not_those_of_the_lease(api, client):
    client.writes_allowed = lambda: False
    for call in (
        client.create(PODS, "a", pod("web-0")),
        client.delete(PODS, "a", "web-0", uid="u"),
        client.patch(PODS, "a", "web-0", {}),
        client.patch_status(PODS, "a", "web-0", {}),
        client.replace(PODS, "a", "web-0", {}),
    ):
        with pytest.raises(errors.NotLeader):
            await call
    assert not api.requests
    await client.create(LEASES, "a", pod("lease"))
    await client.list(PODS, "a")


@pytest.mark.parametrize("moment", ["its connection was made", "its headers were written"])
async def test_a_lease_that_is_lost_before_the_first_byte_stops_the_write(api, client, monkeypatch, moment):
    """A loop that was blocked goes on with the calls that it had begun. Aiohttp writes headers into memory, and lets
    others have a turn before they leave with the body.
    """
    loop = asyncio.get_running_loop()
    place, name = (loop, "create_connection") if "connection" in moment else (StreamWriter, "write_headers")
    before = getattr(place, name)
    allowed = [True]
    client.writes_allowed = lambda: allowed[0]

    async def lost(*arguments: Any, **options: Any) -> Any:
        made = await before(*arguments, **options)
        allowed[0] = False
        return made

    monkeypatch.setattr(place, name, lost)
    with pytest.raises(errors.NotLeader):
        await client.create(PODS, "a", pod("web-0"))
    assert not allowed[0], f"it was stopped before {moment}"
    assert not api.requests
    assert not api.objects


async def test_every_response_feeds_the_clock_and_the_counter(api, client):
    dates, counted = [], []
    client.transport.on_date = lambda *seen: dates.append(seen)
    client.transport.on_request = lambda *seen: counted.append(seen[:2])
    await client.list(PODS, "a")
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "a", "web-0")
    assert counted == [("GET", "200"), ("GET", "404")]
    assert all(date.endswith("GMT") and sent <= received for date, sent, received in dates)
    assert len(dates) == 2


async def test_the_watch_gives_events_whole_whatever_the_chunks(api, client):
    api.put("a", "web-0", status={"text": "ä" * 70000})
    api.put("a", "web-1")
    api.drop("a", "web-0")
    seen = []
    async with aclosing(client.watch(PODS, "a", resource_version="100")) as events:
        async for event in events:
            seen.append((event["type"], event["object"]["metadata"].get("name")))
            if len(seen) == 3:
                api.bookmark()
            if event["type"] == "BOOKMARK":
                break
    assert seen == [("ADDED", "web-0"), ("ADDED", "web-1"), ("DELETED", "web-0"), ("BOOKMARK", None)]
    assert "allowWatchBookmarks=true" in api.requests[0]


async def test_a_watch_from_too_old_a_version_is_gone_as_response_and_as_event(api, client):
    api.compact()
    with pytest.raises(errors.Gone):
        async with aclosing(client.watch(PODS, "a", resource_version="5")) as events:
            await anext(events)
    api.emit("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    with pytest.raises(errors.Gone):
        async with aclosing(client.watch(PODS, "a", resource_version="100")) as events:
            await anext(events)


async def test_a_watch_that_is_cut_is_unavailable(api, client):
    async with aclosing(client.watch(PODS, "a", resource_version="100")) as events:
        api.put("a", "web-0")
        await anext(events)
        api.cut()
        with pytest.raises(errors.Unavailable):
            await anext(events)


async def test_a_silent_watch_is_given_up(api, client, monkeypatch):
    monkeypatch.setattr("scaleset.kube.transport.SILENCE_SECONDS", 0.1)
    api.frozen = True
    api.put("a", "web-0")
    async with aclosing(client.watch(PODS, "a", resource_version="100")) as events:
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await anext(events)


async def test_thirty_two_calls_at_once(api, client):
    running, most = 0, 0
    all_in = asyncio.Event()

    async def count(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 32:
            all_in.set()
        await all_in.wait()

    api.before = count
    await asyncio.gather(*(client.list(PODS, "a") for _ in range(32)))
    assert most == 32


async def test_user_agent_names_us(api, client):
    agents = []

    async def record(request):
        agents.append(request.headers["User-Agent"])

    api.before = record
    await client.list(PODS, "a")
    assert agents[0].startswith("scaleset-operator/")


ENDING = {
    "kind": "namespaces",
    "causes": [{"reason": "NamespaceTerminating", "message": "namespace a is being terminated"}],
}


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (403, ENDING, errors.NamespaceTerminating),
        (404, {"kind": "namespaces", "name": "a"}, errors.NamespaceTerminating),
        (403, {"kind": "pods"}, errors.Forbidden),
        (404, {"kind": "pods", "name": "web-0"}, errors.NotFound),
        (404, {}, errors.NotFound),
    ],
)
def test_a_namespace_that_is_deleted_refuses_nothing(code, details, kind):
    """What `except Forbidden` or `except NotFound` takes for a refusal of the object is not about the object."""
    assert type(errors.from_status({"code": code, "message": "no", "details": details}, code=code)) is kind
