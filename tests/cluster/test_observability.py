"""What is seen of real rollouts: metrics at every scrape, who exports them, and events as kubectl shows them."""

import re
import subprocess
from itertools import pairwise
from pathlib import Path

from tests.cluster.harness.api import EVENTS, SCALE_SETS, Api, Json
from tests.cluster.harness.cluster import ROOT, Cluster
from tests.cluster.harness.fleet import code, deploy, publish, until, wait_ready
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Operator, Start
from tests.cluster.harness.recorder import Recorder
from tests.cluster.test_endpoints import Samples, samples, total

PARTS = "scaleset_rollout_instances"


def of_sets(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if "scaleset" in dict(key[1])}


def by(found: Samples, metric: str, label: str) -> dict[str, float]:
    """What is not zero, by the values of a label."""
    return {dict(labels)[label]: value for (name, labels), value in found.items() if name == metric and value}


def rolled(process: Operator, recorder: Recorder, end: str) -> list[Samples]:
    """Everything that is scraped until the rollout ends so."""
    found: list[Samples] = []

    def ended() -> bool:
        found.append(samples(process))
        return by(found[-1], "scaleset_rollout_status", "status") == {end: 1}

    until(ended, timeout=120, message=f"the metrics say {end}")
    recorder.wait_for(lambda world: code(world) == end, timeout=30, message=f"the status says {end}")
    return found


def fast() -> Json:
    return upgrade_policy(healthTimeout="PT4S")


def test_a_good_and_a_bad_image(
    cluster: Cluster, api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """The counts of both rollouts, at every scrape, and nothing when the set is gone."""
    process = operator()
    deploy(api, namespace, replicas=10, policy=fast())
    wait_ready(recorder)
    until(
        lambda: by(samples(process), "scaleset_instances", "health") == {"Healthy": 10}, timeout=60, message="healthy"
    )
    first = samples(process)
    publish(api, namespace, "2.0.0", "fast")
    good = rolled(process, recorder, "Completed")
    publish(api, namespace, "3.0.0", "bad")
    bad = rolled(process, recorder, "Faulted")
    scrapes = [first, *good, *bad]
    for found in scrapes:
        assert total(found, "scaleset_instances") == 10
        assert total(found, PARTS) in (0, 10)
    for before, after in pairwise(scrapes):
        assert all(after[key] >= value for key, value in before.items() if key[0].endswith("_total"))
    progress = [total(found, PARTS, state="succeeded") / 10 for found in good if total(found, PARTS)]
    assert (progress[-1], progress) == (1, sorted(progress))
    last = bad[-1]
    assert by(last, "scaleset_rollouts_total", "result") == {"completed": 1, "faulted": 1}
    assert by(last, "scaleset_instance_upgrades_total", "result") == {"succeeded": 10, "restored": 2}
    assert by(last, "scaleset_instance_restores_total", "result") == {"succeeded": 2}
    assert by(last, PARTS, "state") == {"restored": 2, "pending": 8}
    until(
        lambda: by(samples(process), "scaleset_rollout_blocked", "reason") == {"target_failed": 1},
        timeout=30,
        message="told why the next one does not start",
    )
    assert total(last, "scaleset_image_versions_behind") == 1
    assert total(last, "scaleset_batch_duration_seconds_count") == 6
    assert total(last, "scaleset_rollout_duration_seconds_count") == 2
    assert total(last, "scaleset_instance_upgrade_duration_seconds_count") == 12
    assert total(last, "scaleset_health_checks_total", result="healthy") >= 50
    assert total(last, "scaleset_image_version_published_timestamp_seconds", version="3.0.0") > 1e9
    assert sum(key[0] == "scaleset_image_version_published_timestamp_seconds" for key in last) == 3
    told = {event["metadata"]["name"] for event in api.list(EVENTS, namespace) if about_set(event)}
    until(lambda: total(samples(process), "scaleset_events_total") >= len(told), timeout=60, message="events counted")
    assert total(last, "scaleset_events_total", reason="BatchStarted", type="Normal") == 6
    assert {dict(labels)["host"] for name, labels in last if name.startswith("rest_client")} == {address(cluster)}
    api.delete(SCALE_SETS, namespace, "web")
    until(lambda: of_sets(samples(process)) == {}, timeout=60, message="no series of the set is left")


def about_set(event: Json) -> bool:
    return bool(event["regarding"]["kind"] == "ScaleSet")


def address(cluster: Cluster) -> str:
    """Host and port of the API server."""
    found = re.search(r"server: https://(\S+)", cluster.kubeconfig.read_text())
    assert found
    return found[1]


def test_a_restarted_operator_counts_nothing_again(
    api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    process = operator()
    deploy(api, namespace, replicas=3, policy=fast())
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "fast")
    before = rolled(process, recorder, "Completed")[-1]
    assert total(before, "scaleset_rollouts_total") == 1
    process.restart()
    until(lambda: total(samples(process), "scaleset_instances") == 3, timeout=60, message="it shows the set again")
    after = samples(process)
    assert total(after, "scaleset_rollouts_total") == 0
    assert total(after, "scaleset_instance_upgrades_total") == 0
    assert by(after, PARTS, "state") == {"succeeded": 3}
    for name in ("start", "last_progress"):
        metric = f"scaleset_rollout_{name}_timestamp_seconds"
        assert 0 < total(after, metric) <= total(before, metric) + 1


def test_only_the_leader_exports_sets(api: Api, namespace: str, recorder: Recorder, operator: Start) -> None:
    first = operator(leader_elect=True)
    until(lambda: total(samples(first), "leader_election_master_status") == 1, timeout=60, message="the first leads")
    second = operator(leader_elect=True)
    deploy(api, namespace, replicas=2)
    wait_ready(recorder)
    until(lambda: total(samples(first), "scaleset_instances") == 2, timeout=60, message="the leader shows the set")
    follower = samples(second)
    assert of_sets(follower) == {}
    assert not [name for name, _ in follower if name == "scaleset_image_version_published_timestamp_seconds"]
    assert total(follower, "process_resident_memory_bytes") > 0
    assert total(follower, "scaleset_operator_build_info") == 1
    assert total(follower, "leader_election_master_status", name="scaleset-operator") == 0
    assert ("leader_election_master_status", frozenset({("name", "scaleset-operator")})) in follower
    first.terminate()
    until(lambda: total(samples(second), "scaleset_instances") == 2, timeout=90, message="the next leader shows it")


def test_events_as_kubectl_shows_them(
    cluster: Cluster, api: Api, namespace: str, recorder: Recorder, operator: Start
) -> None:
    """One for each decision, in order, and the same sentence again is a count."""
    operator()
    deploy(api, namespace, replicas=4, policy=fast())
    wait_ready(recorder)
    publish(api, namespace, "2.0.0", "bad")
    recorder.wait_for(lambda world: code(world) == "Faulted", timeout=90, message="the rollout ends")
    api.patch(SCALE_SETS, namespace, "web", {"spec": {"suspend": True}})
    for value in ("a", "b", "c"):
        ask(api, namespace, recorder, value)
    refused = "The set is suspended. Set spec.suspend to false and ask again."
    until(lambda: counts(api, namespace).get(refused) == 3, timeout=60, message="the refusal is counted")
    listed = kubectl(cluster, namespace, "get", "events")
    rows = [line.split(maxsplit=4) for line in listed.splitlines()[1:]]
    told = {row[2]: row for row in rows if row[3] == "scaleset/web"}
    assert {"RolloutStarted", "BatchStarted", "BatchCompleted", "InstanceRestored", "RolloutFaulted"} <= told.keys()
    assert all(re.fullmatch(r"\d+[smh]\d*s?", row[0]) for row in told.values()), listed
    assert told["RolloutFaulted"][1] == "Warning"
    assert told["BatchStarted"][4] == "Batch 1 of 4: replacing instances 0."
    print(listed)  # noqa: T201 - a failure is understood by what it looks like
    described = kubectl(cluster, namespace, "describe", "sset", "web")
    print(described[described.index("Events:") :])  # noqa: T201 - the same
    assert re.search(
        r"Warning +StartRefused +\S+ \(x3 over \S+\) +scaleset.dev/operator +The set is suspended", described
    )
    assert re.search(r"Normal +RolloutStarted +\S+ +scaleset.dev/operator +Rolling upgrade to version 2.0.0", described)
    batch = ["BatchStarted", "BatchCompleted", "InstanceRestored"]
    story = ["NewVersionAvailable", "RolloutStarted", *batch, "RolloutFaulted"]
    assert [reason for reason in re.findall(r"^  \w+ +(\w+) ", described, re.MULTILINE) if reason in story] == story
    status = recorder.world.status("web")
    error = status["rollingUpgrade"]["error"]["message"]
    assert told["RolloutFaulted"][4] == error, "the event's sentence is the error's"
    assert any(error in each["message"] for each in status["conditions"])


def ask(api: Api, namespace: str, recorder: Recorder, value: str) -> None:
    """Ask for a start, and wait until that was looked at."""
    metadata = {"annotations": {"scaleset.dev/start-upgrade-at": value}}
    api.patch(SCALE_SETS, namespace, "web", {"metadata": metadata})
    recorder.wait_for(
        lambda world: world.status("web").get("lastHandledStart") == value, timeout=60, message=f"{value} is handled"
    )


def counts(api: Api, namespace: str) -> dict[str, int]:
    """How often each sentence was told."""
    return {each["note"]: (each.get("series") or {}).get("count", 1) for each in api.list(EVENTS, namespace)}


def kubectl(cluster: Cluster, namespace: str, *arguments: str) -> str:
    folder = Path(
        subprocess.run([ROOT / "hack/cluster/build.sh"], capture_output=True, text=True, check=True).stdout.strip()
    )
    built = folder / "kubectl"
    program = str(built) if built.exists() else "kubectl"
    command = [program, "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
