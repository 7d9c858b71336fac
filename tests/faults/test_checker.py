"""The trace checker finds bugs: each of these is put into the operator, and each has to be caught on a real cluster.

A checker that never fails proves nothing, and one that always fails proves as little: every scenario is also played
with the operator as it is, and then nothing may be found.
"""

import sys
from collections.abc import Callable
from time import monotonic

import pytest

from tests.cluster.harness.api import PODS
from tests.cluster.harness.manifests import pod
from tests.cluster.harness.scene import ready, with_claims
from tests.cluster.test_leadership import account
from tests.faults import trace
from tests.faults.harness.calls import calls
from tests.faults.harness.clock import wrong_clock
from tests.faults.harness.faults import Freeze
from tests.faults.harness.rig import PATIENCE, Rig

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 6
ROOMY = {"maxUnhealthyInstancePercent": 60}

# What is played. Each waits for something that happens with the bug as well as without it.


def good_version(rig: Rig, bug: str) -> None:
    """Nine instances, 20 %: one at a time."""
    seeded(rig, bug)
    rig.policy(rolling=ROOMY)
    rig.create(replicas=9)
    rig.publish("2.0.0")
    rig.upgraded("2.0.0", 3)


def with_disks(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.create(replicas=3, volumeClaimTemplates=with_claims())
    rig.publish("2.0.0", "fast")
    rig.wait(lambda _: any(write.verb == "delete" for write in rig.recorder.writes()), "a pod was taken")
    rig.recorder.settle(4)


def bad_version(rig: Rig, bug: str) -> None:
    """Halts after its first batch, which is restored; then nothing happens any more."""
    seeded(rig, bug)
    rig.create(replicas=4)
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0") if bug != "goes_on_after_a_breach" else rig.wait(
        lambda _: len(rig.recorder.trace().deleted_by_operator()) >= 3, "a second batch begins"
    )
    rig.recorder.settle(8)


def closed_gate(rig: Rig, bug: str) -> None:
    """Three of five are broken; a version is published."""
    seeded(rig, bug)
    rig.create(replicas=5)
    break_three(rig)
    rig.publish("2.0.0")
    rig.recorder.settle(8)


def closed_gate_that_nobody_sees(rig: Rig, bug: str) -> None:
    """The same, but the operator's watch of pods is frozen: a LIST would tell it."""
    seeded(rig, bug)
    rig.create(replicas=5)
    with rig.proxy.inject(Freeze(), calls("pods", "watch")):
        break_three(rig)
        rig.publish("2.0.0")
        if bug == "none":
            rig.recorder.settle(8)
        else:
            rig.wait(lambda _: any(write.verb == "delete" for write in rig.recorder.writes()), "a pod is taken")
    rig.recorder.settle(5)


def broken_after_its_batch(rig: Rig, bug: str) -> None:
    """An upgraded instance breaks in the pause after its batch: it counts, and stays."""
    seeded(rig, bug)
    rig.policy(rolling={**ROOMY, "maxUnhealthyUpgradedInstancePercent": 60, "pauseTimeBetweenBatches": "PT6S"})
    rig.create(replicas=5)
    rig.publish("2.0.0")
    rig.upgraded("2.0.0", 2)
    rig.wait(lambda world: "web-2" in going(world), "the third batch begins")
    rig.break_pod("web-0")
    rig.recorder.settle(8)


def late_but_in_time(rig: Rig, bug: str) -> None:
    """With a clock that is an hour ahead."""
    seeded(rig, bug, environment=wrong_clock(FAKETIME="+1h"))
    rig.policy(healthTimeout="PT15S")
    rig.create(replicas=3)
    rig.publish("2.0.0", "bad")
    rig.wait(lambda _: len(rig.recorder.trace().deleted_by_operator()) >= 2, "the first instance is restored")
    rig.recorder.settle(1)


def two_replicas(rig: Rig, bug: str) -> None:
    accounts = [account(rig.cluster, rig.namespace, name, rig.directory) for name in ("a", "b")]
    rig.start("--leader-elect", kubeconfig=accounts[0])
    seeded(rig, bug, "--leader-elect", kubeconfig=accounts[1])
    rig.create(replicas=3)
    rig.publish("2.0.0", "fast")
    rig.healthy(3, version="2.0.0")


def excluded_version(rig: Rig, bug: str) -> None:
    """With a pause between batches: the rule lets what comes right after the exclusion pass."""
    seeded(rig, bug)
    rig.policy(rolling={"pauseTimeBetweenBatches": "PT5S"})
    rig.create(replicas=3)
    rig.publish("2.0.0", "fast", publishingProfile={"excludeFromLatest": True})
    rig.recorder.settle(12)


def lost_pod(rig: Rig, bug: str) -> None:
    """Healing is never a hidden upgrade."""
    seeded(rig, bug)
    rig.policy(automatic=False)
    rig.create(replicas=3)
    rig.publish("2.0.0", "fast")
    rig.condition("UpToDate", rig.says("UpToDate")["reason"])
    rig.recorder.settle(2)
    old = str(rig.api.delete(PODS, rig.namespace, "web-1")["metadata"]["uid"])
    rig.wait(lambda world: world.pods.get("web-1", {"metadata": {"uid": old}})["metadata"]["uid"] != old, "it is back")


def broken_pod(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.create(replicas=3)
    rig.break_pod("web-1")
    rig.recorder.settle(8)


def strangers_pod(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.create(replicas=2)
    labels = {"scaleset.dev/name": "web", "scaleset.dev/instance-id": "7"}
    body = pod("web-7", "1.0.0-fast")
    rig.api.create(PODS, rig.namespace, {**body, "metadata": {**body["metadata"], "labels": labels}})
    rig.recorder.settle(6)


def idle(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.create(replicas=2)
    rig.recorder.settle(15)


def newer_version_in_a_batch(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.policy(healthTimeout="PT20S", rolling=ROOMY)
    rig.create(replicas=4)
    rig.publish("2.0.0")
    rig.change_template(start="6s")  # superseded by a model is another story: the batch after this one is slow
    rig.rollout("Completed", "2.0.0") if bug == "none" else rig.recorder.settle(1)
    rig.publish("3.0.0")
    rig.batch(1, version="3.0.0") if bug == "none" else rig.recorder.settle(1)
    rig.publish("4.0.0")
    rig.recorder.settle(10)


def in_place(rig: Rig, bug: str) -> None:
    """Nine instances, one at a time; each old container runs on, Ready, for three seconds after the change."""
    seeded(rig, bug)
    rig.policy(rolling=ROOMY, healthTimeout="PT20S", replacementMethod="InPlaceIfPossible")
    rig.create(replicas=9)
    rig.publish("2.0.0", "late")
    rig.upgraded("2.0.0", 3)


def bad_in_place(rig: Rig, bug: str) -> None:
    """The pods are older than their health timeout when their image is changed."""
    seeded(rig, bug)
    rig.policy(healthTimeout="PT8S", replacementMethod="InPlaceIfPossible")
    rig.create(replicas=3)
    rig.recorder.settle(9)
    rig.publish("2.0.0", "bad")
    rig.rollout("Faulted", "2.0.0")
    rig.recorder.settle(4)


def new_model(rig: Rig, bug: str) -> None:
    """It differs in an annotation: that takes a new pod, whatever the policy says."""
    seeded(rig, bug)
    rig.policy(mode="Rolling", replacementMethod="InPlaceIfPossible")
    rig.create(replicas=2)
    rig.change_template(colour="blue")
    rig.rollout("Completed")
    rig.scale(3)
    rig.wait(lambda world: len(world.pods) == 3, "one is made anew")


def not_in_place(rig: Rig, bug: str) -> None:
    seeded(rig, bug)
    rig.create(replicas=2)
    rig.publish("2.0.0", "fast")
    rig.upgraded("2.0.0", 2)


CASES: list[tuple[Callable[[Rig, str], None], str, str]] = [
    (good_version, "batch_is_one_too_large", "S1"),
    (good_version, "batch_is_rounded_up", "S1"),
    (good_version, "next_batch_before_the_end_of_this", "S1"),
    (with_disks, "no_uid_precondition", "S7"),
    (with_disks, "force_delete", "S5"),
    (with_disks, "deletes_claims", "S6"),
    (with_disks, "status_after_delete", "S2 written ahead"),
    (with_disks, "takes_notes_on_pods", "S7"),
    (closed_gate, "ignores_the_gate", "S2 gate"),
    (closed_gate_that_nobody_sees, "admits_on_cached_pods", "S2 gate"),
    (bad_version, "goes_on_after_a_breach", "S3"),
    (bad_version, "retries_a_failed_version", "S3"),
    (bad_version, "counts_what_failed_as_done", "S3"),
    (broken_after_its_batch, "restores_outside_its_batch", "S10"),
    (late_but_in_time, "deadline_by_the_wall_clock", "S10"),
    (two_replicas, "writes_without_the_lease", "S13"),
    (excluded_version, "rolls_to_what_is_excluded", "S8"),
    (lost_pod, "heals_with_a_newer_version", "S4 healing"),
    (newer_version_in_a_batch, "jumps_to_a_newer_version_in_a_batch", "S4"),
    (broken_pod, "restarts_what_is_unhealthy", "S9"),
    (strangers_pod, "deletes_pods_of_others", "S7"),
    (idle, "writes_the_status_all_the_time", "S12"),
    (in_place, "changes_any_version_of_the_pod", "S7 in place"),
    (in_place, "forgets_what_ran_before", "S1 in place"),
    (in_place, "believes_the_container_before", "S1 in place"),
    (in_place, "status_after_change", "S2 written ahead"),
    (bad_in_place, "deadline_from_the_birth_of_the_pod", "S10"),
    (new_model, "changes_what_needs_a_new_pod", "S4 model"),
    (not_in_place, "changes_though_nobody_asked", "S11 method"),
]
CONTROLS = list(dict.fromkeys(scenario for scenario, _, _ in CASES))


@pytest.mark.parametrize(("play", "bug", "caught_by"), CASES, ids=[bug for _, bug, _ in CASES])
def test_an_operator_with_this_mistake_is_caught(rig, play, bug, caught_by):
    """Not by chance, but by the promise that it breaks."""
    play(rig, bug)
    found: list[str] = []

    def caught() -> bool:
        found[:] = trace.violations(rig.recorder.trace())
        return any(each.startswith(caught_by) for each in found)

    deadline = monotonic() + PATIENCE
    while not caught():
        assert monotonic() < deadline, f"not caught by {caught_by}; found: {found}"
        rig.recorder.settle(1)
    rig.settings = trace.Settings(exempt=dict.fromkeys(trace.PROMISES, "the bug is there on purpose"))


@pytest.mark.parametrize("play", CONTROLS, ids=lambda play: play.__name__)
def test_an_operator_without_a_mistake_is_not(rig, play):
    """All rules hold; the end of the scenario checks them."""
    play(rig, "none")


def seeded(rig: Rig, bug: str, *arguments: str, **how) -> None:
    rig.start(*arguments, program=(sys.executable, "-m", "tests.faults.seeded", bug), **how)


def break_three(rig: Rig) -> None:
    for name in ("web-2", "web-3", "web-4"):
        rig.break_pod(name)
    rig.wait(lambda world: sum(ready(each) for each in world.pods.values()) == 2, "three are broken")
    rig.recorder.settle(5)  # older than the slack of the rule


def going(world) -> set[str]:
    return {name for name, each in world.pods.items() if not ready(each)}
