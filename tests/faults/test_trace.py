"""The trace checker by itself, on a trace made by hand: what the recorder missed of a status is in the audit log."""

import pytest

from tests.cluster.harness.api import Json
from tests.cluster.harness.trace import INSTANCE_LABEL, MODEL_LABEL, SET_LABEL, VERSION_LABEL, Seen, Trace, Write
from tests.faults.trace.replay import Replay
from tests.faults.trace.rollouts import s2_written_ahead

AGENT = "scaleset-operator"


def pod(order: int, version: str, uid: str, **more: str) -> Json:
    labels = {SET_LABEL: "web", INSTANCE_LABEL: "3", VERSION_LABEL: version, MODEL_LABEL: "web-1"}
    metadata: Json = {"name": "web-3", "uid": uid, "resourceVersion": str(order), "labels": labels, **more}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "instance", "image": f"registry.example/os:{version}"}]},
    }


def write(verb: str, name: str, second: int, body: Json, resource: str = "pods", subresource: str = "") -> Write:
    time = f"2026-01-01T00:00:{second:02}.000000Z"
    return Write(
        verb, resource, "", subresource, "default", name, 200, AGENT, dry_run=False, body=body, time=time, answered=time
    )


def status_write(second: int, based_on: int, in_progress: str) -> Write:
    status = {"rollingUpgrade": {"inProgress": in_progress}}
    body = {"metadata": {"resourceVersion": str(based_on)}, "status": status}
    return write("patch", "web", second, body, "scalesets", "status")


@pytest.mark.parametrize(
    ("missed", "found"),
    [
        ([], 1),
        ([status_write(1, 10, "3")], 0),
        ([status_write(3, 10, "3")], 1),  # after the delete
        ([status_write(1, 10, "2")], 1),  # another instance
        ([status_write(1, 5, "3")], 1),  # an earlier batch: what it said was seen, and replaced, since
    ],
)
def test_a_status_that_the_recorder_missed_counts_if_it_came_before_the_delete(missed: list[Write], found: int):
    """The scale set was last seen at 10; its pod is deleted at 20 and comes back with another version."""
    scale_set = {"metadata": {"name": "web", "resourceVersion": "10"}, "spec": {}, "status": {}}
    seen = (
        Seen(0, "ADDED", "scalesets", scale_set),
        Seen(0, "ADDED", "pods", pod(11, "1.0.0", "old")),
        Seen(2, "DELETED", "pods", pod(20, "1.0.0", "old")),
        Seen(3, "ADDED", "pods", pod(21, "2.0.0", "new")),
    )
    delete = write("delete", "web-3", 2, {"preconditions": {"uid": "old"}})
    replay = Replay(Trace(seen=seen, writes=(*missed, delete)))
    assert len(list(s2_written_ahead(replay, 0))) == found
