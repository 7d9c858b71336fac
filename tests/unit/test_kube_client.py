"""Calls: what is sent, what comes back, what an error means."""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import certifi
import pytest

from scaleset.kube import credentials, errors
from scaleset.kube.client import Client
from scaleset.kube.resources import LEASES, PODS, SCALE_SETS, Resource
from tests.unit.fake_api_server import FakeApi


def pod(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "path"),
    [
        (PODS, "a", "web-0", "/api/v1/namespaces/a/pods/web-0"),
        (SCALE_SETS, "a", "web", "/apis/scaleset.dev/v1beta1/namespaces/a/scalesets/web"),
        (Resource("x.io", "v1", "things", namespaced=False), None, "t", "/apis/x.io/v1/things/t"),
        (Resource("x.io", "v1", "things", namespaced=False), "a", "t", "/apis/x.io/v1/things/t"),
    ],
)
def test_paths(resource, namespace, name, path):
    assert resource.item(namespace, name) == path


@pytest.mark.parametrize("name", ["", ".", "..", "../secrets", "a/b", "a?b", "a%2fb", "a b", "-a", "a" * 254, "a\n"])
def test_what_cannot_be_a_name_never_becomes_part_of_a_url(name):
    with pytest.raises(ValueError, match="expected the name of an object"):
        PODS.item("a", name)
    with pytest.raises(ValueError, match="expected the name of an object"):
        PODS.collection(name)


def test_a_namespaced_object_needs_a_namespace():
    with pytest.raises(ValueError, match="needs a namespace"):
        PODS.item(None, "web-0")


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


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.Invalid),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (413, "RequestEntityTooLarge", errors.Invalid),
        (418, "Teapot", errors.ApiError),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.Unavailable),
        (503, "ServiceUnavailable", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
    ],
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


# Credentials


@pytest.fixture
def in_cluster(api, tmp_path, monkeypatch):
    """A pod's service account, with an API server that speaks HTTP."""
    host, port = api.url.removeprefix("http://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("one")
    end = "-----END CERTIFICATE-----\n"
    authority.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    module = "kubernetes.aio.config.incluster_config"
    monkeypatch.setattr(f"{module}.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(f"{module}.SERVICE_CERT_FILENAME", str(authority))
    original = credentials._load_in_cluster

    async def over_http(configuration, anew):
        await original(configuration, anew)
        configuration.host = api.url

    monkeypatch.setattr(credentials, "_load_in_cluster", over_http)
    return token


async def test_in_cluster_token_is_read_again_after_a_401_in_the_same_call(api, in_cluster):
    api.tokens = {"one"}
    async with await Client.open() as client:
        await client.list(PODS, "a")
        in_cluster.write_text("two\n")
        api.tokens = {"two"}
        made = await client.create(PODS, "a", pod("web-0"))
        assert made["metadata"]["name"] == "web-0"


async def test_in_cluster_token_is_read_again_every_minute_before_the_server_complains(api, in_cluster, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(credentials, "monotonic", lambda: now)
    api.tokens = {"one", "two"}
    seen = []

    async def record(request):
        seen.append(request.headers["Authorization"].partition(" ")[2])

    api.before = record
    async with await Client.open() as client:
        in_cluster.write_text("two")
        await client.list(PODS, "a")
        now += 61
        await client.list(PODS, "a")
        await client.list(PODS, "a")
    assert seen == ["one", "one", "two"], "the call that notices does not wait"


async def test_credentials_that_stay_refused_are_unavailable_and_not_hammered(api, in_cluster):
    api.tokens = set()
    async with await Client.open() as client:
        for _ in range(3):
            with pytest.raises(errors.Unavailable) as caught:
                await client.list(PODS, "a")
            assert caught.value.status == 401
    assert len(api.requests) == 4, "one more try after the first reload, then none for a while"


async def test_many_calls_share_one_reload(api, in_cluster):
    async with await Client.open() as client:
        in_cluster.write_text("two")
        api.tokens = {"two"}
        await asyncio.gather(*(client.list(PODS, "a") for _ in range(20)))


async def test_a_token_file_that_cannot_be_read_keeps_the_token_that_we_have(api, in_cluster, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(credentials, "monotonic", lambda: now)
    api.tokens = {"one"}
    async with await Client.open() as client:
        in_cluster.unlink()
        now += 61
        await client.list(PODS, "a")
        await asyncio.sleep(0)
        await client.list(PODS, "a")


PLUGIN = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
count.write_text(count.read_text() + "x" if count.exists() else "x")
status = {"token": f"token-{len(count.read_text())}", "expirationTimestamp": "2999-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


async def test_exec_plugin_is_asked_again_after_a_401_even_if_its_token_has_not_expired(api, tmp_path):
    count = tmp_path / "count"
    arguments = ["-c", PLUGIN, str(count)]
    plugin = {"command": sys.executable, "args": arguments, "apiVersion": "client.authentication.k8s.io/v1"}
    api.tokens = {"token-1"}
    async with await Client.open(api.kubeconfig(tmp_path, {"exec": plugin})) as client:
        await client.list(PODS, "a")
        api.tokens = {"token-2"}
        await client.list(PODS, "a")
    assert count.read_text() == "xx"


async def test_token_file_of_a_kubeconfig_is_read_again(api, tmp_path):
    token = tmp_path / "token"
    token.write_text("one")
    api.tokens = {"one"}
    async with await Client.open(api.kubeconfig(tmp_path, {"tokenFile": str(token)})) as client:
        await client.list(PODS, "a")
        token.write_text("two")
        api.tokens = {"two"}
        await client.list(PODS, "a")


async def test_the_token_alone_is_told_to_others_and_never_shown(api, tmp_path, in_cluster):
    in_cluster.write_text("canary")
    async with await Client.open() as client:
        assert client.credentials().token == in_cluster.read_text()
        assert "canary" not in repr(client.credentials())
    for user, token in (({"token": "secret"}, "secret"), ({"username": "a", "password": "b"}, None)):
        async with await Client.open(api.kubeconfig(tmp_path, user)) as client:
            assert client.credentials().token == token
