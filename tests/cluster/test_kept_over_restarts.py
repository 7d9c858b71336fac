"""What outlives the operator: the back-off of ended pods, and what an instance ran before."""

from collections.abc import Callable

from tests.cluster.harness.api import Api, Json
from tests.cluster.harness.fleet import code, deploy, publish, rollout, wait_ready
from tests.cluster.harness.manifests import upgrade_policy
from tests.cluster.harness.operator import Operator
from tests.cluster.harness.recorder import Recorder
from tests.cluster.harness.rollouts import made_at
from tests.cluster.harness.scene import runs


def test_a_restart_of_the_operator_begins_no_back_off_anew(
    api: Api, namespace: str, recorder: Recorder, operator: Callable[..., Operator]
) -> None:
    process = operator()
    deploy(api, namespace, replicas=5, policy=upgrade_policy(healthTimeout="PT1M"))
    recorder.wait_for(
        lambda world: world.status("web").get("healthyReplicas") == 5, timeout=60, message="five are healthy"
    )
    publish(api, namespace, "1.1.0", "evict-bad")

    def made(times: int) -> None:
        recorder.wait_for(
            lambda _: len(made_at(recorder, "web-0", "1.1.0")) == times,
            timeout=40,
            message=f"the pod is made for the {times}. time",
        )

    made(2)
    recorder.wait_for(lambda world: _ended(world.pods.get("web-0")), timeout=20, message="the second one has ended")
    process.kill()
    process.start()
    process.wait_ready()
    made(3)
    process.restart()
    made(4)
    _, second, third, fourth = made_at(recorder, "web-0", "1.1.0")
    assert third - second > 8  # whole seconds count, and an old pod goes first
    assert fourth - third > 18
    assert len(recorder.world.events("PodEnded")) == 1


def _ended(pod: Json | None) -> bool:
    return pod is None or (runs(pod) == "1.1.0" and pod.get("status", {}).get("phase") == "Failed")


def test_what_an_instance_ran_before_is_known_after_a_restart(
    api: Api, namespace: str, recorder: Recorder, operator: Callable[..., Operator]
) -> None:
    """The operator is killed in the pause after a batch that then breaks."""
    process = operator()
    policy = upgrade_policy(rolling={"pauseTimeBetweenBatches": "PT8S"}, minReadyTime="PT0S")
    deploy(api, namespace, replicas=5, policy=policy)
    recorder.wait_for(
        lambda world: world.status("web").get("healthyReplicas") == 5, timeout=60, message="five are healthy"
    )
    publish(api, namespace, "1.1.0", "flaky")
    recorder.wait_for(
        lambda world: rollout(world).get("batchesDone") == 1, timeout=30, message="the first batch is through"
    )
    process.kill()
    process.start()
    process.wait_ready()
    recorder.wait_for(lambda world: code(world) == "Faulted", timeout=60, message="the run has ended")
    assert rollout(recorder.world)["restored"] == "0"
    wait_ready(recorder, "web", version="1.0.0")
