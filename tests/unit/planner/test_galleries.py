"""The image reference of a model: its gallery is part of it, and no new instance is older than all the others."""

import pytest

from scaleset.planner.gallery import Definition
from tests.simulation.outcomes import code, condition
from tests.simulation.scenes import apply_model, running
from tests.simulation.world import World, policy, spec, version

OTHER = Definition("gallery", "contoso", "web", "stable")


def test_another_gallery_is_another_image():
    """The same version number of another gallery does not count as the one that runs."""
    world = World(spec=spec(replicas=3), policy=policy(mode="Rolling"))
    world.publish("1.0.0")
    world.catalogue.append(
        version("1.0.0", name="other", definition=OTHER, image="other.com/web:1.0.0", scope="Community")
    )
    world.run(10)
    world.change(image_reference=world.spec.image_reference.model_copy(update={"gallery_namespace": "gallery"}))
    world.run(60)
    assert code(world) == "Completed"
    assert {pod.images[0][1] for pod in world.pods.values()} == {"other.com/web:1.0.0"}
    assert condition(world, "UpToDate")["status"] == "True"


def test_a_gallery_that_has_nothing_withdraws_no_running_rollout():
    """A typo is Accepted=False. The rollout that runs goes by the gallery that it started with, and waits."""
    world = running(5)
    world.publish("2.0.0")
    world.settle()
    world.change(image_reference=world.spec.image_reference.model_copy(update={"gallery_namespace": "typo"}))
    world.run(10)
    assert condition(world, "Accepted")["reason"] == "ImageNotFound"
    assert world.state.rollout is not None
    assert world.state.rollout.ending is None
    world.change(image_reference=world.spec.image_reference.model_copy(update={"gallery_namespace": None}))
    world.run(60)
    assert code(world) == "Completed"


@pytest.mark.parametrize(("pins", "expected"), [({"*": "2.0.0"}, "2.0.0"), ({"0": "10.0.0", "1-2": "9.0.0"}, "9.0.0")])
def test_a_new_instance_is_not_older_than_what_the_others_were_pinned_to(pins, expected):
    """A pin that apply-model brought everywhere is what is current. Where several did, a new instance does not go below
    the lowest.
    """
    world = World(spec=spec(replicas=3), policy=policy())
    world.publish("1.0.0")
    world.run(10)
    latest = world.spec.image_reference
    for ids, pinned in pins.items():
        world.publish(pinned, excluded=True)
        world.change(image_reference=latest.model_copy(update={"version": pinned}))
        apply_model(world, ids)
        world.run(20)
    assert world.state.current_version == ("2.0.0" if len(pins) == 1 else "1.0.0")
    world.change(image_reference=latest)
    world.publish("11.0.0", suffix="-bad")
    world.run(400)
    assert code(world) == "Faulted"
    world.change(replicas=4)
    world.run(20)
    assert world.versions[3] == expected
    assert world.pods[3].images == (("app", f"example.com/web:{expected}"),)


def test_a_new_instance_gets_no_version_that_failed_although_all_others_run_it():
    """The last batch brings the version everywhere, and then an instance of the first one is ill. It gets its build
    back.
    """
    world = World(spec=spec(replicas=2), policy=policy(), start=5.0)
    world.publish("1.0.0")
    world.run(10)
    world.publish("2.0.0")

    def sickens(world: World) -> None:
        if world.versions == {0: "2.0.0", 1: "2.0.0"} and not world.sick:
            world.sickens(0)

    world.run(60, each=sickens)
    world.run(310)
    assert (code(world), world.versions) == ("Faulted", {0: "1.0.0", 1: "2.0.0"})
    world.change(replicas=3)
    world.run(20)
    assert world.versions == {0: "1.0.0", 1: "2.0.0", 2: "1.0.0"}
    world.loses(0)
    world.publish("3.0.0")
    world.run(400)
    assert world.versions == dict.fromkeys(range(3), "3.0.0")
