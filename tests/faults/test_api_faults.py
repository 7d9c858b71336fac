"""The API server misbehaves towards the operator, by a script: rows 16 to 34 of docs/reliability.md.

Each test is a rollout under one fault. It tells the table how often the fault struck and how long it took after its
end until the operator was at work again. The rules of tests/faults/trace hold on all of it.
"""

from collections.abc import Callable
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
import yaml

from tests.cluster.harness.fleet import until
from tests.cluster.harness.scene import ready, runs
from tests.cluster.test_leadership import account
from tests.faults import trace
from tests.faults.harness.calls import Call, On, calls, everything, watches, writes
from tests.faults.harness.faults import (
    Answer,
    Cut,
    Delay,
    Freeze,
    GoneInStream,
    HalfOpen,
    LoseReply,
    Replay,
    Shuffle,
    Swallow,
    Truncate,
)
from tests.faults.harness.rig import Rig
from tests.faults.test_checker import seeded

pytestmark = pytest.mark.timeout(900)
AT_ONCE = 8
BROKEN = ("web-2", "web-3", "web-4")
UNANSWERED = "a DELETE whose answer was lost is sent again while the pod still terminates"
SLOW = {"healthTimeout": "PT90S"}
"""For faults that keep an operator from looking for some seconds: no instance fails because of that."""


def fleet(rig: Rig, replicas: int = 5, **policy: Any) -> None:
    rig.start()
    rig.policy(**{**SLOW, **policy})
    rig.create(replicas=replicas)


def under_way(rig: Rig, version: str = "2.0.0") -> None:
    """Publishes that version and waits until its first batch is being replaced."""
    rig.publish(version)
    rig.batch(1, version=version)


def completes(rig: Rig, version: str = "2.0.0", replicas: int = 5) -> Callable[[], object]:
    def wait() -> None:
        rig.rollout("Completed", version)
        rig.healthy(replicas, version=version)

    return wait


def goes_on(rig: Rig, version: str = "2.0.0") -> Callable[[], object]:
    """The operator works again: one more instance than now is healthy on that version, or all are."""
    count = sum(runs(pod) == version and ready(pod) for pod in rig.world.pods_of("web"))
    return lambda: rig.upgraded(version, min(count + 1, len(rig.world.pods_of("web"))))


def for_seconds(rig: Rig, seconds: float) -> None:
    rig.recorder.settle(seconds)


# Watches


def test_watches_are_cut_every_second(rig):
    fleet(rig)
    rig.publish("2.0.0")
    cut = 0
    for _ in range(20):
        for_seconds(rig, 1)
        cut += rig.proxy.cut(watches)
    seconds = rig.recovered(goes_on(rig)) if rig.versions() != ["2.0.0"] * 5 else 0.0
    completes(rig)()
    rig.tell(16, "every watch cut once a second for 20 s", times=cut, outcome="no event missed", recovery=seconds)


def test_watches_end_with_410_in_the_stream(rig):
    fleet(rig)
    before = rig.proxy.count(calls("pods", "list"))
    with rig.proxy.inject(GoneInStream(times=12), watches) as fault:
        under_way(rig)
        completes(rig)()
    assert rig.proxy.count(calls("pods", "list")) > before, "it lists again"
    rig.tell(
        17, "410 as an event of a watch", times=fault.count, outcome="listed again, nothing done twice", recovery=0
    )


def test_watches_are_answered_with_410(rig):
    fleet(rig)
    with rig.proxy.inject(Answer(410, times=12), watches) as fault:
        rig.proxy.cut(watches)
        under_way(rig)
        completes(rig)()
    rig.tell(17, "410 as the answer to a watch", times=fault.count, outcome="listed again, no loop", recovery=0)


def test_a_continue_token_expires(rig):
    """The pages of a list are of one state; when that is gone, the list begins again."""
    seeded(rig, "pages_of_two")
    rig.policy(**SLOW)
    rig.create(replicas=5)
    with rig.proxy.inject(Answer(410, every=2, times=8), _continued) as fault:
        under_way(rig)
        completes(rig)()
        until(lambda: fault.count > 0, timeout=90, message="a list has a second page")
    rig.tell(17, "410 on a continue token", times=fault.count, outcome="the list began again", recovery=0)


def test_open_watches_go_silent(rig):
    """The connections look alive, but nothing comes any more."""
    fleet(rig)
    with rig.proxy.inject(HalfOpen(), rig.proxy.opened_by_now()) as fault:
        began = monotonic()
        rig.publish("2.0.0", "fast")
        completes(rig)()
        noticed = monotonic() - began
    assert noticed < 180
    what = "the bytes of every open watch frozen for good"
    rig.tell(18, what, times=fault.count, outcome=f"noticed, and a rollout done, after {noticed:.0f} s", recovery=None)


@pytest.mark.parametrize("number", range(1, 8))
def test_one_event_of_a_pod_never_arrives(rig, number):
    """Each event of a replacement in turn; where it has fewer, those of the next one count on. Without a trace of it,
    what helps is that a set which waits lists its pods now and then.
    """
    seeded(rig, "doubts_after_15_seconds")
    rig.policy(healthTimeout="PT10M")
    rig.create(replicas=1)
    with rig.proxy.inject(Swallow(first=number, times=1), calls("pods", "watch")) as fault:
        for version in ("2.0.0", "3.0.0", "4.0.0"):
            if not fault.count:
                rig.publish(version)
                seconds = rig.recovered(completes(rig, version, replicas=1))
    outcome = "noticed by the list that a set which waits takes every minute (shortened to 15 s here)"
    rig.tell(29, "one event of a pod swallowed, each in turn", times=fault.count, outcome=outcome, recovery=seconds)


@pytest.mark.parametrize("kind", ["galleryimageversions", "scalesets", "upgradepolicies"])
def test_one_event_of_a_custom_object_never_arrives(rig, kind):
    fleet(rig, replicas=2, rolling={"maxBatchInstancePercent": 5})
    with rig.proxy.inject(Swallow(times=1), calls(kind, "watch")) as fault:
        rig.policy(**SLOW, rolling={"maxBatchInstancePercent": 100})
        rig.scale(3)
        rig.publish("2.0.0")
        fault.struck.wait(30)
        seconds = rig.recovered(completes(rig, replicas=3))
    outcome = "seen by the list that is taken every minute"
    rig.tell(29, f"one event of {kind} swallowed", times=fault.count, outcome=outcome, recovery=seconds)


def test_events_come_twice_and_in_another_order(rig):
    fleet(rig)
    with rig.proxy.inject(Shuffle(seed=30), watches) as fault:
        under_way(rig)
        completes(rig)()
    rig.tell(
        30, "events of watches doubled and shuffled (seed 30)", times=fault.count, outcome="done as ever", recovery=0
    )


def test_nothing_happens_for_a_while(rig):
    """Bookmarks only: no list of pods, and no write."""
    fleet(rig)
    for_seconds(rig, 8)
    pods, kinds = rig.proxy.count(calls("pods", "list")), rig.proxy.count(calls("scalesets", "list"))
    rig.recorder.quiet(seconds=100)
    assert rig.proxy.count(calls("pods", "list")) - pods <= 1
    assert rig.proxy.count(calls("scalesets", "list")) - kinds <= 4
    rig.tell(31, "100 s of silence but for bookmarks", times=1, outcome="no list of pods, no write", recovery=None)


# Answers


@pytest.mark.parametrize(
    ("fault", "on", "row", "what"),
    [
        (lambda: Answer(409, every=2), writes, 24, "409 Conflict to every second write"),
        (lambda: Answer(409, every=2), calls("pods", "delete"), 24, "409 Conflict to every second DELETE of a pod"),
        (lambda: LoseReply(500, every=2), writes, 26, "500 after every second write was carried out"),
        (lambda: LoseReply(500), calls("pods", "create"), 26, "500 after every CREATE of a pod was carried out"),
        (lambda: LoseReply(500), calls("pods", "delete"), 26, "500 after every DELETE of a pod was carried out"),
        (lambda: LoseReply(0, every=2), writes, 26, "connection cut after every second write was carried out"),
        (lambda: Cut(share=0.2), everything, 19, "a random fifth of all calls cut"),
        (lambda: Truncate(share=0.2), everything, 16, "a random fifth of all answers cut in the middle"),
        (lambda: Truncate(times=15), watches, 16, "events of watches cut in the middle"),
    ],
    ids=[
        "409",
        "409 delete",
        "500 after",
        "500 after create",
        "500 after delete",
        "cut after",
        "cut",
        "truncated",
        "truncated events",
    ],
)
def test_a_rollout_under_a_fault_that_does_not_end(rig, fault, on, row, what):
    """It gets there all the same. What was carried out without an answer is asked for once more, by uid."""
    if row != 24:
        rig.settings = trace.Settings(exempt={"S12": UNANSWERED})
    fleet(rig)
    with rig.proxy.inject(fault(), on) as struck:
        rig.publish("2.0.0")
        completes(rig)()
    rig.tell(row, what, times=struck.count, outcome="rollout completed meanwhile", recovery=0)


@pytest.mark.parametrize(
    ("fault", "on", "seconds", "row", "what"),
    [
        (lambda: Answer(503), everything, 90, 20, "503 to everything for 90 s"),
        (lambda: Answer(500), everything, 30, 20, "500 to everything for 30 s"),
        (Cut, everything, 60, 19, "every connection refused or cut for 60 s"),
        (Freeze, everything, 60, 21, "no byte in either direction for 60 s"),
        (lambda: Answer(403), everything, 30, 33, "403 to everything for 30 s"),
        (lambda: Answer(403), calls("pods", "delete"), 20, 33, "403 to DELETEs of pods for 20 s"),
        (lambda: Answer(403), calls("pods", "create"), 20, 33, "403 to CREATEs of pods for 20 s"),
        (lambda: Answer(403), calls("scalesets", "patch"), 20, 33, "403 to status writes for 20 s"),
        (lambda: Answer(403), watches, 40, 33, "403 to watches for 40 s"),
        (lambda: Answer(401), everything, 30, 34, "401 to everything for 30 s"),
        (lambda: Answer(410), calls("", "list"), 20, 17, "410 to every list for 20 s"),
    ],
    ids=[
        "503",
        "500",
        "refused",
        "frozen",
        "403",
        "403 delete",
        "403 create",
        "403 status",
        "403 watch",
        "401",
        "410 lists",
    ],
)
def test_a_rollout_across_an_outage(rig, fault, on, seconds, row, what):
    """Nothing is done from memory meanwhile, and within a minute after the end the operator is at work again."""
    fleet(rig)
    rig.settings = trace.Settings(slack=10)
    rig.publish("2.0.0")
    rig.upgraded("2.0.0", 1)
    with rig.proxy.inject(fault(), on) as struck:
        rig.proxy.cut(lambda call: on(call) and not isinstance(struck, Freeze))
        for_seconds(rig, seconds)
    recovery = rig.recovered(goes_on(rig)) if rig.versions() != ["2.0.0"] * 5 else 0.0
    completes(rig)()
    rig.tell(row, what, times=struck.count, outcome="rollout went on where it was", recovery=recovery)


def test_an_outage_ends_when_a_bad_version_is_overdue(rig):
    """503 across the deadline of an instance that never gets healthy: it is restored afterwards."""
    fleet(rig, healthTimeout="PT10S")
    under_way_bad(rig)
    with rig.proxy.inject(Answer(503), everything) as struck:
        rig.proxy.cut()
        for_seconds(rig, 25)
    recovery = rig.recovered(lambda: rig.rollout("Faulted", "2.0.0"))
    rig.healthy(5, version="1.0.0")
    rig.tell(20, "503 across a deadline", times=struck.count, outcome="restored after the outage", recovery=recovery)


def test_asked_to_stay_away(rig):
    """429 with Retry-After: 5 to all writes: nothing is sent again before that."""
    fleet(rig)
    rig.settings = trace.Settings(slack=10)
    times: list[tuple[float, Call]] = []

    class Timed(Answer):
        def strike(self) -> None:
            super().strike()
            times.append((monotonic(), rig.proxy.seen[-1]))

    with rig.proxy.inject(Timed(429, retry_after=5), calls("scalesets", "patch")) as struck:
        rig.publish("2.0.0")
        for_seconds(rig, 30)
    moments = [at for at, call in times if call.name == "web"]
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert len(gaps) >= 2, "it keeps trying"
    assert min(gaps) > 4.5, f"sent again after {gaps}"
    recovery = rig.recovered(goes_on(rig))
    completes(rig)()
    rig.tell(
        25,
        "429 with Retry-After: 5 to all status writes for 30 s",
        times=struck.count,
        outcome="at most one try in 5 s",
        recovery=recovery,
    )


def test_every_call_takes_up_to_four_seconds(rig):
    rig.start()
    rig.settings = trace.Settings(slack=20)
    rig.policy(healthTimeout="PT60S", rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40})
    rig.create(replicas=5)
    with rig.proxy.inject(Delay(4, seed=27)) as fault:
        rig.publish("2.0.0")
        rig.rollout("Completed", "2.0.0", timeout=300)
    rig.healthy(5, version="2.0.0")
    rig.tell(
        27,
        "every call 0 to 4 s slower (seed 27)",
        times=fault.count,
        outcome="slower, never beyond a batch",
        recovery=0,
    )


def test_an_old_list_is_given_again(rig):
    """An API server that lags behind says that all are healthy, its watch says nothing; the gate is closed."""
    fleet(rig)
    pods = calls("pods", "list")
    with rig.proxy.inject(Replay(), pods) as old:
        rig.publish("2.0.0", "fast")  # the fresh list before a batch is what is remembered
        completes(rig)()
        old.learning = False
        with rig.proxy.inject(Freeze(), calls("pods", "watch")):
            for name in BROKEN:
                rig.break_pod(name)
            rig.wait(lambda world: sum(ready(pod) for pod in world.pods.values()) == 2, "three are broken")
            for_seconds(rig, 5)
            rig.publish("3.0.0", "fast")
            for_seconds(rig, 15)
            assert rig.versions() == ["2.0.0"] * 5, "a batch was admitted on an old list"
            for name in BROKEN:
                rig.mend_pod(name)
    recovery = rig.recovered(lambda: rig.upgraded("3.0.0"))
    completes(rig, "3.0.0")()
    rig.tell(
        28, "a LIST of before given again", times=old.count, outcome="noticed as older: no batch", recovery=recovery
    )


def test_events_cannot_be_written(rig):
    fleet(rig)
    with rig.proxy.inject(Answer(403), calls("events")) as fault:
        rig.publish("2.0.0")
        completes(rig)()
    rig.tell(32, "403 to every Event", times=fault.count, outcome="rollout unaffected", recovery=0)


def test_a_token_is_replaced(rig):
    """The old one is refused from one moment on, the new one lies in the file."""
    old = account(rig.cluster, rig.namespace, "one", rig.directory)
    tokens = [yaml.safe_load(old.read_text())["users"][0]["user"]["token"], rig.api.create_token(rig.namespace, "one")]
    file = rig.directory / "token"
    file.write_text(tokens[0])
    config = yaml.safe_load(rig.proxy.kubeconfig.read_text())
    config["users"][0]["user"] = {"tokenFile": str(file)}
    rig.proxy.kubeconfig.write_text(yaml.safe_dump(config))
    fleet(rig)
    under_way(rig)
    with rig.proxy.inject(Answer(401), _bears(tokens[0])) as fault:
        rig.proxy.cut()
        file.write_text(tokens[1])
        recovery = rig.recovered(goes_on(rig))
        completes(rig)()
    rig.tell(34, "token refused, another one in its file", times=fault.count, outcome="no restart", recovery=recovery)


def under_way_bad(rig: Rig) -> None:
    rig.publish("2.0.0", "bad")
    rig.batch(1, version="2.0.0")


def _continued(call: Call) -> bool:
    return call.verb == "list" and "continue" in call.parameters


def _bears(token: str) -> On:
    return lambda call: call.headers.get("Authorization", "") == f"Bearer {token}"
