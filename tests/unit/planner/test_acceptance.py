"""Can the spec be carried out?"""

from typing import Any

import pytest

from scaleset.planner.acceptance import TWO_HEALTH_SOURCES
from scaleset.planner.decide import decide
from scaleset.planner.revisions import Revision
from scaleset.planner.snapshot import Verdict
from tests.simulation.outcomes import condition, deleted, waits_for
from tests.simulation.scenes import new_model, running
from tests.simulation.world import World, policy, spec, version

PLAIN: dict[str, Any] = {"spec": {"containers": [{"name": "app"}]}}
PROBED: dict[str, Any] = {
    "spec": {"containers": [{"name": "app", "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}]}
}
USABLE = "No version of contoso/web/stable can be used: 1.0.0 is the highest, but "
PROBE = {"probe": {"protocol": "http", "requestPath": "/healthz"}}


def accepted(world: World) -> tuple[str, str]:
    world.settle()
    found = condition(world, "Accepted")
    return found["reason"], found["message"]


def created(**changes: object) -> World:
    world = World(spec=spec(**changes))
    world.publish("1.0.0")
    return world


@pytest.mark.parametrize(
    ("template", "health", "automatic", "reason"),
    [
        (PLAIN, {}, True, "InvalidSpec"),
        (PLAIN, {}, False, "Accepted"),
        (PLAIN, {"source": "InstanceState"}, True, "Accepted"),
        (PLAIN, PROBE, True, "Accepted"),
        (PROBED, {}, True, "Accepted"),
        ({"spec": {**PLAIN["spec"], "readinessGates": [{"conditionType": "x/y"}]}}, {}, True, "Accepted"),
        (PROBED, PROBE, True, "InvalidSpec"),
        (PROBED, PROBE, False, "InvalidSpec"),
    ],
    ids=[
        "no signal",
        "no signal, not automatic",
        "state of the instance, asked for",
        "a health probe",
        "a readiness probe",
        "a readiness gate",
        "two sources",
        "two sources, not automatic",
    ],
)
def test_automatic_upgrades_need_exactly_one_source_of_health(template, health, automatic, reason):
    world = created(template=template, health=health)
    world.policy = policy(automatic=automatic)
    assert accepted(world)[0] == reason


def with_image(image: object) -> dict[str, Any]:
    return {"spec": {"containers": [{**PROBED["spec"]["containers"][0], "image": image}]}}


def test_an_image_that_is_not_used_is_told_once():
    """Image updaters write there; it is not refused, since half of the templates in the world have one."""
    world = created(template=with_image("nginx:1.29"))
    sentence = (
        "The image 'nginx:1.29' of container app in spec.template is not used: the container runs the image of the "
        "GalleryImageVersion that spec.imageReference chooses. Publish a GalleryImageVersion to change it."
    )
    assert accepted(world) == ("Accepted", f"The spec is valid and can be carried out. {sentence}")
    world.run(30)
    told = [event for event in world.events if event.reason == "ImageNotUsed"]
    assert [(event.message, event.warning) for event in told] == [(sentence, True)]
    world.change(template=with_image("nginx:1.30"))
    world.run(30)
    assert [event.reason for event in world.events].count("ImageNotUsed") == 2
    assert deleted(world) == []
    world.change(template=PROBED)
    assert accepted(world)[1] == "The spec is valid and can be carried out."


@pytest.mark.parametrize("image", [3, "a" * 100_000, "\n\x00", {"a": "b"}, True])
def test_an_image_that_is_none_is_told_in_few_words(image):
    reason, message = accepted(created(template=with_image(image)))
    assert (reason, len(message) < 1000, message.isprintable()) == ("Accepted", True, True)


def test_mode_rolling_alone_needs_none():
    """Azure refuses it; here running containers are then what is waited for."""
    world = created(template=PLAIN)
    world.policy = policy(mode="Rolling", automatic=False)
    assert accepted(world)[0] == "Accepted"


def test_the_sentence_for_no_health_source_is_azures():
    world = created(template=PLAIN)
    assert accepted(world)[1].startswith(
        "Automatic OS Upgrade is not supported for this ScaleSet because a health probe or health extension was not "
        "specified."
    )


def test_the_sentence_for_two_health_sources_says_what_to_remove():
    assert "Remove spec.health.probe or the readinessProbe" in TWO_HEALTH_SOURCES


def test_a_missing_policy_is_a_condition_and_no_silent_default():
    """The instances are kept and healed; nothing is created from a guess about the policy's limits."""
    world = running(3)
    world.policy = None
    assert accepted(world) == (
        "PolicyNotFound",
        "UpgradePolicy shop/careful does not exist. Create it, or change spec.upgradePolicyRef.name.",
    )
    world.loses(1)
    world.run(10)
    assert world.pods[1].ready
    assert condition(world, "Stalled")["status"] == "True"


@pytest.mark.parametrize(
    ("published", "sentence"),
    [
        ([], "No GalleryImageVersion in namespace shop offers a version of contoso/web/stable. Publish one."),
        ([{"excluded": True}], USABLE + "it is excluded from latest."),
        ([{"regions": {"west": False}}], USABLE + "it is not replicated to region default."),
        ([{"end_of_life": 0.0}], USABLE + "its end of life has passed."),
    ],
)
def test_no_image_is_told_with_the_reason(published, sentence):
    world = World()
    world.catalogue = [version("1.0.0", **changes) for changes in published]
    reason, message = accepted(world)
    assert reason == "ImageNotFound"
    assert sentence in message
    assert world.pods == {}


def test_of_many_versions_that_cannot_be_used_the_highest_is_named():
    world = World()
    world.catalogue = [version(number, excluded=True) for number in ("9.0.0", "10.0.0", "1.0.0")]
    assert "10.0.0 is the highest, but it is excluded from latest." in accepted(world)[1]


def test_a_pinned_version_that_does_not_exist_is_told():
    world = running(3)
    world.change(image_reference=world.spec.image_reference.model_copy(update={"version": "9.9.9"}))
    reason, message = accepted(world)
    assert reason == "ImageNotFound"
    assert "offers a version 9.9.9 of contoso/web/stable" in message
    world.run(60)
    assert deleted(world) == []


def test_a_model_that_the_api_server_refuses_changes_nothing_and_is_asked_about_again():
    """The dry run's sentence is in the condition; a quota may be lifted, so it is asked again with back-off."""
    world = running(3, by=policy(mode="Automatic"))

    def judge(model: Revision) -> Verdict:
        if world.now < 1_800_000_200:
            return Verdict(accepted=False, message="spec.containers[0].image: Required value.", retry_at=world.now + 30)
        return Verdict(accepted=True)

    world.verdict = judge
    new_model(world)
    reason, message = accepted(world)
    assert reason == "ModelRefused"
    assert message.endswith(": spec.containers[0].image: Required value. Instances stay on the model before.")
    world.loses(0)
    world.run(20)
    assert deleted(world) == []
    assert world.pods[0].model != world.model.name
    assert world.wake_at is not None
    world.run(300)
    assert {pod.model for pod in world.pods.values()} == {world.model.name}


def test_a_refusal_is_told_once():
    world = running(3)
    world.policy = None
    world.run(600)
    world.change(replicas=4)
    world.run(600)
    (told,) = [event for event in world.events if event.reason == "PolicyNotFound"]
    assert (told.message, told.warning) == (condition(world, "Accepted")["message"], True)


def test_a_region_in_the_template_that_contradicts_the_location_is_refused():
    template = {"spec": {**PROBED["spec"], "nodeSelector": {"topology.kubernetes.io/region": "east"}}}
    world = created(template=template, location="west")
    assert accepted(world) == (
        "InvalidSpec",
        "spec.location is 'west', but the template's nodeSelector asks for region 'east'. Remove one of them.",
    )


def test_a_zone_in_the_template_of_a_set_with_zones_is_refused():
    template = {"spec": {**PROBED["spec"], "nodeSelector": {"topology.kubernetes.io/zone": "z1"}}}
    assert accepted(created(template=template, zones=["z1", "z2"])) == (
        "InvalidSpec",
        "The template's nodeSelector asks for zone 'z1'. Remove it, or remove spec.zones.",
    )


def test_an_instance_container_that_does_not_exist_is_refused():
    world = created()
    world.spec = world.spec.model_copy(update={"instance_container": "nobody"})
    reason, message = accepted(world)
    assert reason == "InvalidSpec"
    assert "'nobody'" in message


def test_an_invalid_spec_during_a_rollout_holds_the_next_batch():
    """The running batch is finished; nothing new is begun until the spec makes sense, and the run says why."""
    world = running(5)
    world.start = 10.0
    world.publish("2.0.0")
    world.run(2)
    world.spec = world.spec.model_copy(update={"instance_container": "nobody"})
    world.run(600)
    assert deleted(world) == [0]
    assert waits_for(world) == "InvalidSpec"
    world.spec = world.spec.model_copy(update={"instance_container": None})
    world.run(600)
    assert set(world.versions.values()) == {"2.0.0"}


@pytest.mark.parametrize("missing", ["policy", "image"])
def test_what_is_missing_is_looked_for_before_anybody_is_told(missing):
    """Applied together is not seen together: a cache that lags behind must not announce a missing policy or image."""
    world = created()
    if missing == "policy":
        world.policy = None
    else:
        world.catalogue.clear()
    assert decide(world.snapshot()).needs.fresh
    assert accepted(world)[0] == ("PolicyNotFound" if missing == "policy" else "ImageNotFound")
    assert not decide(world.snapshot()).needs.fresh


@pytest.mark.parametrize(("seconds", "asked"), [(29, False), (30, True)])
def test_a_verdict_that_is_remembered_holds_until_its_time(seconds, asked):
    world = running(3)
    new_model(world)
    verdict = Verdict(accepted=False, message="no", retry_at=world.now + 30)
    plan = decide(world.snapshot(now=world.now + seconds, verdicts={world.model.name: verdict}))
    assert (plan.needs.verdict is not None) == asked


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"customData": "x " * 40_000}, "spec.customData has 80000 bytes. Make it at most 65536."),
        ({"extensions": [{"name": "a", "image": "example.com/a:1"}] * 2}, "extension a is listed twice."),
    ],
)
def test_what_cannot_be_provisioned_is_refused_with_one_sentence_and_one_full_stop(changes, sentence):
    assert accepted(created(**changes)) == ("InvalidSpec", sentence)
