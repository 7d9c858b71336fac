"""Tokens that change: read again in time, after a 401, and never shown."""

import asyncio
import sys
from pathlib import Path

import certifi
import pytest

from scaleset.kube import credentials, errors
from scaleset.kube.client import Client
from scaleset.kube.resources import PODS


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
        made = await client.create(PODS, "a", {"metadata": {"name": "web-0"}})
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


async def test_what_identifies_us_is_told_to_others_and_never_shown(api, tmp_path, in_cluster):
    in_cluster.write_text("canary")
    async with await Client.open() as client:
        assert client.credentials().authorization == "bearer canary"
        assert "canary" not in repr(client.credentials())
    for user, header in (({"token": "secret"}, "Bearer secret"), ({"username": "a", "password": "b"}, "Basic YTpi")):
        async with await Client.open(api.kubeconfig(tmp_path, user)) as client:
            assert client.credentials().authorization == header


async def test_what_a_netrc_says_of_the_server_is_not_sent(api, tmp_path, monkeypatch):
    """As with client-go: it would take the place of the token, or be an error beside it."""
    host = api.url.removeprefix("http://").partition(":")[0]
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {host} login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api.tokens = {"secret"}
    api.put("a", "web-0")
    async with await Client.open(api.kubeconfig(tmp_path)) as client:
        assert (await client.get(PODS, "a", "web-0"))["metadata"]["name"] == "web-0"
