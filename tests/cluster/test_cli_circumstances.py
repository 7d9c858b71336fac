"""`kubectl scaleset` where something is missing or in the way: names, rights, a cluster, patience, a terminal."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import zipfile

import yaml

from tests.cluster.harness.api import PODS, REVISIONS, SCALE_SETS, Json
from tests.cluster.harness.fleet import publish, until
from tests.cluster.harness.manifests import scale_set
from tests.cluster.harness.plugin import Plugin, limited

DEFINITION = ("--definition", "example/os/server")
READY = 60.0


def test_names_that_do_not_exist(web):
    plugin = web()
    answer = plugin("get", "wbe", code=1)
    assert answer.error == (
        f'Error: ScaleSet "wbe" does not exist in namespace {plugin.namespace}. Did you mean "web"?\n'
    )
    elsewhere = plugin("get", "web", "-n", "kube-system", code=1)
    assert "There is one in namespace" in elsewhere.error
    assert "has no instance 7: it has 0-4." in plugin("protect", "web", "7", "--yes", code=1).error
    assert "Did you mean 'status'?" in plugin("sttaus", "web", code=1).error
    assert "has no context" in plugin("list", "--context", "nowhere", code=1).error
    assert "Nobody can be asked here: add --yes" in plugin("suspend", "web", code=1).error


def test_without_permission(web, api):
    plugin = web()
    reader = [{"apiGroups": ["scaleset.dev"], "resources": ["scalesets"], "verbs": ["get", "list"]}]
    path = str(limited(plugin, api, "reader", reader))
    assert "web" in plugin("list", "--kubeconfig", path).out
    plugin("status", "web", "--kubeconfig", path)
    refused = plugin("start", "web", "--yes", "--kubeconfig", path, code=1)
    assert refused.error == (
        f"Error: system:serviceaccount:{plugin.namespace}:reader may not patch scalesets.scaleset.dev in namespace "
        f"{plugin.namespace}: ask for a role with verb patch on scalesets.scaleset.dev.\n"
    )
    assert "may not list pods in namespace" in plugin("get", "web", "--kubeconfig", path, code=1).error
    assert "in the whole cluster" in plugin("list", "-A", "--kubeconfig", path, code=1).error
    assert "may not watch scalesets" in plugin("list", "-w", "--kubeconfig", path, code=1).error
    checked = plugin("check", "--kubeconfig", path)
    assert "you may not patch scalesets.scaleset.dev" in checked.out
    assert "not known whether one runs" in checked.out
    plugin("report", "web", "--kubeconfig", path, "-f", "limited.zip")
    with zipfile.ZipFile(plugin.folder / "limited.zip") as archive:
        assert "pods.json" not in archive.namelist()
        assert "may not list pods" in archive.read("missing.txt").decode()
    planner = [
        *reader,
        {"apiGroups": ["scaleset.dev"], "resources": ["*"], "verbs": ["list"]},
        {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["list"]},
    ]
    path = str(limited(plugin, api, "planner", planner))
    publish(api, plugin.namespace, "1.1.0", "fast")
    planned = plugin("plan", "web", "--kubeconfig", path).out
    assert planned.startswith("web: ")


def test_without_a_cluster(cluster, tmp_path, api):
    plugin = Plugin(cluster.kubeconfig, "default", tmp_path)
    config = yaml.safe_load(plugin.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    plugin.kubeconfig.write_text(yaml.safe_dump(config))
    dead = plugin("list", code=1)
    assert dead.error == (
        "Error: No API server answers at https://127.0.0.1:1 (connection refused): start the cluster, or choose "
        "another --context or --kubeconfig.\n"
    )
    assert plugin("check", code=1).out.startswith("✖ API server: No API server answers")
    assert "does not exist: name one with" in plugin("list", "--kubeconfig", "/no/such/file", code=1).error
    (tmp_path / "broken").write_text("contexts: [")
    assert "cannot be used" in plugin("list", "--kubeconfig", str(tmp_path / "broken"), code=1).error
    config["users"][0]["user"] = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-login"}}
    plugin.kubeconfig.write_text(yaml.safe_dump(config))
    assert "no-such-login" in plugin("list", code=1).error


def test_ctrl_c_ends_without_a_trace(web):
    plugin = web()
    for arguments in (("list", "-w"), ("get", "web", "-w", "--follow"), ("status", "web", "--watch")):
        if arguments[0] == "status":
            plugin("suspend", "web", "--yes")
            plugin("publish", "example.com/os:1.1.0", *DEFINITION, "--version", "1.1.0", "--yes")
            until(lambda: plugin("status", "web", code=None).code == 2, timeout=READY, message="it waits")
        process = plugin.start(*arguments)
        assert process.stdout is not None
        assert process.stdout.readline()  # it has begun to watch
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=READY)
        assert process.returncode == 130
        assert error.strip() == ""


def test_a_terminal_gets_a_live_view_in_colours_and_is_left_as_it_was(web):
    plugin = web()
    shown, code = on_terminal(plugin, "get", "web", "-w", "--follow", "--timeout", "3s")
    assert code == 2
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is hidden and shown again
    assert "\x1b[32mHealthy" in shown
    assert shown.count("⬢ web") > 1  # drawn again, over itself
    assert "\x1b[2J" not in shown  # and never by clearing the screen, which flickers
    plain, code = on_terminal(plugin, "get", "web", "--no-color")
    assert code == 0
    assert "\x1b" not in plain
    shown, code = on_terminal(plugin, "suspend", "web", answer="n\n")
    assert code == 1
    assert "Suspend web? A running batch still ends. [y/N]" in shown
    assert "Nothing was done." in shown
    assert on_terminal(plugin, "suspend", "web", answer="y\n")[1] == 0


def on_terminal(plugin: Plugin, *arguments: str, answer: str = "") -> tuple[str, int]:
    """What a person sees, and the exit code."""
    ours, theirs = pty.openpty()
    process = plugin.start(
        *arguments,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        text=False,
        encoding=None,
        env=plugin.environment(TERM="xterm-256color", COLUMNS="120", LINES="50"),
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends that nobody has open any more
        while chunk := os.read(ours, 65536):
            shown += chunk
            if answer and b"[y/N]" in shown:
                os.write(ours, answer.encode())
                answer = ""
    os.close(ours)
    return shown.decode(), process.wait(timeout=READY)


def test_a_reader_that_goes_away_is_no_error(web):
    plugin = web()
    done = subprocess.run(
        ["/bin/bash", "-c", "set -o pipefail; kubectl scaleset instances web | head -1; true"],
        env=plugin.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=READY,
    )
    assert done.stdout.startswith("ID")
    assert done.stderr == ""


def test_timeouts_have_an_exit_code_of_their_own(web, api):
    plugin = web()
    plugin("suspend", "web", "--yes")
    publish(api, plugin.namespace, "1.1.0", "fast")
    until(lambda: plugin("status", "web", code=None).code == 2, timeout=READY, message="it waits suspended")
    late = plugin("status", "web", "--watch", "--timeout", "1s", code=2)
    assert "Timed out after 1 s" in late.error
    assert late.out == plugin("status", "web", code=2).out
    plugin("list", "-w", "--timeout", "1", code=2)


def test_check_tells_what_is_missing(plugin, served):
    def lines() -> dict[str, str]:
        out = plugin("check", code=None).out.splitlines()
        return {line[2:].partition(":")[0]: line[0] for line in out}

    assert plugin("check", "--wait", "--timeout", "60s").code == 0
    assert set(lines().values()) == {"✔"}
    version = plugin("version")
    assert re.fullmatch(r"Client: (\S+)\nOperator: \1\n", version.out)
    assert json.loads(plugin("version", "--client", "-o", "json").out).keys() == {"clientVersion"}
    served.terminate()
    try:
        assert lines()["operator"] == "✖"
        assert plugin("check", code=1).out.count("✖") == 1
        plugin("check", "--wait", "--timeout", "1s", code=2)
    finally:
        served.start()
        served.wait_ready()
    assert plugin("check", "--wait", "--timeout", "60s").code == 0


def _has_a_pod(found: Json | None) -> bool:
    return found is not None and (found.get("status") or {}).get("replicas") == 1


CANARIES = ("canary-custom-data", "canary-env-value", "canary-setting", "canary-annotation", "canary-argument")


def test_a_report_holds_no_secret(plugin, api):
    body = scale_set("web", replicas=1, policy=None)
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "PASSWORD", "value": "canary-env-value"}]
    container["args"] = ["--token=canary-argument", "--verbose"]
    body["spec"]["template"]["metadata"]["annotations"] = {"example.com/key": "canary-annotation"}
    body["spec"]["customData"] = "#!/bin/sh\nexport TOKEN=canary-custom-data\n"
    body["spec"]["extensions"] = [
        {"name": "agent", "image": "example.com/agent:1", "settings": {"workspaceKey": "canary-setting"}}
    ]
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "canary-annotation"}
    publish(api, plugin.namespace, "1.0.0", "fast")
    api.create(SCALE_SETS, plugin.namespace, body)
    api.wait(SCALE_SETS, plugin.namespace, "web", _has_a_pod, timeout=READY, message="the instance is created")
    stored = json.dumps([api.list(kind, plugin.namespace) for kind in (SCALE_SETS, PODS, REVISIONS)])
    assert all(canary in stored for canary in CANARIES)
    plugin("report", "web", "-f", "report.zip")
    assert "exists: name another file" in plugin("report", "web", "-f", "report.zip", code=1).error
    path = plugin.folder / "report.zip"
    assert path.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {
        "scaleset.json",
        "pods.json",
        "revisions.json",
        "events.json",
        "check.txt",
        "overview.txt",
    } <= contents.keys()
    for name, text in contents.items():
        assert "canary" not in text, name
    assert json.loads(contents["pods.json"])[0]["metadata"]["name"] == "web-0"


def test_kubectl_finds_and_completes_the_plugin(web):
    plugin = web()
    environment = plugin.environment()

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=READY,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout

    kubectl = shutil.which("kubectl", path=environment["PATH"])
    assert kubectl is not None
    assert run(kubectl, "scaleset", "status", "web").startswith("web: no rolling upgrade yet")
    assert run(kubectl, "scaleset", "-n", plugin.namespace, "list", "-o", "name") == "scaleset.scaleset.dev/web\n"
    assert "kubectl-scaleset" in run(kubectl, "plugin", "list")
    verbs = run(kubectl, "__complete", "scaleset", "st")
    assert [line.split("\t")[0] for line in verbs.splitlines()[:-1]] == ["status", "start"]
    names = run(kubectl, "__complete", "scaleset", "get", "w")
    assert names.splitlines()[0] == "web"
    script = 'source <(kubectl-scaleset completion bash); COMP_WORDS=(kubectl-scaleset get ""); COMP_CWORD=2; '
    script += '_kubectl_scaleset; echo "${COMPREPLY[@]}"'
    assert run("/bin/bash", "-c", script) == "web\n"
