"""A good version, with real probes, volumes and a client: played alone, since its figures are the ones that count."""

from time import monotonic

import pytest

from tests.cluster.harness.rollouts import fewest_ready, touched
from tests.kind.harness.figures import Measuring, Say
from tests.kind.harness.release import Release
from tests.kind.harness.stage import PATIENCE, Stage, settled
from tests.kind.harness.traffic import Client, Endpoints

pytestmark = pytest.mark.timeout(1800)
REPLICAS = 5


def test_a_good_version_reaches_five_instances_under_traffic(lone_stage: Stage, release: Release, say: Say) -> None:
    """One instance at a time: four of five endpoints stay, requests go on, every instance keeps its disk."""
    stage = lone_stage
    stage.create(replicas=REPLICAS)
    claims, texts, before = stage.claims(), stage.write_data(), stage.uids()
    client = Client(stage)
    started = client.wait_steady()
    with Endpoints(stage.api, stage.namespace, "web") as endpoints:
        measuring, began = Measuring(release), monotonic()
        stage.publish("1.1.0")
        stage.wait(lambda world: settled(world, REPLICAS, "1.1.0"), "all five are ready on 1.1.0", timeout=PATIENCE)
        took, rolling = monotonic() - began, measuring.end()
        rollout = stage.rollout("Completed", "1.1.0")
    served = client.answers()
    requests, failed = served.requests - started.requests, served.failed - started.failed

    measuring = Measuring(release)
    stage.quiet(seconds=10)
    idle = measuring.end()

    assert rollout["progress"]["successfulInstanceCount"] == REPLICAS
    assert touched(stage.recorder) == [[0], [1], [2], [3], [4]]
    assert stage.replaced(before) == set(before)
    assert endpoints.fewest() >= REPLICAS - 1
    assert fewest_ready(stage.recorder) >= REPLICAS - 1
    assert stage.claims() == claims
    assert stage.read_data() == texts
    assert {"1.0.0", "1.1.0"} <= set(served.versions)
    # One that was on its way when its instance went may fail; more would mean that traffic went to dead instances.
    assert failed <= requests // 100, served.errors

    say(f"helm install -> Ready: {release.install_seconds:.1f} s")
    say(f"publish -> all five Ready: {took:.1f} s")
    say(f"failed client requests in a good rollout: {failed} of {requests}{f' ({served.errors})' if failed else ''}")
    say(f"fewest ready endpoints: {endpoints.fewest()} of {REPLICAS}")
    say(f"operator idle (leader): {idle}")
    say(f"operator rolling (leader): {rolling}")
