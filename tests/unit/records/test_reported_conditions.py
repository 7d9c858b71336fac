"""What a pod's condition that is not Kubernetes' own proves, before and after a change of the image in place."""

import json
from typing import Any

import pytest

from scaleset.planner.instances import Pod, Reported
from scaleset.records.projections import pod, unchanged

JSON = dict[str, Any]
KIND = "example.com/Healthy"
CREATED, STARTED, CHANGED, RESTARTED, LATER = (f"2026-01-01T{time}Z" for time in (
    "00:00:00", "00:00:01", "06:00:00", "06:00:05", "06:00:09",
))  # fmt: skip
NOTE = {"at": CHANGED, "container": "os", "image": "os:1", "id": "runtime://a"}


def seen(condition: JSON | None, *, changed: bool = False, restarted: bool = True) -> Pod:
    """The record of a pod with that condition."""
    metadata: JSON = {
        "namespace": "a",
        "name": "web-0",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
        "generation": 2 if changed else 1,
        "annotations": {"scaleset.dev/changed-in-place": json.dumps(NOTE)} if changed else {},
    }
    new = changed and restarted
    container = {
        "name": "os",
        "containerID": "runtime://b" if new else "runtime://a",
        "state": {"running": {"startedAt": RESTARTED if new else STARTED}},
    }
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": STARTED}
    return pod(
        {
            "metadata": metadata,
            "spec": {"containers": [{"name": "os", "image": "os:2"}]},
            "status": {
                "phase": "Running",
                "startTime": CREATED,
                "conditions": [ready, *([condition] if condition else [])],
                "containerStatuses": [container],
            },
        }
    )


def condition(status: str = "True", **more: Any) -> JSON:
    return {"type": KIND, "status": status, **more}


def test_only_conditions_with_a_domain_name_are_kept():
    assert seen(None).conditions == ()
    found = seen(condition(lastTransitionTime=STARTED)).conditions
    assert [(each.type, each.status, each.message, each.stale) for each in found] == [(KIND, "True", "", False)]


def test_the_writer_says_why():
    found = seen(condition("False", reason="Slow", message="p99\nis 4 s")).reported(KIND)
    assert found == Reported(KIND, "False", None, "Slow: p99 is 4 s")


def test_a_new_probe_with_the_same_result_wakes_nobody():
    one, other = (seen(condition(lastProbeTime=at, lastTransitionTime=STARTED)) for at in (RESTARTED, LATER))
    assert unchanged(one, other)


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ({}, False),
        ({"lastTransitionTime": STARTED}, False),
        ({"lastTransitionTime": CHANGED}, False),
        ({"lastTransitionTime": RESTARTED}, False),
        ({"lastTransitionTime": LATER}, True),
        ({"lastTransitionTime": STARTED, "lastProbeTime": LATER}, True),
        ({"lastTransitionTime": STARTED, "lastProbeTime": "2026-01-01T06:00:04Z"}, False),
        ({"lastTransitionTime": STARTED, "lastProbeTime": None}, False),
        ({"observedGeneration": 1, "lastProbeTime": LATER}, False),
        ({"observedGeneration": 2, "lastTransitionTime": STARTED}, True),
        ({"lastProbeTime": "yesterday"}, False),
    ],
    ids=[
        "without any time",
        "from before the change",
        "in the second of the change",
        "in the second in which the container was started again",
        "another status since",
        "probed again since, with the same result",
        "probed after the change, and before the container was started again",
        "never probed, as kubelets write it",
        "about the generation before",
        "about the present generation",
        "a time that is none",
    ],
)
def test_after_a_change_in_place_only_what_was_written_since_counts(times: JSON, counts: bool):
    assert (seen(condition(**times), changed=True).reported(KIND) is not None) is counts
    assert seen(condition(**times)).reported(KIND) is not None, "in a new pod every condition is about it"
