"""What a kubeconfig and the environment say of the way to the API server holds for kopf as for our own client, or the
start refuses it.
"""

import json
import sys
from pathlib import Path

import pytest
from aiohttp import web

from scaleset.application import Application, CannotStartError, Options
from scaleset.kube import credentials
from scaleset.kube.client import Client
from scaleset.kube.resources import PODS
from tests.unit.fake_api_server import JSON, FakeApi

SOMEWHERE = "http://api.example:6443"


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def write(folder: Path, *, cluster: JSON, user: JSON | None = None, context: JSON | None = None) -> str:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **(context or {})}}],
        "clusters": [{"name": "c", "cluster": {"server": SOMEWHERE, **cluster}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


async def both_ways(api: FakeApi, kubeconfig: str) -> tuple[str | None, ...]:
    """What the API server saw of a request of ours, and of one that was sent as kopf sends its own."""
    seen: list[tuple[str | None, ...]] = []

    async def record(request: web.Request) -> None:
        names = ("Host", "Authorization", "Proxy-Authorization")
        seen.append((request.path, *(request.headers.get(name) for name in names)))

    api.before = record
    async with await Client.open(kubeconfig) as client:
        await client.list(PODS, "a")
        found = client.credentials()
        async with (
            credentials.session(found) as session,
            session.get(f"{found.host}/api/v1/namespaces/a/pods?limit=500") as response,
        ):
            assert response.status == 200
    ours, theirs = seen
    assert ours == theirs
    return ours


def with_password(api: FakeApi) -> str:
    return api.url.replace("http://", "http://some:body@")


async def test_a_proxy_of_the_kubeconfig(api, tmp_path):
    """The fake API server is its own proxy: nothing else has the name that is asked for."""
    seen = await both_ways(api, write(tmp_path, cluster={"proxy-url": api.url}))
    assert seen[1:3] == ("api.example:6443", "Bearer secret")


async def test_a_proxy_that_wants_a_password(api, tmp_path):
    seen = await both_ways(api, write(tmp_path, cluster={"proxy-url": with_password(api)}))
    assert seen[3] == "Basic c29tZTpib2R5"


async def test_a_proxy_of_the_environment(api, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", api.url)
    assert (await both_ways(api, write(tmp_path, cluster={})))[1] == "api.example:6443"


async def test_a_proxy_of_the_environment_without_a_scheme(api, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", api.url.removeprefix("http://"))
    assert (await both_ways(api, write(tmp_path, cluster={})))[1] == "api.example:6443"


async def test_the_kubeconfigs_proxy_comes_before_the_environments_and_no_exception_is_made_of_it(
    api, tmp_path, monkeypatch
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert (await both_ways(api, write(tmp_path, cluster={"proxy-url": api.url})))[1] == "api.example:6443"


async def test_a_server_that_the_environment_excepts(api, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    await both_ways(api, write(tmp_path, cluster={"server": api.url}))


async def test_a_name_and_a_password(api, tmp_path):
    seen = await both_ways(
        api, write(tmp_path, cluster={"server": api.url}, user={"username": "some", "password": "body"})
    )
    assert seen[2] == "Basic c29tZTpib2R5"


async def test_a_token_file(api, tmp_path):
    (tmp_path / "token").write_text("from-a-file\n")
    user = {"tokenFile": str(tmp_path / "token")}
    assert (await both_ways(api, write(tmp_path, cluster={"server": api.url}, user=user)))[2] == "Bearer from-a-file"


async def test_a_plugin(api, tmp_path):
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "from-a-plugin"}}
    user = {
        "exec": {"command": sys.executable, "args": ["-c", f"print({json.dumps(answer)!r})"], "apiVersion": version}
    }
    assert (await both_ways(api, write(tmp_path, cluster={"server": api.url}, user=user)))[2] == "Bearer from-a-plugin"


async def test_a_namespace_in_the_context_says_nothing_of_what_is_served(api, tmp_path):
    seen = await both_ways(api, write(tmp_path, cluster={"server": api.url}, context={"namespace": "elsewhere"}))
    assert seen[0] == "/api/v1/namespaces/a/pods"


@pytest.mark.parametrize("cluster", [{}, {"insecure-skip-tls-verify": True}, {"tls-server-name": "kubernetes"}])
async def test_whom_tls_trusts(api, tmp_path, cluster):
    """What goes over the wire is tested on a real API server."""
    async with await Client.open(write(tmp_path, cluster={"server": "https://api.example", **cluster})) as client:
        ours, theirs = client.transport.connection.api.rest_client.ssl_context, client.credentials().tls
        assert (ours.verify_mode, ours.check_hostname) == (theirs.verify_mode, theirs.check_hostname)
        assert ours.verify_flags == theirs.verify_flags
        assert client.credentials().server_name == cluster.get("tls-server-name")


@pytest.mark.parametrize(
    ("cluster", "user", "sentence"),
    [
        ({"proxy-url": "socks5://user:canary@proxy:1080"}, {"token": "a"}, "only http and https proxies can be used"),
        ({}, {"token": "a", "as": "canary"}, "has as, and the operator does not impersonate: use the credentials of"),
        ({}, {"token": "a", "as": "x", "as-groups": ["canary"]}, "has as, as-groups, and the operator does not"),
    ],
)
async def test_what_cannot_be_carried_out_is_refused_at_the_start(tmp_path, cluster, user, sentence):
    options = Options(
        kubeconfig=write(tmp_path, cluster=cluster, user=user),
        metrics_bind_address="127.0.0.1:0",
        health_bind_address="127.0.0.1:0",
    )
    with pytest.raises(CannotStartError) as caught:
        await Application(options).run()
    assert sentence in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"https_proxy": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "api.example"}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": ".other.example"}, "http://proxy.example:3128"),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "*"}, None),
    ],
)
async def test_which_proxy_the_environment_names_for_the_server(tmp_path, monkeypatch, variables, proxy):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with await Client.open(write(tmp_path, cluster={"server": "https://api.example:6443"})) as client:
        assert client.credentials().proxy == proxy
