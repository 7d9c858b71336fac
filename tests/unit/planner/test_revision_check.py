"""Is the model of the spec a new one, and what becomes of it?"""

import pytest

from scaleset.planner.decide import decide
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import condition, deleted, models, reasons
from tests.simulation.scenes import new_model, running
from tests.simulation.world import World, policy

ROLLING = policy(mode="Rolling", automatic=False)


def same_as(stored: str):
    return lambda _: Verdict(accepted=True, same_as=stored)


def respelled(world: World) -> None:
    """The template in other words: what makes it another hash does not matter here."""
    new_model(world, image="another-placeholder")


def respelled_only(world: World) -> str:
    """The API server says so. Returns the stored model."""
    (stored,) = models(world)
    world.verdict = same_as(stored)
    respelled(world)
    return stored


def test_another_spelling_is_the_stored_model_and_rolls_nothing():
    world = running(5, by=ROLLING)
    stored = respelled_only(world)
    world.run(600)
    assert deleted(world) == []
    assert set(world.models) == {stored}
    assert condition(world, "Accepted")["status"] == "True"
    assert condition(world, "UpToDate")["status"] == "True"
    world.loses(2)
    world.run(60)
    assert models(world) == {stored}


def test_what_was_found_out_survives_a_restart():
    """Not even an answer that is another one now is asked for."""
    world = running(3, by=ROLLING)
    stored = respelled_only(world)
    world.settle()
    assert world.status["checkedModel"] == {"asked": world.model.name, "model": stored}
    world.verdict = lambda _: Verdict(accepted=True)
    assert decide(world.snapshot()).needs.verdict is None
    world.run(600)
    assert deleted(world) == []


def test_from_one_spelling_to_the_next_and_back():
    world = running(3, by=ROLLING)
    first = world.spec
    stored = respelled_only(world)
    world.settle()
    new_model(world, image="a-third-one")
    world.settle()
    world.spec, world.generation = first, world.generation + 1
    world.run(60)
    assert deleted(world) == []
    assert set(world.models) == {stored}


def test_a_stored_model_that_is_gone_is_not_believed():
    world = running(3, by=ROLLING)
    respelled_only(world)
    world.settle()
    world.status["checkedModel"]["model"] = "web-gone"
    assert decide(world.snapshot()).needs.verdict is not None
    world.verdict = same_as("web-gone")
    world.run(300)
    assert models(world) == {world.model.name}


def test_the_api_server_is_asked_with_an_id_that_nobody_has_and_what_is_likeliest_first():
    world = running(3)
    old = next(iter(models(world)))
    new_model(world, "2")
    world.settle()
    newest = world.model.name
    new_model(world, "3")
    check = decide(world.snapshot()).needs.verdict
    assert check is not None
    assert (check.instance, check.beside, check.runs) == (0, 3, False)
    assert [model.name for model in check.stored] == [newest, old]


# --- models that are stored already


def unchecked(world: World, verdict: Verdict) -> None:
    """As an operator before this one left it."""
    del world.status["checkedModel"]
    world.verdict = lambda _: verdict
    world.run(60)


def test_a_stored_model_is_asked_about_once_and_warned_about():
    world = running(3)
    asked = []
    del world.status["checkedModel"]

    def warn(model: Revision) -> Verdict:
        asked.append(model.name)
        return Verdict(accepted=True, warning="It has fields that nobody knows.")

    world.verdict = warn
    world.run(600)
    assert len(asked) == 1
    found = condition(world, "Accepted")
    assert found["status"] == "True"
    assert found["message"].endswith("carried out. It has fields that nobody knows.")
    assert reasons(world).count("UnknownFields") == 1
    assert world.status["checkedModel"]["warning"] == "It has fields that nobody knows."


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(accepted=False, message="exceeded quota"),
        Verdict(accepted=True, unanswered=True, retry_at=2e9),
    ],
)
def test_a_stored_model_is_never_stopped_by_what_is_asked_about_it(verdict):
    world = running(3)
    unchecked(world, verdict)
    assert condition(world, "Accepted")["status"] == "True"
    world.loses(1)
    world.run(60)
    assert len(world.pods) == 3
    assert "checkedModel" not in world.status


def test_what_got_no_answer_is_asked_again():
    world = running(3)
    now = world.now
    silence, answer = Verdict(accepted=True, unanswered=True, retry_at=now + 30), Verdict(accepted=True)
    world.verdict = lambda _: silence if world.now < now + 30 else answer
    del world.status["checkedModel"]
    world.run(20)
    assert "checkedModel" not in world.status
    assert world.wake_at == now + 30
    world.run(20)
    assert "checkedModel" in world.status


# --- models that cannot be kept


def test_a_model_that_cannot_be_stored_leaves_the_one_before():
    world = running(3, by=ROLLING)
    before = models(world)
    new_model(world)
    world.loses(1)
    plan = decide(
        world.snapshot(
            fresh=True,
            verdicts={
                world.model.name: Verdict(
                    accepted=False, message="exceeded quota: q", reason="ModelNotStored", retry_at=world.now + 30
                )
            },
        )
    )
    (said,) = (each for each in plan.status["conditions"] if each["type"] == "Accepted")
    assert (said["status"], said["reason"]) == ("False", "ModelNotStored")
    assert "exceeded quota: q. Instances stay on the model before." in said["message"]
    assert {creation.build.model for creation in plan.creations} == before
    assert plan.store == ()
    assert plan.wake_at is not None
    assert plan.wake_at <= world.now + 30
    assert [event.reason for event in plan.events] == ["ModelNotStored"]


def back_to_the_first_model() -> tuple[World, str, str]:
    world = running(3, by=ROLLING)
    (old,), first = models(world), world.spec
    new_model(world)
    world.run(300)
    (new,) = models(world)
    world.spec, world.generation = first, world.generation + 1
    return world, old, new


@pytest.mark.parametrize(("seconds", "tried"), [(0, False), (29, False), (30, True)])
def test_a_model_that_cannot_become_the_newest_again_is_tried_later(seconds, tried):
    world, old, new = back_to_the_first_model()
    refused = Verdict(accepted=False, message="no", reason="ModelNotStored", retry_at=world.now + 30)
    world.now += seconds
    plan = decide(world.snapshot(fresh=True, verdicts={old: refused}))
    assert (plan.needs.verdict is not None) == tried
    if not tried:
        (said,) = (each for each in plan.status["conditions"] if each["type"] == "Accepted")
        assert said["reason"] == "ModelNotStored"
        assert plan.store == ()
        assert f"model {new}" in next(
            each["message"] for each in plan.status["conditions"] if each["type"] == "UpToDate"
        )


def test_a_refusal_to_store_a_model_that_is_the_newest_by_now_is_over():
    world = running(3)
    (name,) = models(world)
    refused = Verdict(accepted=False, message="no", reason="ModelNotStored", retry_at=world.now + 30)
    plan = decide(world.snapshot(verdicts={name: refused}))
    (said,) = (each for each in plan.status["conditions"] if each["type"] == "Accepted")
    assert said["status"] == "True"


# --- what ends by itself


def with_deadline(world: World, seconds: int | None) -> None:
    template = dict(world.spec.template)
    world.change(template={**template, "spec": {**template["spec"], "activeDeadlineSeconds": seconds}})


def test_a_deadline_of_all_instances_is_refused_in_a_new_model():
    world = running(3, by=ROLLING)
    before = models(world)
    with_deadline(world, 8)
    world.run(60)
    found = condition(world, "Accepted")
    assert (found["status"], found["reason"]) == ("False", "ModelRefused")
    assert found["message"].startswith("Remove activeDeadlineSeconds from spec.template.spec")
    assert models(world) == before
    with_deadline(world, None)
    world.run(60)
    assert condition(world, "Accepted")["status"] == "True"
    assert deleted(world) == []


def test_a_stored_model_that_has_one_goes_on_in_other_words_too():
    world = running(3, by=ROLLING)
    with_deadline(world, 8)
    kept = Revision(world.model.name, 2, world.model.data)
    world.models[kept.name] = kept
    world.run(300)
    assert models(world) == {kept.name}
    world.verdict = same_as(kept.name)
    respelled(world)
    world.run(60)
    assert condition(world, "Accepted")["status"] == "True"
    assert models(world) == {kept.name}
