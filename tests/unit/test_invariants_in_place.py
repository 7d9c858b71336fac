"""The invariants of the cluster tests on changes in place: each catches the mistake that it is there for."""

import json
from typing import Any

import pytest

from tests.cluster.harness.api import Json
from tests.unit.story import NEW, OLD, OTHER, Story, begun, s, w

OURS: Json = {"uid": "old-0", "resourceVersion": "7", "labels": {"scaleset.dev/model": "web-2"}}
IMAGE: Json = {"containers": [{"name": "os", "image": "os:2.0.0"}]}


class Changing(Story):
    """A story whose operator changes images in place. Containers get another id when they are started again."""

    def change(self, *instances: int, version: str = NEW, before: str = OLD) -> "Changing":
        """The operator's patch; the status is still about the container before."""
        for instance in instances:
            self.write("patch", "pods", f"web-{instance}", body={"metadata": OURS, "spec": IMAGE})
            self.pod(instance, f"old-{instance}", version=version, ready=True)
            self._mark(before, f"{before}/{instance}")
        return self

    def restart(self, *instances: int, version: str = NEW, before: str = OLD, ready: bool = True) -> "Changing":
        """The kubelet starts the container with the new image."""
        for instance in instances:
            self.pod(instance, f"old-{instance}", version=version, ready=ready)
            self._mark(before, f"{version}/{instance}")
        return self

    def _mark(self, before: str, identity: str) -> None:
        found = self.seen[-1].object
        container = identity.replace(f"{before}/", "before/")
        note = {"image": f"os:{before}", "id": f"before/{identity.rpartition('/')[2]}"}
        found["metadata"]["annotations"] = {"scaleset.dev/changed-in-place": json.dumps(note)}
        found["status"]["containerStatuses"] = [{"containerID": container, "state": {"running": {}}}]


def story(replicas: int = 10) -> Changing:
    told = Changing()
    told.scale_set(replicas=replicas, change="ADDED").fleet(replicas)
    return told


def test_s1_batch_after_batch_is_fine():
    assert s("S1", story().change(0, 1).restart(0, 1).change(2, 3).restart(2, 3)) == []


def test_s1_counts_what_is_changed_in_place():
    assert "web-2" in s("S1", story().change(0, 1, 2))[0]


def test_s1_ready_of_the_container_before_ends_nothing():
    told = story().change(0, 1)
    told.pod(0, "old-0", version=NEW, ready=True)
    told._mark(OLD, f"{OLD}/0")
    assert s("S1", told.change(2)) != []
    assert s("S1", story().change(0, 1).restart(0, 1, ready=False).change(2)) != []


def test_s1_an_instance_counts_until_its_time_is_up():
    told = story()
    told.policy(20, "PT5S")
    told.change(0, 1)
    told.at += 10
    assert s("S1", told.change(2, 3)) == []


def test_s3_catches_a_change_after_the_halt():
    told = story()
    told.rollout().rollout("Faulted", failed="0-1", pending="2-9")
    assert s("S3", told.change(5)) != []


def test_s4_catches_a_third_image():
    told = story()
    told.rollout()
    assert s("S4", told.change(0)) == []
    assert s("S4", told.change(1, version=OTHER)) != []


def test_s8_catches_a_downgrade_but_not_a_restore():
    assert s("S8", story().change(0).restart(0).change(0, version=OLD, before=NEW)) == []
    assert s("S8", story().change(0, version="0.9.0")) != []


@pytest.mark.parametrize(
    ("body", "fine"),
    [
        ({"metadata": OURS, "spec": IMAGE}, True),
        ({"metadata": {**OURS, "uid": ""}, "spec": IMAGE}, False),
        ({"metadata": {key: OURS[key] for key in ("uid", "labels")}, "spec": IMAGE}, False),
        ({"metadata": {**OURS, "labels": {"app": "web"}}, "spec": IMAGE}, False),
        ({"metadata": OURS, "spec": {"containers": [{"name": "os", "image": "os:2", "env": []}]}}, False),
        ({"metadata": OURS, "spec": {"containers": []}}, False),
        ({"metadata": OURS, "spec": {"containers": [{"name": n, "image": "os:2"} for n in ("os", "worker")]}}, True),
        ({"metadata": OURS, "spec": {"containers": [{"name": n, "image": f"{n}:2"} for n in ("os", "log")]}}, False),
    ],
)
def test_s7_a_change_names_its_pod_and_touches_nothing_else(body: dict[str, Any], fine: bool):
    told = begun(1).write("patch", "pods", "web-0", body=body)
    assert (w("S7 in place", told) == []) is fine


def test_s12_one_patch_for_a_build():
    assert w("S12 in place", story().change(0).restart(0).change(0, version=OLD, before=NEW)) == []
    twice = story().change(0).write("patch", "pods", "web-0", body={"metadata": OURS, "spec": IMAGE})
    assert w("S12 in place", twice) != []
