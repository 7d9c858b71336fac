"""What others see of the process: health, metrics, logs, its command line, and one sentence when it cannot work."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.harness.api import CRDS, EVENTS, Api
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.crds import finishing_deletions
from tests.cluster.harness.fleet import deploy, publish, until, wait_ready
from tests.cluster.harness.operator import Operator, Start
from tests.cluster.harness.recorder import Recorder

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
MODULE = [sys.executable, "-m", "scaleset"]


def samples(operator: Operator) -> Samples:
    """Every sample by name and labels; the parser refuses what Prometheus would."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(operator.metrics())
        for sample in family.samples
    }


def total(found: Samples, metric: str, **labels: str) -> float:
    """The sum of a metric over all other labels."""
    return sum(
        value for (each, have), value in found.items() if each == metric and labels.items() <= dict(have).items()
    )


def refused() -> str:
    """A port where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{probe.getsockname()[1]}"


def elsewhere(cluster: Cluster, directory: Path, server: str) -> Path:
    """The cluster's kubeconfig with another address."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = server
    path = directory / "elsewhere.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """An operator for any kubeconfig, not waited for."""
    processes: list[Operator] = []

    def start(kubeconfig: Path, *arguments: str) -> Operator:
        log = tmp_path / f"operator-{len(processes)}.log"
        arguments = ("--no-leader-elect", *arguments)
        process = Operator(kubeconfig=kubeconfig, namespaces=["default"], log=log, arguments=list(arguments))
        processes.append(process)
        process.start()
        return process

    yield start
    for process in processes:
        process.stop()


def run(*arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *arguments], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )


def test_metrics_of_a_rollout(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """Names of controller-runtime and client-go, from zero on, counting."""
    process = operator(leader_elect=True)
    until(lambda: total(samples(process), "leader_election_master_status") == 1, timeout=20, message="it leads")
    before = samples(process)
    for name in ("scaleset", "galleryimageversion", "upgradepolicy"):
        for result in ("success", "requeue_after", "error"):
            labels = frozenset({("controller", name), ("result", result)})
            # The versions' controller has looked for leftovers of an earlier operator by now.
            swept = name == "galleryimageversion" and result != "error"
            assert before["controller_runtime_reconcile_total", labels] <= swept
        assert before["controller_runtime_reconcile_errors_total", frozenset({("controller", name)})] == 0
        for metric in (
            "workqueue_depth",
            "workqueue_adds_total",
            "workqueue_retries_total",
            "workqueue_unfinished_work_seconds",
            "workqueue_longest_running_processor_seconds",
        ):
            assert (metric, frozenset({("name", name)})) in before, metric
        assert ("controller_runtime_active_workers", frozenset({("controller", name)})) in before
    deploy(api, namespace)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "fast")
    wait_ready(recorder, version="2.0.0")
    after = samples(process)
    assert total(after, "process_resident_memory_bytes") > 10_000_000
    assert total(after, "process_start_time_seconds") > 0
    assert total(after, "process_open_fds") > 5
    assert total(after, "scaleset_operator_build_info") == 1
    assert total(after, "leader_election_master_status", name="scaleset-operator") == 1
    assert total(after, "controller_runtime_reconcile_total", controller="scaleset") >= 5
    assert total(after, "controller_runtime_reconcile_time_seconds_count", controller="scaleset") >= 5
    assert total(after, "controller_runtime_reconcile_errors_total") == 0
    assert total(after, "workqueue_adds_total", name="scaleset") >= 5
    assert total(after, "workqueue_queue_duration_seconds_count", name="scaleset") >= 5
    assert total(after, "workqueue_work_duration_seconds_count", name="scaleset") >= 5
    # Five pods made and five made again, the probes for 2 models and 5 batches, and the events.
    assert total(after, "rest_client_requests_total", method="POST", code="201") >= 10
    assert total(after, "rest_client_requests_total", method="DELETE", code="200") == 5
    assert total(after, "rest_client_requests_total", method="PATCH", code="200") >= 5
    assert total(after, "rest_client_request_duration_seconds_count", method="GET") >= 6
    assert not [name for name, _ in after if name.endswith("_created")]
    assert not [labels for _, labels in after if any("web-0" in value for _, value in labels)]


def test_health_endpoints(operator: Start) -> None:
    """Both say yes, and nothing else is served there."""
    process = operator()
    assert (process.health("/healthz"), process.health("/readyz")) == (200, 200)
    assert (process.health("/metrics"), process.health("/")) == (404, 404)


def test_logs_for_machines(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """Each line is one JSON object, from the first to the last."""
    process = operator("--log-format", "json")
    deploy(api, namespace)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "fast")
    wait_ready(recorder, version="2.0.0")
    recorder.wait_for(lambda world: world.events("RolloutCompleted"), timeout=10, message="the last decision is told")
    assert process.terminate() == 0
    lines = [json.loads(line) for line in process.log().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert {line["level"] for line in lines} == {"info"}
    assert lines[-1]["event"] == "stopping"
    assert lines[-1]["reason"] == "signal"
    decisions = [line for line in lines if line["event"] == "decision"]
    assert {(line["namespace"], line["scaleset"]) for line in decisions} == {(namespace, "web")}
    told = [(line["reason"], line.get("rollout"), line.get("batch")) for line in decisions]
    assert told[0] == ("NewVersionAvailable", None, None)
    assert told[1] == ("RolloutStarted", "1", None)
    batches = [(reason, "1", n) for n in range(1, 6) for reason in ("BatchStarted", "BatchCompleted")]
    assert told[2:] == [*batches, ("RolloutCompleted", "1", None)]
    notes = {each["note"] for each in api.list(EVENTS, namespace) if each["regarding"]["kind"] == "ScaleSet"}
    assert {line["message"] for line in decisions} == notes, "the sentence is the same one"


def test_logs_for_people(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    """One line a decision, key=value, and no line while nothing happens."""
    process = operator()
    deploy(api, namespace)
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "fast")
    wait_ready(recorder, version="2.0.0")
    recorder.never(lambda _: False, seconds=1, message="")
    lines = process.log().splitlines()
    recorder.never(lambda _: False, seconds=3, message="")
    assert process.log().splitlines() == lines
    pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) [a-z_.]+ \S.*")
    assert [line for line in lines if not pattern.fullmatch(line)] == []
    # A set that comes up, 5 batches and the frame of the rollout.
    assert len(lines) < 20, lines
    told = {each["reason"] for each in api.list(EVENTS, namespace) if each["regarding"]["kind"] == "ScaleSet"}
    assert {"NewVersionAvailable", "RolloutStarted", "BatchStarted", "BatchCompleted", "RolloutCompleted"} <= told


def test_help_and_version() -> None:
    found = run("--help")
    assert found.returncode == 0
    for flag in ("--kubeconfig", "--namespace", "--leader-elect", "--metrics-bind-address", "--log-format"):
        assert flag in found.stdout
    assert run("--version").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--metrics-bind-address", "nonsense"], "'nonsense' is not an address; write :8080 or 127.0.0.1:8080"),
        (["--health-bind-address", ":99999"], "':99999' is not an address"),
        (["--health-bind-address", ":"], "':' is not an address"),
        (["--log-format", "xml"], "invalid choice: 'xml'"),
        (["--log-level", "loud"], "invalid choice: 'loud'"),
        (["--kube-api-qps", "0"], "'0' is not a number of writes a second; write one above 0, or -1 for no limit"),
        (["--kube-api-qps", "nan"], "'nan' is not a number of writes a second"),
        (["--kube-api-burst", "0"], "'0' is not a number of writes; write 1 or more"),
        (["--prepull-service-account", "My Account"], "'My Account' is not the name of a service account"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--kubeconfig"], "expected one argument"),
    ],
)
def test_bad_flags(arguments: list[str], sentence: str) -> None:
    found = run(*arguments)
    assert found.returncode == 2
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def ports() -> list[str]:
    return ["--metrics-bind-address", "127.0.0.1:0", "--health-bind-address", "127.0.0.1:0"]


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (None, [], "kubeconfig"),
        ("", [], "kubeconfig"),
        ("{{{", [], "kubeconfig"),
        ("[]", [], "kubeconfig"),
        ("apiVersion: v1\nkind: Config\n", [], "kubeconfig"),
        ("real", ["--context", "absent"], "absent"),
        ("real", ["--namespace", "No/Name"], "No/Name"),
        ("real", ["--leader-election-namespace", ""], "namespace"),
    ],
    ids=["missing", "empty", "not-yaml", "a-list", "no-context", "other-context", "bad-namespace", "no-namespace"],
)
def test_what_makes_no_sense_ends_it_with_a_sentence(
    cluster: Cluster, tmp_path: Path, content: str | None, arguments: list[str], sentence: str
) -> None:
    """Exit code 1 or 2, one line, no stack trace: waiting would not help."""
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(cluster.kubeconfig.read_text() if content == "real" else content)
    found = run("--kubeconfig", str(path), *ports(), *arguments)
    assert found.returncode in (1, 2)
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert len(found.stderr.strip().splitlines()[-1]) < 500


def test_an_address_that_is_taken_ends_it_with_a_sentence(cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = run("--kubeconfig", str(cluster.kubeconfig), *ports()[:2], "--health-bind-address", address)
    assert found.returncode == 1
    assert "address already in use" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_api_server_that_does_not_answer_is_waited_for(
    cluster: Cluster, tmp_path: Path, started: Callable[..., Operator]
) -> None:
    """Alive, not ready, one line that says why; and it still obeys."""
    process = started(elsewhere(cluster, tmp_path, refused()))
    until(lambda: "waiting for" in process.log(), timeout=20, message="it says what it waits for")
    assert (process.health("/healthz"), process.health("/readyz")) == (200, 503)
    lines = process.log().splitlines()
    assert len(lines) == 1, lines
    assert "127.0.0.1" in lines[0]
    assert process.terminate(timeout=5) == 0
    assert "Traceback" not in process.log()


def test_a_signal_during_the_wait_is_obeyed(cluster: Cluster, tmp_path: Path, started: Callable[..., Operator]) -> None:
    process = started(elsewhere(cluster, tmp_path, refused()))
    until(lambda: "waiting for" in process.log(), timeout=20, message="it waits")
    process.signal(signal.SIGINT)
    assert process.wait_exit(5) == 0
    assert "Traceback" not in process.log()


@pytest.mark.timeout(180)
def test_crds_that_are_missing_are_waited_for(
    tmp_path_factory: pytest.TempPathFactory, started: Callable[..., Operator]
) -> None:
    """The operator may be installed first; it begins when they are there, and survives their loss."""
    directory = tmp_path_factory.mktemp("no-crds")
    with Cluster(f"no-crds-{directory.name}", directory, nodes=1) as own, finishing_deletions(own.api):
        files = sorted((ROOT / "crds").glob("*.yaml"))
        for path in files:
            own.api.delete(CRDS, None, yaml.safe_load(path.read_text())["metadata"]["name"])
        process = started(own.kubeconfig)
        until(
            lambda: "the CustomResourceDefinitions are not installed: kubectl apply -f crds/" in process.log(),
            timeout=20,
            message="it says what is missing",
        )
        assert (process.health("/healthz"), process.health("/readyz")) == (200, 503)
        for path in files:
            own.api.apply_file(path)
        process.wait_ready(timeout=20)
        own.api.delete(CRDS, None, yaml.safe_load(files[-1].read_text())["metadata"]["name"])
        until(lambda: "kopf_ended" in process.log(), timeout=20, message="it notices, and kopf is started again")
        assert process.health("/healthz") == 200
        for path in files:
            own.api.apply_file(path)
        until(lambda: process.health("/readyz") == 200, timeout=30, message="it is ready again")
        assert process.terminate() == 0
        assert "Traceback" not in process.log()
