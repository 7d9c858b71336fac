"""Records of raw objects: what a decision sees of a pod, and in which words its state is told."""

import random
from typing import Any

import pytest

from scaleset.planner.instances import Build
from scaleset.records import projections
from scaleset.records.projections import MAX_MESSAGE, explain, instance_number, plain, pod, seconds

JSON = dict[str, Any]
OWNER = {"apiVersion": "scaleset.dev/v1beta1", "kind": "ScaleSet", "name": "web", "uid": "set-uid", "controller": True}


def raw(*, metadata: JSON | None = None, status: JSON | None = None) -> JSON:
    return {
        "metadata": {
            "namespace": "a",
            "name": "web-3",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **(metadata or {}),
        },
        "spec": {"containers": [{"name": "os", "image": "x:1"}, {"name": "log", "image": "y:2"}]},
        "status": status or {},
    }


def ready(status: str = "True", **more: Any) -> JSON:
    return {"conditions": [{"type": "Ready", "status": status, **more}]}


def waiting(reason: str, message: str = "", **more: Any) -> JSON:
    return {"containerStatuses": [{"name": "os", "state": {"waiting": {"reason": reason, "message": message}}, **more}]}


def test_the_least_that_a_pod_may_have():
    found = pod(raw())
    assert (found.namespace, found.name, found.uid, found.resource_version) == ("a", "web-3", "u", "7")
    assert (found.owner, found.set_name, found.ready, found.running, found.deleting) == (None, "", False, False, False)
    assert found.created == 1767225600
    assert found.images == (("os", "x:1"), ("log", "y:2"))


def test_our_own_marks():
    found = pod(
        raw(
            metadata={
                "ownerReferences": [{**OWNER, "controller": False, "uid": "other"}, OWNER],
                "labels": {
                    "scaleset.dev/name": "elsewhere",
                    "scaleset.dev/model": "web-1",
                    "scaleset.dev/image-version": "1.2.3",
                },
                "annotations": {
                    "scaleset.dev/previous": '{"model": "web-0", "version": "1.0.0", "image": "x:0"}',
                    "scaleset.dev/created-at": "2025-01-01T00:00:00Z",
                    "scaleset.dev/restarted-at": "2026-01-01T00:00:00Z",
                },
            }
        )
    )
    assert found.restart == 1767225600
    assert (found.owner, found.set_name, found.model, found.version) == ("set-uid", "web", "web-1", "1.2.3")
    assert found.previous == Build("web-0", "1.0.0", "x:0")
    assert found.instance_created == 1735689600


@pytest.mark.parametrize("text", ["", "yesterday", "9999-13-01T00:00:00Z"])
def test_a_restart_that_makes_no_sense_is_none(text):
    assert pod(raw(metadata={"annotations": {"scaleset.dev/restarted-at": text}})).restart is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"model": "x"}', '"text"'])
def test_a_previous_build_that_makes_no_sense_is_none(text):
    assert pod(raw(metadata={"annotations": {"scaleset.dev/previous": text}})).previous is None


@pytest.mark.parametrize(
    "owner",
    [
        {**OWNER, "controller": False},
        {**OWNER, "apiVersion": "apps/v1"},
        {**OWNER, "kind": "ReplicaSet"},
        {**OWNER, "apiVersion": "scaleset.dev.example/v1"},
        {"uid": "x"},
    ],
)
def test_only_a_controlling_scale_set_is_an_owner(owner):
    assert pod(raw(metadata={"ownerReferences": [owner]})).owner is None


@pytest.mark.parametrize(
    ("status", "generation", "is_ready"),
    [
        (ready(), 1, True),
        (ready(observedGeneration=1), 1, True),
        (ready(observedGeneration=1), 2, False),
        (ready(observedGeneration=3), 2, True),
        (ready("False"), 1, False),
        (ready("Unknown"), 1, False),
        ({}, 1, False),
    ],
)
def test_ready_is_said_of_the_pod_as_it_is_now(status, generation, is_ready):
    assert pod(raw(metadata={"generation": generation}, status=status)).ready is is_ready


@pytest.mark.parametrize(
    ("status", "reporting"),
    [
        (ready(), True),
        ({}, True),
        ({"phase": "Unknown"}, False),
        ({"reason": "NodeLost"}, False),
        (ready("Unknown"), False),
        (ready("False"), True),
    ],
)
def test_a_node_that_does_not_report(status, reporting):
    assert pod(raw(status=status)).reporting is reporting


@pytest.mark.parametrize(("phase", "ended"), [("Failed", True), ("Succeeded", True), ("Running", False), ("", False)])
def test_a_pod_that_ended_for_good(phase, ended):
    assert pod(raw(status={"phase": phase})).ended is ended


def test_running_means_all_containers_and_since_the_last_of_them():
    first, second = (
        {"state": {"running": {"startedAt": at}}} for at in ("2026-01-01T00:00:05Z", "2026-01-01T00:00:09Z")
    )
    found = pod(raw(status={"containerStatuses": [first, second]}))
    assert (found.running, found.running_since) == (True, 1767225609)
    half = pod(raw(status={"containerStatuses": [first, {"state": {"waiting": {}}}]}))
    assert half.running is False


CRASHED = {"terminated": {"exitCode": 9, "message": "no disk"}}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "x"'),
            'container os: ImagePullBackOff: Back-off pulling image "x"',
        ),
        (waiting("ErrImagePull"), "container os: ErrImagePull"),
        (
            waiting("CrashLoopBackOff", "back-off 10s", lastState={"terminated": {"exitCode": 137}}),
            "container os: CrashLoopBackOff: back-off 10s (last exit code 137)",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            'container os: CreateContainerConfigError: secret "x" not found',
        ),
        (
            {"containerStatuses": [{"name": "os", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]},
            "container os: Error, exit code 3",
        ),
        (
            {"containerStatuses": [{"name": "os", "state": {"terminated": {"exitCode": 9, "message": "no disk"}}}]},
            "container os: Error, exit code 9: no disk",
        ),
        (
            {"containerStatuses": [{"name": "os", "state": {"running": {}}, "lastState": CRASHED, "ready": False}]},
            "container os: restarted after exit code 9: no disk",
        ),
        ({"containerStatuses": [{"name": "os", "state": {"running": {}}, "lastState": CRASHED, "ready": True}]}, ""),
        (
            {
                "initContainerStatuses": [{"name": "extension-a", "state": {"terminated": {"exitCode": 1}}}],
                **waiting("PodInitializing"),
            },
            "container extension-a: Error, exit code 1",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: insufficient cpu.",
                    }
                ]
            },
            "Unschedulable: 0/3 nodes are available: insufficient cpu.",
        ),
        (
            {
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [os]"}
                ],
                **waiting("ContainerCreating"),
            },
            "ContainersNotReady: unready: [os]",
        ),
        ({"reason": "Evicted", "message": "The node was low on memory."}, "Evicted: The node was low on memory."),
        (ready(), ""),
        ({**waiting("CrashLoopBackOff"), **ready()}, ""),
        ({"containerStatuses": [{"name": "os", "state": {"terminated": {"exitCode": 0}}}]}, ""),
        ({"containerStatuses": [{"name": "os"}]}, ""),
        ({}, ""),
    ],
)
def test_why_a_pod_is_not_ready(status, words):
    assert pod(raw(status=status)).message == words


def test_a_message_is_one_line_without_control_or_direction_characters():
    found = pod(raw(status=waiting("Bad\x1b[31m", "one\r\ntwo\u2028three\u202egnp.exe\x00\x9b\u2066 " + "x" * 5000)))
    assert found.message.startswith("container os: Bad [31m: one two three gnp.exe")
    assert len(found.message) == MAX_MESSAGE
    assert all(char.isprintable() for char in found.message)


def test_what_people_write_stays():
    assert plain("größer – 画像 ✓ 🚀") == "größer – 画像 ✓ 🚀"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T00:00:00Z", 1767225600),
        ("2026-01-01T00:00:00.25Z", 1767225600.25),
        ("2026-01-01T01:00:00+01:00", 1767225600),
        ("2026-01-01T00:00:00", 1767225600),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text, at):
    assert seconds(text) == at


def test_claims_and_revisions():
    labels = {"scaleset.dev/name": "web"}
    claim = projections.claim(raw(metadata={"labels": labels, "deletionTimestamp": "x"}, status={"phase": "Lost"}))
    assert (claim.set_name, claim.deleting, claim.lost, claim.owners) == ("web", True, True, ())
    owned = projections.claim(raw(metadata={"ownerReferences": [OWNER, {**OWNER, "kind": "StatefulSet", "uid": "x"}]}))
    assert owned.owners == ("set-uid",)
    assert [owned.goes_with_another(uid) for uid in ("set-uid", "other")] == [False, True]
    assert not claim.goes_with_another("other")
    revision = projections.revision({**raw(metadata={"ownerReferences": [OWNER]}), "revision": 4, "data": {"a": 1}})
    assert (revision.owner, revision.set_name, revision.model.number, revision.model.data) == (
        "set-uid",
        "web",
        4,
        {"a": 1},
    )
    assert projections.belongs_to(revision) == ("a", "web")
    assert projections.belongs_to(pod(raw())) is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("web-0", 0),
        ("web-10", 10),
        ("web-9999", 9999),
        ("web-99999", None),
        ("web-01", None),
        ("web-", None),
        ("web", None),
        ("web-x", None),
        ("web-²", None),
        ("web-١", None),
        ("web--1", None),
        ("other-1", None),
        ("web-a-1", None),
    ],
)
def test_the_id_in_a_pods_name(name, number):
    assert instance_number("web", name) == number


def test_no_status_that_a_pod_may_have_makes_it_fail():
    """Whatever is missing or null, a record comes out."""
    chance = random.Random(1)
    parts: list[Any] = [None, {}, [], [{}], {"waiting": None}, {"terminated": {"exitCode": None}}, {"running": {}}]
    for _ in range(500):
        status: JSON = {
            "phase": chance.choice([None, "Running", "Unknown"]),
            "conditions": chance.choice([None, [], [{}], [{"type": "Ready"}], [{"type": "Ready", "status": None}]]),
            "containerStatuses": chance.choice(
                [None, [], [{}], [{"name": None, "state": chance.choice(parts[:2] + parts[4:])}]]
            ),
            "initContainerStatuses": chance.choice([None, [], [{"state": None, "lastState": None}]]),
        }
        assert pod(raw(status=status)).name == "web-3"
        assert isinstance(explain(status, {}), str)
