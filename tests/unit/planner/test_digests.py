"""The bits that ran: what a tag meant is kept beside the version, and restores and self-healing use it."""

from dataclasses import replace

import pytest

from scaleset.api import names
from scaleset.planner import status_codec
from scaleset.planner.digests import MOST, digest_of
from scaleset.planner.instances import Build
from scaleset.planner.state import State
from tests.simulation.outcomes import changed, code, condition, deleted, reasons, rollout
from tests.simulation.scenes import BAD, ask, new_model, running
from tests.simulation.world import World, policy, spec

OLD, NEW, BROKEN, OTHER = (f"sha256:{letter * 64}" for letter in "abcd")
TAG = "example.com/web:1.0.0"


def tagged(replicas: int = 5, **changes) -> World:
    """A healthy set on a tag that means OLD."""
    world = World(spec=spec(replicas=replicas), policy=policy(**changes))
    world.bits = {TAG: OLD, f"example.com/web:2.0.0{BAD}": BROKEN, "example.com/web:2.0.0": NEW}
    world.publish("1.0.0")
    world.run(60)
    world.events.clear()
    world.writes.clear()
    return world


def asked(world: World) -> dict[int, str]:
    """The images that the pods ask for."""
    return {number: pod.images[0][1] for number, pod in sorted(world.pods.items())}


def kept(world: World) -> dict[int, str | None]:
    return {number: build.digest for number, build in world.state.builds.items()}


# --- what an image id proves


@pytest.mark.parametrize(
    ("image_id", "image", "digest"),
    [
        (f"example.com/web@{OLD}", "example.com/web:1.0.0", OLD),
        (f"docker-pullable://example.com/web@{OLD}", "example.com/web:1.0.0", OLD),
        (f"example.com:5000/a/web@{OLD}", "example.com:5000/a/web:1.0.0", OLD),
        (f"docker.io/library/web@{OLD}", "web:1", OLD),
        (f"docker.io/team/web@{OLD}", "team/web", OLD),
        (f"web@{OLD}", "docker.io/library/web", OLD),
        (f"localhost/web@{OLD}", "localhost/web:1", OLD),
        (f"mirror.example/web@{OLD}", "example.com/web:1.0.0", None),
        (f"example.com/other@{OLD}", "example.com/web:1.0.0", None),
        (f"example.com/import-2026-11-30@{OLD}", "example.com/web:1.0.0", None),
        (OLD, "example.com/web:1.0.0", None),
        (f"docker://{OLD}", "example.com/web:1.0.0", None),
        ("example.com/web@sha256:abc", "example.com/web:1.0.0", None),
        (f"example.com/web@sha512:{'a' * 64}", "example.com/web:1.0.0", None),
        (f"example.com/web@{OLD.upper()}", "example.com/web:1.0.0", None),
        ("example.com/web:1.0.0", "example.com/web:1.0.0", None),
        ("", "example.com/web:1.0.0", None),
    ],
)
def test_only_a_digest_of_the_same_repository_counts(image_id: str, image: str, digest: str | None):
    assert digest_of(image_id, image) == digest


# --- what is kept


def test_the_digest_of_healthy_instances_is_kept_and_makes_nothing_outdated():
    world = tagged()
    assert world.status["builds"] == [
        {
            "model": world.model.name,
            "version": "1.0.0",
            "image": TAG,
            "osType": "Linux",
            "instances": "0-4",
            "digests": [{"digest": OLD, "instances": "0-4"}],
        }
    ]
    world.run(1000)
    assert world.writes == []
    assert condition(world, "UpToDate")["status"] == "True"
    assert set(asked(world).values()) == {TAG}


def test_an_instance_that_was_never_healthy_has_no_digest():
    world = World(spec=spec(replicas=2), policy=policy())
    world.bits = {f"{TAG}{BAD}": OLD}
    world.publish("1.0.0", suffix=BAD)
    world.run(600)
    assert set(kept(world).values()) == {None}


def test_without_a_usable_image_id_everything_is_as_before():
    world = running(3)
    assert set(kept(world).values()) == {None}
    assert "digests" not in world.status["builds"][0]
    world.loses(1)
    world.run(10)
    assert asked(world)[1] == TAG


def test_a_version_that_is_published_by_digest_needs_none():
    world = World(spec=spec(replicas=1), policy=policy())
    world.publish("1.0.0", suffix=f"@{OLD}")
    world.run(60)
    assert kept(world) == {0: None}


# --- what uses it


def test_a_restored_instance_runs_what_it_ran_before():
    world = tagged()
    world.bits[TAG] = OTHER
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert code(world) == "Faulted"
    assert rollout(world)["restored"] == "0"
    assert asked(world) == {0: f"{TAG}@{OLD}", 1: TAG, 2: TAG, 3: TAG, 4: TAG}
    assert world.pods[0].asked_image == TAG
    assert set(kept(world).values()) == {OLD}
    world.run(1000)
    assert condition(world, "Ready")["status"] == "True"
    assert deleted(world) == [0, 0]


def test_the_digest_is_written_before_the_pod_goes():
    world = tagged()
    world.publish("2.0.0", suffix=BAD)
    world.run(10)
    world.bits[TAG] = OTHER
    assert [(build.digest, number) for number, build in world.state.previous.items()] == [(OLD, 0)]
    world.dies()
    world.run(1000)
    assert asked(world)[0] == f"{TAG}@{OLD}"


def test_a_restore_in_place_puts_the_digest_back():
    world = tagged(replacementMethod="InPlaceIfPossible")
    world.bits[TAG] = OTHER
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert (code(world), changed(world), deleted(world)) == ("Faulted", [0, 0], [])
    assert asked(world)[0] == f"{TAG}@{OLD}"
    assert condition(world, "Ready")["status"] == "True"


def test_a_lost_instance_comes_back_with_what_it_ran():
    world = tagged()
    world.bits[TAG] = OTHER
    world.loses(3)
    world.pods[4] = replace(world.pods[4], ended=True, ready=False, running=False)
    world.run(60)
    assert asked(world) == {0: TAG, 1: TAG, 2: TAG, 3: f"{TAG}@{OLD}", 4: f"{TAG}@{OLD}"}
    world.loses(3)
    world.run(60)
    assert asked(world)[3] == f"{TAG}@{OLD}", "again and again"


def test_new_instances_restarts_models_and_upgrades_use_the_tag():
    world = tagged(2, mode="Rolling")
    world.bits[TAG] = OTHER
    world.change(replicas=3)
    world.run(60)
    assert kept(world) == {0: OLD, 1: OLD, 2: OTHER}
    ask(world, names.ANNOTATION_RESTART)
    world.run(60)
    assert set(asked(world).values()) == {TAG}
    assert set(kept(world).values()) == {OTHER}
    new_model(world)
    world.run(60)
    world.publish("2.0.0")
    world.run(60)
    assert set(asked(world).values()) == {"example.com/web:2.0.0"}
    assert set(kept(world).values()) == {NEW}


def test_a_restart_of_the_container_may_bring_other_bits_and_only_healthy_ones_count():
    """With imagePullPolicy Always a container that starts again pulls what the tag means by then."""
    world = tagged(2)
    pod = world.pods[0]
    sick = replace(pod, ready=False, ready_since=world.now, image_ids=(("app", f"example.com/web@{OTHER}"),))
    world.pods[0] = sick
    world.broken.add(0)
    world.run(10)
    assert kept(world)[0] == OLD
    world.broken.discard(0)
    world.pods[0] = replace(sick, ready=True)
    world.run(10)
    assert kept(world)[0] == OTHER


# --- what cannot be used


def test_a_digest_that_cannot_be_pulled_is_given_up_for_the_tag_once():
    world = tagged()
    world.bits[TAG] = OTHER
    world.gone.add(OLD)
    world.loses(2)
    world.run(120)
    assert asked(world)[2] == TAG
    assert deleted(world) == [2]
    assert kept(world) == {0: OLD, 1: OLD, 2: OTHER, 3: OLD, 4: OLD}
    assert reasons(world).count("DigestNotPulled") == 1
    (event,) = (each for each in world.events if each.reason == "DigestNotPulled")
    assert event.message == (
        f"The image that instances 2 ran before, {TAG}@{OLD}, cannot be run: container app: ImagePullBackOff: not "
        "found. They are made again with its tag, which may mean another image."
    )


def test_a_restore_gives_a_lost_digest_up_too_and_a_killed_operator_goes_on():
    world = tagged()
    world.bits[TAG] = OTHER
    world.gone.add(OLD)
    world.publish("2.0.0", suffix=BAD)

    def killed(world: World) -> None:
        if "DigestNotPulled" in reasons(world):
            world.dies()

    world.run(1000, each=killed)
    assert code(world) == "Faulted"
    assert rollout(world)["restored"] == "0"
    assert asked(world)[0] == TAG
    assert reasons(world).count("DigestNotPulled") == 1


def test_in_place_the_tag_is_put_back():
    world = tagged(replacementMethod="InPlaceOnly")
    world.gone.add(OLD)
    world.publish("2.0.0", suffix=BAD)
    world.run(1000)
    assert (changed(world), deleted(world)) == ([0, 0, 0], [])
    assert asked(world)[0] == TAG


def test_a_tag_that_cannot_be_pulled_is_nobody_s_digest():
    world = tagged(2)
    world.pods[0] = replace(world.pods[0], image_errors=(TAG,), ready=False, running=False)
    world.run(100)
    assert deleted(world) == []
    assert kept(world)[0] == OLD


# --- how much is kept


def test_at_most_ten_digests_of_an_image_are_kept():
    world = World(spec=spec(replicas=15), policy=policy())
    world.publish("1.0.0")
    world.run(10)
    for number in range(15):
        world.bits[TAG] = f"sha256:{number:064x}"
        world.loses(number)
        world.run(10)
    digests = [digest for digest in kept(world).values() if digest is not None]
    assert len(set(digests)) == MOST
    assert len(digests) == MOST, "the others are made again by the tag"


def test_a_status_with_digests_is_read_as_it_was_written():
    builds = {n: Build("m", "1.0.0", TAG, digest=OLD if n % 2 else None) for n in range(6)}
    state = State(builds=builds, previous={1: replace(builds[1], version="0.9.0")})
    world = World()
    world.status = status_codec.write(state, location="default")
    assert world.state.builds == builds
    assert world.state.previous == state.previous


@pytest.mark.parametrize(
    "digests",
    [
        [{"digest": "latest", "instances": "0"}],
        [{"digest": "sha256:x", "instances": "0"}],
        [{"digest": OLD, "instances": "7"}],
        [{"digest": f"{OLD}\n", "instances": "0"}],
    ],
)
def test_a_forged_digest_is_no_digest(digests):
    world = World()
    row = {"model": "m", "version": "1.0.0", "image": TAG, "instances": "0", "digests": digests}
    world.status = {"builds": [row]}
    assert world.state.builds == {0: Build("m", "1.0.0", TAG)}


def test_a_running_instance_keeps_a_digest_that_is_gone():
    world = tagged(2)
    world.loses(0)
    world.run(60)
    world.gone.add(OLD)
    world.run(600)
    assert asked(world)[0] == f"{TAG}@{OLD}"
    assert kept(world)[0] == OLD
