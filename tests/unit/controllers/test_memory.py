"""What may be forgotten: refusals and when to ask again."""

from typing import Any

import pytest

from scaleset.api.moments import timestamp
from scaleset.controllers.memory import LAST_RETRY, Memory, delay
from scaleset.planner.instances import Build, Pod
from scaleset.planner.snapshot import Verdict
from scaleset.records import projections
from tests.simulation.scenes import running

BUILD = Build("m", "1.0.0", "example.com/web:1.0.0")
FIX = Build("m", "1.1.0", "example.com/web:1.1.0")


@pytest.mark.parametrize(
    ("attempts", "wait"), [(0, 2), (1, 4), (2, 8), (3, 16), (4, 32), (5, 60), (6, 60), (10**9, 60)]
)
def test_delays_double_up_to_a_minute(attempts, wait):
    assert delay(attempts) == wait


def test_a_refused_instance_is_asked_for_again_later_and_later():
    memory = Memory()
    waits = []
    now = 100.0
    for _ in range(7):
        memory.create_errors.add(3, "quota", now=now, build=BUILD)
        waits.append(memory.create_errors[3].retry_at - now)
        assert memory.next_retry() == memory.create_errors[3].retry_at
        now = memory.create_errors[3].retry_at
    assert waits == [2, 4, 8, 16, 32, 60, 60]
    memory.created(3)
    assert memory.next_retry() is None
    memory.create_errors.add(3, "quota", now=now, build=BUILD)
    assert memory.create_errors[3].retry_at - now == 2


def test_a_refusal_is_of_an_instance_and_a_build():
    """An id that is given to a new instance with another build does not wait for what was said of the old one."""
    memory = Memory()
    memory.create_errors.add(3, "quota", now=100, build=BUILD)
    assert memory.due({3: BUILD}, now=100) == []
    assert memory.due({3: FIX}, now=100) == [3]
    assert memory.create_errors_of({3: BUILD}) == {3: "quota"}
    assert memory.create_errors_of({3: FIX}) == {}
    assert memory.create_errors_of({}) == {3: "quota"}, "a new instance has no build yet"
    memory.create_errors.add(3, "another", now=100, build=FIX)
    assert memory.create_errors[3].attempts == 0
    memory.forget_unplanned({3: BUILD}, [])
    assert memory.create_errors == {}


def test_what_was_not_tried_says_of_whom_it_was_said():
    memory = Memory()
    memory.create_errors.add(0, 'pods "web-0" is forbidden: exceeded quota', now=0, build=BUILD)
    memory.add_untried({1: BUILD, 2: BUILD}, like=0)
    assert memory.create_errors_of({})[2].startswith("Not tried, since the API server refuses instance 0: ")


def test_a_pod_that_the_server_would_not_delete_is_asked_about_later_and_later():
    memory = Memory()
    memory.delete_errors.add("uid-a", "ask the security team", now=100)
    memory.delete_errors.add("uid-a", "ask the security team", now=102)
    assert memory.next_retry() == 106
    memory.forget_unplanned({}, ["uid-a"])
    assert memory.delete_errors["uid-a"].message == "ask the security team"
    memory.forget_unplanned({}, [])
    assert memory.next_retry() is None
    assert memory.delete_errors.keys() == {"uid-a"}, "others that may be deleted go before it in the next batch"
    memory.forget_unplanned({}, ["uid-a"])
    assert memory.delete_errors["uid-a"].retry_at <= 103, "and when its turn comes again, it is asked about at once"


def test_a_new_generation_forgets_what_was_refused():
    memory = Memory()
    memory.new_generation(1)
    memory.create_errors.add(0, "no", now=0, build=BUILD)
    memory.verdicts.add("m", Verdict(accepted=False, message="no"), now=0)
    memory.new_generation(1)
    assert memory.create_errors
    assert memory.verdicts
    memory.new_generation(2)
    assert not memory.create_errors
    assert not memory.verdicts
    memory.verdicts.add("m", Verdict(accepted=False, message="no"), now=0)
    assert memory.verdicts["m"].retry_at == 2


def test_an_accepted_model_stays_so():
    memory = Memory()
    memory.verdicts.add("m", Verdict(accepted=True), now=0)
    assert memory.verdicts["m"] == Verdict(accepted=True)


def test_a_refused_model_is_asked_about_later_and_later():
    memory = Memory()
    waits = []
    for _ in range(7):
        memory.verdicts.add("m", Verdict(accepted=False, message="no"), now=50)
        retry = memory.verdicts["m"].retry_at
        assert retry is not None
        waits.append(retry - 50)
    assert waits[-1] == LAST_RETRY
    assert waits == sorted(waits)


def test_strangers_are_looked_at_again():
    memory = Memory()
    memory.foreign_pods.add(2, "not ours", now=10)
    memory.expire(11)
    assert 2 in memory.foreign_pods
    memory.expire(12)
    assert not memory.foreign_pods


def seen(uid: str, *, created: float) -> Pod:
    metadata = {"name": "web-0", "namespace": "a", "uid": uid, "resourceVersion": "1"}
    return projections.pod({"metadata": {**metadata, "creationTimestamp": timestamp(created)}})


def test_an_instance_keeps_its_age_when_its_pod_is_made_again():
    memory = Memory()
    memory.remember_pods([(0, seen("a", created=100))])
    memory.remember_pods([])
    memory.forget_removed({0}, {})
    assert memory.ages == {0: 100}


def test_the_pod_of_an_instance_that_is_no_more_says_nothing_of_the_next_one_with_its_id():
    """Scaled in and out again while the pod goes."""
    memory = Memory()
    leaving = seen("a", created=100)
    memory.remember_pods([(0, leaving)])
    memory.forget_removed((), {0: leaving})
    memory.remember_pods([(0, leaving)])
    memory.forget_removed({0}, {0: leaving})
    assert memory.ages == {}
    memory.remember_pods([(0, seen("b", created=200))])
    assert memory.ages == {0: 200}
    assert memory.former_pods == frozenset()


def test_a_model_about_which_nothing_was_learned_is_asked_about_again():
    memory = Memory()
    memory.verdicts.add("m", Verdict(accepted=True, unanswered=True), now=10)
    assert memory.verdicts["m"].retry_at == 12


def test_what_a_refusal_is_about_is_kept():
    memory = Memory()
    memory.verdicts.add("m", Verdict(accepted=False, message="no", reason="ModelNotStored"), now=10)
    memory.verdicts.add("m", Verdict(accepted=True), now=12)
    memory.verdicts.add("m", Verdict(accepted=False, message="no", reason="ModelNotStored"), now=12)
    assert memory.verdicts["m"] == Verdict(accepted=False, message="no", reason="ModelNotStored", retry_at=16)


def test_an_old_revision_that_is_not_deleted_is_news_once_and_tried_later_and_later():
    errors = Memory().discard_errors
    assert errors.due("m", 0)
    errors.add("m", "no", now=0)
    assert "m" in errors
    assert not errors.due("m", 1)
    assert errors.due("m", 2)
    errors.add("m", "no", now=2)
    assert not errors.due("m", 5)


def rolling(number: int) -> dict[str, Any]:
    """The status of a set whose rollout is at that batch."""
    world = running(5)
    world.publish("2.0.0")
    world.step()
    return {**world.status, "observedGeneration": number}


def test_a_status_is_understood_once_until_it_changes():
    memory, status = Memory(), rolling(1)
    first = memory.understand(status)
    memory.rest()
    assert memory.understand(status) is first
    assert first.state.rollout is not None
    assert memory.understand(rolling(2)).raw["observedGeneration"] == 2


def test_what_is_understood_of_a_set_at_rest_is_not_kept():
    """Or a fleet at rest would be in memory twice."""
    memory, status = Memory(), running(5).status
    memory.understand(status)
    memory.rest()
    assert memory.understood is None
