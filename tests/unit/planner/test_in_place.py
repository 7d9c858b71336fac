"""Changing the image of a running pod instead of replacing it: when, how, and what then counts as healthy."""

import json
from dataclasses import replace
from typing import Any

import pytest

from scaleset.planner import in_place
from scaleset.planner.instances import Build, Change, Ran
from scaleset.planner.plan import ImageChange
from tests.simulation.outcomes import changed, code, counts, deleted, reasons, rollout
from tests.simulation.scenes import BAD, apply_model, new_model, pin, running
from tests.simulation.world import EPOCH, World, policy

IN_PLACE: dict[str, Any] = {"replacementMethod": "InPlaceIfPossible"}
DISK = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
EXTENSION = {"name": "agent", "image": "example.com/agent:1"}


def uids(world: World) -> dict[int, str]:
    return {number: pod.uid for number, pod in world.pods.items()}


def test_an_upgrade_changes_every_pod_once_and_replaces_none():
    """S12: one write an instance, beside the status."""
    world = running(10, by=policy(**IN_PLACE))
    before = uids(world)
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert changed(world) == list(range(10))
    assert deleted(world) == []
    assert uids(world) == before
    assert set(world.versions.values()) == {"2.0.0"}
    assert all(pod.images == (("app", "example.com/web:2.0.0"),) for pod in world.pods.values())
    assert rollout(world)["policy"]["replacementMethod"] == "InPlaceIfPossible"


def test_by_default_pods_are_replaced():
    world = running(2)
    world.publish("2.0.0")
    world.run(60)
    assert (changed(world), deleted(world)) == ([], [0, 1])


@pytest.mark.parametrize(
    ("spec", "method"),
    [
        ({}, "change"),
        ({"volumeClaimTemplates": [DISK]}, "change"),
        ({"customData": "echo hi\n"}, "change"),
        ({"customData": "echo hi\n", "runCustomData": True}, "delete"),
        ({"runCustomData": True}, "change"),
        ({"extensions": [EXTENSION]}, "delete"),
    ],
)
def test_what_runs_before_the_containers_runs_in_new_pods_only(spec, method):
    world = running(1, by=policy(**IN_PLACE), **spec)
    world.publish("2.0.0")
    world.run(30)
    assert world.versions == {0: "2.0.0"}
    assert [step.split()[0] for step in world.writes if step.endswith(" 0") and "create" not in step] == [method]


def containers(*names: str, init: tuple[str, ...] = ()) -> dict[str, Any]:
    """A template whose containers have no image, but for the last one."""
    probe = {"readinessProbe": {"tcpSocket": {"port": 80}}}
    listed = [*({"name": name, **probe} for name in names), {"name": "log", "image": "log:1"}]
    return {"spec": {"containers": listed, "initContainers": [{"name": name} for name in init]}}


def test_all_containers_of_the_image_are_changed_by_one_patch():
    world = running(1, by=policy(**IN_PLACE), template=containers("app", "worker"))
    before = dict(world.pods[0].container_ids)
    world.publish("2.0.0")
    (wanted,) = world.plan().changes
    assert wanted.change.ran == tuple(Ran(name, "example.com/web:1.0.0", before[name]) for name in ("app", "worker"))
    body = in_place.patch(wanted)
    assert body["spec"]["containers"] == [
        {"name": "app", "image": "example.com/web:2.0.0"},
        {"name": "worker", "image": "example.com/web:2.0.0"},
    ]
    note = json.loads(body["metadata"]["annotations"]["scaleset.dev/changed-in-place"])
    assert note["container"] == "app", "as an operator before this one reads it"
    assert note["others"] == [{"container": "worker", "image": "example.com/web:1.0.0", "id": before["worker"]}]
    world.run(30)
    assert (changed(world), deleted(world)) == ([0], [])
    assert set(dict(world.pods[0].images).values()) == {"example.com/web:2.0.0"}


def test_an_init_container_of_the_image_runs_in_new_pods_only():
    world = running(1, by=policy(**IN_PLACE), template=containers("app", init=("migrate",)))
    world.publish("2.0.0")
    world.run(30)
    assert (changed(world), deleted(world)) == ([], [0])


def test_a_restart_of_each_changed_container_is_no_crash():
    change = Change(EPOCH, "app", "os:1", "a", 3, (Ran("worker", "os:1", "b"),))
    pod = replace(running(1).pods[0], change=change)
    assert not replace(pod, restarts=5).restarted
    assert replace(pod, restarts=6).restarted


def test_a_model_that_differs_in_more_than_the_image_needs_a_new_pod():
    """Also when a newer image comes with it."""
    world = running(2, by=policy(mode="Rolling", **IN_PLACE))
    new_model(world)
    world.run(30)
    assert (changed(world), deleted(world)) == ([], [0, 1])
    world.writes.clear()
    world.policy = policy(**IN_PLACE)
    new_model(world, "3")
    world.publish("2.0.0")
    world.run(30)
    assert (changed(world), deleted(world)) == ([], [0, 1])
    assert {pod.model for pod in world.pods.values()} == {world.model.name}


def test_a_model_that_differs_in_its_image_reference_only_goes_in_place():
    world = running(2, by=policy(mode="Rolling", automatic=False, **IN_PLACE))
    world.publish("2.0.0")
    pin(world, "2.0.0")
    world.run(30)
    assert (changed(world), deleted(world)) == ([0, 1], [])
    assert {(pod.model, pod.version) for pod in world.pods.values()} == {(world.model.name, "2.0.0")}


def test_a_bad_image_is_taken_back_by_a_second_change():
    """Within the batch, the deadline counting from the change; the pods of the other instances are not touched."""
    world = running(10, by=policy(**IN_PLACE))
    before = uids(world)
    world.now += 3600
    published = world.now
    world.publish("2.0.0", suffix=BAD)
    world.run(299)
    assert changed(world) == [0, 1]
    assert code(world) == "RollingForward"
    assert world.pods[0].previous == Build(world.model.name, "1.0.0", "example.com/web:1.0.0", os_type="Linux")
    assert world.now < published + 300
    world.run(30)
    assert changed(world) == [0, 1, 0, 1]
    assert (code(world), counts(world)) == ("Faulted", (0, 2, 0, 8))
    assert rollout(world)["restored"] == "0-1"
    assert uids(world) == before
    assert set(world.versions.values()) == {"1.0.0"}
    assert world.pods[0].previous is None


def test_ready_of_the_image_before_is_no_health():
    """The kubelet does not come to the change: the pod is Ready all the time, and the instance fails at its deadline.
    Taken back, its container is the right one again.
    """
    world = running(5, by=policy(**IN_PLACE))
    world.deaf.add(0)
    world.publish("2.0.0")
    world.run(100)
    assert world.pods[0].ready
    assert counts(world) == (0, 0, 1, 4)
    assert world.status["healthyReplicas"] == 4
    world.run(250)
    assert (code(world), rollout(world)["restored"]) == ("Faulted", "0")
    assert changed(world) == [0, 0]
    assert world.pods[0].current


def test_a_container_that_runs_the_image_already_counts_at_once():
    """Two versions with one image: nothing is started again, so nothing is waited for."""
    world = running(2, by=policy(**IN_PLACE))
    world.publish("2.0.0", image="example.com/web:1.0.0")
    world.run(1)
    assert (code(world), changed(world)) == ("Completed", [0, 1])


def test_what_the_api_server_does_not_change_is_recreated_and_told():
    world = running(
        5, by=policy(rolling={"maxBatchInstancePercent": 40, "maxUnhealthyInstancePercent": 40}, **IN_PLACE)
    )
    world.keeps = lambda wanted: "images are fixed" if wanted.instance == 1 else None
    before = uids(world)
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert deleted(world) == [1]
    assert {number for number, uid in uids(world).items() if uid != before[number]} == {1}
    (told,) = [event for event in world.events if event.reason == "InPlaceRefused"]
    assert told.warning
    assert told.message == (
        "Recreating instances 1: the API server does not change their image in place: images are fixed"
    )


def test_surge_comes_first():
    world = running(5, by=policy(rolling={"maxSurge": True}, **IN_PLACE))
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert changed(world) == []
    assert 5 in world.pods


def test_without_room_for_a_surge_the_image_is_changed_in_place():
    world = running(5, by=policy(rolling={"maxSurge": True}, **IN_PLACE))
    world.quota = lambda creation: "exceeded quota: pods" if creation.instance >= 5 else None
    world.publish("2.0.0")
    world.run(60)
    assert code(world) == "Completed"
    assert (changed(world), deleted(world)) == ([0, 1, 2, 3, 4], [])


def test_a_running_rollout_keeps_the_method_it_started_with():
    world = running(5, by=policy(**IN_PLACE))
    world.start = 30.0
    world.publish("2.0.0")
    world.run(10)
    world.policy = policy()
    world.run(300)
    assert (changed(world), deleted(world)) == ([0, 1, 2, 3, 4], [])


@pytest.mark.parametrize(("by", "method"), [(policy(automatic=False, **IN_PLACE), "change"), (policy(), "delete")])
def test_what_is_replaced_at_once_goes_by_the_policy_as_it_stands(by, method):
    world = running(3, by=policy(automatic=False))
    world.policy = by
    world.publish("2.0.0")
    pin(world, "2.0.0")
    apply_model(world, "1")
    world.run(30)
    assert [step for step in world.writes if step in ("change 1", "delete 1")] == [f"{method} 1"]
    assert world.versions[1] == "2.0.0"


def test_a_pod_that_ended_is_made_again():
    world = running(5, by=policy(**IN_PLACE))
    world.start = 30.0
    world.publish("2.0.0")
    world.pods[0] = replace(world.pods[0], ended=True, ready=False)
    world.run(300)
    assert deleted(world) == [0]
    assert (code(world), set(world.versions.values())) == ("Completed", {"2.0.0"})


def test_an_instance_lost_in_the_middle_comes_back_with_the_target():
    world = running(5, by=policy(**IN_PLACE))
    world.start = 10.0
    world.publish("2.0.0")
    world.run(2)
    assert world.pods[0].version == "2.0.0"
    world.loses(0)
    world.run(1)
    assert (world.pods[0].version, world.pods[0].change) == ("2.0.0", None)
    world.run(120)
    assert code(world) == "Completed"


@pytest.mark.parametrize("suffix", ["", BAD])
@pytest.mark.parametrize("writes", range(4))
def test_killed_after_any_write_it_goes_on(writes, suffix):
    world = running(10, by=policy(**IN_PLACE))
    before = uids(world)
    world.publish("2.0.0", suffix=suffix)
    for _ in range(6):
        world.step(writes=writes)
        world.now += 1
        world.happen()
    world.run(900)
    assert code(world) == ("Faulted" if suffix else "Completed")
    assert set(world.versions.values()) == {"1.0.0" if suffix else "2.0.0"}
    assert uids(world) == before
    assert len(changed(world)) == (4 if suffix else 10)


def test_a_pod_that_changed_meanwhile_is_not_touched():
    """S7: the change is of the pod in the version that was decided on."""
    world = running(1, by=policy(**IN_PLACE))
    world.publish("2.0.0")
    (wanted,) = world.plan().changes
    assert (wanted.uid, wanted.resource_version) == (world.pods[0].uid, world.pods[0].resource_version)
    world.pods[0] = replace(world.pods[0], resource_version="other")
    world.change_image(wanted)
    assert world.versions == {0: "1.0.0"}
    world.run(10)
    assert world.versions == {0: "2.0.0"}


def test_health_begins_anew_with_the_change():
    """Initializing, whatever the pod was before and however old it is; Unhealthy at the deadline."""
    world = running(5, by=policy(os={"disableAutomaticRollback": True}, **IN_PLACE))
    world.now += 86400
    world.publish("2.0.0", suffix=BAD)
    world.run(10)
    (row,) = [row for row in world.status["instances"] if row["id"] == 0]
    assert (row["state"], row["version"]) == ("Initializing", "2.0.0")
    world.run(300)
    (row,) = [row for row in world.status["instances"] if row["id"] == 0]
    assert row["state"] == "Unhealthy"
    assert "RolloutFaulted" in reasons(world)


@pytest.mark.parametrize("previous", [None, Build("web-1", "1.0.0", "os:1")])
def test_the_patch_tells_the_truth_about_the_pod(previous):
    wanted = ImageChange(
        3, "web-3", "u", "77", Build("web-2", "2.0.0", "os:2"), previous, Change(EPOCH, "app", "os:1", "runtime://a", 3)
    )
    body = in_place.patch(wanted)
    annotations = body["metadata"].pop("annotations")
    assert body == {
        "metadata": {
            "uid": "u",
            "resourceVersion": "77",
            "labels": {"scaleset.dev/image-version": "2.0.0", "scaleset.dev/model": "web-2"},
        },
        "spec": {"containers": [{"name": "app", "image": "os:2"}]},
    }
    before = annotations["scaleset.dev/previous"]
    assert (before and json.loads(before)) == (previous and {"model": "web-1", "version": "1.0.0", "image": "os:1"})
    assert json.loads(annotations["scaleset.dev/changed-in-place"]) == {
        "at": "2027-01-15T08:00:00Z",
        "container": "app",
        "image": "os:1",
        "id": "runtime://a",
        "restarts": 3,
    }
    assert annotations["scaleset.dev/image"] == "os:2"


def test_a_container_that_crashes_between_two_looks_is_no_instance_that_starts():
    """It was healthy when its batch ended, and it is the same pod: the run stops instead of ending well."""
    world = running(4, by=policy(healthTimeout="PT5M", rolling={"pauseTimeBetweenBatches": "PT30S"}, **IN_PLACE))
    world.publish("2.0.0")
    world.run(10)
    first = next(number for number, version in world.versions.items() if version == "2.0.0")
    crashing = replace(world.pods[first], ready=False, started=None, running=False, message="back-off")
    world.pods[first] = crashing
    world.sick.add(crashing.uid)
    world.run(60)
    assert rollout(world)["error"]["code"].startswith("MaxUnhealthyUpgraded")
    assert set(world.versions.values()) == {"1.0.0"}, "it has its image back"
    world.run(300)
    assert code(world) == "Faulted"


def test_a_container_that_nobody_has_told_of_yet_has_no_id():
    """Then the first id that is told is that of the new one."""
    world = running(1, by=policy(**IN_PLACE))
    world.pods[0] = replace(world.pods[0], container_ids=())
    world.publish("2.0.0")
    world.settle()
    change = world.pods[0].change
    assert change is not None
    assert change.container_id == ""
