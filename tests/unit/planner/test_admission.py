"""What the API server is asked before a pod is deleted, and what a refusal leaves."""

from dataclasses import replace

import pytest

from scaleset.controllers.memory import FIRST_RETRY as BACK_OFF
from scaleset.planner.decide import decide
from scaleset.planner.snapshot import Newcomer, Verdict
from tests.simulation.outcomes import code, condition, deleted, reasons, rollout
from tests.simulation.scenes import apply_model, new_model, running
from tests.simulation.world import World, policy, spec

DISK = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
LOGS = {"metadata": {"name": "logs"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
NO_ROOM = Verdict(accepted=False, message="ResourceQuota q has no room.", quota=True)
HALF = {"maxBatchInstancePercent": 50, "maxUnhealthyInstancePercent": 100}


def asked(world: World) -> tuple[Newcomer, ...]:
    """What the next batch is asked about."""
    verdicts = {world.model.name: Verdict(accepted=True)}
    needs = decide(world.snapshot(fresh=True, verdicts=verdicts)).needs
    assert needs.admission is not None
    return needs.admission.about


def rows(world: World) -> dict[int, tuple[str, str]]:
    return {row["id"]: (row["state"], row.get("message", "")) for row in world.status.get("instances", [])}


def test_a_batch_is_asked_about_whole():
    world = running(4, by=policy(rolling=HALF), volumeClaimTemplates=[DISK])
    world.publish("2.0.0")
    question = asked(world)
    assert [(each.instance, each.build.version, each.claims) for each in question] == [
        (0, "2.0.0", ()),
        (1, "2.0.0", ()),
    ]


def test_claims_that_are_missing_are_part_of_the_question():
    world = running(4, volumeClaimTemplates=[DISK])
    world.change(volume_claim_templates=spec(volumeClaimTemplates=[DISK, LOGS]).volume_claim_templates)
    world.policy = policy(mode="Rolling", rolling=HALF)
    world.claims["logs-web-0"] = replace(world.claims["data-web-0"], name="logs-web-0")
    assert [(each.instance, each.claims) for each in asked(world)] == [(0, ()), (1, ("logs",))]


def test_a_surge_is_asked_about_by_its_new_ids():
    world = running(4, by=policy(rolling={**HALF, "maxSurge": True}))
    world.publish("2.0.0")
    assert [each.instance for each in asked(world)] == [4, 5]


def test_a_batch_that_is_refused_ends_the_run_and_is_not_held_against_the_version():
    world = running(4)
    world.admit = lambda _: NO_ROOM
    world.publish("2.0.0")
    world.settle()
    assert code(world) == "Faulted"
    assert rollout(world)["error"]["message"].endswith("has no room.")
    assert deleted(world) == []
    assert world.state.failed_targets == ()
    assert world.state.retry is not None


# Without batches


def test_mode_automatic_keeps_what_could_not_come_back():
    world = running(4, by=policy(mode="Automatic"))
    world.admit = lambda _: NO_ROOM
    new_model(world)
    world.settle()
    assert deleted(world) == []
    assert {state for state, _ in rows(world).values()} == {"Blocked"}
    assert (
        "The API server refuses the new pod, so the present one stays. ResourceQuota q has no room."
        in rows(world)[0][1]
    )
    assert condition(world, "Stalled")["reason"] == "InstanceBlocked"
    assert "InstanceBlocked" in reasons(world)
    assert world.wake_at == world.now + BACK_OFF
    world.admit = lambda _: Verdict(accepted=True)
    world.run(60)
    assert sorted(deleted(world)) == [0, 1, 2, 3]
    assert rows(world) == {}


def test_a_refusal_is_not_asked_about_at_every_look():
    world = running(4, by=policy(mode="Automatic"))
    questions: list[int] = []

    def admit(number: int) -> Verdict:
        questions.append(number)
        return NO_ROOM

    world.admit = admit
    new_model(world)
    for _ in range(5):
        world.step()
    assert questions == [0]
    world.run(3 * BACK_OFF)
    assert 2 <= len(questions) <= 5


def test_apply_model_keeps_what_could_not_come_back():
    world = running(4, by=policy(mode="Manual"))
    new_model(world)
    world.settle()
    world.admit = lambda _: NO_ROOM
    apply_model(world, "*")
    world.settle()
    assert deleted(world) == []
    assert world.state.applying == frozenset()
    (said,) = [event.message for event in world.events if event.reason == "StartRefused"]
    assert said.endswith("the present one stays. ResourceQuota q has no room.")
    # Who asks again is answered anew, at once.
    world.admit = lambda _: Verdict(accepted=True)
    apply_model(world, "0-1")
    world.settle()
    assert sorted(deleted(world)) == [0, 1]


def test_what_is_gone_already_needs_no_leave():
    world = running(4, by=policy(mode="Manual"))
    new_model(world)
    world.settle()
    world.quota = lambda _: "exceeded quota"
    del world.pods[0]
    world.settle()
    world.admit = lambda _: NO_ROOM
    apply_model(world, "0,1")
    world.settle()
    assert world.state.applying == {0}
    assert deleted(world) == []


# Surge


@pytest.mark.parametrize("accepted", [True, False])
def test_an_old_one_makes_room_only_for_what_fits_then(accepted):
    """A new instance passes the dry run and is refused: before an old one goes for it, that is asked about."""
    world = running(5, by=policy(rolling={"maxSurge": True}))
    world.quota = lambda creation: "exceeded quota: pods" if creation.instance >= 5 else None
    world.admit = lambda number: Verdict(accepted=True) if number >= 5 or accepted else NO_ROOM
    world.publish("2.0.0")
    world.run(1500)
    assert (code(world) == "Completed") == accepted, "where nothing fits, it is tried again and again"
    assert bool(deleted(world)) == accepted
    assert len(world.pods) == 5
