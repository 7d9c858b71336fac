"""What a pod's status proves after its image was changed in place, step by step as a kubelet writes it.

Seen in the source of Kubernetes 1.34: the kubelet writes a status with the new generation (`SyncPod` calls
`SetPodStatus`) before it starts any container again, so `Ready=True` with that generation may be about the old one.
"""

import json
from typing import Any

import pytest

from scaleset.planner.health import INSTANCE_STATE, READINESS, healthy_since, state
from scaleset.planner.instances import Change, HealthState, Pod, Ran
from scaleset.records.projections import pod

JSON = dict[str, Any]
CREATED, STARTED, CHANGED, RESTARTED, READY_AGAIN = (f"2026-01-01T{time}Z" for time in (
    "00:00:00", "00:00:01", "06:00:00", "06:00:05", "06:00:09",
))  # fmt: skip
AT = 1767225600.0 + 6 * 3600
NOTE = {"at": CHANGED, "container": "os", "image": "os:1", "id": "runtime://a"}
SIDECAR = {"name": "log", "containerID": "runtime://log", "ready": True, "state": {"running": {"startedAt": STARTED}}}


def container(identity: str, *, started: str | None = STARTED, ready: bool = True, **more: Any) -> JSON:
    """Status of the instance container. The runtime tells the image by a name of its own, whichever it is."""
    running = {} if started is None else {"state": {"running": {"startedAt": started}}}
    told = {"image": "runtime.example/os@sha256:0", "imageID": "sha256:0", "restartCount": 0}
    return {"name": "os", "containerID": identity, "ready": ready, **told, **running, **more}


def seen(
    status: JSON,
    *,
    ready: str = "True",
    since: str = STARTED,
    observed: int | None = 2,
    image: str = "os:2",
    note: Any = NOTE,
) -> Pod:
    """The record of a pod whose image was changed; generation 2 in a cluster that counts."""
    condition: JSON = {"type": "Ready", "status": ready, "lastTransitionTime": since}
    metadata: JSON = {
        "namespace": "a",
        "name": "web-0",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
        "annotations": {"scaleset.dev/changed-in-place": note if isinstance(note, str) else json.dumps(note)},
    }
    if observed is not None:
        metadata["generation"] = 2
        condition["observedGeneration"] = observed
    return pod(
        {
            "metadata": metadata,
            "spec": {"containers": [{"name": "os", "image": image}, {"name": "log", "image": "log:1"}]},
            "status": {
                "phase": "Running",
                "startTime": CREATED,
                "conditions": [condition],
                "containerStatuses": [status, SIDECAR],
            },
        }
    )


def unready(identity: str, *, since: str = RESTARTED, started: str | None = None, **more: Any) -> Pod:
    """The container is not ready, and the pod has not been since then."""
    return seen(container(identity, started=started, ready=False, **more), ready="False", since=since)


BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
ENDED = {"terminated": {"containerID": "runtime://b", "startedAt": RESTARTED, "exitCode": 1}}
CRASHED = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}

STEPS = {
    "the kubelet has not looked": (seen(container("runtime://a"), observed=1), HealthState.INITIALIZING),
    "it has seen the new generation": (seen(container("runtime://a")), HealthState.INITIALIZING),
    "the old container ended": (unready("runtime://a"), HealthState.INITIALIZING),
    "the image cannot be pulled": (unready("runtime://a", state=BACK_OFF), HealthState.INITIALIZING),
    "the new one runs": (unready("runtime://b", started=RESTARTED), HealthState.INITIALIZING),
    "it crashes": (unready("runtime://c", state=CRASHED), HealthState.INITIALIZING),
    "it is ready": (seen(container("runtime://b", started=RESTARTED), since=READY_AGAIN), HealthState.HEALTHY),
    "it was ready and broke": (unready("runtime://b", started=RESTARTED, since=READY_AGAIN), HealthState.UNHEALTHY),
    "it was ready and crashed": (
        unready("runtime://b", state=CRASHED, lastState=ENDED, since=READY_AGAIN),
        HealthState.UNHEALTHY,
    ),
    "it was ready, crashed, and runs again": (
        unready("runtime://c", started="2026-01-01T06:01:00Z", lastState=ENDED, since=READY_AGAIN),
        HealthState.UNHEALTHY,
    ),
    "ready without a break: it has no probe": (seen(container("runtime://b", started=RESTARTED)), HealthState.HEALTHY),
    "before 1.34, old container": (seen(container("runtime://a"), observed=None), HealthState.INITIALIZING),
    "before 1.34, new container": (
        seen(container("runtime://b", started=RESTARTED), since=READY_AGAIN, observed=None),
        HealthState.HEALTHY,
    ),
    "taken back before the container was started again": (
        seen(container("runtime://a"), image="os:1"),
        HealthState.HEALTHY,
    ),
    "taken back, and the kubelet has not looked": (
        seen(container("runtime://a"), image="os:1", observed=1),
        HealthState.INITIALIZING,
    ),
    "never started, now running": (
        seen(container("runtime://a", started=RESTARTED), note={**NOTE, "id": ""}),
        HealthState.HEALTHY,
    ),
    "never started": (
        seen(container("", started=None, ready=False, state=BACK_OFF), ready="False", note={**NOTE, "id": ""}),
        HealthState.INITIALIZING,
    ),
}


@pytest.mark.parametrize(("found", "expected"), STEPS.values(), ids=STEPS)
def test_health_after_a_change_in_place(found, expected):
    assert state(found, by=READINESS, now=AT + 60, timeout=300) is expected
    late = HealthState.UNHEALTHY if expected is HealthState.INITIALIZING else expected
    assert state(found, by=READINESS, now=AT + 300, timeout=300) is late


def test_the_state_of_the_old_container_is_no_health_either():
    """Health of a set without an application signal."""
    assert healthy_since(seen(container("runtime://a")), by=INSTANCE_STATE) is None
    restarted = seen(container("runtime://b", started=RESTARTED), ready="False")
    assert healthy_since(restarted, by=INSTANCE_STATE) == AT + 5


def test_the_time_to_stay_ready_begins_with_the_new_container():
    """Ready that did not break, since the container has no probe, is as old as the container that it is about."""
    assert healthy_since(seen(container("runtime://b", started=RESTARTED)), by=READINESS) == AT + 5
    assert healthy_since(seen(container("runtime://b", started=RESTARTED), since=READY_AGAIN), by=READINESS) == AT + 9


def test_kubernetes_own_words_come_before_ours():
    found, _ = STEPS["the image cannot be pulled"]
    assert found.message == "container os: ImagePullBackOff: not found"
    stale, _ = STEPS["it has seen the new generation"]
    assert stale.message == "The image was changed in place; the kubelet has not started the container again yet."


def test_the_note_is_read():
    found = seen(container("runtime://b"))
    assert found.change == Change(AT, "os", "os:1", "runtime://a")
    assert found.begun == AT
    assert found.container_ids == (("os", "runtime://b"), ("log", "runtime://log"))


OTHERS = {**NOTE, "others": [{"container": "log", "image": "log:0", "id": "runtime://log"}]}


def test_every_changed_container_has_to_be_another_one():
    """One of two was started again: what the status says is not about the build yet."""
    found = seen(container("runtime://b", started=RESTARTED), note=OTHERS)
    assert found.change == Change(AT, "os", "os:1", "runtime://a", others=(Ran("log", "log:0", "runtime://log"),))
    assert (found.current, found.started) == (False, None)
    both = seen(
        container("runtime://b", started=RESTARTED),
        note={**NOTE, "others": [{"container": "log", "image": "log:0", "id": "runtime://before"}]},
    )
    assert both.current
    assert both.started == AT + 5, "the later of the two starts"
    same = seen(
        container("runtime://b", started=RESTARTED),
        note={**NOTE, "others": [{"container": "log", "image": "log:1", "id": "runtime://log"}]},
    )
    assert same.current, "it had this image before, so nothing is started again"


@pytest.mark.parametrize("others", [None, 3, [3], [{}], [{"container": "log"}], "x"])
def test_others_that_make_no_sense_are_no_note(others):
    assert seen(container("runtime://a"), note={**NOTE, "others": others}).change is None


@pytest.mark.parametrize("note", ["", "{", "[]", "3", "null", '{"at": 3}', json.dumps({**NOTE, "at": "yesterday"})])
def test_a_note_that_makes_no_sense_is_none(note):
    found = seen(container("runtime://a"), note=note)
    assert (found.change, found.current, found.begun) == (None, True, found.created)
