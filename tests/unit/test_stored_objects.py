"""What the version before this one has stored, read and decided on: nothing is deleted, made or changed that it would
not have touched itself, and a week later neither.
"""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scaleset.api.gallery_image_version import GalleryImageVersionSpec
from scaleset.api.scale_set import ScaleSetSpec
from scaleset.api.scale_set_status import ScaleSetStatus
from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.planner import status_codec
from scaleset.planner.gallery import GalleryVersion
from scaleset.planner.instances import Pod
from scaleset.planner.snapshot import QueuePosition, Verdict
from scaleset.planner.state import Code, State
from scaleset.records import projections
from scaleset.records.custom_objects import Projection
from scaleset.records.projections import instance_number
from scaleset.records.versions import gallery_version
from tests.cluster.stored import objects, scenes
from tests.cluster.stored.objects import Stored
from tests.simulation.world import OWNER, World

HOUR = 3600.0
WEEK = 7 * 86400.0
NO_DIGEST = f"@sha256:{'0' * 64}"
"""Simulated pods behave by the end of their image."""
WRITES = ("delete", "change", "create", "store", "discard")
ENDS = {
    "applying": (None, {"1.0.0"}),
    "doomed": (Code.FAULTED, {"1.0.0"}),
    "gate-closed": (None, {"1.0.0"}),
    "image-waits": (Code.COMPLETED, {"1.1.0"}),
    "in-place-starting": (Code.COMPLETED, {"1.1.0"}),
    "model-rolling": (Code.COMPLETED, {"1.0.0"}),
    "pausing": (Code.COMPLETED, {"1.1.0"}),
    "restoring": (Code.FAULTED, {"1.0.0"}),
    "rolling": (Code.COMPLETED, {"1.1.0"}),
    "surging": (Code.COMPLETED, {"1.1.0"}),
    "taking-turns": (None, {"1.0.0"}),
    "terminating": (Code.COMPLETED, {"1.1.0"}),
}
"""How each that is under way ends, and what runs then."""
UNTOUCHED = ("applying", "gate-closed", "taking-turns")


def world(name: str) -> World:
    """The simulated world as the objects have it, at the moment at which they were recorded. The set is `web`."""
    stored = objects.read(name)
    stored = replace(stored, objects=tuple(json.loads(json.dumps(stored.objects).replace(NO_DIGEST, ""))))
    raw = _named(stored, "ScaleSet", "web")
    pods = _pods(stored)
    return World(
        spec=ScaleSetSpec.parse(raw),
        policy=_policy(stored),
        catalogue=_catalogue(stored),
        now=stored.recorded.timestamp(),
        generation=raw["metadata"]["generation"],
        annotations=raw["metadata"].get("annotations") or {},
        pods=pods,
        claims={
            claim.name: replace(claim, namespace=OWNER.namespace)
            for claim in map(projections.claim, _of(stored, "PersistentVolumeClaim"))
        },
        models={
            revision.name: revision.model
            for revision in map(projections.revision, _of(stored, "ControllerRevision"))
            if revision.set_name == "web"
        },
        status=raw["status"],
        sick={pod["metadata"]["uid"] for pod in stored.of("Pod") if _stays_unready(pod)},
        verdict=lambda _: Verdict(accepted=name != "refused", message="quantities must match the regular expression"),
        turn=lambda: QueuePosition(rolling=1, ahead=0) if name == "taking-turns" else None,
    )


def _of(stored: Stored, kind: str) -> list[dict[str, Any]]:
    """As a LIST shows them: with a resourceVersion."""
    return [{**body, "metadata": {"resourceVersion": "1", **body["metadata"]}} for body in stored.of(kind)]


def _stays_unready(pod: dict[str, Any]) -> bool:
    """By the label that takes its readiness away, or an image that works for a moment."""
    images = [container["image"] for container in pod["spec"]["containers"]]
    return bool(pod["metadata"]["labels"].get("sim.scaleset.dev/ready") == "false" or images[0].endswith("-flaky"))


def _named(stored: Stored, kind: str, name: str) -> dict[str, Any]:
    (found,) = (body for body in _of(stored, kind) if body["metadata"]["name"] == name)
    return found


def _policy(stored: Stored) -> UpgradePolicySpec:
    found = _of(stored, "UpgradePolicy")
    return UpgradePolicySpec.parse(found[0]) if found else UpgradePolicySpec()


def _catalogue(stored: Stored) -> list[GalleryVersion]:
    projection = Projection(GalleryImageVersionSpec.parse)
    found = [gallery_version(projection(raw)) for raw in _of(stored, "GalleryImageVersion")]
    return [
        replace(version, definition=version.definition._replace(gallery=OWNER.namespace))
        for version in found
        if version is not None
    ]


def _pods(stored: Stored) -> dict[int, Pod]:
    found = {}
    for pod in map(projections.pod, _of(stored, "Pod")):
        number = instance_number("web", pod.name)
        if number is not None:
            found[number] = replace(pod, namespace=OWNER.namespace, owner=OWNER.uid)
    return found


def uids(world: World) -> dict[int, str]:
    return {number: pod.uid for number, pod in sorted(world.pods.items())}


def written(world: World) -> list[str]:
    return [write for write in world.writes if write.startswith(WRITES)]


def untouched(world: World) -> None:
    assert written(world) == []


def run(state: State) -> tuple[str, Code] | None:
    return (state.rollout.id, state.rollout.code) if state.rollout is not None else None


@pytest.mark.parametrize("name", objects.names())
def test_what_was_recorded_is_read_and_written_again(name):
    """Nothing of what decisions go by is lost or changed by reading it and writing it."""
    for raw in objects.read(name).of("ScaleSet"):
        status = raw["status"]
        state = status_codec.read(ScaleSetStatus.parse({"status": status}))
        again = json.loads(json.dumps(status_codec.write(state, location="default")))
        assert status_codec.read(ScaleSetStatus.parse({"status": again})) == state
        assert {key: value for key, value in status.items() if key in again and value} == {
            key: _as_stored(again[key], value) for key, value in status.items() if key in again and value
        }


def _as_stored(value: Any, stored: Any) -> Any:
    """Without members that are stored as empty ones or not at all."""
    if isinstance(value, dict) and isinstance(stored, dict):
        kept = {key: _as_stored(item, stored.get(key)) for key, item in value.items() if item is not None}
        return {**{key: item for key, item in stored.items() if not item and key not in kept}, **kept}
    return value


@pytest.mark.parametrize("name", objects.names())
def test_nothing_is_touched_at_once(name):
    """The first look deletes, changes and makes no pod and no model, and the rollout is the one that was there."""
    there = world(name)
    before = there.state
    plan = there.plan()
    assert (plan.deletions, plan.changes, plan.creations, plan.store, plan.discard) == ((), (), (), (), ())
    assert run(plan.state) == run(before)
    assert plan.state.builds == before.builds
    assert plan.state.failed_targets == before.failed_targets


@pytest.mark.parametrize("name", [*scenes.AT_REST])
def test_what_is_at_rest_stays_so_for_a_week(name):
    there = world(name)
    before, ran = uids(there), run(there.state)
    there.run(WEEK, each=untouched)
    untouched(there)
    assert (uids(there), run(there.state)) == (before, ran)


def test_another_pause_does_not_bring_a_failed_version_back():
    """What the version before remembers does not say what of the policy it was judged by: it holds."""
    there = world("failed")
    assert there.policy is not None
    rolling = there.policy.rolling_upgrade_policy.model_copy(
        update={"pause_time_between_batches": timedelta(seconds=1)}
    )
    there.policy = there.policy.model_copy(update={"rolling_upgrade_policy": rolling})
    there.run(HOUR, each=untouched)
    untouched(there)
    there.publish("1.2.0", definition=there.catalogue[0].definition)
    there.run(HOUR)
    assert set(there.versions.values()) == {"1.2.0"}


@pytest.mark.parametrize("name", [*ENDS])
def test_what_is_under_way_comes_to_its_end(name):
    there = world(name)
    before, ran = uids(there), run(there.state)
    there.run(600.0)
    after = there.state
    code, versions = ENDS[name]
    if name != "image-waits":  # the newer version gets a rollout of its own
        assert run(after) == (ran and (ran[0], code))
    assert set(there.versions.values()) == versions
    assert all(pod.ready for number, pod in there.pods.items() if name != "gate-closed" or number < 3)
    if name in UNTOUCHED:
        assert (written(there), uids(there)) == ([], before)


@pytest.mark.parametrize("lost", [False, True], ids=["pods stay", "pods are lost"])
@pytest.mark.parametrize("name", sorted({*ENDS} - {"gate-closed", "taking-turns"}))
def test_an_operator_that_was_away_for_an_hour_condemns_nothing(name, lost):
    """Whatever became of the pods in hand meanwhile, each gets its time."""
    there = world(name)
    before = there.state
    in_hand = before.rollout.in_progress if before.rollout is not None else before.applying
    there.now += HOUR
    for number in in_hand if lost else ():
        there.loses(number)
    there.happen()
    there.run(HOUR)
    code, versions = ENDS[name]
    assert set(there.versions.values()) == versions
    assert all(pod.ready for pod in there.pods.values())
    rollout = there.state.rollout
    assert (rollout and rollout.code) == code
    assert [failed.version for failed in there.state.failed_targets] == (["1.1.0"] if code is Code.FAULTED else [])


def test_another_attempt_comes_after_a_minute():
    there = world("retrying")
    ran = run(there.state)
    assert there.state.retry is not None
    there.run(there.state.retry.time + 59.0 - there.now)
    assert run(there.state) == ran
    there.run(10.0)
    assert run(there.state) != ran
