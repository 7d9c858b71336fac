"""Kubeconfigs as kubectl reads them: merged files, relative paths, and every way to log in."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from kubectl_scaleset import kubeconfig as kubeconfigs
from kubectl_scaleset.__main__ import run
from kubectl_scaleset.client import Client
from kubectl_scaleset.credentials import credentials
from kubectl_scaleset.failures import CliError
from tests.unit.plugin.conftest import kubeconfig, listed

EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login.sh"}


def written(path: Path, document: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_of_two_files_the_first_with_a_name_counts(tmp_path):
    first = {"contexts": [{"name": "a", "context": {"cluster": "c", "namespace": "one"}}]}
    second = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "namespace": "two"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://c.example/"}}],
    }
    paths = [written(tmp_path / "first", first), str(tmp_path / "missing"), written(tmp_path / "second", second)]
    found = kubeconfigs.load(os.pathsep.join(paths), None)
    assert (found.context, found.namespace, found.server) == ("a", "one", "https://c.example")


def test_paths_are_relative_to_their_file(tmp_path):
    user = {"tokenFile": "secrets/token"}
    path = written(tmp_path / "folder" / "config", kubeconfig("https://c", user))
    (tmp_path / "folder" / "secrets").mkdir()
    (tmp_path / "folder" / "secrets" / "token").write_text("from-a-file\n")
    assert credentials(kubeconfigs.load(path, None)).authorization == "Bearer from-a-file"


def test_a_pod_uses_its_own_account_where_nothing_else_is_given(tmp_path, monkeypatch):
    (tmp_path / "namespace").write_text("shop\n")
    (tmp_path / "token").write_text("of-the-pod")
    monkeypatch.setattr(kubeconfigs, "_ACCOUNT", tmp_path)
    monkeypatch.setattr(kubeconfigs, "DEFAULT", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    found = kubeconfigs.load(None, None)
    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "shop")
    assert credentials(found).authorization == "Bearer of-the-pod"


def test_a_password_is_basic_authentication(tmp_path):
    found = kubeconfigs.load(
        written(tmp_path / "c", kubeconfig("https://c", {"username": "me", "password": "pw"})), None
    )
    assert credentials(found).authorization == f"Basic {base64.b64encode(b'me:pw').decode()}"


def test_an_impersonating_user_asks_as_somebody_else(answers):
    user = {"token": "t", "as": "jane", "as-groups": ["a", "b"], "as-user-extra": {"who/what": ["x"]}}
    answers.config.write_text(yaml.safe_dump(kubeconfig(answers.url, user)))
    answers("/scalesets", listed())
    assert run(["list"]) == 0
    headers = next(headers for _, path, headers in answers.asked if "/scalesets" in path)
    assert headers["Impersonate-User"] == "jane"
    assert headers["Impersonate-Extra-who%2Fwhat"] == "x"
    assert headers["Authorization"] == "Bearer t"


def login(folder: Path, script: str) -> None:
    program = folder / "login.sh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_an_exec_plugin_is_asked_as_client_go_asks(answers, tmp_path):
    plugin = {**EXEC, "args": ["--now"], "env": [{"name": "WHO", "value": "me"}], "provideClusterInfo": True}
    answers.config.write_text(yaml.safe_dump(kubeconfig(answers.url, {"exec": plugin})))
    login(
        tmp_path,
        f'echo "$KUBERNETES_EXEC_INFO" >{tmp_path}/info; echo "$WHO $1" >{tmp_path}/given\n'
        """echo '{"kind": "ExecCredential", "status": {"token": "from-exec"}}'""",
    )
    answers("/scalesets", listed())
    assert run(["list"]) == 0
    assert {headers.get("Authorization") for _, _, headers in answers.asked} == {"Bearer from-exec"}
    assert (tmp_path / "given").read_text() == "me --now\n"
    info = json.loads((tmp_path / "info").read_text())
    assert info["apiVersion"] == EXEC["apiVersion"]
    assert info["spec"] == {"interactive": False, "cluster": {"server": answers.url}}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "which failed with exit code 3"),
        ("echo hello", "which printed no ExecCredential"),
        ("echo '[]'", "which printed no ExecCredential"),
    ],
)
def test_an_exec_plugin_that_fails_is_one_sentence(script, words, answers, tmp_path, capsys):
    answers.config.write_text(yaml.safe_dump(kubeconfig(answers.url, {"exec": EXEC})))
    login(tmp_path, script)
    assert run(["list"]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_an_exec_plugin_that_is_missing_says_how_to_install_it(answers, capsys):
    user = {"exec": {**EXEC, "command": "no-such-login", "installHint": "Get it\nfrom your administrator."}}
    answers.config.write_text(yaml.safe_dump(kubeconfig(answers.url, user)))
    assert run(["list"]) == 1
    assert "no-such-login, which cannot be run: No such file" in (told := capsys.readouterr().err)
    assert "Get it from your administrator." in told


def test_an_auth_provider_is_the_kubernetes_packages(answers):
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token(expires=2**33), "client-id": "x"}}}
    answers.config.write_text(yaml.safe_dump(kubeconfig(answers.url, user)))
    found = credentials(kubeconfigs.load(str(answers.config), None))
    assert found.authorization.startswith("Bearer ey")


def token(*, expires: int) -> str:
    parts = [{"alg": "none"}, {"exp": expires}]
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts), "x"]
    )


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"certificate-authority": "/no/such/file"}, "names /no/such/file, which cannot be read: No such file"),
        ({"certificate-authority-data": "bm90IGEgY2VydA=="}, "a certificate or key in it makes no sense"),
    ],
)
def test_certificates_that_make_no_sense(cluster, words, tmp_path):
    path = written(tmp_path / "c", kubeconfig("https://127.0.0.1:1", {"token": "t"}, **cluster))
    with pytest.raises(CliError, match=words):
        Client(path, None)


@pytest.mark.parametrize(
    ("environment", "cluster", "proxy"),
    [
        ({}, {}, None),
        ({"HTTPS_PROXY": "http://p:1"}, {}, "http://p:1"),
        ({"https_proxy": "http://p:1", "NO_PROXY": "c.example"}, {}, None),
        ({"HTTPS_PROXY": "http://p:1"}, {"proxy-url": "http://q:2"}, "http://q:2"),
    ],
)
def test_proxies_are_those_of_the_kubeconfig_and_the_environment(environment, cluster, proxy, tmp_path, monkeypatch):
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = written(tmp_path / "c", kubeconfig("https://c.example", {"token": "t"}, **cluster))
    pool = Client(path, None)._pool
    assert str(pool.proxy) == str(proxy)
