"""What a ScaleSet says about itself (S14): each rule catches the mistake that it is there for, and nothing else."""

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import SET_LABEL, VERSION_LABEL
from tests.unit.story import Story, begun, t


def test_s14_counts_that_add_up():
    assert t("counts", begun().rollout(successful="0-3", inProgress="4,5", pending="6-9")) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"successful": "0-3", "progress": {"successfulInstanceCount": 3}},
        {"successful": "0-3", "failed": "3"},
        {"failed": "1", "restored": "2"},
        {"successful": "0-9", "pending": "10"},
    ],
)
def test_s14_catches_counts_that_do_not(fields: Json):
    assert t("counts", begun().rollout(**fields)) != []


def test_s14_catches_an_end_with_something_left():
    assert t("counts", begun().rollout("Completed", successful="0-8", pending="9")) != []


def test_s14_catches_completed_with_an_old_instance():
    story = begun(2).rollout().take(0).give(0)
    assert t("completed", story.rollout("Completed", run="r2", failed="1", successful="0")) == []
    assert t("completed", story.rollout("Completed", run="r3", successful="0,1")) != []


def test_s14_a_status_speaks_of_the_spec_that_it_observed():
    story = begun(2).scale_set(replicas=1).rollout(scale_set={"replicas": 1}).take(0).give(0)
    end = {"run": "r2", "successful": "0"}
    assert t("completed", story.rollout("Completed", scale_set={"replicas": 2, "generation": 2}, **end)) == []
    end["run"] = "r3"
    resized = {"replicas": 2, "generation": 2, "observedGeneration": 2}
    assert t("completed", story.rollout("Completed", scale_set=resized, **end)) != []


def test_s14_what_scaling_in_has_let_go_is_not_behind_though_its_pod_is_there():
    """Of three instances the first one stays, and has no pod now; those that go run something older."""

    def end(kept: str) -> list[str]:
        smaller = {"replicas": 1, "generation": 2, "observedGeneration": 2, "builds": [{"instances": kept}]}
        return t("completed", begun(3).take(0).rollout("Completed", scale_set=smaller, successful="0"))

    assert end("0") == []
    assert end("1") != []


def test_s14_a_pod_that_lost_its_label_is_no_instance():
    def end(scale_set: str, relabelled: str) -> list[str]:
        story = begun(2).rollout().take(0).give(0)
        story.pod(1, "old-1", ready=True, scale_set=scale_set, relabelled=relabelled)
        return t("completed", story.rollout("Completed", successful="0"))

    assert end("", "") == []
    assert end("web", f"{VERSION_LABEL} {SET_LABEL}") == []
    assert end("web", VERSION_LABEL) != []


def test_s14_catches_a_history_out_of_order():
    def attempt(start: str, code: str) -> Json:
        return {"properties": {"runningStatus": {"code": code, "startTime": start}}}

    newer, older = attempt("2026-01-02T00:00:00Z", "RollingForward"), attempt("2026-01-01T00:00:00Z", "Completed")
    assert t("history", Story().scale_set(osUpgradeHistory=[newer, older])) == []
    assert t("history", Story().scale_set(osUpgradeHistory=[older, newer])) != []
    assert t("history", Story().scale_set(osUpgradeHistory=[older] * 6)) != []
