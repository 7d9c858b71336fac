"""Every verb of `kubectl scaleset` against a real rollout."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.harness.api import EVENTS, IMAGES, PODS, REVISIONS, SCALE_SETS, Api, Json, condition
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.fleet import deploy, publish, until
from tests.cluster.harness.manifests import scale_set, upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.plugin import Plugin, limited

DEFINITION = ("--definition", "example/os/server")
READY = 60.0


@pytest.fixture(scope="module")
def running(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for the whole cluster, with a lease, as it is installed."""
    operator = Operator(
        kubeconfig=cluster.kubeconfig,
        namespaces=[],
        log=tmp_path_factory.mktemp("cli") / "operator.log",
        arguments=["--leader-elect", "--leader-election-namespace", "default"],
    )
    operator.start()
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.stop()


@pytest.fixture
def plugin(cluster: Cluster, namespace: str, tmp_path: Path, running: Operator) -> Plugin:
    return Plugin(cluster.kubeconfig, namespace, tmp_path)


@pytest.fixture
def web(plugin: Plugin, api: Api) -> Callable[..., Plugin]:
    """`web()` makes a set of five that is healthy on 1.0.0; keywords are those of the policy."""

    def make(**policy: object) -> Plugin:
        deploy(api, plugin.namespace, policy=upgrade_policy(**policy))  # type: ignore[arg-type]
        wait(api, plugin, lambda found: condition(found, "Ready") == "True")
        return plugin

    return make


def wait(api: Api, plugin: Plugin, when: Callable[[Json], object]) -> Json:
    found = api.wait(
        SCALE_SETS,
        plugin.namespace,
        "web",
        lambda each: each is not None and bool(each.get("status")) and when(each),
        timeout=READY,
        message="the set is as it should be",
    )
    assert found is not None
    return found


def rollout(found: Json) -> Json:
    return dict(found["status"].get("rollingUpgrade") or {})


def code(found: Json) -> str:
    return str((rollout(found).get("runningStatus") or {}).get("code"))


def test_from_publish_to_the_end_of_the_rollout(web, api):
    """What the README's five minutes do."""
    plugin = web()
    forecast = json.loads(plugin("plan", "web", "-o", "json").out)
    assert forecast["byHand"] == {**forecast["byHand"], "batches": [], "ending": "Completed"}

    published = plugin("publish", "example.com/os:1.1.0", *DEFINITION, "--version", "1.1.0", "--yes", "--wait")
    assert published.out.splitlines()[-1] == "example-os-server-1.1.0: published."
    wait(api, plugin, lambda found: code(found) == "RollingForward")
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"suspend": True}})
    wait(api, plugin, lambda found: (rollout(found).get("waitingFor") or {}).get("reason") == "Suspended")
    assert "web: RollingForward to version 1.1.0: " in plugin("status", "web", code=2).out
    tree = plugin("get", "web").out
    assert "1.0.0 → 1.1.0" in tree
    assert re.search(r"✔ upgraded in batch(es)? [\d-]+\n", tree)
    assert "◦ not begun" in tree
    listed = plugin("list").out.splitlines()
    assert listed[0].split()[:2] == ["NAME", "PROGRESS"]
    assert "1.0.0 → 1.1.0" in listed[1]
    assert "The set is suspended" in listed[1]

    watching = plugin.start("get", "web", "-w", "--timeout", "60s")
    assert watching.stdout is not None
    assert watching.stdout.readline().split() == ["Name:", "web"]
    plugin("resume", "web", "--yes")
    watched = watching.communicate(timeout=READY)[0]
    assert watching.returncode == 0
    assert "\x1b" not in watched
    assert "web: Completed to version 1.1.0: 5 upgraded." in watched
    done = plugin("status", "web", "--watch")
    assert done.out == plugin("status", "web").out == "web: Completed to version 1.1.0: 5 upgraded.\n"

    assert plugin("history", "web").out.splitlines()[1].split()[2:6] == ["1.1.0", "Platform", "Completed", "5"]
    azure = json.loads(plugin("history", "web", "-o", "az-json").out)
    assert azure[0]["properties"]["progress"]["successfulInstanceCount"] == 5
    latest = json.loads(plugin("latest", "web", "-o", "az-json").out)
    assert latest["runningStatus"]["code"] == "Completed"
    assert "Completed" in plugin("latest", "web").out
    instances = plugin("instances", "web").out.splitlines()
    assert [line.split()[:3] for line in instances[1:]] == [[str(n), f"web-{n}", "1.1.0"] for n in range(5)]
    assert yaml.safe_load(plugin("get", "web", "-o", "yaml").out)["metadata"]["name"] == "web"
    assert plugin("list", "-o", "name").out == "scaleset.scaleset.dev/web\n"
    versions = plugin("versions", "web").out.splitlines()
    assert versions[1].split()[:2] == ["1.1.0", "yes"]
    assert "1.1.0 is higher" in versions[2]


def test_a_version_that_fails(web, api):
    plugin = web()
    plugin("publish", "example.com/os:1.1.0-pullfail", *DEFINITION, "--version", "1.1.0", "--yes")
    wait(api, plugin, lambda found: code(found) == "RollingForward")
    failed = plugin("status", "web", "--watch", "--timeout=60s", code=1)
    assert failed.out.splitlines()[-1].startswith("web: Faulted to version 1.1.0: 0 upgraded, 1 failed, 4 not touched.")
    assert "ImagePullBackOff" in failed.out
    wait(api, plugin, lambda found: condition(found, "Stalled") == "True")
    assert "ImagePullBackOff" in plugin("get", "web").out
    assert "web" in plugin("list", "--needs-attention").out
    assert "only a start by hand tries it again" in plugin("versions", "web").out
    planned = plugin("plan", "web").out
    assert "Held back: TargetFailed" in planned
    assert "batch 5: instance 4" in planned
    history = json.loads(plugin("history", "web", "-o", "az-json").out)
    assert history[0]["properties"]["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    by_hand = plugin("start", "web", "--yes", "--wait", "--timeout", "60s", code=1)
    assert "requested" in by_hand.out
    assert "web: Faulted to version 1.1.0" in by_hand.out
    assert rollout(api.get(SCALE_SETS, plugin.namespace, "web"))["startedBy"] == "User"


def test_the_plan_is_what_then_happens(web, api):
    """The forecast, made while the set is suspended, names the very batches that the operator then takes."""
    plugin = web(rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40})
    assert plugin("suspend", "web", "--yes", "--wait", "--timeout", "30s").out.startswith("web: suspended\n")
    publish(api, plugin.namespace, "1.1.0", "fast")
    wait(api, plugin, lambda found: found["status"].get("latestVersion") == "1.1.0")
    until(lambda: "Suspended" in plugin("status", "web", code=2).out, timeout=READY, message="it waits suspended")
    forecast = json.loads(plugin("plan", "web", "-o", "json").out)
    assert forecast["heldBack"]["reason"] == "Suspended"
    batches = [batch["instances"] for batch in forecast["freed"]["batches"]]
    assert batches == ["0-1", "2-3", "4"]
    resumed = plugin("resume", "web", "--yes", "--wait", "--timeout", "60s")
    assert resumed.out.endswith("web: Completed to version 1.1.0: 5 upgraded.\n")
    events = api.list(EVENTS, plugin.namespace)
    notes = sorted(str(each["note"]) for each in events if each["reason"] == "BatchStarted")
    assert [re.search(r"instances (\S+)\.$", note).group(1) for note in notes] == batches  # type: ignore[union-attr]


def test_cancel_and_what_is_remembered(web, api):
    plugin = web()
    assert plugin("cancel", "web", "--yes").out == "web: no rolling upgrade is running, nothing to cancel.\n"
    publish(api, plugin.namespace, "1.1.0")
    wait(api, plugin, lambda found: code(found) == "RollingForward")
    cancelled = plugin("cancel", "web", "--yes", "--wait", "--timeout", "60s")
    assert "Cancelled by the user." in cancelled.out
    assert plugin("status", "web", code=1).out.startswith("web: Cancelled to version 1.1.0")


def test_start_by_hand_where_nothing_starts_by_itself(web, api):
    plugin = web(automatic=False)
    publish(api, plugin.namespace, "1.1.0", "fast")
    wait(api, plugin, lambda found: found["status"].get("latestVersion") == "1.1.0")
    planned = plugin("plan", "web").out
    assert "no rollout starts by itself now" in planned
    assert "kubectl scaleset start web" in planned
    tried = plugin("start", "web", "--dry-run=server")
    assert tried.out == "web: rolling upgrade to version 1.1.0 requested (server dry run)\n"
    assert not rollout(api.get(SCALE_SETS, plugin.namespace, "web"))
    started = plugin("start", "web", "--yes", "--wait", "--timeout", "60s")
    assert started.out.endswith("web: Completed to version 1.1.0: 5 upgraded.\n")


def test_protect_and_apply_the_model(web, api):
    plugin = web(automatic=False)
    assert plugin("protect", "web", "3,1", "--yes", "--wait").out.startswith("web: instances 1,3 protected\n")
    assert plugin("protect", "web", "1", "--yes").out == "web: instances 1 are protected already.\n"
    assert "all actions" in plugin("instances", "web").out
    api.patch(SCALE_SETS, plugin.namespace, "web", {"spec": {"template": {"metadata": {"labels": {"new": "yes"}}}}})
    wait(api, plugin, lambda found: found["status"]["observedGeneration"] >= found["metadata"]["generation"])
    before = pods(api, plugin)
    for _ in range(2):  # the same request twice is two requests
        applied = plugin("apply-model", "web", "0", "1", "--yes", "--wait", "--timeout", "60s")
        assert applied.out.startswith("web: newest model requested for instances 0-1\n")
    after = pods(api, plugin)
    assert {name for name in after if after[name] != before[name]} == {"web-0"}
    handled = api.get(SCALE_SETS, plugin.namespace, "web")["status"]["lastHandledApply"]
    assert handled == "0-1 "
    assert plugin("unprotect", "web", "1", "3", "--yes", "--wait").code == 0
    assert api.get(SCALE_SETS, plugin.namespace, "web")["spec"].get("protectedInstances") == []
    plugin("apply-model", "web", "--all", "--yes", "--wait", "--timeout", "60s")
    now = pods(api, plugin)
    assert {name for name in now if now[name] != after[name]} == {f"web-{n}" for n in range(1, 5)}


def pods(api: Api, plugin: Plugin) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.list(PODS, plugin.namespace)}


def test_published_versions_say_what_they_are_for(plugin, api):
    plugin("publish", "example.com/os:2.0.0", *DEFINITION, "--version", "2.0.0", "--regions", "west,east", "--yes")
    plugin("publish", "example.com/os:3.0.0", *DEFINITION, "--version", "3.0.0", "--exclude-from-latest", "--yes")
    specs = {each["spec"]["version"]: each["spec"] for each in api.list(IMAGES, plugin.namespace)}
    assert [each["name"] for each in specs["2.0.0"]["publishingProfile"]["targetRegions"]] == ["west", "east"]
    assert specs["3.0.0"]["publishingProfile"]["excludeFromLatest"] is True
    again = plugin("publish", "example.com/os:x", *DEFINITION, "--version", "3.0.0", "--yes", code=1)
    assert "give this image the next version" in again.error
    api.create(SCALE_SETS, plugin.namespace, scale_set("web", replicas=1, policy=None))
    versions = plugin("versions", "web").out
    assert "it is excluded from latest" in versions
    assert "it is not replicated to region default" in versions


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
    shown, code = on_terminal(plugin, "get", "web", "-w", "--timeout", "3s")
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


def test_check_tells_what_is_missing(plugin, cluster, running, api):
    def lines() -> dict[str, str]:
        out = plugin("check", code=None).out.splitlines()
        return {line[2:].partition(":")[0]: line[0] for line in out}

    assert plugin("check", "--wait", "--timeout", "60s").code == 0
    assert set(lines().values()) == {"✔"}
    version = plugin("version")
    assert re.fullmatch(r"Client: (\S+)\nOperator: \1\n", version.out)
    assert json.loads(plugin("version", "--client", "-o", "json").out).keys() == {"clientVersion"}
    running.terminate()
    try:
        assert lines()["operator"] == "✖"
        assert plugin("check", code=1).out.count("✖") == 1
        plugin("check", "--wait", "--timeout", "1s", code=2)
    finally:
        running.start()
        running.wait_ready()
    assert plugin("check", "--wait", "--timeout", "60s").code == 0


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
    wait(api, plugin, lambda found: found["status"].get("replicas") == 1)
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
