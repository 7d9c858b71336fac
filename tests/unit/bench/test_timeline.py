"""What is read from an audit log about the batches of a rollout."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from bench.results import Results
from bench.tables import timeline_table
from bench.timeline import MILESTONES, Timeline, timeline
from tests.cluster.harness.trace import Write

OURS, KWOK, SCHEDULER = "scaleset-operator/1", "kwok-controller", "kube-scheduler/v1"


def at(moment: float) -> str:
    return datetime.fromtimestamp(1_800_000_000 + moment, UTC).isoformat()


def request(agent: str, what: str, name: str, moment: float, *, took: float = 0.01, dry_run: bool = False) -> Write:
    verb, resource, *subresource = what.split()
    return Write(
        verb=verb,
        resource=resource,
        group="",
        subresource=" ".join(subresource),
        namespace="shop",
        name=name,
        code=200,
        user_agent=agent,
        dry_run=dry_run,
        time=at(moment),
        answered=at(moment + took),
    )


def batch(began: float, *pods: str) -> list[Write]:
    """It is looked at when it begins, and Ready 1.3 s later."""
    writes = [
        request(OURS, "list pods", "", began + 0.02, took=0.03),
        request(OURS, "create pods", pods[0], began + 0.02, dry_run=True),
        request(OURS, "patch scalesets status", "web", began + 0.06, took=0.02),
    ]
    for number, pod in enumerate(pods):
        later = began + number / 1000
        writes += [
            request(OURS, "delete pods", pod, later + 0.09),
            request(KWOK, "delete pods", pod, later + 0.11),
            request(OURS, "create pods", pod, later + 0.15),
            request(SCHEDULER, "create pods binding", pod, later + 0.17),
            request(KWOK, "patch pods status", pod, later + 0.19),
            request(KWOK, "patch pods status", pod, later + 1.29),
        ]
    return writes


def measured(rollout: Sequence[Write]) -> Timeline:
    return timeline("ours", 4, code="abc", agent="scaleset-operator/", rollouts=[rollout])


def test_each_milestone_counts_from_the_moment_at_which_the_batch_before_was_ready():
    """The second batch begins 30 ms after that; the first one has nothing before it."""
    found = measured([*batch(0.0, "web-0", "web-1"), *batch(1.301 + 0.03, "web-2", "web-3")])
    assert found.batches == 1
    assert {name: round(value) for name, value in found.milestones.items()} == {
        "the operator asks": 50,
        "the list and the dry run are answered": 80,
        "the batch is to be written down": 90,
        "it is written down": 110,
        "the first pod is replaced": 120,
        "the last such request is answered": 131,
        "the last old pod is gone": 151,
        "the first new pod is asked for": 180,
        "the last new pod is there": 191,
        "the last is bound": 211,
        "the last has started": 231,
        "the last is Ready": 1331,
    }


def test_a_batch_in_place_has_no_pods_that_go_or_come():
    def in_place(began: float, pod: str) -> list[Write]:
        return [
            request(OURS, "patch scalesets status", "web", began + 0.06),
            request(OURS, "patch pods", pod, began + 0.09),
            request(KWOK, "patch pods status", pod, began + 0.12),
            request(KWOK, "patch pods status", pod, began + 1.2),
        ]

    found = measured([*in_place(0.0, "web-0"), *in_place(1.3, "web-1")])
    assert (
        not {"the last old pod is gone", "the first new pod is asked for", "the last is bound"}
        & found.milestones.keys()
    )
    assert found.milestones["the last is Ready"] == pytest.approx(1300)


def test_the_table_has_a_row_for_each_milestone_and_a_column_for_each_size():
    results = Results(about={})
    results.add(measured([*batch(0.0, "web-0"), *batch(1.33, "web-1")]))
    table = timeline_table(results)
    assert table.head == ("ms since the batch before was Ready", "ScaleSet N=4")
    assert [row[0] for row in table.rows] == list(MILESTONES)
    assert table.title == "Where the milliseconds of a batch go, medians of 1 batches (abc)"
